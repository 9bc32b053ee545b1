"""`UnsafeVideoDataset`: the same batches however they are loaded, targets that fit the labels, clips that reproduce."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import releases

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

from unsafe_video_dataset import AllFrames, CenterClip, RandomClip, UniformFrames, UnsafeVideoDataset, collate  # noqa: E402
from unsafe_video_dataset import UnsafeVideoIterableDataset as Stream  # noqa: E402
from unsafe_video_dataset.clips import Clip  # noqa: E402
from unsafe_video_dataset.errors import ChecksumError, DecodeError, FilterError, InputError  # noqa: E402
from unsafe_video_dataset.release import Release  # noqa: E402
from unsafe_video_dataset.taxonomy import CATEGORIES, VOTE_KEYS  # noqa: E402
from unsafe_video_dataset.video import DECODERS, decode_frames, decoder_status  # noqa: E402


def batches(dataset: Any, **options: Any) -> list[dict[str, Any]]:
    return list(DataLoader(dataset, batch_size=4, collate_fn=collate, **options))


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    return bool(one == other)


def assert_same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> None:
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert left.keys() == right.keys()
        assert all(same(left[key], right[key]) for key in left)


def noise(frames: torch.Tensor) -> torch.Tensor:
    return frames.float() / 255


# -- items and loaders


def test_an_item(small: Path) -> None:
    dataset = UnsafeVideoDataset(small, split="train", clip=UniformFrames(2), size=(24, 40), return_prompt=True)
    rows = {row["video_id"]: row for row in Release.open(small).metadata("train", is_unsafe=True).to_pylist()}
    assert dataset.video_ids == sorted(rows)
    for index in range(len(dataset)):
        item = dataset[index]
        row = rows[item["video_id"]]
        assert set(item) == {"video", "mask", "target", "video_id", "prompt"}
        assert (item["video"].shape, item["video"].dtype) == ((2, 3, 24, 40), torch.uint8)
        assert (item["mask"].tolist(), item["mask"].dtype) == ([True, True], torch.bool)
        assert item["prompt"] == row["prompt"]
        assert [place for place, value in enumerate(item["target"].tolist()) if value] == row["categories"]
        wanted = UniformFrames(2).indices(row["num_frames"])[0]
        frames = decode_frames(dataset.release.video_bytes(item["video_id"]), list(wanted), size=(24, 40))
        assert np.array_equal(item["video"].numpy(), frames)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_give_what_no_workers_give(sample: Release, method: str) -> None:
    dataset = UnsafeVideoDataset(
        sample, split="test", clip=RandomClip(4, 2), size=32, target="soft", return_prompt=True, transform=noise, seed=3
    )
    expected = batches(dataset)
    assert_same(batches(dataset, num_workers=2, multiprocessing_context=method), expected)


def test_indices(small: Path) -> None:
    dataset = UnsafeVideoDataset(small, clip=RandomClip(1), size=8)
    assert same(dataset[-1]["video"], dataset[len(dataset) - 1]["video"])
    assert dataset[-len(dataset)]["video_id"] == dataset[np.int64(0)]["video_id"] == dataset[torch.tensor(0)]["video_id"]
    for index in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError):
            dataset[index]
    assert len(list(iter(dataset.video_ids))) == len(dataset) == len([item for item in dataset])  # noqa: C416


def test_it_pickles(small: Path) -> None:
    dataset = UnsafeVideoDataset(small, clip=RandomClip(2), size=16, seed=5)
    dataset.set_epoch(2)
    again = pickle.loads(pickle.dumps(dataset))
    assert same(again[1]["video"], dataset[1]["video"])
    assert again.video_ids == dataset.video_ids


# -- targets


def test_targets(small: Path) -> None:
    rows = Release.open(small).metadata("train").to_pylist()

    def load(target: Any) -> torch.Tensor:
        dataset = UnsafeVideoDataset(small, config="reviewed", split="train", target=target)
        assert dataset.video_ids == [row["video_id"] for row in rows]
        assert all(same(dataset.targets[n], dataset.targets[n]) for n in range(len(dataset)))
        return dataset.targets

    multilabel = torch.tensor([[float(place in row["categories"]) for place in range(5)] for row in rows])
    assert same(load("multilabel"), multilabel)
    assert same(load("binary"), torch.tensor([float(row["is_unsafe"]) for row in rows]))
    assert same(load("soft"), torch.tensor([[row["soft_labels"][name] for name in CATEGORIES] for row in rows]))
    assert same(load("votes"), torch.tensor([[row["vote_counts"][name] for name in VOTE_KEYS] for row in rows]))
    item = UnsafeVideoDataset(small, config="reviewed", target="binary", size=8)[0]
    assert item["target"].shape == ()
    batch = collate([item, item])
    assert (batch["target"].shape, batch["target"].dtype) == ((2,), torch.float32)


@pytest.mark.parametrize("target", ["soft", "votes"])
def test_targets_that_need_votes(unvoted: Path, target: Any) -> None:
    with pytest.raises(FilterError, match=r"needs rater votes.*target='multilabel'"):
        UnsafeVideoDataset(unvoted, target=target)


def test_unknown_choices(small: Path) -> None:
    for given, words in (
        ({"config": "metadata"}, "unsafe, reviewed"),
        ({"target": "hard"}, "multilabel, soft, binary, votes"),
        ({"on_error": "skip"}, "raise, mask"),
        ({"decoder": "opencv"}, "pyav, decord, torchcodec"),
        ({"split": "dev"}, "train, validation, test"),
        ({"seed": -1}, "0 or more"),
        ({"is_unsafe": False}, "config='reviewed'"),
        ({"categories": ["scary"]}, "terrifying"),
        ({"min_raters": 90}, "It holds"),
    ):
        with pytest.raises(FilterError, match=words):
            UnsafeVideoDataset(small, **given)
    with pytest.raises(InputError, match="no release folder"):
        UnsafeVideoDataset("missing")


def test_filters(small: Path) -> None:
    given: dict[str, Any] = {"categories": ["terrifying"], "min_raters": 3, "generators": ["magictime", "animatediff"]}
    dataset = UnsafeVideoDataset(small, split=None, config="reviewed", **given)
    assert dataset.video_ids == releases.ids(small, **given)
    assert UnsafeVideoDataset(small, split="test").video_ids == releases.ids(small, "test", is_unsafe=True)
    assert UnsafeVideoDataset(small, split="test", config="reviewed").video_ids == releases.ids(small, "test")


def test_transforms(small: Path) -> None:
    dataset = UnsafeVideoDataset(small, size=8, transform=noise, target_transform=lambda target: int(target.sum()))
    item = dataset[0]
    assert item["video"].dtype == torch.float32
    assert item["video"].max() <= 1
    assert item["target"] == int(dataset.targets[0].sum())
    assert collate([dataset[0], dataset[1]])["target"].tolist() == [int(dataset.targets[n].sum()) for n in (0, 1)]


# -- clips


def test_a_random_clip_follows_from_seed_epoch_and_id(sample: Release) -> None:
    def clips(seed: int = 0, epoch: int = 0, **filters: Any) -> dict[str, torch.Tensor]:
        dataset = UnsafeVideoDataset(sample, clip=RandomClip(2, 3), size=16, seed=seed, split="validation", **filters)
        dataset.set_epoch(epoch)
        return {item["video_id"]: item["video"] for item in (dataset[index] for index in reversed(range(len(dataset))))}

    first = clips()
    assert all(same(video, clips()[video_id]) for video_id, video in first.items())
    for other in (clips(seed=1), clips(epoch=1)):
        assert any(not same(video, other[video_id]) for video_id, video in first.items())
    generator = sample.metadata("validation", is_unsafe=True)["generator"][0].as_py()
    some = clips(generators=[generator])
    assert 0 < len(some) < len(first)
    assert all(same(video, first[video_id]) for video_id, video in some.items())


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_that_live_on_see_the_epoch(sample: Release, method: str) -> None:
    dataset = UnsafeVideoDataset(sample, split="validation", clip=RandomClip(2), size=16)
    loader = DataLoader(dataset, 4, collate_fn=collate, num_workers=2, persistent_workers=True, multiprocessing_context=method)
    seen = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        seen.append(list(loader))
        assert_same(seen[-1], batches(dataset))
    assert_same(seen[0], seen[2])
    assert any(not same(a["video"], b["video"]) for a, b in zip(seen[0], seen[1], strict=True))


@pytest.mark.parametrize("clip", [UniformFrames(5), CenterClip(4, 2), RandomClip(6)])
def test_short_videos_are_masked(small: Path, clip: Clip) -> None:
    dataset = UnsafeVideoDataset(small, clip=clip, size=8)
    for index in range(len(dataset)):
        item = dataset[index]
        real = int(item["mask"].sum())
        assert 0 < real < len(item["mask"]) == len(item["video"])
        assert all(same(item["video"][place], item["video"][real - 1]) for place in range(real, len(item["video"])))


# -- collate


def test_collate_pads_clips_of_different_length(small: Path) -> None:
    dataset = UnsafeVideoDataset(small, clip=AllFrames(), size=8, split=None)
    items = [dataset[index] for index in range(len(dataset))]
    lengths = [len(item["video"]) for item in items]
    assert set(lengths) == {2, 3, 4}
    batch = collate(items)
    assert batch["video"].shape == (len(items), 4, 3, 8, 8)
    assert batch["mask"].sum(dim=1).tolist() == lengths
    for row, item, length in zip(range(len(items)), items, lengths, strict=True):
        assert same(batch["video"][row, :length], item["video"])
        assert not batch["video"][row, length:].any()
        assert not batch["mask"][row, length:].any()
    assert batch["video_id"] == dataset.video_ids
    assert list(batch) == ["video", "mask", "target", "video_id"]


def test_collate_refuses_what_does_not_fit(small: Path) -> None:
    one, other = (UnsafeVideoDataset(small, clip=UniformFrames(2), size=size)[0] for size in (8, 16))
    with pytest.raises(InputError, match="size=224"):
        collate([one, other])
    with pytest.raises(InputError, match="empty"):
        collate([])


# -- damage and decoders


def broken(release: Path) -> str:
    """Damage the record of one video: it says one frame more than the file has."""
    video_id = releases.ids(release, "train", is_unsafe=True)[0]

    def edit(rows: releases.Rows) -> None:
        for row in rows:
            if row["video_id"] == video_id:
                row["num_frames"] += 1

    releases.edit_rows(release, "data/metadata/train.parquet", edit)
    return video_id


def test_a_video_that_cannot_be_decoded(copy: Path) -> None:
    video_id = broken(copy)
    loud = UnsafeVideoDataset(copy, size=8)
    with pytest.raises(DecodeError, match=video_id):
        loud[loud.video_ids.index(video_id)]
    for size, shape in ((8, (8, 8)), ((8, 12), (8, 12)), (None, (32, 32))):
        masked = UnsafeVideoDataset(copy, size=size, on_error="mask", clip=UniformFrames(4))
        item = masked[masked.video_ids.index(video_id)]
        assert item["video"].shape == (4, 3, *shape)
        assert not item["video"].any()
        assert not item["mask"].any()
        assert item["video_id"] == video_id
        assert sum(not bool(masked[n]["mask"].any()) for n in range(len(masked))) == 1


def test_wrong_bytes_are_never_masked(copy: Path) -> None:
    name = releases.data_file(copy)
    releases.edit_rows(copy, name, lambda rows: rows[0]["video"].update(bytes=b"forged"))
    dataset = UnsafeVideoDataset(copy, on_error="mask")
    with pytest.raises(ChecksumError):
        [dataset[index] for index in range(len(dataset))]


@pytest.mark.parametrize("decoder", DECODERS)
def test_each_decoder(sample: Release, decoder: Any) -> None:
    status = decoder_status()[decoder]
    if not status.startswith("ok"):
        pytest.skip(status)
    expected = UnsafeVideoDataset(sample, split="validation", decoder="pyav")
    dataset = UnsafeVideoDataset(sample, split="validation", decoder=decoder)
    for index in (0, len(dataset) - 1):
        difference = dataset[index]["video"].int() - expected[index]["video"].int()
        assert difference.abs().max() <= 2
    assert_same(batches(dataset, num_workers=1, multiprocessing_context="fork")[:1], batches(dataset)[:1])


@pytest.mark.parametrize("size", ["64", 64.0, (64,), (64, 64, 3), (8, "8"), 0, -1, (8, 0), 10**6, [8, None], {"h": 8}])
@pytest.mark.parametrize("kind", [UnsafeVideoDataset, Stream])
def test_a_size_that_is_none_is_refused_at_once(small: Path, kind: Any, size: Any) -> None:
    with pytest.raises(FilterError, match=r"size=.*give one int or \(height, width\)"):
        kind(small, size=size)


@pytest.mark.parametrize("clip", [16, "uniform", UniformFrames, [0, 1]])
def test_a_clip_that_is_none_is_refused_at_once(small: Path, clip: Any) -> None:
    with pytest.raises(FilterError, match="picks no frames"):
        UnsafeVideoDataset(small, clip=clip)


def test_is_unsafe_must_be_a_truth_value_in_every_config(small: Path) -> None:
    for config in ("unsafe", "reviewed"):
        with pytest.raises(FilterError, match="is_unsafe='yes' must be True or False"):
            UnsafeVideoDataset(small, config=config, is_unsafe="yes")  # type: ignore[arg-type]


def test_sizes_of_numpy_are_sizes(small: Path) -> None:
    assert UnsafeVideoDataset(small, size=np.int64(8))[0]["video"].shape[2:] == (8, 8)
