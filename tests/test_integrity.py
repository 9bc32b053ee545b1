"""`verify`: a sound release passes, every kind of damage is found, and all of it at once."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import releases
from test_release import withdraw

from unsafe_video_dataset import decoders, isolate
from unsafe_video_dataset.errors import FaultsError
from unsafe_video_dataset.integrity import VerifyReport
from unsafe_video_dataset.release import Release

META = "data/metadata/train.parquet"


def verify(path: Path, **options: Any) -> VerifyReport:
    return Release.open(path).verify(**options)


def both(release: Path, edit: Callable[[dict[str, Any]], object]) -> str:
    """Change the first row of the first data file and its twin in the metadata, manifest included; its id."""
    name = releases.data_file(release)
    video_id: str = pq.read_table(release / name)["video_id"][0].as_py()

    def change(rows: releases.Rows) -> None:
        for row in rows:
            if row["video_id"] == video_id:
                edit(row)

    releases.edit_rows(release, name, change)
    releases.edit_rows(release, META, change)
    return video_id


@pytest.mark.parametrize("name", ["small", "unvoted", "big"])
def test_a_sound_release_passes(name: str, request: pytest.FixtureRequest) -> None:
    report = verify(request.getfixturevalue(name), decode=name == "small")
    assert report.to_dict()["faults"] == []
    assert report.ok
    assert report.videos == (160 if name == "big" else 24)
    assert report.decoded == (24 if name == "small" else 0)
    report.raise_for_faults()


def test_the_embedded_sample_is_sound(sample: Release) -> None:
    report = sample.verify(decode=True)
    assert [str(fault) for fault in report.faults] == []
    assert (report.videos, report.decoded) == (96, 96)


@pytest.mark.skipif(sys.platform != "linux", reason="signals of a child")
def test_a_decoder_that_crashes_is_one_fault(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`verify --decode` and `unsafe-video-build check` decode in a child: the crash costs one video, not the report."""
    killer = pq.read_table(copy / releases.data_file(copy))["video_id"][0].as_py()
    start = f"""
import hashlib, json, os, signal, sys
sys.path[:] = json.loads(sys.argv[1])
from unsafe_video_dataset import _decode_child, decoders
real = decoders.pyav_frames
def crash(data, info):
    if hashlib.sha256(data).hexdigest().startswith({killer!r}):
        os.kill(os.getpid(), signal.SIGSEGV)
    return real(data, info)
decoders.pyav_frames = crash
_decode_child.main()
"""
    monkeypatch.setattr(isolate, "_START", start)
    monkeypatch.setattr(decoders, "pyav_frames", lambda *_: pytest.fail("decoded in this process"))
    isolate.close_children()
    try:
        report = verify(copy, decode=True)
    finally:
        isolate.close_children()
    (fault,) = report.faults
    assert (fault.field, report.videos) == ("video.bytes", 24)
    assert f"{killer}: pyav failed (the decoder crashed (SIGSEGV))" in fault.message


