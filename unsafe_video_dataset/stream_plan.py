"""How a stream of videos is ordered and dealt out to processes and workers. Pure functions of numbers.

The stream of an epoch is one list of positions for all. A pass over it begins with what is left (`start`), cuts this into one
piece a worker, all of nearly the same length, and each worker yields its piece through a shuffle buffer. What a loop has
taken after a number of batches follows from that, so nothing has to be asked of workers or other processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """Who reads: `ranks` processes with `workers` workers each (1 where the process reads itself), in batches of `batch`."""

    ranks: int = 1
    workers: int = 1
    batch: int = 1


@dataclass(frozen=True)
class Pass:
    """One pass over (the rest of) an epoch: positions that are left, ascending; the shuffle buffer; `pad`: equal ranks."""

    left: Positions
    layout: Layout
    buffer: int = 0
    seed: tuple[int, ...] = (0,)
    pad: bool = False

    def piece(self, rank: int, worker: int) -> Positions:
        """What a worker yields in this pass, in its order."""
        return buffered(self._rows(rank, worker), self.buffer, self.seed)

    def repeat(self, rank: int) -> int | None:
        """The position that this rank yields although another one owns it (`pad`), if there is one: the first, rank 0's."""
        return int(self.left[0]) if self.pad and 0 < len(self.left) % self.layout.ranks <= rank else None

    def _rows(self, rank: int, worker: int) -> Positions:
        mine, repeat = cut(self.left, self.layout.ranks)[rank], self.repeat(rank)
        return cut(mine if repeat is None else np.append(mine, repeat), self.layout.workers)[worker]

    def taken(self, rank: int, batches: int) -> list[int]:
        """How many rows of each worker's piece the first `batches` batches of a rank hold."""
        lengths = [len(self._rows(rank, worker)) for worker in range(self.layout.workers)]
        taken = [0] * len(lengths)
        for worker, _ in zip(turns(lengths, self.layout.batch), range(batches), strict=False):
            taken[worker] = min(taken[worker] + self.layout.batch, lengths[worker])
        return taken

    def next_pieces(self, rank: int, batches: int) -> list[tuple[int, int]]:
        """(worker of this pass, rows it has given) for those with rows left, the one whose turn it is first."""
        lengths = [len(self._rows(rank, worker)) for worker in range(self.layout.workers)]
        order = [worker for number, worker in enumerate(turns(lengths, self.layout.batch)) if number >= batches]
        taken = self.taken(rank, batches)
        return [(worker, taken[worker]) for worker in dict.fromkeys(order)]

    def rest(self, batches: int) -> Positions:
        """Positions that no process has taken after so many batches each, ascending."""
        gone = [self.left[:0]]
        for rank in range(self.layout.ranks):
            for worker, count in enumerate(self.taken(rank, batches)):
                rows = self.piece(rank, worker)[:count]
                gone.append(rows[rows != self.repeat(rank)] if self.repeat(rank) is not None else rows)
        return np.setdiff1d(self.left, np.concatenate(gone))

    def batches(self, rank: int) -> int:
        """Batches that a rank gets in this pass."""
        return sum(-(-len(self._rows(rank, worker)) // self.layout.batch) for worker in range(self.layout.workers))


def stream_order(blocks: Positions, seed: Sequence[int] | None) -> Positions:
    """Rows in the order of the stream: as stored, or whole blocks (row groups) in random order. `blocks`: block of each row."""
    if seed is None or not len(blocks):
        return np.arange(len(blocks), dtype=np.int64)
    names, inverse = np.unique(blocks, return_inverse=True)
    place = np.random.default_rng([*seed, 1]).permutation(len(names))
    return np.argsort(place[inverse], kind="stable").astype(np.int64)


def buffered(rows: Positions, size: int, seed: Sequence[int]) -> Positions:
    """The rows as they leave a shuffle buffer of `size` rows (below 2: in order): one goes at random for each that comes."""
    if size < 2 or len(rows) < 2:
        return rows
    rng = np.random.default_rng([*seed, 2, int(rows[0])])
    held = rows[:size].tolist()
    out = []
    for coming, place in zip(rows[size:].tolist(), rng.integers(size, size=max(len(rows) - size, 0)), strict=True):
        out.append(held[place])
        held[place] = coming
    return np.array(out + [held[place] for place in rng.permutation(len(held))], dtype=np.int64)


def cut(rows: Positions, parts: int) -> list[Positions]:
    """Consecutive parts whose lengths differ by at most one, the longer ones first."""
    return list(np.array_split(rows, parts))


def turns(lengths: Sequence[int], batch: int) -> Iterator[int]:
    """Which worker gives each batch: round by round, those that have rows left (the order of torch's DataLoader)."""
    left = [-(-length // batch) for length in lengths]
    while any(left):
        for worker, batches in enumerate(left):
            if batches:
                left[worker] -= 1
                yield worker


def to_intervals(rows: Positions) -> list[list[int]]:
    """Ascending positions as [first, last + 1] pairs."""
    if not len(rows):
        return []
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    return [[int(run[0]), int(run[-1]) + 1] for run in np.split(rows, breaks)]


def from_intervals(pairs: Sequence[Sequence[int]]) -> Positions:
    """The positions of `to_intervals`."""
    parts = [np.arange(first, end, dtype=np.int64) for first, end in pairs]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def check_identity(identity: dict[str, Any], state: dict[str, Any], *keys: str) -> None:
    """Raise `InputError` unless a saved state has these keys, whole numbers where numbers are due, and fits this run."""
    missing = {*identity, *keys} - state.keys()
    if missing:
        raise InputError(f"This is no state of a {identity['sampler']}: it has no {', '.join(sorted(missing))}.")
    other = [name for name, value in identity.items() if state[name] != value]
    if other:
        raise InputError(
            f"The saved state differs from this run in {', '.join(other)}: it would go on with other videos or in another "
            "order. Open the release, split and filters of that run with the same sampler and seed, or start anew."
        )
    for key in {"epoch", "taken", "yielded", "batches"} & {*keys}:
        if type(state[key]) is not int or state[key] < 0:
            raise InputError(f"The saved state says {key} {state[key]!r}; it must be a whole number of at least 0.")
