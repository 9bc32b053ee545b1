"""The stream: every video once for any numbers of processes and workers, each row group read once, few requests on a Hub."""

from __future__ import annotations

import itertools
import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import gate_support as support
import numpy as np
import pytest
import releases
from hub import LoopbackHub, run_client

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

from unsafe_video_dataset import Release, UniformFrames, UnsafeVideoDataset, UnsafeVideoIterableDataset, collate  # noqa: E402
from unsafe_video_dataset.errors import ChecksumError, FilterError, InputError  # noqa: E402
from unsafe_video_dataset.stream_plan import (  # noqa: E402
    Layout,
    Pass,
    buffered,
    from_intervals,
    stream_order,
    to_intervals,
    turns,
)

LIGHT: dict[str, Any] = {"clip": UniformFrames(1), "size": 8, "config": "reviewed"}


def names(batches: Any) -> list[str]:
    return [video_id for batch in batches for video_id in batch["video_id"]]


# -- the plan


LAYOUTS = list(itertools.product((0, 1, 5, 17), (1, 2, 3), (1, 2, 4), (1, 4), (0, 6), (False, True)))


def test_every_position_once_whatever_the_layout() -> None:
    for n, ranks, workers, batch, buffer, pad in LAYOUTS:
        this = Pass(np.arange(n), Layout(ranks, workers, batch), buffer, (0, 1), pad)
        owned, lengths = [], []
        for rank in range(ranks):
            rows = np.concatenate([this.piece(rank, worker) for worker in range(workers)]).tolist()
            lengths.append(len(rows))
            owned += [row for row in rows if row != this.repeat(rank)]
        assert sorted(owned) == list(range(n)), this
        assert max(lengths) - min(lengths) <= (0 if pad else 1)
        if pad:
            assert len({this.batches(rank) for rank in range(ranks)}) == 1
        if n >= ranks * workers:
            assert all(len(this.piece(rank, worker)) for rank in range(ranks) for worker in range(workers)), "none starves"


def test_what_is_left_after_any_number_of_batches() -> None:
    for n, ranks, workers, batch, buffer, pad in LAYOUTS:
        this = Pass(np.arange(n), Layout(ranks, workers, batch), buffer, (3,), pad)
        for batches in (0, 1, 2, 5, 50):
            got: list[int] = []
            for rank in range(ranks):
                for worker, count in enumerate(this.taken(rank, batches)):
                    got += [row for row in this.piece(rank, worker)[:count].tolist() if row != this.repeat(rank)]
            assert sorted(got + this.rest(batches).tolist()) == list(range(n)), (this, batches)


def test_parts_of_the_plan() -> None:
    assert list(turns([5, 3, 0], 2)) == [0, 1, 0, 1, 0]
    assert stream_order(np.array([0, 0, 1, 1]), None).tolist() == [0, 1, 2, 3]
    mixed = [stream_order(np.repeat(np.arange(4), 3), (0, epoch)).tolist() for epoch in range(6)]
    assert len({tuple(order) for order in mixed}) > 1
    assert all(order[place] + 1 == order[place + 1] for order in mixed for place in (0, 1, 3, 4, 6, 7, 9, 10))
    rows = np.arange(50)
    out = buffered(rows, 8, (0,))
    assert sorted(out) == list(range(50))
    assert all(value <= place + 8 for place, value in enumerate(out)), "nothing leaves before it has come in"
    for some in ([], [3], [0, 1, 2, 7, 9, 10]):
        pairs = to_intervals(np.array(some, dtype=np.int64))
        assert from_intervals(json.loads(json.dumps(pairs))).tolist() == some
    assert to_intervals(np.array([0, 1, 2, 7, 9, 10])) == [[0, 3], [7, 8], [9, 11]]


# -- items and coverage


