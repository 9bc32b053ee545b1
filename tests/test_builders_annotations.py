"""Rater votes: how the CSV is read and joined, what is refused, and how labels follow from the votes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders_support import CATEGORIES_FLAG, FLAGS, SETTINGS, make_raw, manifest, raw, run_build, tiny, votes_csv

from unsafe_video_dataset.builders import build_upstream
from unsafe_video_dataset.builders.annotations import Answers, read_annotations
from unsafe_video_dataset.builders.mapping import parse_categories
from unsafe_video_dataset.errors import FaultsError, InputError
from unsafe_video_dataset.release import Release

__all__ = ["raw"]

MAPPING = parse_categories(CATEGORIES_FLAG)
HEADER = "index,rater_id,categories,seconds,attention_check\n"


def read(tmp_path: Path, text: str | bytes, **options: Any) -> Answers:
    file = tmp_path / "votes.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_annotations(file, mapping=MAPPING, **options)


def faults(tmp_path: Path, text: str | bytes) -> list[str]:
    return [str(fault) for fault in read(tmp_path, text).faults]


def build(raw: Path, text: str, **changes: Any) -> dict[int, dict[str, Any]]:
    """Rows by source index of a release with these votes."""
    (raw / "votes.csv").write_text(text)
    out = raw.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    build_upstream(raw, out, replace(SETTINGS, annotations=raw / "votes.csv", **changes), progress=False)
    assert run_build("check", out) == 0
    return {row["source_index"]: row for row in Release.open(out).metadata().to_pylist()}


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cell", "expected"), [
    ("1", ["distorted_weird"]),
    ("4;1", ["distorted_weird", "violent_bloody"]), (" 4 ; 1 ", ["distorted_weird", "violent_bloody"]),
    ("political", ["political"]),
    ("political;terrifying", ["terrifying", "political"]), ("2;political", ["terrifying", "political"]),
    ("none", []), (" none ", []),
])  # fmt: skip
def test_categories_are_numbers_names_or_none(tmp_path: Path, cell: str, expected: list[str]) -> None:
    (answer,) = read(tmp_path, f"{HEADER}3,r1,{cell},12,pass\n").kept
    assert answer.categories == expected
    assert (answer.line, answer.video, answer.rater_id, answer.seconds, answer.attention_check) == (2, "3", "r1", 12.0, True)


@pytest.mark.parametrize(
    "cell", ["", "none;1", "1;none", "6", "0", "1;1", "1;distorted_weird", "1;;2", ";", "1|2", "Gore", "NONE", "1.0"]
)
def test_categories_that_are_refused(tmp_path: Path, cell: str) -> None:
    (fault,) = faults(tmp_path, f"{HEADER}3,r1,{cell},12,pass\n")
    assert fault.startswith(f"votes.csv:2 [categories]: {cell!r}; expected 'none', or numbers or names joined by ';'")


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "1e999", "-1", "-0.5", "soon", "12s", "1,5"])
def test_seconds_must_be_a_number_from_0(tmp_path: Path, cell: str) -> None:
    (fault,) = faults(tmp_path, f'{HEADER}3,r1,1,"{cell}",pass\n')
    assert fault == f"votes.csv:2 [seconds]: {cell!r}; expected a number from 0"


def test_seconds_and_check_may_be_empty_or_have_no_column(tmp_path: Path) -> None:
    for text in (f"{HEADER}3,r1,1,,\n", "rater_id,categories,index\nr1,1,3\n"):
        (answer,) = read(tmp_path, text).kept
        assert (answer.video, answer.seconds, answer.attention_check) == ("3", None, None)


def test_bom_crlf_quotes_and_header_spelling(tmp_path: Path) -> None:
    text = (
        '\ufeffIndex,"Rater ID",Categories,Seconds,Attention-Check,Age\r\n3.0,r1,"1;2",5,PASS,30\r\n\r\n4,r1,none,5,Fail,30\r\n'
    )
    answers = read(tmp_path, text, failed_checks="answer")
    assert answers.faults == []
    assert [answer.video for answer in answers.kept] == ["3"]
    assert answers.left_out == {"attention_check": 1}
    assert answers.ignored_columns == ["age"]


ROWS = "0,r1,1,5,fail\n1,r1,1,5,failed\n2,r2,1,5,FALSE\n3,r2,1,5,pass\n4,r3,1,5,true\n5,r2,1,0.1,\n"


@pytest.mark.parametrize(("rule", "kept", "left_out"), [
    ("rater", ["4"], {"rater_attention": 5}),
    ("answer", ["3", "4", "5"], {"attention_check": 3}),
    ("keep", ["0", "1", "2", "3", "4", "5"], {}),
])  # fmt: skip
def test_failed_checks_are_counted_by_answer_and_by_rater(
    tmp_path: Path, rule: str, kept: list[str], left_out: dict[str, int]
) -> None:
    answers = read(tmp_path, HEADER + ROWS, failed_checks=rule)
    assert [answer.video for answer in answers.kept] == kept
    assert answers.left_out == left_out
    assert (answers.failed_answers, answers.failed_raters) == (3, 2)
    if rule == "rater":
        assert answers == read(tmp_path, HEADER + ROWS)  # what nobody asked otherwise


@pytest.mark.parametrize(("rule", "votes", "note"), [
    ("rater", 12, "note: 1 raters left out for a failed attention check, with all their 12 votes (1 failed it)"),
    ("answer", 23, "note: 1 votes left out for a failed attention check; other votes of the 1 raters who gave them count"),
    ("keep", 24, "note: 1 votes of 1 raters failed the attention check and count all the same, as asked"),
])  # fmt: skip
def test_the_build_says_exactly_what_was_left_out(
    raw: Path, capsys: pytest.CaptureFixture[str], rule: str, votes: int, note: str
) -> None:
    text = "".join(f"{n},r1,1,5,{'fail' if n == 4 else 'pass'}\n{n},r2,1,5,pass\n" for n in range(12))
    (raw / "votes.csv").write_text(HEADER + text)
    flags = [*FLAGS, "--annotations", raw / "votes.csv", *([] if rule == "rater" else ["--failed-checks", rule])]
    assert run_build("upstream", raw, raw.parent / "out", *flags) == 0
    assert note in capsys.readouterr().out
    found = manifest(raw.parent / "out")
    assert (found["counts"]["votes"], found["settings"]["failed_checks"]) == (votes, rule)
    assert run_build("check", raw.parent / "out") == 0


@pytest.mark.parametrize("second", ["3", "3.0", " 3 "])
def test_a_rater_answers_a_video_twice(tmp_path: Path, second: str) -> None:
    for checks in ("pass,pass", "fail,pass", "pass,fail"):
        first_check, second_check = checks.split(",")
        (fault,) = faults(tmp_path, f"{HEADER}3,r1,1,5,{first_check}\n{second},r1,2,5,{second_check}\n")
        assert fault == "votes.csv:3: rater r1 answers video 3 again (first in line 2); expected one answer a rater and video"


def test_cells_must_fit_the_header(tmp_path: Path) -> None:
    """A comma in the place of a semicolon moves the check out of its column; a cut row loses it."""
    assert faults(tmp_path, f"{HEADER}3,r1,1,4,12,pass\n4,r1,1,4\n") == [
        "votes.csv:2: 6 cells; expected 5, as the header",
        "votes.csv:3: 4 cells; expected 5, as the header",
    ]


@pytest.mark.parametrize(("header", "message"), [
    ("index,rater_id", "no column categories"), ("index,categories", "no column rater_id"),
    ("rater_id,categories", "no column index"), ("", "no column index"),
    ("index,rater_id,categories,categories", "column categories stands twice"),
])  # fmt: skip
def test_missing_and_repeated_columns(tmp_path: Path, header: str, message: str) -> None:
    assert any(
        fault.startswith(f"votes.csv:1: {message}; expected index (or") for fault in faults(tmp_path, header + "\n1,2,3\n")
    )


def test_all_faults_come_at_once_with_lines(tmp_path: Path) -> None:
    rows = ",r1,1,5,pass\n1,,1,5,pass\n2,r1,9,x,maybe\n3,r1,1,5,pass\n3,r1,1,5,pass\n"
    found = faults(tmp_path, HEADER + rows)
    assert [fault.partition(": ")[0] for fault in found] == [
        "votes.csv:2 [index]", "votes.csv:3 [rater_id]", "votes.csv:4 [categories]", "votes.csv:4 [attention_check]",
        "votes.csv:4 [seconds]", "votes.csv:6",
    ]  # fmt: skip


def test_not_utf8_not_csv_not_there(tmp_path: Path) -> None:
    assert any("votes.csv:2: not UTF-8" in fault for fault in faults(tmp_path, HEADER.encode() + b"3,r\xff,1,5,pass\n"))
    assert any("not CSV" in fault for fault in faults(tmp_path, HEADER + "3,r1," + "1" * 200_000 + "\n"))
    with pytest.raises(InputError, match="There is no file"):
        read_annotations(tmp_path / "nowhere.csv", mapping=MAPPING)


# --- joining and labels ----------------------------------------------------------------------------------------------


def test_votes_are_joined_by_index_in_any_order(raw: Path) -> None:
    lines = votes_csv().splitlines()
    rows = build(raw, "\n".join([lines[0], *reversed(lines[1:])]) + "\n")
    assert len(rows) == 12
    assert rows[3]["categories"] == [0, 1]  # two of three
    assert rows[3]["vote_counts"] == {
        "distorted_weird": 2, "terrifying": 2, "pornographic": 0, "violent_bloody": 0, "political": 0, "none": 1,
    }  # fmt: skip
    assert rows[3]["votes"] == [
        {"rater_id": "r1", "categories": [0, 1]},
        {"rater_id": "r2", "categories": [0, 1]},
        {"rater_id": "r3", "categories": []},
    ]  # fmt: skip
    assert rows[3]["soft_labels"]["terrifying"] == pytest.approx(2 / 3)
    assert (rows[3]["num_raters"], rows[3]["label_method"]) == (3, "majority")
    assert rows[5]["is_unsafe"] is False
    annotations = Release.open(raw.parent / "out").annotations().to_pylist()
    assert len(annotations) == 36
    assert {(row["rater_id"], row["seconds"], row["attention_check"]) for row in annotations} == {
        ("r1", 10.0, True), ("r2", 11.5, True), ("r3", None, None),
    }  # fmt: skip


def test_votes_are_joined_by_video_id(raw: Path) -> None:
    import hashlib

    ids = [hashlib.sha256(tiny(index)).hexdigest()[:16] for index in range(12)]
    text = "video_id,rater_id,categories\n" + "".join(f"{ids[n].upper()},r1,{n % 5 + 1}\n" for n in range(12))
    rows = build(raw, text)
    assert {index: row["categories"] for index, row in rows.items()} == {n: [n % 5] for n in range(12)}
    with pytest.raises(FaultsError, match=r"votes.csv:2 \[video_id\]: no video 3"):
        build(raw, "video_id,rater_id,categories\n3,r1,1\n")


def test_labels_that_differ_from_upstream_are_counted(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (raw / "votes.csv").write_text("index,rater_id,categories\n" + "".join(f"{n},r1,1\n" for n in range(12)))
    assert run_build("upstream", raw, raw.parent / "out", *FLAGS, "--annotations", raw / "votes.csv") == 0
    assert "note: 9 videos have a majority label that differs from labels.csv" in capsys.readouterr().out
    assert manifest(raw.parent / "out")["settings"]["labels_from"] == "majority of votes"


@pytest.mark.parametrize(("tie", "expected"), [("negative", []), ("positive", [1])])
def test_a_tie_is_what_the_setting_says(raw: Path, tie: str, expected: list[int]) -> None:
    rest = "".join(f"{n},r1,none\n" for n in range(1, 12))
    rows = build(raw, f"index,rater_id,categories\n0,r1,2\n0,r2,none\n{rest}", tie=tie)
    assert rows[0]["categories"] == expected
    found = manifest(raw.parent / "out")
    assert (found["counts"]["ties"], found["settings"]["tie"]) == (1, tie)


def test_videos_without_a_vote_that_counts_are_left_out_and_listed(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = HEADER + "".join(f"{n},r1,1,5,{'fail' if n == 4 else 'pass'}\n" for n in range(11))
    (raw / "votes.csv").write_text(text)
    flags = [*FLAGS, "--annotations", raw / "votes.csv", "--failed-checks", "answer"]
    assert run_build("upstream", raw, raw.parent / "out", *flags) == 0
    found = manifest(raw.parent / "out")
    assert [(left["source_index"], left["reason"]) for left in found["left_out"]] == [
        (4, "no vote that counts"), (11, "no vote that counts"),
    ]  # fmt: skip
    assert found["counts"]["videos"] == 10
    assert found["counts"]["votes_left_out"] == {"attention_check": 1}
    out = capsys.readouterr().out
    assert "(source_index 11): no vote that counts" in out
    assert "1 votes left out for a failed attention check" in out


def test_of_duplicates_the_one_with_votes_stays(raw: Path) -> None:
    (raw / "3.mp4").write_bytes(tiny(0))
    rows = build(raw, "index,rater_id,categories\n" + "".join(f"{n},r1,2\n" for n in range(1, 12)))
    assert 0 not in rows
    assert rows[3]["categories"] == [1]
    (left,) = manifest(raw.parent / "out")["left_out"]
    assert (left["source_index"], left["reason"]) == (0, "exact duplicate of source_index 3")


def test_votes_on_a_duplicate_that_is_left_out_are_counted(raw: Path) -> None:
    (raw / "3.mp4").write_bytes(tiny(0))
    build(raw, "index,rater_id,categories\n" + "".join(f"{n},r{r},2\n" for n in range(12) for r in range(3)))
    assert manifest(raw.parent / "out")["counts"]["votes_left_out"] == {"exact_duplicate": 3}


@pytest.mark.parametrize(("rows", "message"), [
    ("99,r1,1\n", r"votes.csv:2 \[index\]: no video 99; expected a video of this folder"),
    ("0,r 1,1\n", r"votes.csv:2 \[rater_id\]: found 'r 1'"),
    ("0,<b>,1\n", r"votes.csv:2 \[rater_id\]: found '<b>'"),
    ("", r"votes.csv: no answer counts"),
])  # fmt: skip
def test_votes_that_can_not_be_joined(raw: Path, rows: str, message: str) -> None:
    with pytest.raises(FaultsError, match=message):
        build(raw, "index,rater_id,categories\n" + rows)


def test_only_failed_checks(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw")
    with pytest.raises(FaultsError, match="no answer counts"):
        build(raw, f"{HEADER}0,r1,1,5,fail\n")
