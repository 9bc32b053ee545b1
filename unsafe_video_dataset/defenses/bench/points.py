"""Operating points: how step scores become decisions. Chosen on validation votes, applied once to test votes. No torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..evidence import fit_evidence
from ..rule import EtaLambda, decide_all
from ..sequential import SequentialTest
from ..trace_votes import StepVotes
from .thresholds import LIMITS

Rule = Literal["eta-lambda", "single step", "sequential"]
ALPHAS = (0.005, 0.01, 0.02, 0.05, 0.1)


@dataclass(frozen=True)
class Point:
    """One way to decide, with what it did on validation: `accuracy` over `n` samples, `steps` mean steps of blocked ones.

    `eta` is the number of steps looked at (for `single step`, the step; for `sequential`, where it is cut off), `lam` the share
    of positive votes as a fraction, `thresholds` by category; `alpha` and `evidence` are those of the sequential test.
    """

    rule: Rule
    eta: int
    lam: str = "1"
    thresholds: dict[str, float] = field(default_factory=dict)
    alpha: float | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    accuracy: float = 0.0
    steps: float = 0.0
    n: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the evidence's covariance."""
        return {name: value for name, value in asdict(self).items() if name != "evidence"}

    def step_rule(self) -> EtaLambda | SequentialTest:
        """The rule for a guard. Raises `InputError` for a single step, which a guard has no rule for."""
        if self.rule == "single step":
            raise InputError("A guard looks at every step up to eta; use eta-lambda or sequential in one.")
        return self._sequential() if self.rule == "sequential" else EtaLambda(self.eta, Fraction(self.lam))

    def decide(self, votes: StepVotes) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.float64]]:
        """(blocked [n], steps until certain [n], score [n]) on votes whose first steps are 1, 2, 3…"""
        if self.rule == "sequential":
            test = self._sequential()
            blocked, step, _ = test.decide_all(votes.score)
            return blocked, step, np.asarray(test.evidence.llrs(votes.score[:, : self.eta])[:, -1])
        limits = np.array([self.thresholds[name] for name in votes.categories])
        if self.rule == "single step":
            at = votes.steps.index(self.eta)
            found = np.asarray((votes.scores[:, at] >= limits).any(axis=1))
            return found, np.full(len(found), self.eta, dtype=np.int64), np.asarray(votes.score[:, at])
        said = np.asarray((votes.scores[:, : self.eta] >= limits).any(axis=2))
        blocked, step, _ = decide_all(said, EtaLambda(self.eta, Fraction(self.lam)))
        return blocked, step, np.asarray(votes.score[:, : self.eta].mean(axis=1))

    def category_scores(self, votes: StepVotes) -> NDArray[np.float64]:
        """float64 [n, K]: the mean probability over the steps that the point looks at."""
        if self.rule == "single step":
            return votes.scores[:, votes.steps.index(self.eta)]
        return np.asarray(votes.scores[:, : self.eta].mean(axis=1))

    def _sequential(self) -> SequentialTest:
        from ..evidence import Evidence

        alpha = float(self.alpha or 0.05)
        return SequentialTest(Evidence.from_dict(self.evidence), alpha=alpha, beta=alpha, truncate=self.eta)


def eta_lambda(votes: StepVotes, *, etas: Sequence[int]) -> list[Point]:
    """For each eta the threshold and lambda with the best accuracy on these votes; ties go to the fewer steps."""
    made = []
    for eta in etas:
        shares = [str(Fraction(needed, eta)) for needed in range(1, eta + 1)]
        made.append(_best([Point("eta-lambda", eta, lam, one) for one in _limits(votes) for lam in shares], votes))
    return made


def grid(votes: StepVotes, *, etas: Sequence[int], lams: Sequence[str]) -> list[Point]:
    """For each (eta, lambda) the threshold with the best accuracy on these votes, eta by eta."""
    return [
        _best([Point("eta-lambda", eta, str(Fraction(lam)), one) for one in _limits(votes)], votes)
        for eta in etas
        for lam in lams
    ]


def single_steps(votes: StepVotes) -> list[Point]:
    """For each recorded step alone the threshold with the best accuracy."""
    return [_best([Point("single step", step, "1", one) for one in _limits(votes)], votes) for step in votes.steps]


def sequential(votes: StepVotes, *, cuts: Sequence[int]) -> list[Point]:
    """For each cut the error rate (alpha = beta) with the best accuracy; the evidence is fitted on the same votes."""
    return [_best(_tests(votes, cut), votes) for cut in cuts]


def sequential_within(votes: StepVotes, *, cuts: Sequence[int], most: float) -> Point:
    """The sequential test with the best accuracy on these votes among those that block within `most` steps in the mean.

    Two standard errors of that mean have to fit below `most` too, so that it holds for other samples as well. Where no test
    is so quick, the quickest is taken.
    """
    tests = [_judged(point, votes) for cut in cuts for point in _tests(votes, cut)]
    quick = [point for point in tests if _most_steps(point, votes) <= most]
    return max(quick, key=lambda point: (point.accuracy, -point.steps)) if quick else min(tests, key=lambda point: point.steps)


def _tests(votes: StepVotes, cut: int) -> list[Point]:
    evidence = fit_evidence(votes.score[:, :cut], votes.unsafe, steps=votes.steps[:cut]).to_dict()
    return [Point("sequential", cut, alpha=alpha, evidence=evidence) for alpha in ALPHAS]


def _most_steps(point: Point, votes: StepVotes) -> float:
    """Mean steps of blocked samples, and two standard errors more."""
    blocked, step, _ = point.decide(votes)
    spent = step[blocked]
    return point.steps + 2 * float(spent.std()) / math.sqrt(max(len(spent), 1))


def cheapest(points: Sequence[Point]) -> Point:
    """Of points whose accuracy is within one standard error of the best one's, the one with the fewest steps.

    The one-standard-error rule: Breiman et al., Classification and Regression Trees (1984), section 3.4.3.
    """
    best = max(points, key=lambda point: point.accuracy)
    error = (best.accuracy * (1 - best.accuracy) / best.n) ** 0.5
    good = [point for point in points if point.accuracy >= best.accuracy - error]
    return min(good, key=lambda point: (point.steps, point.eta))


def _limits(votes: StepVotes) -> list[dict[str, float]]:
    return [dict.fromkeys(votes.categories, limit) for limit in LIMITS]


def _best(points: Sequence[Point], votes: StepVotes) -> Point:
    found = [_judged(point, votes) for point in points]
    return max(found, key=lambda point: (point.accuracy, -point.steps, -abs(_limit(point) - 0.5)))


def _limit(point: Point) -> float:
    return max(point.thresholds.values(), default=0.5)


def _judged(point: Point, votes: StepVotes) -> Point:
    blocked, step, _ = point.decide(votes)
    spent = float(step[blocked].mean()) if blocked.any() else float(point.eta)
    values = {name: getattr(point, name) for name in ("rule", "eta", "lam", "thresholds", "alpha", "evidence")}
    return Point(**values, accuracy=float((blocked == votes.unsafe).mean()), steps=spent, n=len(blocked))
