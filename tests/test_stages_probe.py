"""probe: one isolated decode a distinct file; what breaks is a row. Real videos, real processes."""

from __future__ import annotations

import functools
import struct
from pathlib import Path

import numpy as np
import pipeline_support as support
import pytest
import video_files
from builders_support import tiny
from pipeline_support import PROBE, run
from test_video import _damaged

from unsafe_video_dataset.builders.pipeline.pool import call
from unsafe_video_dataset.builders.pipeline.stage import Failure
from unsafe_video_dataset.builders.pipeline.work import Work
from unsafe_video_dataset.builders.stages.ingest import Ingest
from unsafe_video_dataset.builders.stages.probe import Probe, ProbeSettings, Task, probe_file
from unsafe_video_dataset.errors import ChecksumError, DecodeError, FaultsError
from unsafe_video_dataset.isolate import ChildLimits
from unsafe_video_dataset.video import decode_frames, probe_frames, probe_video


@functools.cache
def torn() -> bytes:
    """Its header and the lengths of its coded units are whole, its pictures are noise: the decoder gives up."""
    data = video_files.plain(32)
    start = data.index(b"mdat") + 4
    (length,) = struct.unpack_from(">I", data, start - 8)
    out, at, end = bytearray(data), start, start - 8 + length
    while at < end:
        (size,) = struct.unpack_from(">I", data, at)
        if data[at + 4] & 31 in (1, 5):  # slices
            out[at + 6 : at + 4 + size] = bytes(size - 2)
        at += 4 + size
    return bytes(out)


def finish(recipe: Path, log: Path) -> tuple[int, int]:
    """A run in a process of its own, whose workers log their calls: how many answers were worked out, and reused."""
    out, error = support.start(recipe, log).communicate(timeout=120)
    assert out, error
    worked, reused = map(int, out.split())
    return worked, reused


def test_rows_for_good_broken_and_repeated_files(tmp_path: Path) -> None:
    recipe = support.make_recipe(tmp_path / "base", number=3)
    raw = recipe.parent / "raw"
    (raw / "copy.mp4").write_bytes(tiny(1))
    (raw / "big.mp4").write_bytes(video_files.odd_sized())
    (raw / "text.mp4").write_bytes(b"no video")
    (raw / "empty.mp4").write_bytes(b"")
    (raw / "torn.mp4").write_bytes(torn())
    log = tmp_path / "log"
    assert finish(recipe, log) == (7, 0)
    rows = {row["item"].removeprefix("shapes/"): row for row in Work(recipe.parent / "work").table("probe").to_pylist()}
    assert {name: row["kept"] for name, row in rows.items()} == {
        "0000.mp4": True, "0001.mp4": True, "0002.mp4": True, "copy.mp4": True, "big.mp4": True,
        "text.mp4": False, "empty.mp4": False, "torn.mp4": False,
    }  # fmt: skip
    assert {k: v for k, v in rows["copy.mp4"].items() if k != "item"} == {
        k: v for k, v in rows["0001.mp4"].items() if k != "item"
    }
    big = rows["big.mp4"]
    info = probe_video(video_files.odd_sized())
    assert {key: big[key] for key in vars(info)} == vars(info)
    assert big["brightness"] == decode_frames(video_files.odd_sized(), decoder="pyav").mean()
    for name, why in (("text.mp4", "not an MP4"), ("empty.mp4", "it is empty"), ("torn.mp4", "failed")):
        row = rows[name]
        assert why in row["reason"]
        assert "\n" not in row["reason"]
        assert str(tmp_path) not in row["reason"]
        assert row["video_id"] not in row["reason"]
        assert {row[key] for key in ("num_frames", "codec", "num_bytes", "brightness", "hashes")} == {None}
    facts = Work(recipe.parent / "work").report("probe")
    assert (facts["videos"], facts["decoded"], facts["failed"], facts["codecs"]) == (8, 7, 3, {"h264": 5})
    assert support.calls(log) == 4  # a measure for each distinct file that decodes
    (raw / "new.mp4").write_bytes(tiny(9))
    assert finish(recipe, log) == (1, 7)
    assert support.calls(log) == 5


def task(path: Path, data: bytes, **settings: float) -> Task:
    import hashlib

    path.write_bytes(data)
    made = ProbeSettings(**settings)  # type: ignore[arg-type]
    return Task(path, hashlib.sha256(data).hexdigest(), made, "pipeline_workers", ())


@pytest.mark.parametrize(
    ("settings", "why"),
    [({"wall_seconds": 0.001}, "no answer within"), ({"memory_bytes": 1_000_000}, "memory|Memory|process|pyav")],
)
def test_a_decoder_that_takes_too_much_is_a_reason(settings: dict[str, float], why: str, tmp_path: Path) -> None:
    answer = probe_file(task(tmp_path / "a.mp4", video_files.plain(16, 480, 640), **settings))
    assert set(answer) == {"reason"}
    assert any(word in answer["reason"] for word in why.split("|"))


def test_a_file_that_changed_since_ingest_is_no_answer(tmp_path: Path) -> None:
    one = task(tmp_path / "a.mp4", tiny(1))
    assert probe_file(one)["reason"] is None
    (tmp_path / "a.mp4").write_bytes(tiny(2))
    with pytest.raises(ChecksumError):
        probe_file(one)
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(ChecksumError):
        probe_file(one)


