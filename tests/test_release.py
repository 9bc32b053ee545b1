"""`Release`: what opening costs, what each filter gives, how little one video reads, and what damage looks like."""

from __future__ import annotations

import builtins
import hashlib
import io
import multiprocessing
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import releases

from unsafe_video_dataset.errors import (
    ChecksumError,
    FaultsError,
    FilterError,
    InputError,
    IntegrityError,
    OfflineError,
    SchemaError,
    TombstonedError,
)
from unsafe_video_dataset.records import arrow_schema
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES, SPLITS, Category


class Counting(io.FileIO):
    """A file that knows how many bytes were read from it, and where."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.reads: list[tuple[int, int]] = []

    def read(self, size: int | None = -1) -> bytes:  # type: ignore[override]
        start = self.tell()
        data = super().read(-1 if size is None else size)
        self.reads.append((start, len(data)))
        return data

    @property
    def total(self) -> int:
        return sum(length for _, length in self.reads)


def counted(release: Release, monkeypatch: pytest.MonkeyPatch) -> list[Counting]:
    files: list[Counting] = []

    def source(path: Path) -> Counting:
        files.append(Counting(path))
        return files[-1]

    monkeypatch.setattr(release, "_source", source)
    return files


def everything(release: Release) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = release.metadata().to_pylist()
    return rows


# -- opening


def test_opening_reads_the_manifest_and_nothing_else(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    real_open, real_os_open = io.open, os.open

    def spy(path: Any, *args: Any, **kwargs: Any) -> Any:
        opened.append(str(path))
        return real_open(path, *args, **kwargs)

    def spy_os(path: Any, *args: Any, **kwargs: Any) -> int:
        opened.append(str(path))
        return real_os_open(path, *args, **kwargs)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("opening a release must not read Parquet")

    Release.open(small)  # schemas are read once a process
    for module in (io, builtins):
        monkeypatch.setattr(module, "open", spy)
    monkeypatch.setattr(os, "open", spy_os)
    for name in ("ParquetFile", "read_table", "read_metadata", "read_schema"):
        monkeypatch.setattr(pq, name, refuse)
    release = Release.open(small)
    assert repr(release) == f"<Release small 1.0: 24 videos, {release.manifest['counts']['unsafe']} unsafe, at {small}>"
    assert {name for name in opened if str(small) in name} == {str(small / "manifest.json")}


def test_the_sample_opens_by_name_and_by_folder(sample: Release) -> None:
    assert Release.open("sample").manifest_sha256 == Release.open(sample.path).manifest_sha256
    assert Release.open(str(sample.path)).name == "sample"
    assert sample.manifest_sha256 == hashlib.sha256((sample.path / "manifest.json").read_bytes()).hexdigest()
    assert sample.manifest["counts"]["videos"] == 96


def test_what_is_no_release_says_so(tmp_path: Path, small: Path) -> None:
    with pytest.raises(InputError, match="There is no release folder 'missing'"):
        Release.open("missing")
    with pytest.raises(InputError, match="has no manifest"):
        Release.open(tmp_path)
    with pytest.raises(InputError, match="no release folder"):
        Release.open(small / "manifest.json")
    with pytest.raises(OfflineError, match="not on this machine"):  # the tests run with HF_HUB_OFFLINE
        Release.open("org/repository", cache_dir=tmp_path)
    with pytest.raises(InputError, match="is not a repository"):
        Release.open(small, revision="v1.0")
    with pytest.raises(InputError):
        Release.open("bad\0name")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\x00", b"[" * 200_000, b"<!doctype html>"])
def test_a_manifest_that_is_no_json(copy: Path, content: bytes) -> None:
    (copy / "manifest.json").write_bytes(content)
    with pytest.raises(IntegrityError, match="is not JSON"):
        Release.open(copy)


def test_a_manifest_that_lists_a_file_twice_is_refused(copy: Path) -> None:
    releases.edit_manifest(copy, lambda m: m["files"].append(dict(m["files"][0])))
    with pytest.raises(IntegrityError, match="twice"):
        Release.open(copy)


def test_a_manifest_that_does_not_fit_lists_all_faults(copy: Path) -> None:
    releases.edit_manifest(copy, lambda m: (m.update(schema_version="9", name=""), m["counts"].pop("videos")))
    with pytest.raises(FaultsError) as caught:
        Release.open(copy)
    assert {fault.field for fault in caught.value.faults} == {"schema_version", "name", "counts"}
    for content in (b"[]", b"null", b'"text"', b"{}"):
        (copy / "manifest.json").write_bytes(content)
        with pytest.raises(FaultsError):
            Release.open(copy)


def test_a_manifest_whose_paths_lead_out_is_refused(copy: Path) -> None:
    releases.edit_manifest(copy, lambda m: m["files"][0].update(path="../elsewhere.parquet"))
    with pytest.raises(FaultsError, match=r"files\.0\.path"):
        Release.open(copy)


@pytest.mark.parametrize("name", ["a=1", "with space", "per%20cent", "hash#", "ünï", "q?x"])
def test_a_folder_may_have_an_odd_name(small: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name / "release"
    folder.parent.mkdir()
    folder.symlink_to(small)
    release = Release.open(folder)
    assert release.metadata().column_names == arrow_schema("metadata", split=True).names
    assert release.metadata(generators=["magictime"]).num_rows
    assert release.video_bytes(releases.ids(release)[0])


# -- tables and filters


def test_metadata_is_sorted_and_complete(small: Path) -> None:
    release = Release.open(small)
    table = release.metadata()
    assert table.schema.equals(arrow_schema("metadata", split=True))
    rows = table.to_pylist()
    assert len(rows) == 24
    assert [(SPLITS.index(row["split"]), row["video_id"]) for row in rows] == sorted(
        (SPLITS.index(row["split"]), row["video_id"]) for row in rows
    )
    assert sum(release.metadata(split).num_rows for split in SPLITS) == 24
    assert release.metadata("test", columns=["split", "video_id"]).column_names == ["split", "video_id"]


FILTERS: dict[str, tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]] = {
    "one category": ({"categories": ["terrifying"]}, lambda r: 1 in r["categories"]),
    "a category as an enum": ({"categories": [Category.TERRIFYING]}, lambda r: 1 in r["categories"]),
    "any of two": ({"categories": ("terrifying", "political")}, lambda r: bool({1, 4} & set(r["categories"]))),
    "generator": ({"generators": ["magictime", "animatediff"]}, lambda r: r["generator"] != "videocrafter"),
    "prompt source": ({"prompt_sources": ["lexica"]}, lambda r: r["prompt_source"] == "lexica"),
    "unsafe": ({"is_unsafe": True}, lambda r: r["is_unsafe"]),
    "not unsafe": ({"is_unsafe": False}, lambda r: not r["is_unsafe"]),
    "raters": ({"min_raters": 4}, lambda r: r["num_raters"] >= 4),
    "agreement": ({"min_agreement": 0.9}, lambda r: r["agreement"] is not None and r["agreement"] >= 0.9),
    "split": ({"split": "train"}, lambda r: r["split"] == "train"),
    "combined": (
        {"categories": ["terrifying", "distorted_weird"], "generators": ["magictime"], "min_raters": 2, "is_unsafe": True},
        lambda r: bool({0, 1} & set(r["categories"])) and r["generator"] == "magictime" and r["num_raters"] >= 2,
    ),
}


@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_gives_the_rows_that_a_loop_gives(small: Path, name: str) -> None:
    given, keep = FILTERS[name]
    release = Release.open(small)
    expected = [row for row in everything(release) if keep(row)]
    assert 0 < len(expected) < 24
    assert release.metadata(**given).to_pylist() == expected
    assert release.metadata(**given, columns=["video_id"])["video_id"].to_pylist() == [row["video_id"] for row in expected]


def test_filters_read_only_the_columns_that_they_look_at(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    real = pq.ParquetFile.read_row_groups

    def read(file: pq.ParquetFile, groups: list[int], columns: list[str], **more: Any) -> pa.Table:
        seen.append(columns)
        return real(file, groups, columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", read)
    table = Release.open(small).metadata("train", columns=["fps"], generators=["magictime"], min_raters=2)
    assert {"generator", "num_raters"} in map(set, seen)  # first what the filters look at, then the rest
    assert {"video_id", "fps"} in map(set, seen)
    assert {name for columns in seen for name in columns} == {"video_id", "fps", "generator", "num_raters", "reason"}
    assert all("prompt" not in columns for columns in seen)
    assert table.column_names == ["fps"]


def test_videos_without_a_prompt_source_can_be_asked_for(unvoted: Path) -> None:
    release = Release.open(unvoted)
    assert release.metadata(prompt_sources=["not_stated"]).num_rows == 24
    with pytest.raises(FilterError, match="not_stated"):
        release.metadata(prompt_sources=["lexica"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"split": "dev"}, "train, validation, test"),
        ({"categories": ["Terrifying"]}, "distorted_weird, terrifying"),
        ({"generators": ["magictime", "sora"]}, "'sora' is not known.*animatediff, magictime, videocrafter"),
        ({"prompt_sources": ["reddit"]}, "4chan, lexica"),
        ({"columns": ["video_id", "bytes"]}, "'bytes' is not known.*prompt_id"),
        ({"categories": "terrifying"}, r"must be a list: categories=\['terrifying'\]"),
        ({"columns": "video_id"}, "must be a list"),
        ({"is_unsafe": "yes"}, "True or False"),
        ({"is_unsafe": 1}, "True or False"),
        ({"min_raters": "3"}, "a number"),
        ({"min_agreement": True}, "a number"),
    ],
)
def test_unknown_names_are_listed(small: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(FilterError, match=words):
        Release.open(small).metadata(**given)


@pytest.mark.parametrize("given", [{"min_raters": 99}, {"categories": []}, {"generators": []}, {"min_agreement": 1.1}])
def test_an_empty_result_lists_what_there_is(small: Path, given: dict[str, Any]) -> None:
    release = Release.open(small)
    with pytest.raises(FilterError) as caught:
        release.metadata("test", **given)
    message = str(caught.value)
    counts = release.manifest["counts"]["splits"]["test"]
    assert "No video of release small passes split=test" in message
    assert f"test: {counts['unsafe']} unsafe + {counts['not_unsafe']} not" in message
    assert all(name in message for name in (*CATEGORIES, "magictime", "lexica"))


def test_an_empty_split_says_so(tmp_path: Path) -> None:
    release = Release.open(releases.build(tmp_path / "r", 6, fractions=(1.0, 0.0, 0.0)))
    with pytest.raises(FilterError, match="test: 0 unsafe"):
        release.metadata("test")
    assert release.metadata().num_rows == 6
    assert release.verify().ok


def test_annotations(small: Path, unvoted: Path) -> None:
    release = Release.open(small)
    table = release.annotations()
    assert table.schema.equals(arrow_schema("annotation", split=True))
    assert table.num_rows == release.manifest["counts"]["votes"]
    assert set(release.annotations("test")["video_id"].to_pylist()) == set(releases.ids(release, "test"))
    with pytest.raises(FilterError, match="has no rater votes"):
        Release.open(unvoted).annotations()
    with pytest.raises(FilterError, match="train, validation, test"):
        release.annotations("dev")


# -- one video


def test_one_video_reads_one_row_group(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = Release.open(big)
    table = release.metadata(columns=["video_id", "num_bytes", "sha256"])
    assert len(release.data_files("unsafe", "train")) > 1
    assert max(pq.read_metadata(file).num_row_groups for file in release.data_files("unsafe", "train")) > 1
    files = counted(release, monkeypatch)
    for row in table.slice(0, 40).to_pylist():
        files.clear()
        data = release.video_bytes(row["video_id"])
        assert hashlib.sha256(data).hexdigest() == row["sha256"]
        holder = [file for file in files if any(length > 10_000 for _, length in file.reads)][-1]  # before it: the footer
        footer = pq.read_metadata(str(holder.name))
        length = Path(str(holder.name)).stat().st_size
        spans = [span(footer.row_group(group)) for group in range(footer.num_row_groups)]
        rows_read = [(at, at + size) for at, size in holder.reads if at + size < length]  # the footer stands at the end
        touched = {number for number, (start, end) in enumerate(spans) for at, to in rows_read if at < end and to > start}
        assert len(touched) == 1
        (start, end) = spans[touched.pop()]
        assert sum(file.total for file in files) < (end - start) + 72_000 * len(files)
    assert end - start < sum(entry["bytes"] for entry in release.manifest["files"]) / 8


def span(group: Any) -> tuple[int, int]:
    starts = [
        min(filter(None, (column.dictionary_page_offset, column.data_page_offset)))
        for column in map(group.column, range(group.num_columns))
    ]
    return min(starts), min(starts) + sum(group.column(n).total_compressed_size for n in range(group.num_columns))


def test_a_second_read_does_not_read_footers_again(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = Release.open(big)
    video_id = releases.ids(release, "train")[0]
    files = counted(release, monkeypatch)
    release.video_bytes(video_id)
    first = sum(file.total for file in files)
    files.clear()
    release.video_bytes(video_id)
    assert sum(file.total for file in files) < first


def test_every_video_of_every_split_is_found(small: Path) -> None:
    release = Release.open(small)
    for row in everything(release):
        assert hashlib.sha256(release.video_bytes(row["video_id"])).hexdigest() == row["sha256"]


@pytest.mark.parametrize("video_id", ["", "0" * 16, "f" * 16, "0" * 17, "é" * 16, "x\0", "../../etc", 7, None, b"0" * 16])
def test_an_unknown_id_is_a_filter_error(small: Path, video_id: Any) -> None:
    with pytest.raises(FilterError, match="video_id"):
        Release.open(small).video_bytes(video_id)


def test_an_id_with_something_behind_it_is_not_that_id(small: Path) -> None:
    release = Release.open(small)
    known = releases.ids(release)[0]
    for suffix in ("\0", "\n", " "):
        with pytest.raises(FilterError):
            release.video_bytes(known + suffix)


def _read(release: Release, ids: list[str]) -> str:
    digest = hashlib.sha256()
    for video_id in ids:
        digest.update(release.video_bytes(video_id))
    return f"{digest.hexdigest()} {release.metadata(generators=['magictime']).num_rows}"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_release_in_use_crosses_processes(small: Path, method: str) -> None:
    release = Release.open(small)
    ids = releases.ids(release)
    expected = _read(release, ids)
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap_async(_read, [(release, ids)] * 3).get(60) == [expected] * 3


def test_it_pickles_without_what_it_has_read(big: Path) -> None:
    release = Release.open(big)
    small_pickle = len(pickle.dumps(release))
    release.video_bytes(releases.ids(release)[0])
    assert len(pickle.dumps(release)) == small_pickle
    assert releases.ids(pickle.loads(pickle.dumps(release))) == releases.ids(release)


# -- withdrawn and damaged


def withdraw(release: Path, video_id: str) -> None:
    schema = pa.schema([("video_id", pa.string()), ("reason", pa.string()), ("date", pa.string())])
    rows = [{"video_id": video_id, "reason": "asked by the owner", "date": "2030-01-01"}]
    releases.edit_rows(release, "tombstones.parquet", lambda _: rows, schema=schema)


def test_a_withdrawn_video_is_never_handed_out(copy: Path) -> None:
    gone = releases.ids(copy, "train")[0]
    withdraw(copy, gone)
    release = Release.open(copy)
    with pytest.raises(TombstonedError, match=f"{gone} was withdrawn: asked by the owner"):
        release.video_bytes(gone)
    assert gone not in releases.ids(release)
    assert gone not in release.annotations()["video_id"].to_pylist()
    assert release.metadata().num_rows == 23


def test_other_bytes_are_a_checksum_error(copy: Path) -> None:
    name = releases.data_file(copy)
    swapped: list[str] = []

    def swap(rows: releases.Rows) -> None:
        rows[0]["video"]["bytes"], rows[1]["video"]["bytes"] = rows[1]["video"]["bytes"], rows[0]["video"]["bytes"]
        swapped.extend(row["video_id"] for row in rows[:2])

    releases.edit_rows(copy, name, swap)
    for video_id in swapped:
        with pytest.raises(ChecksumError, match=f"Video {video_id}"):
            Release.open(copy).video_bytes(video_id)


def test_bytes_and_sha256_changed_together_still_do_not_fit_the_id(copy: Path) -> None:
    def forge(rows: releases.Rows) -> None:
        rows[0]["video"]["bytes"] = b"forged"
        rows[0]["sha256"] = hashlib.sha256(b"forged").hexdigest()
        forged.append(rows[0]["video_id"])

    forged: list[str] = []
    releases.edit_rows(copy, releases.data_file(copy), forge)
    with pytest.raises(ChecksumError):
        Release.open(copy).video_bytes(forged[0])


@pytest.mark.parametrize("video", [None, {"bytes": None, "path": "x.mp4"}])
def test_a_video_without_bytes_is_a_checksum_error(copy: Path, video: Any) -> None:
    name = releases.data_file(copy)
    releases.edit_rows(copy, name, lambda rows: rows[0].update(video=video))
    first = pq.read_table(copy / name)["video_id"][0].as_py()
    with pytest.raises(ChecksumError, match=first):
        Release.open(copy).video_bytes(first)


def test_a_flipped_bit_is_found_by_the_page_checksum(copy: Path) -> None:
    release = Release.open(copy)
    video_id = pq.read_table(copy / releases.data_file(copy))["video_id"][0].as_py()
    releases.corrupt(copy / releases.data_file(copy), release.video_bytes(video_id)[40:80])
    with pytest.raises(IntegrityError, match=r"can't be read.*get the release anew"):
        Release.open(copy).video_bytes(video_id)


@pytest.mark.parametrize("name", ["data/metadata/train.parquet", "tombstones.parquet", "data/annotations/train.parquet"])
@pytest.mark.parametrize("damage", ["cut", "empty", "html", "missing", "other columns", "folder"])
def test_a_damaged_table_is_an_integrity_error_that_names_it(copy: Path, name: str, damage: str) -> None:
    path = copy / name
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "html":
        path.write_bytes(b"<!doctype html><title>Log in</title>" * 10)
    elif damage == "other columns":
        pq.write_table(pa.table({"video_id": [1, 2]}), path)
    else:
        path.unlink()
        if damage == "folder":
            path.mkdir()
    release = Release.open(copy)
    with pytest.raises(IntegrityError, match=path.name) as caught:
        release.annotations() if "annotations" in name else release.metadata()
    assert isinstance(caught.value, SchemaError) == (damage == "other columns")


def test_a_damaged_data_file_is_an_integrity_error(copy: Path) -> None:
    video_id = releases.ids(copy, "train", is_unsafe=True)[0]
    path = copy / releases.data_file(copy)
    for damage in (b"", b"PAR1" + bytes(50) + b"PAR1", path.read_bytes()[:-100]):
        path.write_bytes(damage)
        with pytest.raises(IntegrityError, match="can't be read"):
            Release.open(copy).video_bytes(video_id)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(IntegrityError, match="no data file"):
        Release.open(copy).video_bytes(video_id)
    path.unlink()
    with pytest.raises(IntegrityError, match="missing from release"):
        Release.open(copy).video_bytes(video_id)


def test_a_link_out_of_the_release_is_not_followed(copy: Path, tmp_path: Path) -> None:
    path = copy / "data/metadata/train.parquet"
    outside = path.rename(tmp_path / "outside.parquet")
    path.symlink_to(outside)
    with pytest.raises(IntegrityError, match="leads out of the release"):
        Release.open(copy).metadata()


def test_data_files_of_unknown_configs(unvoted: Path) -> None:
    release = Release.open(unvoted)
    with pytest.raises(FilterError, match="unsafe, reviewed, metadata, annotations"):
        release.data_files("images", "train")
    with pytest.raises(FilterError, match="has no config 'annotations'"):
        release.data_files("annotations", "train")
    assert [path.parent.name for path in release.data_files("reviewed", "test")] == ["unsafe", "not_unsafe"]
