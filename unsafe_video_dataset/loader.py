"""`ResumableLoader`: a DataLoader that knows what its loop has got, and goes on from there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from .errors import InputError
from .samplers import EpochSampler, ShuffleSampler
from .stream_plan import Layout, Pass, from_intervals, to_intervals
from .streaming import UnsafeVideoIterableDataset
from .torch import UnsafeVideoDataset, collate

_FIXED = ("sampler", "batch_sampler", "shuffle", "drop_last", "in_order")


class ResumableLoader:
    """Batches of a dataset, resumable in mid-epoch after any end of the process.

    `batch_size` is that of this process; `options` go to `torch.utils.data.DataLoader` (`num_workers`, `pin_memory`,
    `persistent_workers`, …). `state_dict` counts batches that the loop has got, not those that workers fetched ahead: save it
    after the optimizer's step, with the weights. A run that loads it gets exactly the videos that were not got yet, in the
    same order; with another number of workers or processes or another batch size, still exactly these (a map-style
    dataset keeps the order too, over all processes).

    A batch also holds `"real"`: bool [B], False for a video that another process has too (`uneven="pad"`): leave it out
    of loss and scores. All processes are taken to have done the same number of steps, so the state of any of them will do.

        loader = ResumableLoader(dataset, sampler=BalancedSampler(dataset, seed=1), batch_size=8, num_workers=2)
        for epoch in range(first_epoch, epochs):
            loader.set_epoch(epoch)  # goes on in the middle where a state of this epoch was loaded
            for batch in loader:
                ...; save(loader.state_dict())
    """

    def __init__(
        self,
        dataset: UnsafeVideoDataset | UnsafeVideoIterableDataset,
        *,
        sampler: EpochSampler | None = None,
        batch_size: int = 8,
        **options: Any,
    ) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size} must be at least 1.")
        fixed = [name for name in _FIXED if name in options]
        if fixed:
            raise InputError(
                f"{', '.join(fixed)} can't be set here: the sampler (or the stream) says which videos come and when."
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self._way: _Map | _Stream
        if isinstance(dataset, UnsafeVideoIterableDataset):
            if sampler is not None:
                raise InputError("A stream takes no sampler: give it shuffle= and buffer_size=.")
            self._way = _Stream(dataset, batch_size, max(options.get("num_workers", 0), 1))
        else:
            self._way = _Map(dataset, sampler or ShuffleSampler(dataset), batch_size)
            options["sampler"] = self._way.sampler
        self._options = {"collate_fn": collate, "batch_size": batch_size, **options}
        self._loader: Any = None
        self._loaded = False  # a state that no pass has begun with

    def set_epoch(self, epoch: int) -> None:
        """Which epoch comes next, for order and random clips; the epoch that was loaded goes on where it was."""
        self._loaded = self._loaded and epoch == self._way.epoch
        self._way.set_epoch(epoch)

    def __len__(self) -> int:
        """Batches of the pass that was begun last, or that a loaded state will begin; else of a whole epoch."""
        return self._way.batches()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not self._loaded:
            self._way.rewind()
        self._loaded = False
        self._way.begin()
        if self._loader is None:
            self._loader = DataLoader(self.dataset, **self._options)
        for batch in self._loader:
            yield self._way.count(batch)
        self._way.finish()

    def state_dict(self) -> dict[str, Any]:
        """What the loop has got of the current epoch. JSON values, the same in all processes after the same steps."""
        return self._way.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`. Raises `InputError` for a state of other videos, another sampler or seed."""
        self._way.load_state_dict(state)
        self._loaded = True
        self._loader = None  # workers that live on know nothing of it


class _Map:
    """How far a map-style dataset and its sampler are."""

    def __init__(self, dataset: UnsafeVideoDataset, sampler: EpochSampler, batch_size: int) -> None:
        self.dataset, self.sampler, self.batch_size = dataset, sampler, batch_size
        self._begun()

    def _begun(self) -> None:
        """Note what the next pass is: the sampler forgets its start when it is asked for indices."""
        self._got, self._done = 0, False
        self._start, self._length, self._padded = self.sampler.start, len(self.sampler), self.sampler.padded

    @property
    def epoch(self) -> int:
        return self.sampler.epoch

    def set_epoch(self, epoch: int) -> None:
        new = epoch != self.epoch
        self.dataset.set_epoch(epoch)
        self.sampler.set_epoch(epoch)
        if new:
            self._begun()

    def rewind(self) -> None:
        self.sampler.start = 0

    def batches(self) -> int:
        return -(-self._length // self.batch_size)

    def begin(self) -> None:
        self._begun()

    def count(self, batch: Any) -> Any:
        before = self._got * self.batch_size
        self._got += 1
        size = min(self.batch_size, self._length - before)
        real = torch.ones(size, dtype=torch.bool)
        real[-1] = not (self._padded and before + size == self._length)
        if isinstance(batch, dict):
            return {**batch, "real": real}
        if self._padded:
            raise InputError("uneven='pad' needs a collate_fn that returns a dict, to say in 'real' which video is repeated.")
        return batch

    def finish(self) -> None:
        self._done = True

    def state_dict(self) -> dict[str, Any]:
        reached = self._start + self._got * self.batch_size * self.sampler.num_replicas
        return self.sampler.at(len(self.sampler.order()) if self._done else reached)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sampler.load_state_dict(state)
        self.dataset.set_epoch(self.sampler.epoch)
        self._begun()


class _Stream:
    """How far a stream is: the pass that was begun, and the batches that each process has got of it."""

    def __init__(self, dataset: UnsafeVideoIterableDataset, batch_size: int, workers: int) -> None:
        self.dataset = dataset
        self._layout = Layout(dataset.num_replicas, workers, batch_size)
        self.rewind()

    @property
    def epoch(self) -> int:
        return self.dataset.epoch

    def set_epoch(self, epoch: int) -> None:
        new = epoch != self.epoch
        self.dataset.set_epoch(epoch)
        if new:
            self.rewind()

    def rewind(self) -> None:
        self._pass: Pass = self.dataset.new_pass(self._layout)
        self._before = self._got = 0
        self.dataset.resume(None)

    def batches(self) -> int:
        return self._pass.batches(self.dataset.rank) - self._before

    def begin(self) -> None:
        self._got = 0

    def count(self, batch: Any) -> Any:
        self._got += 1
        if isinstance(batch, dict) and isinstance(batch.get("real"), list):
            return {**batch, "real": torch.tensor(batch["real"])}
        return batch

    def finish(self) -> None:
        self._got = max(self._pass.batches(rank) for rank in range(self._layout.ranks)) - self._before

    def state_dict(self) -> dict[str, Any]:
        left = to_intervals(self._pass.left)
        mine = {"epoch": self.epoch, "left": left, "layout": vars(self._pass.layout), "batches": self._before + self._got}
        return {**self.dataset.identity(), **mine, "uneven": self.dataset.uneven}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.dataset.check_state(state, "epoch", "left", "layout", "batches", "uneven")
        self.dataset.set_epoch(state["epoch"])
        saved = self.dataset.new_pass(Layout(**state["layout"]), from_intervals(state["left"]))
        batches = state["batches"]
        if saved.layout != self._layout or state["uneven"] != self.dataset.uneven:
            before = Pass(saved.left, saved.layout, saved.buffer, saved.seed, state["uneven"] == "pad")
            saved, batches = self.dataset.new_pass(self._layout, before.rest(batches)), 0
        self._pass, self._before, self._got = saved, batches, 0
        self.dataset.resume({"left": to_intervals(saved.left), "layout": vars(saved.layout), "batches": batches})
