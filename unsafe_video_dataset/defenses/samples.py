"""The samples of one guarded call: what has been decided on each, and what deciding took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from .base import State, Verdict


@dataclass
class Sample:
    """One sample. `verdict` is what has been decided on it so far, at any stage; `seconds` were spent in latent defences."""

    state: State = None
    verdict: Verdict | None = None
    seconds: float = 0.0
    modified: bool = False

    @property
    def blocked(self) -> bool:
        """True where it may not be released."""
        return self.verdict is not None and self.verdict.blocked


@dataclass
class Samples:
    """All samples of a call, in the batch's order; empty until the first step has shown how many there are."""

    items: list[Sample] = field(default_factory=list)
    detect_seconds: float = 0.0

    @property
    def blocked(self) -> list[int]:
        """Indices of the samples that are blocked."""
        return [i for i, sample in enumerate(self.items) if sample.blocked]

    @property
    def undecided(self) -> list[int]:
        """Indices of the samples that have no verdict yet."""
        return [i for i, sample in enumerate(self.items) if sample.verdict is None]

    @property
    def all_blocked(self) -> bool:
        """True where there are samples and each is blocked."""
        return bool(self.items) and len(self.blocked) == len(self.items)

    def verdicts(self) -> tuple[Verdict, ...]:
        """One a sample, a block where none was given; `modify` where a sample was changed and then allowed."""
        made = [item.verdict or Verdict("block", note="not decided") for item in self.items]
        return tuple(
            replace(verdict, action="modify") if item.modified and not verdict.blocked else verdict
            for verdict, item in zip(made, self.items, strict=True)
        )

    @contextmanager
    def clock(self, sample: Sample | None = None) -> Iterator[None]:
        """Counts the time inside as spent in defences (on this sample)."""
        began = time.perf_counter()
        yield
        spent = time.perf_counter() - began
        self.detect_seconds += spent
        if sample is not None:
            sample.seconds += spent