def test_files_that_git_and_the_hub_put_there_are_let_be(copy: Path) -> None:
    for name in (".gitattributes", ".git/HEAD", ".cache/huggingface/x"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("x")
    assert verify(copy).ok


def missing(r: Path) -> None:
    (r / META).unlink()


def truncated(r: Path) -> None:
    (r / releases.data_file(r)).write_bytes((r / releases.data_file(r)).read_bytes()[:-30])


def edited(r: Path) -> None:
    releases.corrupt(r / "README.md", b"small")


def extra(r: Path) -> None:
    (r / "data" / "notes.txt").write_text("x")


def dangling(r: Path) -> None:
    (r / "link").symlink_to("nowhere")


def linked(r: Path) -> None:
    (r / "DATASHEET.md").rename(r.parent / "away.md")
    (r / "DATASHEET.md").symlink_to(r.parent / "away.md")


def tampered(r: Path) -> None:
    releases.edit_rows(r, META, lambda rows: rows[0].update(prompt="another"))


def not_in_metadata(r: Path) -> None:
    releases.edit_rows(r, META, lambda rows: rows[1:])


def not_in_data(r: Path) -> None:
    releases.edit_rows(r, releases.data_file(r), lambda rows: rows[1:])


def duplicate(r: Path) -> None:
    releases.edit_rows(r, releases.data_file(r), lambda rows: [rows[0], *rows])


def duplicate_metadata(r: Path) -> None:
    releases.edit_rows(r, META, lambda rows: [rows[0], *rows])


def unsorted(r: Path) -> None:
    releases.edit_rows(r, releases.data_file(r), lambda rows: rows[::-1])


def other_schema(r: Path) -> None:
    table = pq.read_table(r / META)
    pq.write_table(table.set_column(table.column_names.index("fps"), "fps", table["fps"].cast(pa.float32())), r / META)
    releases.refresh(r)


def other_order(r: Path) -> None:
    table = pq.read_table(r / META)
    pq.write_table(table.select(table.column_names[::-1]), r / META)
    releases.refresh(r)


def another_column(r: Path) -> None:
    table = pq.read_table(r / META)
    pq.write_table(table.append_column("note", pa.array(["x"] * table.num_rows)), r / META)
    releases.refresh(r)


def no_bytes(r: Path) -> None:
    releases.edit_rows(r, releases.data_file(r), lambda rows: rows[0].update(video=None))


def other_bytes(r: Path) -> None:
    releases.edit_rows(r, releases.data_file(r), lambda rows: rows[0]["video"].update(bytes=b"forged"))


def other_name(r: Path) -> None:
    releases.edit_rows(r, releases.data_file(r), lambda rows: rows[0]["video"].update(path="/etc/passwd"))


def wrong_folder(r: Path) -> None:
    unsafe = pq.read_table(r / releases.data_file(r)).to_pylist()
    both(r, lambda row: row.update(is_unsafe=False, categories=[]))
    assert unsafe


def group_in_two_splits(r: Path) -> None:
    group = pq.read_table(r / "data/metadata/test.parquet")["group_id"][0].as_py()
    both(r, lambda row: row.update(group_id=group))


def video_in_two_splits(r: Path) -> None:
    row = pq.read_table(r / releases.data_file(r)).to_pylist()[0]
    for name in (releases.data_file(r, "test"), "data/metadata/test.parquet"):
        releases.edit_rows(r, name, lambda rows: sorted([*rows, dict(row)], key=lambda one: one["video_id"]))


def still_there(r: Path) -> None:
    withdraw(r, releases.ids(r)[0])


def too_long(r: Path) -> None:
    both(r, lambda row: row.update(num_frames=row["num_frames"] + 1))


def other_duration(r: Path) -> None:
    both(r, lambda row: row.update(duration_seconds=99.0))


def bad_value(r: Path) -> None:
    both(r, lambda row: row.update(generator="Not A Name"))


def other_label(r: Path) -> None:
    both(r, lambda row: row.update(categories=[number for number in range(5) if number not in row["categories"]]))


def other_counts(r: Path) -> None:
    both(r, lambda row: row["vote_counts"].update(none=row["vote_counts"]["none"] + 1))


def other_agreement(r: Path) -> None:
    both(r, lambda row: row.update(agreement=0.123))


def vote_dropped(r: Path) -> None:
    releases.edit_rows(r, "data/annotations/train.parquet", lambda rows: rows[1:])


def vote_changed(r: Path) -> None:
    releases.edit_rows(r, "data/annotations/train.parquet", lambda rows: rows[0].update(categories=[4]))


def vote_of_another_video(r: Path) -> None:
    releases.edit_rows(r, "data/annotations/train.parquet", lambda rows: rows[0].update(video_id="0" * 16))


def vote_twice(r: Path) -> None:
    releases.edit_rows(r, "data/annotations/train.parquet", lambda rows: [rows[0], *rows])


def bad_tombstones(r: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), r / "tombstones.parquet")
    releases.refresh(r)


def rows_miscounted(r: Path) -> None:
    releases.edit_manifest(r, lambda m: next(f for f in m["files"] if f["path"] == META).update(rows=3))


def metadata_not_listed(r: Path) -> None:
    releases.edit_manifest(r, lambda m: m.update(files=[file for file in m["files"] if file["path"] != META]))


