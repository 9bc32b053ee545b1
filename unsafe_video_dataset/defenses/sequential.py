"""A sequential test as a third way to decide: stop as soon as the evidence of all steps so far is strong enough, either way.

Wald, "Sequential Tests of Statistical Hypotheses" (1945): add up log-likelihood ratios of unsafe against safe, block above
ln((1 - beta) / alpha), allow below ln(beta / (1 - alpha)), go on in between. The ratios come from `evidence`. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import FilterError, InputError
from .evidence import Evidence, Trail
from .rule import Decision


@dataclass(frozen=True)
class Rates:
    """How the truncated test does on `n` simulated videos a class, drawn from its own evidence."""

    n: int
    false_blocks: float
    misses: float
    mean_steps_safe: float
    mean_steps_unsafe: float

    def to_dict(self) -> dict[str, object]:
        """The rates as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class SequentialTest:
    """A `StepRule`: Wald's test on `evidence`, cut off after `truncate` steps (default: all that the evidence knows).

    `alpha` is the share of safe videos that may be blocked, `beta` that of unsafe ones that may pass; both hold by Wald's
    bounds (`bounds`) where the evidence's model holds and the test isn't cut off. At the cut the video is unsafe where the
    summed ratio is at least `at_cut` (0: whichever is likelier); what that does to the rates, `rates` simulates. Steps
    that are missing count against the video, as in `EtaLambda`. It takes the votes of the steps that the evidence was fitted on
    (`at`), in generations of as many steps. Raises `FilterError` on settings out of range.
    """

    evidence: Evidence
    alpha: float = 0.05
    beta: float = 0.05
    truncate: int | None = None
    at_cut: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.alpha < 1 and 0 < self.beta < 1 and self.alpha + self.beta < 1):
            raise FilterError(f"alpha={self.alpha!r}, beta={self.beta!r}: give two error rates above 0, together below 1.")
        if self.truncate is None:
            object.__setattr__(self, "truncate", self.evidence.steps)
        if (
            isinstance(self.truncate, bool)
            or not isinstance(self.truncate, int)
            or not 1 <= self.truncate <= self.evidence.steps
        ):
            raise FilterError(f"truncate={self.truncate!r}: give a whole number of steps from 1 to {self.evidence.steps}.")

    @property
    def limits(self) -> tuple[float, float]:
        """(allow at or below, block at or above), in nats."""
        return math.log(self.beta / (1 - self.alpha)), math.log((1 - self.beta) / self.alpha)

    @property
    def bounds(self) -> tuple[float, float]:
        """Wald's bounds on (share of safe videos blocked, share of unsafe ones allowed), without a cut."""
        return self.alpha / (1 - self.beta), self.beta / (1 - self.alpha)

    def outcome(self, llr: float, seen: int) -> bool | None:
        """True (unsafe), False (safe) or None, with this summed ratio after `seen` steps."""
        low, high = self.limits
        if llr >= high:
            return True
        if llr <= low:
            return False
        return llr >= self.at_cut if seen >= self._cut else None

    def run(self, scores: Sequence[float]) -> Decision:
        """Take scores one at a time and stop at the first that decides. Raises `InputError` without any, or on a NaN."""
        if not len(scores):
            raise InputError("No scores: a generation of no steps can't be judged.")
        trail = Trail()
        for seen, score in enumerate(scores, 1):
            trail = self.evidence.add(trail, score)
            unsafe = self.outcome(trail.llr, seen)
            if unsafe is not None:
                return Decision(unsafe, seen)
        return Decision(True, len(scores), complete=False)

    def decide_all(self, scores: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.bool_]]:
        """`run` on every row of [N, steps] at once: (unsafe, step, complete), each [N]."""
        sums = self.evidence.llrs(np.asarray(scores)[:, : self._cut])
        (low, high), seen = self.limits, sums.shape[1]
        certain = (sums >= high) | (sums <= low)
        certain[:, -1] |= seen >= self._cut
        complete = certain.any(axis=1)
        first = np.where(complete, certain.argmax(axis=1), seen - 1)
        at = sums[np.arange(len(sums)), first]
        unsafe = (at >= high) | ((at > low) & (at >= self.at_cut)) | ~complete
        return np.asarray(unsafe), np.asarray(first + 1, dtype=np.int64), np.asarray(complete)

    def rates(self, *, count: int = 20_000, seed: int = 0) -> Rates:
        """The test's error rates and mean lengths on `count` videos a class, simulated from its evidence, cut included."""
        blocked, short, _ = self.decide_all(self.evidence.draw(count, unsafe=False, seed=2 * seed))
        caught, long, _ = self.decide_all(self.evidence.draw(count, unsafe=True, seed=2 * seed + 1))
        return Rates(count, float(blocked.mean()), float(1 - caught.mean()), float(short.mean()), float(long.mean()))

    # -- as a StepRule

    @property
    def at(self) -> tuple[int, ...]:
        """The denoising steps that vote: those of the evidence, up to the cut."""
        return self.evidence.at[: self._cut]

    def start(self, num_steps: int) -> Trail:
        """See `StepRule.start`. Raises `InputError` where the pipeline samples in another number of steps than the evidence
        was fitted on, or in fewer than the test may take."""
        fitted = self.evidence.num_steps
        if fitted is not None and num_steps != fitted:
            raise InputError(
                f"The evidence was fitted on generations of {fitted} steps, but the pipeline samples in {num_steps}, where "
                f"step {self.at[0]} is another level of noise. Sample in {fitted} steps, or record, train and calibrate anew."
            )
        if num_steps < self.at[-1]:
            enough = sum(step <= num_steps for step in self.at)
            raise InputError(
                f"The sequential test may take {self._cut} steps, up to step {self.at[-1]}, but the pipeline samples in "
                f"{num_steps}: what is undecided then would be blocked. Choose truncate <= {enough} or more steps."
            )
        return Trail()

    def update(self, state: Trail, *, vote: bool, score: float) -> tuple[Trail, bool | None]:
        """See `StepRule.update`; only the score counts."""
        state = self.evidence.add(state, score)
        return state, self.outcome(state.llr, len(state.safe))

    def finish(self, state: Trail) -> bool:
        """Undecided is unsafe."""
        return self.outcome(state.llr, len(state.safe)) is not False

    @property
    def _cut(self) -> int:
        return self.truncate if self.truncate is not None else self.evidence.steps
