"""`cache=` of `UnsafeVideoDataset`, batches in one tensor, and what is read and decoded: counted, not timed."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import releases

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, Subset  # noqa: E402

from unsafe_video_dataset import AllFrames, CenterClip, FrameCache, RandomClip, UniformFrames, UnsafeVideoDataset, collate  # noqa: E402
from unsafe_video_dataset import torch as ours  # noqa: E402
from unsafe_video_dataset.errors import DecodeError, FilterError, TombstonedError  # noqa: E402
from unsafe_video_dataset.release import Release  # noqa: E402

Counts = dict[str, int]


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """How often a video's bytes are read, and how often they are decoded, in this process."""
    found = {"read": 0, "decoded": 0, "frames": 0}
    read, decode = Release.video_bytes, ours.decode_frames

    def reading(self: Release, video_id: str) -> bytes:
        found["read"] += 1
        return read(self, video_id)

    def decoding(data: bytes, indices: Sequence[int], **options: Any) -> Any:
        found["decoded"] += 1
        found["frames"] += len(indices)
        return decode(data, indices, **options)

    monkeypatch.setattr(Release, "video_bytes", reading)
    monkeypatch.setattr(ours, "decode_frames", decoding)
    return found


def epoch(dataset: Any, **options: Any) -> dict[str, Any]:
    """All batches as one."""
    found = list(DataLoader(dataset, batch_size=4, collate_fn=collate, **options))
    joined = {key: torch.cat([batch[key] for batch in found]) for key in ("video", "mask", "target")}
    return joined | {key: [one for batch in found for one in batch[key]] for key in found[0] if key not in joined}


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) if torch.is_tensor(one[key]) else one[key] == other[key] for key in one)


# -- the cache


@pytest.mark.parametrize("clip", [UniformFrames(5), CenterClip(2), AllFrames()])
@pytest.mark.parametrize("size", [16, (8, 12), None])
def test_later_epochs_decode_nothing(small: Path, tmp_path: Path, counts: Counts, clip: Any, size: Any) -> None:
    plain = UnsafeVideoDataset(small, clip=clip, size=size)
    dataset = UnsafeVideoDataset(small, clip=clip, size=size, cache=tmp_path / "cache")
    expected = [plain[index] for index in range(len(plain))]
    counts.update(read=0, decoded=0)
    for seen in (len(dataset), len(dataset), len(dataset)):
        for index in range(len(dataset)):
            item = dataset[index]
            assert torch.equal(item["video"], expected[index]["video"])
            assert torch.equal(item["mask"], expected[index]["mask"])
        assert counts["read"] == counts["decoded"] == seen
    assert dataset.cache is not None
    assert dataset.cache.counts["hits"] == 2 * len(dataset)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_it(small: Path, tmp_path: Path, counts: Counts, method: str) -> None:
    expected = epoch(UnsafeVideoDataset(small, clip=UniformFrames(3), size=16))
    dataset = UnsafeVideoDataset(small, clip=UniformFrames(3), size=16, cache=tmp_path / "cache")
    counts.update(read=0, decoded=0)
    for workers in (2, 0, 1):
        options: Any = {"num_workers": workers, "multiprocessing_context": method} if workers else {}
        assert_same(epoch(dataset, **options), expected)
    assert counts == {"read": 0, "decoded": 0, "frames": counts["frames"]}, "the workers had filled it"


def test_another_size_clip_or_release_is_decoded_anew(small: Path, tmp_path: Path, counts: Counts) -> None:
    cache = FrameCache(tmp_path / "cache")
    for given in ({"size": 16}, {"size": 8}, {"size": (16, 8)}, {"size": 16, "clip": UniformFrames(2)}, {"size": None}):
        before = counts["decoded"]
        UnsafeVideoDataset(small, cache=cache, **given)[0]  # type: ignore[arg-type]
        assert counts["decoded"] == before + 1, given
    again = UnsafeVideoDataset(small, cache=cache, size=16, target="binary", config="reviewed")
    again[again.video_ids.index(UnsafeVideoDataset(small).video_ids[0])]
    assert counts["decoded"] == before + 1, "the same clip under other labels"


