"""Long CSVs of votes as recipes read them; what the upstream command refuses is in test_builders_annotations."""

from __future__ import annotations

from pathlib import Path

import pytest

from unsafe_video_dataset.builders.raters.answers import NO_CHOICE, Reading, choice_names, split_choices, submitted_of
from unsafe_video_dataset.builders.raters.long_csv import read_long

NAMES = choice_names({"1": "distorted_weird", "nothing": "none"})


def read(tmp_path: Path, text: str | bytes) -> Reading:
    file = tmp_path / "votes.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_long(file, names=NAMES)


@pytest.mark.parametrize(("column", "cell", "key"), [
    ("item", "lexica/a/b.mp4", "lexica/a/b.mp4"), ("video_id", "ABCDEF0123456789", "abcdef0123456789"),
    ("file", "Some Clip.mp4", "Some Clip.mp4"), ("index", "12.0", "12"),
])  # fmt: skip
def test_the_video_is_named_by_item_id_file_or_index(tmp_path: Path, column: str, cell: str, key: str) -> None:
    reading = read(tmp_path, f"rater_id,{column},categories\nr1,{cell},none\n")
    assert (reading.key, reading.faults, [answer.video for answer in reading.answers]) == (column, [], [key])


def test_the_most_exact_key_wins_and_the_others_are_named(tmp_path: Path) -> None:
    reading = read(tmp_path, "index,item,rater_id,categories,age\n3,a/3.mp4,r1,none,40\n")
    assert (reading.key, reading.ignored) == ("item", ["index", "age"])


def test_bom_crlf_unicode_and_spaces(tmp_path: Path) -> None:
    text = '\ufeffItem,"Rater ID",Categories,Seconds,Attention-Check,Submitted\r\n' + (
        "a/ü.mp4,  Zoë van Dijk ,1; political,5,PASS,2024-05-01T10:00:00Z\r\n"
    )
    (answer,) = read(tmp_path, text).answers
    assert (answer.video, answer.rater_id, answer.categories) == ("a/ü.mp4", "Zoë van Dijk", ["distorted_weird", "political"])
    assert (answer.seconds, answer.attention_check, answer.submitted) == (5.0, True, 1714557600000000)


def test_what_control_judges_is_read(tmp_path: Path) -> None:
    both, nothing, code = read(tmp_path, "item,rater_id,categories\na,r,none;1\nb,r,\nc,r,nothing\n").answers
    assert (both.categories, both.excluded) == (["distorted_weird", "none"], "")
    assert (nothing.categories, nothing.excluded) == ([], NO_CHOICE)
    assert (code.categories, code.excluded) == ([], "")


def test_titles_of_the_paper_are_known(tmp_path: Path) -> None:
    (answer,) = read(tmp_path, "item,rater_id,categories\na,r,Violent/Bloody;Distorted/Weird\n").answers
    assert answer.categories == ["distorted_weird", "violent_bloody"]


def test_all_faults_at_once_without_ids_of_raters(tmp_path: Path) -> None:
    rows = "a,Zoë,gore,x,maybe,later\n,Zoë,none,1,,\nb,Zoë,none\n"
    reading = read(tmp_path, "item,rater_id,categories,seconds,attention_check,submitted\n" + rows)
    assert [str(fault).partition(": ")[0] for fault in reading.faults] == [
        "votes.csv:2 [categories]", "votes.csv:2 [attention_check]", "votes.csv:2 [seconds]", "votes.csv:2 [submitted]",
        "votes.csv:3 [item]", "votes.csv:4",
    ]  # fmt: skip
    assert "Zoë" not in "".join(map(str, reading.faults))


def test_an_empty_file_and_no_rows(tmp_path: Path) -> None:
    assert any("no column index" in str(fault) for fault in read(tmp_path, "").faults)
    reading = read(tmp_path, "item,rater_id,categories\n")
    assert (reading.answers, reading.faults) == ([], [])


@pytest.mark.parametrize(("text", "number"), [
    ("12", 12), ("-3", -3), ("1970-01-01T00:00:01Z", 1_000_000), ("1970-01-01 00:00:01", 1_000_000),
    ("1970-01-01T01:00:00+01:00", 0), ("soon", None), ("", None),
])  # fmt: skip
def test_times(text: str, number: int | None) -> None:
    assert submitted_of(text) == number


def test_choices_may_hold_commas() -> None:
    names = choice_names({"None, all fine": "none", "None": "none"})
    assert split_choices("None, all fine,political,Violent/Bloody", names) == ["None, all fine", "political", "Violent/Bloody"]
    assert split_choices("None", names) == ["None"]
    assert split_choices("gore,political", names) == ["gore", "political"]
    assert split_choices("", names) == []