def test_items_are_those_of_the_dataset(small: Path) -> None:
    options: dict[str, Any] = {**LIGHT, "split": "train", "return_prompt": True}
    expected = {item["video_id"]: item for item in (UnsafeVideoDataset(small, **options)[n] for n in range(12))}
    found = list(UnsafeVideoIterableDataset(small, **options))
    assert sorted(item["video_id"] for item in found) == sorted(expected)
    for item in found:
        other = expected[item["video_id"]]
        assert item.pop("real") is True
        assert item.keys() == other.keys()
        assert all(torch.equal(item[key], other[key]) for key in ("video", "mask", "target"))
        assert item["prompt"] == other["prompt"]


@pytest.mark.parametrize(
    ("method", "uneven"), [("fork", "keep"), ("fork", "pad"), pytest.param("spawn", "pad", marks=pytest.mark.slow)]
)
def test_ranks_and_workers_cover_everything_once(small: Path, method: str, uneven: Any) -> None:
    got: list[str] = []
    steps = []
    for rank in (0, 1):
        dataset = UnsafeVideoIterableDataset(
            small, split="train", shuffle=True, buffer_size=4, num_replicas=2, rank=rank, uneven=uneven, **LIGHT
        )
        loader = DataLoader(dataset, 2, collate_fn=collate, num_workers=2, multiprocessing_context=method)
        batches = list(loader)
        steps.append(len(batches))
        got += [name for batch in batches for name, real in zip(batch["video_id"], batch["real"], strict=True) if real]
    assert sorted(got) == releases.ids(small, "train")
    assert steps[0] == steps[1] or uneven == "keep"


def test_more_workers_than_videos(small: Path) -> None:
    ids = releases.ids(small, "validation", categories=["political"])
    dataset = UnsafeVideoIterableDataset(small, split="validation", categories=["political"], **LIGHT)
    loader = DataLoader(dataset, 2, collate_fn=collate, num_workers=len(ids) + 1, multiprocessing_context="fork")
    assert sorted(names(loader)) == ids
    empty = [
        UnsafeVideoIterableDataset(small, split="validation", num_replicas=60, rank=59, uneven=uneven, **LIGHT)
        for uneven in ("keep", "pad")
    ]
    assert list(empty[0]) == []
    assert [item["real"] for item in empty[1]] == [False], "an empty shard still takes its step, of nothing real"


def test_epochs_and_seeds(small: Path) -> None:
    def order(epoch: int = 0, **options: Any) -> list[str]:
        dataset = UnsafeVideoIterableDataset(small, split=None, **{"shuffle": True, "buffer_size": 8, **LIGHT, **options})
        dataset.set_epoch(epoch)
        return [item["video_id"] for item in dataset]

    assert order() == order()
    assert order(1) != order() != order(seed=1)
    assert sorted(order(1)) == sorted(order())
    assert order(shuffle=False) == order(5, shuffle=False)


def test_workers_that_live_on_see_the_epoch(small: Path) -> None:
    dataset = UnsafeVideoIterableDataset(small, shuffle=True, buffer_size=8, **LIGHT)
    loader = DataLoader(dataset, 2, collate_fn=collate, num_workers=1, persistent_workers=True, multiprocessing_context="fork")
    seen = []
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        seen.append(names(loader))
    assert seen[0] == seen[2] != seen[1]


def test_it_pickles_and_remembers_its_place(small: Path) -> None:
    def make(**options: Any) -> Any:
        return UnsafeVideoIterableDataset(small, **{"shuffle": True, "buffer_size": 4, "split": "train", **LIGHT, **options})

    whole = [item["video_id"] for item in make()]
    dataset = make()
    first = [item["video_id"] for item in itertools.islice(dataset, 5)]
    state = json.loads(json.dumps(dataset.state_dict()))
    again = pickle.loads(pickle.dumps(make()))
    again.load_state_dict(state)
    assert again.state_dict() == state
    assert first + [item["video_id"] for item in again] == whole
    assert [item["video_id"] for item in again] == whole, "the next pass is a whole one"
    for wrong, words in (
        (make(split="test"), "videos_sha256"),
        (make(seed=4), "seed"),
        (make(buffer_size=5), "buffer_size"),
        (make(num_replicas=2, rank=0), "another rank"),
    ):
        with pytest.raises(InputError, match=words):
            wrong.load_state_dict(state)
    with pytest.raises(InputError, match="no yielded"):
        make().load_state_dict({key: value for key, value in state.items() if key != "yielded"})


