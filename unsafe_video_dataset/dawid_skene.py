"""Dawid-Skene: the true class of each unit and the error rates of each rater, by EM run until it stands still.

Source: A. P. Dawid and A. M. Skene, Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm, Applied
Statistics 28 (1979), 20-28, equations 2.3 to 2.5. Answers may be missing and a rater may answer a unit more than once.
Where a rater never saw a class the maximum likelihood says nothing of the rater's errors in it: that is NaN, not a guess.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError
from .taxonomy import CATEGORIES

Floats = NDArray[np.float64]
TOLERANCE = 1e-6
MAX_ITERATIONS = 5000
SMOOTHING = 1.0  # for categories: with few positives a rater, maximum likelihood does worse than the majority


@dataclass(frozen=True, eq=False)
class DawidSkene:
    """What EM found. `units` [U] and `raters` [R] are sorted ids; the arrays follow them.

    `posterior` float64 [U, K]: probability of each class, rows sum to 1. `confusion` float64 [R, K, K]: probability of
    the answer (last axis) in the true class (middle axis), NaN where the rater saw nothing of that class. `prevalence`
    float64 [K]. `log_likelihood` is natural, of the observed answers. `converged` False: it stopped at the limit.
    """

    units: tuple[str, ...]
    raters: tuple[str, ...]
    posterior: Floats
    confusion: Floats
    prevalence: Floats
    log_likelihood: float
    iterations: int
    converged: bool

    @property
    def sensitivity(self) -> Floats:
        """[R]: of two classes, how often the rater says 1 where 1 is true."""
        return self.confusion[:, 1, 1]

    @property
    def specificity(self) -> Floats:
        """[R]: of two classes, how often the rater says 0 where 0 is true."""
        return self.confusion[:, 0, 0]


def dawid_skene(
    units: Sequence[str],
    raters: Sequence[str],
    answers: ArrayLike,
    *,
    num_classes: int = 2,
    smoothing: float = 0.0,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> DawidSkene:
    """EM from the shares of votes, until no posterior moves by more than `tolerance` and the likelihood stands still.

    `units`, `raters` and `answers` [N] are the answers one by one; an answer is a class, 0 to `num_classes - 1`.
    `smoothing` >= 0 is added to every cell of a rater's table of counts before it is divided: 0 is the paper's maximum
    likelihood, above 0 the maximum a posteriori under Dirichlet(1 + smoothing). Prevalence is not smoothed, so a class
    that nobody answered has none. The likelihood stands still when it changes by less than `tolerance` a unit. Equal
    answers in any order give the same bits. Raises `InputError` for arrays of different lengths, no answer, a class out
    of range or a bad number.
    """
    labels = np.asarray(answers)
    _check(len(units), len(raters), labels, num_classes, smoothing, tolerance, max_iterations)
    unit_ids, unit = np.unique(np.asarray(units, dtype=str), return_inverse=True)
    rater_ids, rater = np.unique(np.asarray(raters, dtype=str), return_inverse=True)
    # Floating sums depend on their order: sorted rows make them a function of the set of answers.
    pair = unit.reshape(-1) * len(rater_ids) + rater.reshape(-1)
    cell, times = np.unique(pair * num_classes + labels, return_counts=True)
    votes = _Votes(
        unit=cell // (num_classes * len(rater_ids)),
        rater=cell // num_classes % len(rater_ids),
        label=cell % num_classes,
        times=times.astype(np.float64),
        shape=(len(unit_ids), len(rater_ids), num_classes),
    )
    posterior = votes.by_unit(np.eye(num_classes)[votes.label])
    posterior /= posterior.sum(axis=1, keepdims=True)
    likelihood, converged, iterations = -math.inf, False, 0
    while not converged and iterations < max_iterations:
        iterations += 1
        prevalence, confusion = _maximise(votes, posterior, smoothing)
        before, last = posterior, likelihood
        posterior, likelihood = _expect(votes, prevalence, confusion)
        still = abs(likelihood - last) <= tolerance * len(unit_ids)
        converged = still and float(np.abs(posterior - before).max()) <= tolerance
    seen = votes.by_rater(posterior).sum(axis=2)
    return DawidSkene(
        units=tuple(unit_ids.tolist()),
        raters=tuple(rater_ids.tolist()),
        posterior=posterior,
        confusion=np.where(seen[:, :, None] > tolerance, confusion, np.nan),
        prevalence=prevalence,
        log_likelihood=likelihood,
        iterations=iterations,
        converged=converged,
    )


def by_category(votes: Mapping[str, Sequence[Mapping[str, Any]]], *, smoothing: float = SMOOTHING) -> dict[str, DawidSkene]:
    """One fit a category, each a yes/no question of its own, from `{video_id: [{"rater_id", "categories"}]}`; {} for no vote.

    In every fit class 1 is 'yes', and units and raters are the same. `smoothing` 1 is the prior Beta(2, 2) on each rate.
    """
    rows = [(video_id, vote) for video_id, given in votes.items() for vote in given]
    if not rows:
        return {}
    units, raters = [video_id for video_id, _ in rows], [str(vote["rater_id"]) for _, vote in rows]
    return {
        name: dawid_skene(units, raters, np.array([name in vote["categories"] for _, vote in rows]), smoothing=smoothing)
        for name in CATEGORIES
    }


def _check(
    units: int, raters: int, labels: NDArray[np.generic], classes: int, smoothing: float, tolerance: float, limit: int
) -> None:
    if labels.ndim != 1 or not units == raters == len(labels):
        raise InputError(f"units ({units}), raters ({raters}) and answers {labels.shape} must be one row an answer.")
    if not len(labels):
        raise InputError("There is no answer to estimate anything from.")
    if classes < 2 or limit < 1 or not (math.isfinite(smoothing) and smoothing >= 0 and tolerance > 0):
        raise InputError("num_classes must be at least 2, max_iterations 1, smoothing 0, tolerance more than 0.")
    if labels.dtype.kind not in "biu" or int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise InputError(f"answers must be classes, whole numbers from 0 to {classes - 1}.")


@dataclass(frozen=True, eq=False)
class _Votes:
    """Distinct (unit, rater, label) rows, sorted, each with how often it was given. `shape` is (U, R, K)."""

    unit: NDArray[np.intp]
    rater: NDArray[np.intp]
    label: NDArray[np.intp]
    times: Floats
    shape: tuple[int, int, int]

    def by_unit(self, values: Floats) -> Floats:
        """Sums of `values` [rows, K], each row as often as it was given -> [U, K]."""
        total = np.zeros((self.shape[0], self.shape[2]))
        for column in range(self.shape[2]):
            total[:, column] = np.bincount(self.unit, values[:, column] * self.times, self.shape[0])
        return total

    def by_rater(self, posterior: Floats) -> Floats:
        """Expected counts [R, K true, K answered] (the sums of equation 2.3)."""
        _, raters, classes = self.shape
        cells = self.rater * classes + self.label
        counts = np.empty((raters, classes, classes))
        for true in range(classes):
            weights = posterior[self.unit, true] * self.times
            counts[:, true] = np.bincount(cells, weights, raters * classes).reshape(raters, classes)
        return counts


def _maximise(votes: _Votes, posterior: Floats, smoothing: float) -> tuple[Floats, Floats]:
    """Prevalence [K] (2.4) and confusion [R, K, K] (2.3). A class that a rater never saw gets equal answers: no evidence."""
    mass = posterior.sum(axis=0)
    counts = votes.by_rater(posterior) + smoothing
    totals = counts.sum(axis=2, keepdims=True)
    equal = np.full_like(counts, 1 / votes.shape[2])
    return mass / mass.sum(), np.divide(counts, totals, out=equal, where=totals > 0)


def _expect(votes: _Votes, prevalence: Floats, confusion: Floats) -> tuple[Floats, float]:
    """Posterior [U, K] (2.5) and the log-likelihood, in logarithms, so that no number of raters underflows."""
    with np.errstate(divide="ignore"):
        log_prevalence, log_confusion = np.log(prevalence), np.log(confusion)
    joint = log_prevalence + votes.by_unit(log_confusion[votes.rater, :, votes.label])
    top = joint.max(axis=1, keepdims=True)
    weights = np.exp(joint - top)
    total = weights.sum(axis=1, keepdims=True)
    return weights / total, float((top + np.log(total)).sum())