DAMAGE: dict[Callable[[Path], None], list[str]] = {
    missing: [f"{META}: missing"],
    truncated: ["bytes; expected", "can't be read"],
    edited: ["README.md: sha256"],
    extra: ["data/notes.txt: is not in the manifest"],
    dangling: ["link: is not in the manifest"],
    linked: ["DATASHEET.md: is a link"],
    tampered: ["[prompt]: video", f"differs from {META}"],
    not_in_metadata: [f"is not in {META}"],
    not_in_data: [f"{META}: video", "is in no data file"],
    duplicate: ["stands twice, first in data/"],
    duplicate_metadata: ["stands 2 times"],
    unsorted: ["rows sorted by video_id"],
    other_schema: [f"{META} [fps]: column is float; expected double"],
    other_order: ["columns stand in another order"],
    another_column: ["[note]: column is not in the schema"],
    no_bytes: ["[video.bytes]: video", "has no bytes"],
    other_bytes: ["has sha256"],
    other_name: ["[video.path]"],
    wrong_folder: ["[is_unsafe]", "does not belong here"],
    group_in_two_splits: ["is in test, train; expected one split"],
    video_in_two_splits: ["stands twice"],
    still_there: ["was withdrawn, but is still there"],
    too_long: ["[num_frames]: video"],
    other_duration: ["[duration_seconds]"],
    bad_value: [f"{META}:", "[generator]: found 'Not A Name'"],
    other_label: ["[categories]: video", "by its votes"],
    other_counts: ["[vote_counts]: video"],
    other_agreement: ["[agreement]: video"],
    vote_dropped: ["are not its votes", "[counts.votes]"],
    vote_changed: ["are not its votes"],
    vote_of_another_video: ["the annotations of video 0000000000000000 are not its votes"],
    vote_twice: ["stands 2 times"],
    bad_tombstones: ["tombstones.parquet: can't be read"],
    rows_miscounted: [f"{META}:", "rows; expected 3 rows"],
    metadata_not_listed: [f"manifest.json [files]: lists no {META}"],
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_damage_is_found(copy: Path, damage: Callable[[Path], None]) -> None:
    damage(copy)
    report = verify(copy)
    assert not report.ok
    text = "\n".join(map(str, report.faults))
    for words in DAMAGE[damage]:
        assert words in text, text
    with pytest.raises(FaultsError, match="is not sound"):
        report.raise_for_faults()


COUNTS = [
    "videos", "unsafe", "not_unsafe", "prompts", "groups", "raters", "votes", "categories", "generators", "prompt_sources",
    "splits",
]  # fmt: skip


@pytest.mark.parametrize("key", COUNTS)
def test_every_count_is_checked(copy: Path, key: str) -> None:
    def edit(manifest: dict[str, Any]) -> None:
        counts = manifest["counts"]
        if isinstance(counts[key], int):
            counts[key] += 1
        elif key == "splits":
            counts["splits"]["test"]["unsafe"] += 1
        else:
            counts[key][next(iter(counts[key]))] += 1

    releases.edit_manifest(copy, edit)
    (fault,) = verify(copy).faults
    assert (fault.file, fault.field) == ("manifest.json", f"counts.{key}")


def test_everything_that_is_wrong_comes_at_once(copy: Path) -> None:
    for damage in (vote_changed, other_bytes, still_there, linked, extra, edited):  # the first three mend the manifest
        damage(copy)
    (copy / "data/metadata/validation.parquet").unlink()
    text = "\n".join(map(str, verify(copy).faults))
    expected = [
        "validation.parquet: missing",
        "README.md",
        "notes.txt",
        "is a link",
        "has sha256",
        "withdrawn",
        "not its votes",
    ]
    assert [words for words in expected if words not in text] == []


def test_decoding_finds_what_the_header_hides(copy: Path) -> None:
    """Picture data overwritten with noise: the header and the sha256 of the forged release fit, the frames do not come."""
    import hashlib

    name = releases.data_file(copy)
    row = pq.read_table(copy / name).to_pylist()[0]
    data = bytearray(row["video"]["bytes"])
    start = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4 if data.index(b"moov") > start else len(data) - 16
    data[start:end] = b"\xff" * (end - start)
    forged = hashlib.sha256(data).hexdigest()

    def edit(rows: releases.Rows) -> releases.Rows:
        for one in rows:
            if one["video_id"] == row["video_id"]:
                one.update(video_id=forged[:16], sha256=forged)
                if "video" in one:
                    one["video"] = {"bytes": bytes(data), "path": f"{forged[:16]}.mp4"}
        return sorted(rows, key=lambda one: one["video_id"])

    releases.edit_rows(copy, name, edit)
    releases.edit_rows(copy, META, edit)
    releases.edit_rows(
        copy,
        "data/annotations/train.parquet",
        lambda rows: [{**one, "video_id": forged[:16]} if one["video_id"] == row["video_id"] else one for one in rows],
    )
    found = [fault for fault in verify(copy, decode=True).faults if fault.field == "video.bytes"]
    assert len(found) == 1


def test_a_report_is_plain_json(copy: Path) -> None:
    import json

    shutil.rmtree(copy / "data" / "annotations")
    report = verify(copy).to_dict()
    assert report["ok"] is False
    assert json.loads(json.dumps(report)) == report
    assert all(set(fault) <= {"file", "message", "expected", "line", "field"} for fault in report["faults"])