def test_a_damaged_clip_is_decoded_anew(small: Path, tmp_path: Path, counts: Counts) -> None:
    dataset = UnsafeVideoDataset(small, clip=UniformFrames(2), size=16, cache=tmp_path / "cache")
    expected = dataset[0]["video"]
    path = next((tmp_path / "cache").glob("clips/*/*.clip"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="damaged"):
        assert torch.equal(dataset[0]["video"], expected)
    assert counts["decoded"] == 2
    assert torch.equal(dataset[0]["video"], expected)
    assert counts["decoded"] == 2


def test_withdrawn_videos_are_neither_served_nor_kept(copy: Path, tmp_path: Path, counts: Counts) -> None:
    cache = FrameCache(tmp_path / "cache")
    before = UnsafeVideoDataset(copy, size=16, cache=cache)
    epoch(before)
    gone = before.video_ids[0]
    stones = {"video_id": gone, "reason": "on request", "date": "2026-01-01"}
    releases.edit_rows(copy, "tombstones.parquet", lambda rows: [*rows, stones])
    before.release = Release.open(copy)  # a dataset that was opened earlier
    with pytest.raises(TombstonedError, match=gone):
        before[0]
    assert cache.usage()[0] == len(before)
    after = UnsafeVideoDataset(copy, size=16, cache=cache)
    assert gone not in after.video_ids
    assert cache.usage()[0] == len(before) - 1
    assert not list(cache.path.glob(f"clips/*/{gone}-*"))
    counts.update(decoded=0)
    epoch(after)
    assert counts["decoded"] == 0


def test_random_clips_are_refused_unless_asked_for(small: Path, tmp_path: Path, counts: Counts) -> None:
    with pytest.raises(FilterError, match=r"RandomClip takes other frames in each epoch.*random_clips=True"):
        UnsafeVideoDataset(small, clip=RandomClip(1), size=8, cache=tmp_path / "cache")
    dataset = UnsafeVideoDataset(small, clip=RandomClip(1), size=8, cache=FrameCache(tmp_path / "cache", random_clips=True))
    plain = UnsafeVideoDataset(small, clip=RandomClip(1), size=8)
    for number in (0, 1, 2, 0):
        dataset.set_epoch(number)
        plain.set_epoch(number)
        counts.update(decoded=0)
        assert_same(epoch(dataset), epoch(plain))
    assert counts["decoded"] == len(plain), "the first epoch's clips are there"


def test_there_is_no_cache_unless_asked_for(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    epoch(UnsafeVideoDataset(small, size=8))
    assert list(tmp_path.iterdir()) == []


def test_a_video_that_can_not_be_decoded_is_not_kept(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise DecodeError("no")

    dataset = UnsafeVideoDataset(small, size=8, on_error="mask", cache=tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(ours, "decode_frames", fails)
        batch = epoch(dataset)
    assert not batch["mask"].any()
    assert not batch["video"].any()
    assert dataset.cache is not None
    assert dataset.cache.usage() == (0, 0)
    assert epoch(dataset)["mask"].any()


def test_a_limit_below_one_clip_is_an_error(small: Path, tmp_path: Path) -> None:
    dataset = UnsafeVideoDataset(small, size=64, cache=FrameCache(tmp_path / "cache", max_bytes=1000))
    with pytest.raises(FilterError, match="larger max_bytes"):
        dataset[0]


FULL = """
import resource, sys, warnings
from torch.utils.data import DataLoader
from unsafe_video_dataset import UnsafeVideoDataset, collate
dataset = UnsafeVideoDataset(sys.argv[1], size=64, cache=sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    seen = sum(len(batch["video_id"]) for _ in range(2) for batch in DataLoader(dataset, 4, collate_fn=collate))
print(seen == 2 * len(dataset), len(caught), dataset.cache.usage())
"""


@pytest.mark.skipif(os.name == "nt", reason="limits of POSIX")
def test_a_full_disk_ends_no_training(small: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(small), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "True 1 (0, 0)", done.stderr


# -- batches in one tensor


def test_a_batch_is_decoded_to_its_place(small: Path, tmp_path: Path) -> None:
    for cache in (None, tmp_path / "cache", tmp_path / "cache"):
        dataset = UnsafeVideoDataset(small, clip=UniformFrames(4), size=16, cache=cache)
        samples = dataset.__getitems__([3, 0, 3])
        batch = collate(samples)
        assert batch["video"].data_ptr() == samples[0]["video"].data_ptr(), "not copied"
        assert_same(batch, collate([dataset[index] for index in (3, 0, 3)]))
        changed = dataset.__getitems__([3, 0])
        changed[1]["video"] = 255 - changed[1]["video"]
        assert torch.equal(collate(changed)["video"][1], 255 - dataset[0]["video"]), "what somebody changed is what counts"
        changed = dataset.__getitems__([3, 0])
        del changed[0]
        assert torch.equal(collate(changed)["video"], dataset[0]["video"][None])


@pytest.mark.parametrize("given", [{"size": None}, {"clip": AllFrames()}, {"transform": torch.clone}])
def test_other_batches_are_stacked(small: Path, given: dict[str, Any]) -> None:
    dataset = UnsafeVideoDataset(small, **{"size": 16, "clip": UniformFrames(3), **given})
    assert_same(collate(dataset.__getitems__([1, 2])), collate([dataset[1], dataset[2]]))


def test_a_subclass_s_items_are_the_ones_that_are_used(small: Path) -> None:
    class Mine(UnsafeVideoDataset):
        def __getitem__(self, index: int) -> dict[str, Any]:
            return {**super().__getitem__(index), "extra": index}

    assert epoch(Mine(small, size=8))["extra"] == list(range(len(UnsafeVideoDataset(small))))


def test_a_clip_whose_n_is_something_else(small: Path) -> None:
    class Odd:
        n = 7

        def indices(self, num_frames: int, rng: Any = None) -> tuple[Any, Any]:
            return np.zeros(2, np.int64), np.ones(2, np.bool_)

    dataset = UnsafeVideoDataset(small, clip=Odd(), size=8)
    assert epoch(dataset)["video"].shape == (len(dataset), 2, 3, 8, 8)


def test_subsets_and_wrong_indices(small: Path) -> None:
    dataset = UnsafeVideoDataset(small, clip=UniformFrames(2), size=8)
    part = epoch(Subset(dataset, [4, 1]))
    assert part["video_id"] == [dataset.video_ids[4], dataset.video_ids[1]]
    assert torch.equal(part["video"], torch.stack([dataset[4]["video"], dataset[1]["video"]]))
    with pytest.raises(IndexError):
        dataset.__getitems__([0, len(dataset)])


# -- what is read


class Counting:
    """A file that counts what is read of it."""

    def __init__(self, path: Path, log: list[int]) -> None:
        self._file, self._log = path.open("rb"), log

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(count)
        self._log.append(len(data))
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_an_item_reads_one_video_and_an_index_no_row(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = Release.open(big)
    dataset = UnsafeVideoDataset(release, clip=UniformFrames(2), size=8)
    dataset[0]  # footers, and the ids of the row group
    log: list[int] = []
    monkeypatch.setattr(release, "_source", lambda path: Counting(path, log))
    dataset[1]
    size = len(release.video_bytes(dataset.video_ids[1]))
    assert size <= sum(log) // 2 < size + 10_000, "and page headers"
    log.clear()
    assert dataset.video_ids[5] == list(dataset.video_ids)[5]
    assert len(dataset.targets) == len(dataset) == len(dataset.group_ids)
    assert log == []


def test_a_hit_reads_no_data_file(big: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = Release.open(big)
    dataset = UnsafeVideoDataset(release, clip=UniformFrames(2), size=8, cache=tmp_path / "cache")
    for index in range(4):
        dataset[index]
    monkeypatch.setattr(release, "read_group", lambda *_: pytest.fail("a data file was read"))
    for index in range(4):
        dataset[index]


def test_nothing_past_the_clip_is_decoded(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("av")
    from unsafe_video_dataset import decoders

    class First:
        def indices(self, num_frames: int, rng: Any = None) -> tuple[Any, Any]:
            return np.array([0, 1, 1]), np.ones(3, np.bool_)

    taken: list[int] = []
    real = decoders.pyav_frames

    def counting(data: bytes, info: Any) -> Generator[Any, None, None]:
        for frame in real(data, info):
            taken.append(1)
            yield frame

    monkeypatch.setattr(decoders, "pyav_frames", counting)
    dataset = UnsafeVideoDataset(small, clip=First(), size=8, decoder="pyav")
    dataset.__getitems__([0, 1, 2])
    assert len(taken) == 2 * 3


def test_groups_are_read_when_asked_for(small: Path) -> None:
    dataset = UnsafeVideoDataset(small, split=None, config="reviewed", generators=["magictime"])
    rows = Release.open(small).metadata(generators=["magictime"]).to_pylist()
    assert dataset.group_ids == [row["group_id"] for row in rows]
    assert pickle.loads(pickle.dumps(dataset)).group_ids == dataset.group_ids


def test_a_batch_of_a_worker_is_shared_memory_from_the_start(small: Path) -> None:
    dataset = UnsafeVideoDataset(small, clip=UniformFrames(2), size=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader = DataLoader(
            dataset, 4, collate_fn=lambda samples: (samples[0]["video"].is_shared(), collate(samples)), num_workers=1
        )
        assert all(shared and batch["video"].is_shared() for shared, batch in loader)