class Swap:
    """Changes a raw file between ingest and probe."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def map(self, function, items):  # type: ignore[no-untyped-def]
        for item, argument in items:
            if function is probe_file and self.path.exists():
                self.path.write_bytes(tiny(99))
            yield item, call(function, argument)


def test_a_run_stops_at_a_changed_file_and_the_next_one_takes_it(tmp_path: Path) -> None:
    recipe = support.make_recipe(tmp_path / "base", number=3)
    path = recipe.parent / "raw" / "0002.mp4"
    with pytest.raises(ChecksumError, match=r"1 raw files changed since they were ingested \(shapes/0002.mp4\)\. Run again"):
        run(recipe, executor=Swap(path))
    report = run(recipe)
    assert (report.stage("probe").worked, report.stage("probe").reused) == (1, 2)
    path.write_bytes(tiny(2))  # as it was at first
    assert run(recipe).stage("probe").kept == 3


class Crash:
    """An engine in which each video costs a process."""

    def map(self, function, items):  # type: ignore[no-untyped-def]
        for item, argument in items:
            yield item, Failure("the process that worked on this item died") if function is probe_file else function(argument)


def test_a_worker_that_dies_is_a_row_and_is_tried_again_by_the_next_run(tmp_path: Path) -> None:
    recipe = support.make_recipe(tmp_path / "base", number=2)
    one = run(recipe, executor=Crash()).stage("probe")
    assert (one.kept, one.failures, one.report["crashed_workers_or_bugs"]) == (0, 2, 2)
    assert one.died == 2
    again = run(recipe, executor=Crash()).stage("probe")
    assert (again.action, again.why, again.kept) == ("ran", "tries 2 items again whose process died", 0)
    last = run(recipe).stage("probe")
    assert (last.action, last.worked, last.died, last.kept) == ("ran", 2, 0, 2)
    assert run(recipe).stage("probe").action == "skipped"


class CrashOne(Crash):
    """An engine in which the second video costs a process."""

    def map(self, function, items):  # type: ignore[no-untyped-def]
        for number, (item, argument) in enumerate(items):
            crash = function is probe_file and number == 1
            yield item, Failure("the process that worked on this item died") if crash else function(argument)


def test_only_the_item_whose_worker_died_is_tried_again(tmp_path: Path) -> None:
    recipe = support.make_recipe(tmp_path / "base", number=3)
    assert run(recipe, executor=CrashOne()).stage("probe").died == 1
    report = (recipe.parent / "work" / "report.md").read_text()
    assert "1 items of probe have no answer as their process died" in report
    again = run(recipe).stage("probe")
    assert (again.worked, again.reused, again.kept) == (1, 2, 3)
    assert "process died" not in (recipe.parent / "work" / "report.md").read_text()


def test_settings_are_checked_and_decide(tmp_path: Path) -> None:
    text = support.RECIPE + "[probe]\nframes = 0\nlongest_side = 9000\nwall_seconds = -1\n"
    recipe = support.make_recipe(tmp_path / "base", number=1, text=text)
    with pytest.raises(FaultsError) as caught:
        run(recipe)
    assert [fault.field for fault in caught.value.faults] == ["probe.frames", "probe.wall_seconds", "probe.longest_side"]


def test_the_stage_uses_the_measures_of_vision() -> None:
    assert Probe().measures == "unsafe_video_dataset.builders.vision.measure"
    assert PROBE.needs == (Ingest().name,)


@pytest.mark.parametrize("name", sorted(video_files.GOOD))
@pytest.mark.parametrize("isolate", [False, True])
def test_probe_frames_agrees_with_a_full_decode(name: str, isolate: bool) -> None:
    data = video_files.GOOD[name]()
    info, frames = probe_frames(data, frames=1000, longest_side=4096, isolate=isolate)
    assert info == probe_video(data)
    np.testing.assert_array_equal(frames, decode_frames(data, decoder="pyav"))


def test_probe_frames_takes_a_few_small_ones() -> None:
    data = video_files.plain(24, 60, 120)
    info, frames = probe_frames(data, frames=5, longest_side=60)
    assert frames.shape == (5, 3, 30, 60)
    np.testing.assert_array_equal(frames, decode_frames(data, [0, 6, 12, 17, 23], size=(30, 60), decoder="pyav"))
    assert probe_frames(data, frames=1, longest_side=60)[1].shape == (1, 3, 30, 60)
    assert info.num_frames == 24


def test_probe_frames_refuses_a_stream_that_is_not_what_the_header_says() -> None:
    for isolate in (False, ChildLimits()):
        with pytest.raises(DecodeError, match="x: pyav failed"):
            probe_frames(torn(), frames=4, longest_side=64, name="x", isolate=isolate)


def test_probe_frames_counts_the_frames_after_the_last_one_wanted() -> None:
    """Here 8 of 16 pictures are missing, and the only frame that is wanted is the first."""
    with pytest.raises(DecodeError, match="x: pyav failed"):
        probe_frames(_damaged(9), frames=1, longest_side=64, name="x")
