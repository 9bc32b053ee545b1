"""Rows that `load_dataset` cached and somebody changed since: made anew, or refused; never handed out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from unsafe_video_dataset import Release, load_dataset
from unsafe_video_dataset.arrow_cache import INFO, RECORD, damage
from unsafe_video_dataset.errors import ChecksumError
from unsafe_video_dataset.hf import ReleaseBuilder
from unsafe_video_dataset.lazy_video import LazyVideo
from unsafe_video_dataset.video import VideoHandle

datasets.disable_progress_bars()


@pytest.fixture
def cache(cached: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(cached, tmp_path / "cache"))


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test split's folder as `load_dataset` left it."""
    folder = tmp_path_factory.mktemp("cached")
    load_dataset(split="test", cache_dir=folder)
    return folder


def load(cache: Path) -> Any:
    return load_dataset(split="test", cache_dir=cache)


def one(cache: Path, name: str) -> Path:
    found: Path = next(cache.rglob(name))
    return found


def flip_in_a_video(file: Path) -> str:
    """Two bytes of the first video change, the file's size and time stay; the video's id."""
    rows = Release.open().metadata("test", columns=["video_id"], is_unsafe=True)
    video_id = str(rows["video_id"][0])
    data, times, raw = Release.open().video_bytes(video_id), file.stat(), bytearray(file.read_bytes())
    at = raw.find(data) + data.find(b"mdat") + 40
    raw[at] ^= 0xFF
    raw[at + 50] ^= 0xFF
    file.write_bytes(raw)
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    return video_id


def edit_info(cache: Path) -> None:
    info = json.loads(one(cache, INFO).read_text())
    info["features"]["num_frames"]["dtype"] = "int8"
    one(cache, INFO).write_text(json.dumps(info))


CHANGES: dict[str, Callable[[Path], object]] = {
    "two bytes of a video": lambda cache: flip_in_a_video(one(cache, "*test.arrow")),
    "a shorter file": lambda cache: os.truncate(one(cache, "*test.arrow"), 1000),
    "no file": lambda cache: one(cache, "*test.arrow").unlink(),
    "another split's rows": lambda cache: shutil.copy(one(cache, "*train.arrow"), one(cache, "*test.arrow")),
    "other column types": edit_info,
    "half an info file": lambda cache: os.truncate(one(cache, INFO), 100),
    "no record": lambda cache: one(cache, RECORD).unlink(),
    "half a record": lambda cache: os.truncate(one(cache, RECORD), 20),
    "an empty record": lambda cache: one(cache, RECORD).write_text("{}"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_cache_is_made_anew(cache: Path, change: Callable[[Path], object]) -> None:
    change(cache)
    rows = load(cache)
    expected = Release.open().metadata("test", columns=["video_id"], is_unsafe=True)["video_id"].to_pylist()
    assert rows["video_id"] == expected
    assert [hashlib.sha256(row["video"]).hexdigest() for row in rows] == rows["sha256"]
    assert rows.features["num_frames"].dtype == "int32"
    assert damage(one(cache, RECORD).parent) is None


def test_a_sound_cache_is_used_as_it_is(cache: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.arrow")}
    load(cache).map(lambda row: {"long": row["num_frames"] > 8})  # `datasets` keeps that beside the rows
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert load(cache).num_rows
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_builder_does_not_open_what_was_changed(cache: Path) -> None:
    builder = ReleaseBuilder(Release.open(), cache_dir=cache)
    builder.download_and_prepare()
    flip_in_a_video(one(cache, "*test.arrow"))
    with pytest.raises(ChecksumError, match=r"test\.arrow was changed.*anew"):
        ReleaseBuilder(Release.open(), cache_dir=cache).as_dataset("test")


def test_a_change_after_the_check_is_found_when_the_video_is_read(cache: Path) -> None:
    rows = load(cache)  # mapped, not read
    video_id = flip_in_a_video(one(cache, "*test.arrow"))
    anew = datasets.Dataset.from_file(str(one(cache, "*test.arrow")))
    for found in (rows, anew):
        with pytest.raises(ChecksumError, match=f"{video_id} has other bytes.*load_dataset again"):
            found[found["video_id"].index(video_id)]


def test_bytes_of_the_users_own_get_their_own_name() -> None:
    feature, rows = LazyVideo(), Release.open().metadata("test", columns=["video_id"])["video_id"].to_pylist()
    mine = Release.open().video_bytes(rows[0])
    other = mine + bytes(8)
    name = f"{hashlib.sha256(other).hexdigest()[:16]}.mp4"
    assert feature.encode_example(VideoHandle(other, name=rows[0]))["path"] == name
    assert feature.encode_example({"bytes": other, "path": f"{rows[0]}.mp4"})["path"] == name
    assert feature.encode_example(VideoHandle(other, name="my clip"))["path"] == "my clip.mp4"
    for path in (None, "my clip.mp4", name):
        assert bytes(feature.decode_example({"bytes": other, "path": path})) == other
