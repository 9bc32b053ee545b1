"""`UnsafeVideoIterableDataset`: a release as a stream, dealt out to processes and workers, resumable."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Iterator
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from .columns import Texts, encoded, lines_sha256
from .errors import InputError, one_of
from .ranks import here
from .release import SAMPLE, Release
from .stream_plan import Layout, Pass, Positions, check_identity, from_intervals, stream_order
from .torch import Sample, UnsafeVideoDataset

_HUB = ("revision", "token", "cache_dir", "local_files_only", "allow_cached", "accept_terms")
_GROUP = 16  # rows of a row group in a release; another size costs reads, nothing else


class UnsafeVideoIterableDataset(IterableDataset[Sample]):
    """The videos of one split as a stream: each row group of the data files is read once and in order, not video by video.

    For releases on the Hub that are not downloaded (`"org/repo"`: the videos come over checked ranges; `stream=False` downloads
    them), and for local ones. `options` are those of `UnsafeVideoDataset`, and so are the items, which also hold
    `"real"`: False for a video that another process has too.

    The split is cut into as many pieces as there are processes times workers, their lengths equal or one apart: every
    video comes exactly once and no worker starves while there are as many videos as workers (`split_dataset_by_node` of
    `datasets` deals out whole shards where their number fits, and else lets each process read everything and keep its
    share; here two neighbours both read the row group between their pieces, and nothing else is read twice).
    `uneven="keep"` lets some processes have one video less; then DistributedDataParallel needs its `join()`.
    `uneven="pad"` gives these one video that another one has, marked `real` False, so that all take the same number of steps.

    `shuffle` puts the row groups in random order and sends each piece through a shuffle buffer of `buffer_size` videos (their
    MP4 bytes are in memory): a function of (seed, epoch) and how the stream is cut. `ResumableLoader` goes on in mid-epoch with
    any number of workers and processes; `state_dict` is for one process without workers, and torchdata's StatefulDataLoader.

    Raises what `UnsafeVideoDataset` and `Release.open` raise, and `InputError` for a rank or buffer size that can't be.
    """

    def __init__(
        self,
        release: Release | str | os.PathLike[str] = SAMPLE,
        *,
        shuffle: bool = False,
        buffer_size: int = 64,
        uneven: Literal["keep", "pad"] = "keep",
        num_replicas: int | None = None,
        rank: int | None = None,
        stream: bool = True,
        **options: Any,
    ) -> None:
        one_of(uneven, ("keep", "pad"), "uneven")
        if buffer_size < 1:
            raise InputError(f"buffer_size={buffer_size} must be at least 1.")
        hub = {name: options.pop(name) for name in _HUB if name in options}
        config, split = options.get("config", "unsafe"), options.get("split", "train")
        one_of(config, ("unsafe", "reviewed"), "config")
        if not isinstance(release, Release):
            release = Release.open(release, config=config, split=split, stream=stream, **hub)
        self.items = UnsafeVideoDataset(release, **options)
        self.shuffle, self.buffer_size, self.uneven = shuffle, buffer_size, uneven
        self.num_replicas, self.rank = here(num_replicas, rank)
        ids = encoded(self.items.video_ids)
        block = _blocks(release, split, ids)
        self._rows = np.lexsort((ids, block))  # stored order
        self._block = block[self._rows]
        self._identity = {
            "sampler": type(self).__name__,
            "videos_sha256": lines_sha256(ids[self._rows]),
            "seed": self.items.seed,
            "shuffle": shuffle,
            "buffer_size": buffer_size if shuffle else 0,
        }
        self._resumed: dict[str, Any] | None = None  # a pass that a loader goes on with
        self._resuming = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]  # seen by workers that live on
        self._skip = self._yielded = 0

    @property
    def num_videos(self) -> int:
        """Videos in the stream, over all processes. (A `len` would be taken for that of one process's batches.)"""
        return len(self._rows)

    @property
    def epoch(self) -> int:
        """The epoch that `set_epoch` set."""
        return int(self.items._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Which epoch comes next: its order and its random clips."""
        if epoch != self.epoch:
            self._skip = 0
        self.items.set_epoch(epoch)

    def new_pass(self, layout: Layout, left: Positions | None = None) -> Pass:
        """The current epoch (or what is left of it) as it is dealt out to a layout of processes and workers."""
        left = np.arange(len(self._rows)) if left is None else left
        seed = (self.items.seed, self.epoch)
        return Pass(left, layout, self.buffer_size if self.shuffle else 0, seed, self.uneven == "pad")

    def __iter__(self) -> Iterator[Sample]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        this, batches = self.new_pass(Layout(self.num_replicas, workers)), 0
        if self._resumed is not None and int(self._resuming):
            state = self._resumed
            this, batches = self.new_pass(Layout(**state["layout"]), from_intervals(state["left"])), state["batches"]
        pieces = this.next_pieces(self.rank, batches)
        piece, given = this.left[:0], 0
        if worker < len(pieces):
            piece, given = this.piece(self.rank, pieces[worker][0]), pieces[worker][1]
        self._yielded = given = max(given, self._skip)
        self._skip = 0
        order = self._rows[stream_order(self._block, (self.items.seed, self.epoch) if self.shuffle else None)]
        items = copy.copy(self.items)
        # A worker opens its own connections: what was opened before a fork must not be used after it.
        release = pickle.loads(pickle.dumps(self.items.release)) if info else self.items.release
        items.release = cast(Release, _Reader(release, {items.video_ids[row] for row in order[piece[given:]]}))
        for position in piece[given:]:
            sample = items[int(order[position])]
            self._yielded += 1
            yield {**sample, "real": int(position) != this.repeat(self.rank)}

    def state_dict(self) -> dict[str, Any]:
        """How far this process, or this worker, is in its piece. JSON values. For more than that: `ResumableLoader`."""
        return {**self._identity, "epoch": self.epoch, "yielded": max(self._yielded, self._skip), "rank": self._place()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`. Raises `InputError` for a state of other videos, settings or another place."""
        self.check_state(state, "epoch", "yielded", "rank")
        if state["rank"] != self._place():
            raise InputError("The state is of another rank or number of processes. ResumableLoader can go on with such a one.")
        self.items.set_epoch(state["epoch"])
        self._skip = state["yielded"]

    def check_state(self, state: dict[str, Any], *keys: str) -> None:
        """Raise `InputError` unless a state has these keys and is of the same videos and settings."""
        check_identity(self._identity, state, *keys)

    def resume(self, state: dict[str, Any] | None) -> None:
        """For loaders: the next passes go on with this state (epoch, left, layout, batches), or begin anew."""
        self._resuming.fill_(0 if state is None else 1)
        if state is not None:
            self._resumed = state

    def identity(self) -> dict[str, Any]:
        """What a state must agree with."""
        return dict(self._identity)

    def _place(self) -> list[int]:
        return [self.rank, self.num_replicas]


class _Reader:
    """Stands in for a release: videos by id, each row group read once for all the videos of it that are wanted."""

    def __init__(self, release: Release, wanted: set[str]) -> None:
        self._release, self._wanted = release, wanted
        self._held: dict[str, bytes] = {}

    def video_bytes(self, video_id: str) -> bytes:
        if video_id not in self._held:
            self._held |= self._release.group_videos(video_id, self._wanted)
        self._wanted.discard(video_id)
        return self._held.pop(video_id)


def _blocks(release: Release, split: str | None, ids: NDArray[np.bytes_]) -> Positions:
    """The number of each video's row group in the order of the data files, as far as the manifest and metadata tell.

    A guess where videos were withdrawn or row groups have another size: reads cost more then, nothing else depends on it.
    """
    table = release.metadata(split, columns=["video_id", "split", "is_unsafe"])
    every, unsafe = encoded(Texts(table["video_id"])), table["is_unsafe"].to_numpy()
    splits = encoded(Texts(table["split"]))
    place = np.argsort(every)
    numbers = np.empty(len(every), np.int64)  # in the order of sorted ids
    first = 0
    for folder in ("not_unsafe", "unsafe"):
        for name in sorted(np.unique(splits).tolist()):
            here = np.flatnonzero((unsafe == (folder == "unsafe"))[place] & (splits == name)[place])
            if len(here):
                block = _groups_of(release, f"{folder}/{name.decode()}", len(here))
                numbers[here] = first + block
                first += int(block[-1]) + 1
    return numbers[np.searchsorted(every[place], ids)]


def _groups_of(release: Release, key: str, count: int) -> Positions:
    """Numbers of the row groups of so many rows of a folder and split, sorted by id; rows too many are in the last one."""
    starts = (f"data/{key}-", f"data/{key}.")
    sizes = [entry["rows"] for entry in sorted(release.manifest["files"], key=lambda entry: str(entry["path"]))
             if entry["path"].startswith(starts)]  # fmt: skip
    numbers, first = [], 0
    for size in sizes:
        numbers.append(first + np.arange(size, dtype=np.int64) // _GROUP)
        first += -(-size // _GROUP)
    found = np.concatenate([*numbers, np.full(count, max(first - 1, 0), np.int64)])
    return found[:count]
