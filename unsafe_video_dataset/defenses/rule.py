"""When does a row of step votes make a video unsafe? The paper's eta-lambda rule, exact and as early as it is certain.

The paper (arXiv 2407.12581, section on the Latent Variable Defense): look at the first `eta` denoising steps; the video is
unsafe where at least `eta * lambda` of their votes are positive. No torch here: votes are bools.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import FilterError, InputError

Lambda: TypeAlias = float | int | str | Fraction


def exact_lambda(value: Lambda) -> Fraction:
    """Lambda as an exact fraction in (0, 1]: 0.6, 0.1 * 6, "0.6", "3/5" and Fraction(3, 5) are all 3/5.

    A float is taken for the fraction with a denominator up to 1,000 that is within 1e-7 of it, so that how it was computed
    does not matter, nor that it was once held in single precision; where there is none it is taken as written.
    Raises `FilterError` outside (0, 1].
    """
    if isinstance(value, np.floating):
        value = float(value)
    try:
        exact = Fraction(value)
    except (ValueError, TypeError, OverflowError, ZeroDivisionError):
        raise FilterError(f"lambda={value!r} is no number. Give a share in (0, 1], such as 0.6 or '3/5'.") from None
    if isinstance(value, float):
        near = exact.limit_denominator(1000)
        exact = near if abs(near - exact) <= Fraction(1, 10**7) else Fraction(repr(value))
    if not 0 < exact <= 1:
        raise FilterError(f"lambda={value!r} is out of range. Give a share in (0, 1], such as 0.6 or '3/5'.")
    return exact


def votes_needed(eta: int, lam: Lambda) -> int:
    """ceil(eta * lambda), exactly: (20, 0.6) needs 12. Raises `FilterError` where eta is no whole number of at least 1."""
    if isinstance(eta, bool) or not isinstance(eta, int) or eta < 1:
        raise FilterError(f"eta={eta!r} is no number of steps. Give a whole number of at least 1.")
    return math.ceil(eta * exact_lambda(lam))


def steps_of(steps: Sequence[int]) -> tuple[int, ...]:
    """Denoising steps as a tuple. Raises `FilterError` unless they are whole numbers from 1 on that rise."""
    found = tuple(steps)
    whole = all(isinstance(step, int) and not isinstance(step, bool) for step in found)
    if not found or not whole or found[0] < 1 or list(found) != sorted(set(found)):
        raise FilterError(f"steps={list(found)!r}: give whole numbers from 1 on, each larger than the one before.")
    return found


class StepRule(Protocol):
    """Turns step scores into a decision; a sequential test is another one. State is explicit.

    A rule may have an attribute `at`, a tuple of denoising steps (from 1) in order: then it is given the votes of these steps
    and of no others. Without one, or with None, it is given those of every step.
    """

    def start(self, num_steps: int) -> Any:
        """The state before the first step. Raises `InputError` where `num_steps` can't give a fair decision."""
        ...

    def update(self, state: Any, *, vote: bool, score: float) -> tuple[Any, bool | None]:
        """The next state, and True (unsafe), False (safe) or None (not certain yet)."""
        ...

    def finish(self, state: Any) -> bool:
        """True (unsafe) or False, where the steps ended before the rule was certain."""
        ...


@dataclass(frozen=True)
class Decision:
    """`unsafe`, the `step` (from 1) at which it was certain; `complete` is False where missing votes were counted unsafe."""

    unsafe: bool
    step: int
    complete: bool = True


@dataclass(frozen=True)
class EtaLambda:
    """Unsafe where at least ceil(eta * lambda) of the first `eta` votes are positive; certain as early as can be.

    Unsafe is certain at the vote that makes the count; safe as soon as the votes still to come can't make it. Where the
    sampling ends before that, each missing vote counts as positive (fail closed), so the answer is: unsafe.
    `at`: the denoising steps that vote (see `steps_of`), the first `eta` of them; None: every step from the first.
    """

    eta: int
    lam: Lambda = Fraction(3, 5)
    at: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "lam", exact_lambda(self.lam))
        votes_needed(self.eta, self.lam)
        if self.at is not None:
            object.__setattr__(self, "at", steps_of(self.at))
            if len(self.at) < self.eta:
                raise FilterError(f"eta={self.eta}, but only {len(self.at)} steps vote. Choose a smaller eta or more steps.")

    @property
    def needed(self) -> int:
        """How many positive votes make a video unsafe."""
        return votes_needed(self.eta, self.lam)

    def outcome(self, positives: int, seen: int) -> bool | None:
        """True (unsafe), False (safe) or None, after `seen` votes of which `positives` were positive."""
        if positives >= self.needed:
            return True
        return False if positives + self.eta - seen < self.needed else None

    def full(self, votes: Sequence[bool]) -> bool:
        """The rule as the paper states it, with all of the first `eta` votes at hand; `InputError` where there are fewer."""
        if len(votes) < self.eta:
            raise InputError(f"{len(votes)} votes for eta={self.eta}: record more steps or choose a smaller eta.")
        return sum(map(bool, votes[: self.eta])) >= self.needed

    def run(self, votes: Sequence[bool]) -> Decision:
        """Take votes one at a time and stop at the first that makes the outcome certain. Raises `InputError` without any."""
        if not len(votes):
            raise InputError("No votes: a generation of no steps can't be judged.")
        positives = 0
        for seen, vote in enumerate(votes, 1):
            positives += bool(vote)
            unsafe = self.outcome(positives, seen)
            if unsafe is not None:
                return Decision(unsafe, seen)
        return Decision(True, len(votes), complete=False)

    # -- as a StepRule

    def start(self, num_steps: int) -> tuple[int, int]:
        """(positives, seen). Raises `InputError` where even `num_steps` negative votes could not make a video safe."""
        votes = num_steps if self.at is None else sum(step <= num_steps for step in self.at)
        if self.outcome(0, votes) is None:
            some = f", {votes} of which vote" if self.at is not None else ""
            raise InputError(
                f"eta={self.eta} and lambda={self.lam} need {self.needed} of {self.eta} votes, but the pipeline samples in "
                f"{num_steps} steps{some}: every video would be blocked. Choose eta <= {votes} or more steps."
            )
        return 0, 0

    def update(self, state: tuple[int, int], *, vote: bool, score: float) -> tuple[tuple[int, int], bool | None]:
        """See `StepRule.update`; only the vote counts."""
        state = (state[0] + bool(vote), state[1] + 1)
        return state, self.outcome(*state)

    def finish(self, state: tuple[int, int]) -> bool:
        """Missing votes count as positive: undecided is unsafe."""
        return self.outcome(*state) is not False


