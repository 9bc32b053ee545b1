"""Samplers for `UnsafeVideoDataset`: seeded, aware of epoch and rank, resumable in mid-epoch.

The order of an epoch is one list for all processes, a pure function of (video ids, seed, epoch). Process `rank` of
`num_replicas` takes every `num_replicas`-th index of it from its own place on, so that after a step all processes together have
taken a prefix of the list, and how far they are is one number. That is why a run can go on with other numbers of
processes and workers, and still take exactly what was not taken yet, in the same order.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from . import orders
from .columns import encoded, lines_sha256
from .errors import InputError, one_of
from .orders import Indices
from .ranks import here
from .stream_plan import check_identity
from .torch import UnsafeVideoDataset

Uneven = Literal["keep", "pad"]
Spread = Literal["one", "apart", "together"]


class EpochSampler(Sampler[int]):
    """Base of the samplers here: a subclass says the order of an epoch, this class does the rest.

    `uneven` says what happens where the videos can't be dealt out evenly: `"keep"` gives some processes one video less, which
    is right for scoring; `"pad"` gives these a video that another one has too (`padded` says whether this process is one of
    them), so that all take the same number of steps, which DistributedDataParallel needs. `ResumableLoader` marks it.
    """

    def __init__(
        self,
        dataset: UnsafeVideoDataset,
        *,
        seed: int = 0,
        uneven: Uneven = "keep",
        num_replicas: int | None = None,
        rank: int | None = None,
    ) -> None:
        one_of(uneven, get_args(Uneven), "uneven")
        if seed < 0:
            raise InputError(f"seed={seed} must be 0 or more.")
        self.seed = seed
        self.uneven = uneven
        self.num_replicas, self.rank = here(num_replicas, rank)
        self.epoch = 0
        self.start = 0  # how much of the epoch's list all processes together have taken before the next pass
        self._from = self._given = 0  # where the current pass began, and how many indices this process gave out in it
        ids = encoded(dataset.video_ids)
        self._by_id = np.argsort(ids)  # the order must not depend on that of rows
        self._built: tuple[int, Indices] | None = None  # an epoch, and its order
        self._identity = {"sampler": type(self).__name__, "seed": seed, "videos_sha256": lines_sha256(ids[self._by_id])}

    @abstractmethod
    def _positions(self, rng: np.random.Generator) -> Indices:
        """The order of the current epoch, in positions among the videos sorted by id. `rng` follows from seed and epoch."""

    def order(self) -> Indices:
        """The current epoch's list for all processes: indices into the dataset, int64, read-only. Built once an epoch."""
        if self._built is None or self._built[0] != self.epoch:
            found = self._by_id[self._positions(np.random.default_rng([self.seed, self.epoch]))].astype(np.int64)
            found.flags.writeable = False
            self._built = self.epoch, found
        return self._built[1]

    def set_epoch(self, epoch: int) -> None:
        """Which epoch comes next; a new one begins at its start, one that was loaded goes on."""
        if epoch != self.epoch:
            self.epoch, self.start = epoch, 0
            self._from, self._given = 0, 0

    def __iter__(self) -> Iterator[int]:
        """This process's indices, from the loaded place on if a state was loaded since the last pass."""
        mine = self._mine()
        self._from, self._given, self.start = self.start, 0, 0
        return self._counted(mine)

    def _mine(self) -> list[int]:
        rest = self.order()[self.start :]
        if self.uneven == "pad" and len(rest) % self.num_replicas:
            rest = np.resize(rest, -(-len(rest) // self.num_replicas) * self.num_replicas)
        mine: list[int] = rest[self.rank :: self.num_replicas].tolist()
        return mine

    def _counted(self, mine: list[int]) -> Iterator[int]:
        for index in mine:
            self._given += 1
            yield index

    def __len__(self) -> int:
        """Indices that this process gets in the next pass: those of an epoch, or the rest of one that was loaded."""
        left = len(self.order()) - self.start
        each, more = divmod(left, self.num_replicas)
        return each + (self.rank < more or (more > 0 and self.uneven == "pad"))

    @property
    def padded(self) -> bool:
        """Whether the last index of this process in the next pass is one that another process has too."""
        more = (len(self.order()) - self.start) % self.num_replicas
        return self.uneven == "pad" and 0 < more <= self.rank

    def state_dict(self) -> dict[str, Any]:
        """Where the epoch stands after the indices that were given out so far. JSON values.

        A DataLoader with workers takes indices ahead of its loop: `ResumableLoader` (and torchdata's StatefulDataLoader, for
        the same number of workers and processes) know what the loop has got.
        """
        return self.at(self._from + self._given * self.num_replicas)

    def at(self, taken: int) -> dict[str, Any]:
        """The state where all processes together have taken so many indices of the current epoch's list."""
        return {**self._identity, "epoch": self.epoch, "taken": min(taken, len(self.order()))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`; the number of processes may be another one.

        Raises `InputError` for a state of other videos, another seed or another sampler.
        """
        check_identity(self._identity, state, "epoch", "taken")
        self.epoch, self.start = state["epoch"], state["taken"]
        self._from, self._given = self.start, 0


class ShuffleSampler(EpochSampler):
    """Every video once an epoch, in random order; with `shuffle=False` sorted by `video_id`."""

    def __init__(self, dataset: UnsafeVideoDataset, *, shuffle: bool = True, **options: Any) -> None:
        super().__init__(dataset, **options)
        self.shuffle = shuffle
        self._identity["shuffle"] = shuffle

    def _positions(self, rng: np.random.Generator) -> Indices:
        return rng.permutation(len(self._by_id)) if self.shuffle else np.arange(len(self._by_id))


class BalancedSampler(EpochSampler):
    """Every video at least once an epoch, those with rare categories more often: `orders.repeat_factors` says how often.

    A video's factor is that of its rarest category, and the length of an epoch is the same each time. `factors` float [N]
    follows `dataset.video_ids`. For `target="binary"` the two classes are unsafe and not.
    """

    def __init__(self, dataset: UnsafeVideoDataset, *, threshold: float = 0.25, power: float = 0.5, **options: Any) -> None:
        super().__init__(dataset, **options)
        targets: NDArray[np.float64] = dataset.targets.double().numpy()
        self.factors = orders.repeat_factors(targets.reshape(len(targets), -1), threshold=threshold, power=power)
        self._identity |= {"threshold": threshold, "power": power}
        self._identity["factors_sha256"] = hashlib.sha256(self.factors[self._by_id].tobytes()).hexdigest()

    def _positions(self, rng: np.random.Generator) -> Indices:
        return orders.repeated(self.factors[self._by_id], rng)


class GroupSampler(EpochSampler):
    """What happens to the videos of a group (one prompt, and near duplicates: `group_id`), which teach nearly the same.

    `spread="one"`: one video of each group an epoch, another one each time, so a large group weighs no more than a small one;
    after as many epochs as the largest group has videos every video has come. `"apart"`: every video once, those of a
    group spread evenly over the epoch, so that a batch holds two of them only where the group is larger than the number of
    batches, or by chance at a border. `"together"`: every video once, groups next to each other, for losses that compare
    within a group; the end of a batch may cut a group.
    """

    def __init__(self, dataset: UnsafeVideoDataset, *, spread: Spread = "apart", **options: Any) -> None:
        super().__init__(dataset, **options)
        self.spread = one_of(spread, get_args(Spread), "spread")
        self._groups = encoded(dataset.group_ids)[self._by_id]
        self._identity["spread"] = spread
        self._identity["groups_sha256"] = lines_sha256(self._groups)

    def _positions(self, rng: np.random.Generator) -> Indices:
        if self.spread == "apart":
            return orders.apart(self._groups, rng)
        if self.spread == "together":
            return orders.together(self._groups, rng)
        return orders.one_a_group(self._groups, rng, epoch=self.epoch, turn=np.random.default_rng([self.seed]))
