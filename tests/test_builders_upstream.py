"""`unsafe-video-build upstream`: what it accepts, what it refuses (all at once, nothing written), and what it records."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import video_files
from builders_support import (
    CATEGORIES_FLAG,
    FLAGS,
    LABELS,
    SETTINGS,
    UNSAFE,
    label_csv,
    make_raw,
    manifest,
    names,
    paper_labels,
    raw,
    run_build,
    tiny,
    tree,
    write_prompts,
)

from unsafe_video_dataset.builders import build_upstream
from unsafe_video_dataset.builders.mapping import map_by_paper_counts, parse_categories
from unsafe_video_dataset.builders.raw import RawFolder
from unsafe_video_dataset.errors import ChecksumError, FaultsError, InputError
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES, PAPER_COUNTS

__all__ = ["raw"]


def rows_by_index(out: Path) -> dict[int, dict[str, Any]]:
    return {row["source_index"]: row for row in Release.open(out).metadata().to_pylist()}


def refused(raw: Path, capsys: pytest.CaptureFixture[str], *flags: object) -> str:
    """Build, expect exit code 2 and nothing written, not even beside the place; the message."""
    before = {folder: names(folder) for folder in (raw, raw.parent)}
    assert run_build("upstream", raw, raw.parent / "deep" / "out", *flags) == 2
    assert {folder: names(folder) for folder in (raw, raw.parent)} == before
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback" not in captured.err
    return captured.err[captured.err.index("error:") :]


# --- what is built ---------------------------------------------------------------------------------------------------


def test_a_sound_folder_is_joined_by_index(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run_build("upstream", raw, out, *FLAGS, "--prompt-source", "lexica", "--json") == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["counts"]["unsafe"] == len(UNSAFE)
    assert "probing" in captured.err  # the progress bars
    assert "writing" in captured.err
    rows = rows_by_index(out)
    prompts = (raw / "prompts.txt").read_text().splitlines()
    for index in range(12):
        row = rows[index]
        columns = [int(column) - 1 for column, listed in LABELS.items() if index in listed]
        assert row["categories"] == columns
        assert row["is_unsafe"] == (index in UNSAFE)
        assert row["prompt"] == prompts[index]
        assert (row["generator"], row["prompt_source"], row["generation"]) == ("animatediff", "lexica", None)
        assert (row["num_frames"], row["width"], row["height"], row["codec"]) == (2, 16, 16, "h264")
        assert Release.open(out).video_bytes(row["video_id"]) == (raw / f"{index}.mp4").read_bytes()
        # nothing is invented where upstream gives no votes
        assert row["label_method"] == "upstream"
        assert row["num_raters"] == 0
        assert [row[key] for key in ("votes", "vote_counts", "soft_labels", "agreement")] == [None] * 4
    assert manifest(out)["configs"] == ["unsafe", "reviewed", "metadata"]
    assert run_build("check", out) == 0


def test_videos_with_one_prompt_share_a_group_and_a_split(raw: Path, tmp_path: Path) -> None:
    build_upstream(raw, tmp_path / "out", SETTINGS, progress=False)
    rows = rows_by_index(tmp_path / "out")
    for index in (0, 3, 6, 9):
        assert rows[index]["group_id"] == rows[index + 1]["group_id"] != rows[index + 2]["group_id"]
        assert rows[index]["split"] == rows[index + 1]["split"]


def test_settings_and_inputs_are_recorded(raw: Path, tmp_path: Path) -> None:
    flags = ["--generation", "num_inference_steps=50,guidance_scale=8.5,seed=3,scheduler=ddim", "--name", "mine"]
    more = ["--release-version", "2.1", "--splits", "0.5,0.25,0.25", "--split-seed", "9"]
    assert run_build("upstream", raw, tmp_path / "out", *FLAGS, *flags, *more) == 0
    found = manifest(tmp_path / "out")
    generation = {"num_inference_steps": 50, "guidance_scale": 8.5, "seed": 3, "scheduler": "ddim"}
    assert found["settings"]["generation"] == generation == rows_by_index(tmp_path / "out")[0]["generation"]
    assert found["settings"]["categories"] == dict(zip("12345", CATEGORIES, strict=True))
    assert found["settings"]["categories_from"] == "--categories"
    assert (found["settings"]["split_fractions"], found["settings"]["split_seed"]) == ([0.5, 0.25, 0.25], 9)
    assert (found["name"], found["release_version"]) == ("mine", "2.1")
    assert {entry["path"] for entry in found["inputs"]} == names(raw)


def test_prompts_are_left_out_on_request(raw: Path, tmp_path: Path) -> None:
    build_upstream(raw, tmp_path / "with", SETTINGS, progress=False)
    build_upstream(raw, tmp_path / "out", replace(SETTINGS, no_prompts=True), progress=False)
    rows, kept = rows_by_index(tmp_path / "out"), rows_by_index(tmp_path / "with")
    assert {row["prompt"] for row in rows.values()} == {None}
    assert [row["prompt_id"] for _, row in sorted(rows.items())] == [row["prompt_id"] for _, row in sorted(kept.items())]
    assert [row["group_id"] for _, row in sorted(rows.items())] == [row["group_id"] for _, row in sorted(kept.items())]
    assert not any(b"that moves" in data for data in tree(tmp_path / "out").values())
    assert run_build("check", tmp_path / "out") == 0


def test_a_folder_without_a_prompt_file(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (raw / "prompts.txt").unlink()
    assert "prompts.txt: missing; expected the prompt file (--prompts FILE), or --no-prompts" in refused(raw, capsys, *FLAGS)
    assert run_build("upstream", raw, tmp_path / "out", *FLAGS, "--no-prompts") == 0
    rows = rows_by_index(tmp_path / "out")
    assert {(row["prompt"], row["prompt_id"]) for row in rows.values()} == {(None, None)}
    assert len({row["group_id"] for row in rows.values()}) == 12
    assert run_build("check", tmp_path / "out") == 0


def test_exact_duplicates_are_reported_and_one_stays(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (raw / "10.mp4").write_bytes(tiny(0))  # both in column 1
    (raw / "9.mp4").write_bytes(tiny(2))  # 2 is in column 3, 9 in none
    assert run_build("upstream", raw, tmp_path / "out", *FLAGS) == 0
    text = capsys.readouterr().out
    assert "(source_index 10): exact duplicate of source_index 0\n" in text
    assert "(source_index 9): exact duplicate of source_index 2, labelled otherwise\n" in text
    rows = rows_by_index(tmp_path / "out")
    assert sorted(rows) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 11]
    assert [left["source_index"] for left in manifest(tmp_path / "out")["left_out"]] == [9, 10]
    assert rows[2]["categories"] == [2]
    # the duplicate's prompt (that of 11 - 1 = 9, 10) ties its group to the bytes that stay
    assert run_build("check", tmp_path / "out") == 0


def test_a_duplicate_that_is_left_out_still_ties_its_prompt_to_its_bytes(raw: Path, tmp_path: Path) -> None:
    write_prompts(raw, [f"shape {index}" for index in range(11)] + ["shape 5"])
    (raw / "5.mp4").write_bytes(tiny(0))  # bytes of 0, prompt of 11
    build_upstream(raw, tmp_path / "out", SETTINGS, progress=False)
    rows = rows_by_index(tmp_path / "out")
    assert rows[0]["group_id"] == rows[11]["group_id"]
    assert rows[1]["group_id"] != rows[0]["group_id"]


def test_one_video(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", number=1, labels={"1": [], "2": [], "3": [], "4": [], "5": []})
    report = build_upstream(raw, tmp_path / "out", SETTINGS, progress=False)
    assert report.manifest["counts"]["videos"] == 1
    assert report.notes == ["no unsafe video in: train, validation, test (too few groups for these split fractions)"]
    assert run_build("check", tmp_path / "out") == 0


# --- what is refused -------------------------------------------------------------------------------------------------


def test_every_fault_is_listed_in_one_run(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "words that nobody may see"
    (raw / "2.mp4").unlink()
    (raw / "007.mp4").write_bytes(tiny(7))
    (raw / "40.mp4").write_bytes(tiny(40))
    (raw / "4.mp4").write_bytes(tiny(4)[:-20])
    (raw / "5.mp4").write_bytes(video_files.HLS)
    (raw / "6.mp4").write_bytes(b"")
    write_prompts(raw, [secret] * 5 + [" ", f"{secret}\a"] + [secret] * 6)
    cells = {**LABELS, "2": [1, 3, 7, 7, 99], "4": [8, "x"]}
    (raw / "labels.csv").write_bytes(label_csv(cells))
    (raw / "votes.csv").write_text("index,rater_id,categories\n0,r1,9\n55,r1,1\n0,r 2,1\n")
    flags = ["--annotations", raw / "votes.csv", "--name", "../up", "--prompt-source", "4 chan"]
    message = refused(raw, capsys, *FLAGS, *flags)
    for part in (
        "nothing was written (18 faults):",
        "settings [name]: found '../up'",
        "settings [prompt_source]: found '4 chan'",
        "007.mp4: extra MP4; expected a name `<index>.mp4`",
        "labels.csv:5 [column 2]: index 7 stands twice (first in line 4)",
        "labels.csv:3 [column 4]: 'x' is not an index; expected a whole number from 0",
        "labels.csv:6 [column 2]: index 99 is out of range; expected 0 to 12",
        "prompts.txt: 13 prompts for 12 videos",
        "2.mp4: missing MP4",
        "12.mp4: missing MP4",
        "40.mp4: extra MP4",
        "prompts.txt:6 [prompt]: the prompt is blank or not plain text; expected text on one line",
        "prompts.txt:7 [prompt]: the prompt is blank or not plain text; expected text on one line",
        "4.mp4: unreadable MP4: ",
        "5.mp4: unreadable MP4: this looks like an HLS playlist, not an MP4",
        "6.mp4: unreadable MP4: it is empty (0 bytes)",
        "votes.csv:2 [categories]: '9'; expected 'none'",
        "votes.csv:3 [index]: no video 55",
        "votes.csv:4 [rater_id]: found 'r 2'",
    ):
        assert part in message, part
    assert message.count("\n  - ") == 18
    assert secret not in message


@pytest.mark.parametrize("change", ["more", "fewer"])
def test_more_or_fewer_prompts_than_videos(raw: Path, capsys: pytest.CaptureFixture[str], change: str) -> None:
    write_prompts(raw, ["secret words"] * (13 if change == "more" else 11))
    message = refused(raw, capsys, *FLAGS)
    assert (
        f"prompts.txt: {13 if change == 'more' else 11} prompts for 12 videos; expected one prompt a video, in order" in message
    )
    assert ("12.mp4: missing MP4" if change == "more" else "11.mp4: extra MP4") in message
    assert "secret" not in message


@pytest.mark.parametrize("kind", sorted(video_files.HOSTILE))
def test_every_kind_of_bad_mp4_is_a_fault(raw: Path, kind: str) -> None:
    make, reason = video_files.HOSTILE[kind]
    (raw / "3.mp4").write_bytes(make())
    with pytest.raises(FaultsError) as caught:
        build_upstream(raw, raw.parent / "out", SETTINGS, progress=False)
    (fault,) = caught.value.faults
    assert fault.file == "3.mp4"
    assert reason in fault.message
    assert names(raw.parent) == {"raw"}


def test_a_stream_that_does_not_decode_is_a_fault(raw: Path) -> None:
    data = video_files.plain(4, 64, 64)
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    (raw / "3.mp4").write_bytes(data[:start] + bytes(end - start) + data[end:])
    with pytest.raises(FaultsError, match=r"3\.mp4: unreadable MP4"):
        build_upstream(raw, raw.parent / "out", SETTINGS, progress=False)


def test_a_gap_up_to_a_huge_index_is_one_fault(raw: Path) -> None:
    (raw / "prompts.txt").unlink()
    (raw / "999999999.mp4").write_bytes(tiny(1))
    with pytest.raises(FaultsError) as caught:
        build_upstream(raw, raw.parent / "out", replace(SETTINGS, no_prompts=True), progress=False)
    (fault,) = caught.value.faults
    assert str(fault).startswith("12.mp4: missing MP4, and so on to 999999998.mp4; expected videos 0 to 999999999")


def test_the_prompt_file_given_as_labels_is_not_quoted(raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = refused(raw, capsys, *FLAGS, "--labels", raw / "prompts.txt")
    assert "prompts.txt:1: no label header (1 cells)" in message
    assert "shape" not in message


def test_a_missing_generator_and_mapping_are_named_together_with_all_faults(
    raw: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(raw, capsys)
    assert "--categories 1=<category>" in message
    assert "--generator NAME" in message
    (raw / "1.mp4").write_bytes(b"")
    message = refused(raw, capsys)
    assert "1.mp4: unreadable MP4: it is empty" in message
    assert "--categories 1=<category>" in message
    assert "--generator NAME" in message
    assert "Say which model made the videos: --generator NAME" in refused(raw, capsys, "--categories", CATEGORIES_FLAG)


@pytest.mark.parametrize("flags", [[], ["--categories", CATEGORIES_FLAG], ["--generator", "animatediff"]])
def test_what_needs_no_decoding_is_said_before_it(
    raw: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, flags: list[str]
) -> None:
    from unsafe_video_dataset.builders import upstream

    monkeypatch.setattr(upstream, "probe_video", lambda *a, **k: pytest.fail("decoded"))
    (raw / "votes.csv").write_text("index,rater_id,categories\n99,r1,1\n")
    (raw / "x.mp4").write_bytes(tiny(77))
    message = refused(raw, capsys, *flags, "--annotations", raw / "votes.csv")
    assert "x.mp4: extra MP4" in message
    assert "votes.csv:2 [index]: no video 99" in message
    assert ("--generator NAME" in message) == ("--generator" not in flags)
    assert ("Name the columns: --categories" in message) == ("--categories" not in flags)
    assert message.rstrip().endswith("The videos have not been decoded yet: that may find more.")


@pytest.mark.parametrize("flags", [
    ["--splits", "0.5,0.5"], ["--splits", "0.5,0.6,0.2"], ["--splits", "a,b,c"], ["--splits", "-0.2,0.6,0.6"],
    ["--splits", "nan,0.5,0.5"], ["--splits", "inf,0,0"], ["--splits", ""],
    ["--generation", "seed"], ["--generation", "seed=x"], ["--generation", "sampler=ddim"],
    ["--generation", "guidance_scale=nan"], ["--generation", "guidance_scale=inf"], ["--generation", "guidance_scale=-1"],
    ["--generation", f"seed={2**63}"], ["--generation", f"num_inference_steps={2**31}"],
    ["--generation", "num_inference_steps=0"], ["--generation", "scheduler=D D"],
    ["--name", "a/b"], ["--name", ""], ["--release-version", "one"], ["--generator", "Animate Diff"], ["--prompt-source", ""],
    ["--tie", "maybe"], ["--categories", ""], ["--annotations", "nowhere.csv"], ["--labels", "nowhere.csv"],
])  # fmt: skip
def test_flags_that_can_not_be_used(raw: Path, capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    before = names(raw.parent)
    assert run_build("upstream", raw, raw.parent / "out", *FLAGS, *flags) == 2
    assert names(raw.parent) == before
    err = capsys.readouterr().err
    assert "error:" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("text", [
    "1=terrifying", CATEGORIES_FLAG + ",1=terrifying", CATEGORIES_FLAG.replace("5=", "6="), CATEGORIES_FLAG.replace("=", ":"),
    CATEGORIES_FLAG.replace("political", "terrifying"), CATEGORIES_FLAG.replace("political", "Political"), "", ",,,",
])  # fmt: skip
def test_categories_must_name_each_column_and_category_once(text: str) -> None:
    with pytest.raises(InputError, match=r"must name each column 1 to 5 and each category once: 1=<category>"):
        parse_categories(text)


def test_categories_may_have_spaces_and_group_names() -> None:
    expected = dict(zip("12345", CATEGORIES, strict=True))
    assert parse_categories(CATEGORIES_FLAG.replace(",", " , ").replace("=", " = ")) == expected
    assert parse_categories(",".join(f"group{n}={name}" for n, name in expected.items())) == expected


# --- the paper's counts ----------------------------------------------------------------------------------------------


def paper_raw(**changes: Any) -> RawFolder:
    labels = {name: dict.fromkeys(listed, 2) for name, listed in paper_labels().items()}
    videos = {index: Path(f"{index}.mp4") for index in range(2000)}
    return RawFolder(**{  # type: ignore[arg-type]
        "root": Path(), "videos": videos, "prompts": ["x"] * 2000, "prompts_file": Path("p"), "labels": labels,
        "labels_file": Path("l"), **changes,
    })  # fmt: skip


def test_columns_are_mapped_by_the_published_counts() -> None:
    mapping = map_by_paper_counts(paper_raw())
    counts = {name: len(listed) for name, listed in paper_labels().items()}
    assert {mapping[column]: count for column, count in counts.items()} == PAPER_COUNTS
    assert map_by_paper_counts(paper_raw(prompts=None)) == mapping


@pytest.mark.parametrize("part", ["videos", "prompts", "count", "union", "none"])
def test_counts_that_do_not_fit_are_printed_with_the_flag(part: str) -> None:
    labels = {name: dict.fromkeys(listed, 2) for name, listed in paper_labels().items()}
    changes: dict[str, Any] = {}
    if part == "videos":
        changes["videos"] = {index: Path() for index in range(1999)}
    elif part == "prompts":
        changes["prompts"] = ["x"] * 2001
    elif part == "count":
        changes["labels"] = {**labels, "1": dict.fromkeys(range(898, 936), 2)}
    elif part == "union":
        changes["labels"] = {**labels, "1": dict.fromkeys(range(899, 938), 2)}
    else:
        changes["labels"] = {}
    with pytest.raises(InputError) as caught:
        map_by_paper_counts(paper_raw(**changes))
    message = str(caught.value)
    seen = {"videos": "1999 videos", "prompts": "2001 prompts", "count": "1: 38,", "union": "union 938", "none": "no columns"}
    assert seen[part] in message
    assert "distorted_weird: 590" in message
    assert "--categories 1=<category>,2=<category>" in message


@pytest.mark.slow
def test_two_thousand_videos_with_the_published_counts(tmp_path: Path) -> None:
    raw = make_raw(tmp_path / "raw", number=2000, labels=paper_labels())
    assert run_build("upstream", raw, tmp_path / "out", "--json") == 0
    found = manifest(tmp_path / "out")
    assert found["counts"]["categories"] == PAPER_COUNTS
    assert (found["counts"]["videos"], found["counts"]["unsafe"]) == (2000, 937)
    assert found["settings"]["generator"] == "magictime"
    assert found["settings"]["categories_from"] == "published counts"
    assert run_build("check", tmp_path / "out", "--no-decode") == 0
    (raw / "1999.mp4").unlink()
    assert run_build("upstream", raw, tmp_path / "out2") == 2


# --- the same bytes, a changed input ---------------------------------------------------------------------------------


def test_two_builds_are_byte_identical(raw: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(raw, tmp_path / "elsewhere" / "with another name"))
    for number, path in enumerate(sorted(copy.iterdir(), reverse=True)):
        os.utime(path, (number, number))
    build_upstream(raw, tmp_path / "a", SETTINGS, progress=False)
    assert run_build("upstream", raw, tmp_path / "b" / "c", *FLAGS) == 0
    build_upstream(copy, tmp_path / "d", SETTINGS, progress=False)
    first = tree(tmp_path / "a")
    assert len(first) == 14
    assert tree(tmp_path / "b" / "c") == first
    assert tree(tmp_path / "d") == first


def test_no_file_names_this_machine(built_with_votes: Path) -> None:
    for name, data in tree(built_with_votes).items():
        assert str(built_with_votes.parent).encode() not in data, name
        assert str(Path.home()).encode() + b"/" not in data, name


@pytest.fixture
def built_with_votes(raw: Path, tmp_path: Path) -> Path:
    (raw / "votes.csv").write_text("index,rater_id,categories\n" + "".join(f"{n},r1,1\n" for n in range(12)))
    assert run_build("upstream", raw, tmp_path / "out", *FLAGS, "--annotations", raw / "votes.csv") == 0
    return tmp_path / "out"


@pytest.mark.parametrize("name", ["3.mp4", "labels.csv", "prompts.txt"])
def test_an_input_that_changes_during_the_build(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from unsafe_video_dataset.builders import upstream

    def probe_then_edit(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        (raw / name).write_bytes((raw / name).read_bytes() + b"\n")
        return result

    original = upstream._probe
    monkeypatch.setattr(upstream, "_probe", probe_then_edit)
    with pytest.raises(ChecksumError, match=r"changed while the release was built. Build again"):
        build_upstream(raw, tmp_path / "out", SETTINGS, progress=False)
    assert names(tmp_path) == {"raw"}


def test_a_video_that_is_gone_before_it_is_written(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from unsafe_video_dataset.builders import upstream

    original = upstream.write_release
    monkeypatch.setattr(upstream, "write_release", lambda *a, **k: [(raw / "3.mp4").unlink(), original(*a, **k)][1])
    assert run_build("upstream", raw, tmp_path / "out", *FLAGS) == 1
    assert names(tmp_path) == {"raw"}


@pytest.mark.parametrize(("splits", "advised"), [("0.7,0.1,0.2", True), ("1,0,0", False), ("0,0,1", False)])
def test_training_is_advised_where_there_is_something_to_learn_and_to_score(
    raw: Path, capsys: pytest.CaptureFixture[str], splits: str, advised: bool
) -> None:
    assert run_build("upstream", raw, raw.parent / "out", *FLAGS, "--splits", splits) == 0
    said = capsys.readouterr().out
    assert "Next: unsafe-video-build check" in said
    assert ("unsafe-video train" in said) is advised