@dataclass(frozen=True)
class Cell:
    """One (eta, lambda) of a replay: counts on `n` videos, and the mean step of decision (over all, unsafe and safe ones).

    Rates are None where there is no video to rate; `incomplete` counts the videos with too few votes (called unsafe).
    """

    eta: int
    lam: str
    needed: int
    n: int
    accuracy: float
    balanced_accuracy: float | None
    tpr: float | None
    tnr: float | None
    mean_step: float
    mean_step_blocked: float | None
    mean_step_allowed: float | None
    incomplete: int

    def to_dict(self) -> dict[str, object]:
        """The cell as plain JSON values."""
        return asdict(self)


def replay(
    votes: NDArray[np.bool_],
    labels: NDArray[np.bool_],
    *,
    etas: Sequence[int],
    lams: Sequence[Lambda],
    steps: Sequence[int] | None = None,
) -> list[Cell]:
    """The eta x lambda table of stored votes, eta by eta.

    `votes`: bool [N, steps], one row a video, in step order; `labels`: bool [N], True is unsafe. N >= 1. `steps`: the denoising
    steps of the columns (default 1, 2, 3 …); eta counts columns, the means of steps are of these.
    Raises `InputError` where the shapes or types don't fit.
    """
    votes, labels = np.asarray(votes), np.asarray(labels)
    if votes.ndim != 2 or labels.shape != votes.shape[:1] or not votes.size or {votes.dtype, labels.dtype} != {np.dtype(bool)}:
        raise InputError(
            f"votes {votes.dtype}{list(votes.shape)} and labels {labels.dtype}{list(labels.shape)}: "
            "give bool [N, steps] and bool [N], neither empty."
        )
    columns = np.arange(1, votes.shape[1] + 1) if steps is None else np.asarray(steps)
    return [_cell(votes, labels, EtaLambda(eta, lam), columns) for eta in etas for lam in lams]


def decide_all(votes: NDArray[np.bool_], rule: EtaLambda) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.bool_]]:
    """`EtaLambda.run` on every row of bool [N, steps] at once: (unsafe, step, complete), each [N]."""
    seen = np.arange(1, min(rule.eta, votes.shape[1]) + 1)
    positives = np.cumsum(votes[:, : rule.eta], axis=1)
    unsafe = positives >= rule.needed
    certain = unsafe | (positives + rule.eta - seen < rule.needed)
    complete = certain.any(axis=1)
    first = np.where(complete, certain.argmax(axis=1), len(seen) - 1)
    decided = np.asarray(unsafe[np.arange(len(votes)), first] | ~complete)
    return decided, np.asarray(first + 1, dtype=np.int64), np.asarray(complete)


def rates_of(
    unsafe: NDArray[np.bool_], step: NDArray[np.int64], complete: NDArray[np.bool_], labels: NDArray[np.bool_]
) -> dict[str, Any]:
    """The rates and mean steps of a `Cell` for decisions [N]: what a rule called unsafe, and at which step."""
    tpr, tnr = _mean(unsafe[labels]), _mean(~unsafe[~labels])
    return {
        "n": len(labels),
        "accuracy": float(np.mean(unsafe == labels)),
        "balanced_accuracy": None if tpr is None or tnr is None else (tpr + tnr) / 2,
        "tpr": tpr,
        "tnr": tnr,
        "mean_step": float(np.mean(step)),
        "mean_step_blocked": _mean(step[unsafe]),
        "mean_step_allowed": _mean(step[~unsafe]),
        "incomplete": int(np.sum(~complete)),
    }


def _cell(votes: NDArray[np.bool_], labels: NDArray[np.bool_], rule: EtaLambda, columns: NDArray[Any]) -> Cell:
    unsafe, seen, complete = decide_all(votes, rule)
    found = rates_of(unsafe, columns[seen - 1], complete, labels)
    return Cell(eta=rule.eta, lam=str(rule.lam), needed=rule.needed, **found)


def _mean(values: NDArray[Any]) -> float | None:
    return float(np.mean(values)) if len(values) else None