def test_choices(small: Path) -> None:
    for options, error in (
        ({"buffer_size": 0}, InputError),
        ({"uneven": "drop"}, FilterError),
        ({"config": "metadata"}, FilterError),
        ({"split": "dev"}, FilterError),
        ({"rank": 1}, InputError),
    ):
        with pytest.raises(error):
            UnsafeVideoIterableDataset(small, **{**LIGHT, **options})


# -- what is read


class Counting(Release):
    """Counts reads of row groups that hold videos."""

    def read_group(self, path: Path, group: int, columns: Any) -> Any:
        if "video" in columns:
            self.__dict__.setdefault("reads", []).append((path.name, group))
        return super().read_group(path, group, columns)


@pytest.mark.parametrize("shuffle", [False, True])
def test_each_row_group_is_read_once(big: Path, shuffle: bool) -> None:
    opened = Release.open(big)
    release = Counting(opened.path, opened.manifest, opened.manifest_sha256)
    groups = sum(len(release.footer(path).row_groups) for path in release.data_files("reviewed", "train"))
    list(UnsafeVideoIterableDataset(release, shuffle=shuffle, buffer_size=20, **LIGHT))
    assert len(release.reads) == groups  # type: ignore[attr-defined]
    release.__dict__["reads"] = []
    for rank in (0, 1, 2):
        list(UnsafeVideoIterableDataset(release, shuffle=shuffle, num_replicas=3, rank=rank, **LIGHT))
    assert len(release.reads) <= groups + 2, "only the groups between two pieces are read by both"  # type: ignore[attr-defined]


def test_wrong_bytes_and_errors_in_workers(copy: Path) -> None:
    name = releases.data_file(copy)
    releases.edit_rows(copy, name, lambda rows: rows[0]["video"].update(bytes=b"forged"))
    for workers in (0, 1):
        with pytest.raises(ChecksumError):
            list(DataLoader(UnsafeVideoIterableDataset(copy, **LIGHT), 2, collate_fn=collate, num_workers=workers))


# -- a Hub

STREAM = (
    support.QUICK
    + """
import torch
from torch.utils.data import DataLoader
from unsafe_video_dataset import UniformFrames, UnsafeVideoIterableDataset, collate
if __name__ == "__main__":
    dataset = UnsafeVideoIterableDataset("org/data", clip=UniformFrames(1), size=8, accept_terms=True, on_error="mask")
    loader = DataLoader(dataset, 8, collate_fn=collate, num_workers=2, multiprocessing_context="fork")
    result = {"ids": [name for batch in loader for name in batch["video_id"]], "videos": dataset.num_videos}
"""
)


def test_a_stream_from_a_hub(big: Path, tmp_path: Path) -> None:
    with LoopbackHub() as hub:
        token = support.gated_repo(hub, big)
        result = run_client(hub, STREAM, tmp_path, token=token).ok()
        ids = releases.ids(big, "train", is_unsafe=True)
        assert sorted(result["ids"]) == ids
        assert result["videos"] == len(ids)
        release = Release.open(big)
        files = release.data_files("unsafe", "train")
        groups = sum(len(release.footer(path).row_groups) for path in files)
        bodies = [entry for entry in hub.log.select(kind="body", origin="cdn") if entry.status == 206]
        # Each worker reads the footers of its files and its row groups; one group may lie between two pieces.
        assert len(files) + groups <= len(bodies) <= 2 * len(files) + groups + 1
        assert len(Counter((entry.file, str(entry.range)) for entry in bodies)) >= groups
