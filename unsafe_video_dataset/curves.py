"""Curves and tables behind the figures, with bands over bootstrap replicates. Arrays in and out; nothing is drawn here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
GRID = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Curve:
    """y over `x`: the sample's own, and the 2.5% and 97.5% quantiles of the replicates (None without any), float64 [points].

    The band is a point's own, not the curve's: about one point in twenty may leave it."""

    x: Floats
    y: Floats
    low: Floats | None
    high: Floats | None


def roc(target: ArrayLike, score: ArrayLike, weights: ArrayLike) -> Curve | None:
    """The ROC curve: the highest TPR at a false positive rate of at most x, a step. None where one class is missing.

    `target` 0/1 and `score` are [n], `weights` [1 + B, n], row 0 the sample itself.
    """
    return _curve(target, score, weights, _tpr)


def precision_recall(target: ArrayLike, score: ArrayLike, weights: ArrayLike) -> Curve | None:
    """Precision over recall: the precision of the first threshold whose recall is at least x, as AP sums it. As `roc`."""
    return _curve(target, score, weights, _precision)


@dataclass(frozen=True)
class Reliability:
    """Bins of equal width: mean score, mean target, the target's band, and entries a bin; bins without entries left out."""

    score: Floats
    target: Floats
    low: Floats
    high: Floats
    count: NDArray[np.int64]


def reliability(target: ArrayLike, score: ArrayLike, weights: ArrayLike, *, bins: int = 10) -> Reliability:
    """Mean of `target` [n] (0/1 or a share of votes) in each bin of `score` [n] in [0, 1]; bins as in `soft.ece`."""
    truth, values, weight = np.asarray(target, float), np.asarray(score, float), np.asarray(weights, float)
    place = np.minimum((values * bins).astype(np.int64), bins - 1)
    rows = []
    for number in np.unique(place):
        inside = place == number
        total = weight[:, inside].sum(axis=1)
        means = (weight[:, inside] @ truth[inside])[total > 0] / total[total > 0]
        low, high = np.quantile(means[1:], [0.025, 0.975]) if len(means) > 1 else (np.nan, np.nan)
        rows.append((values[inside].mean(), means[0], low, high, int(inside.sum())))
    columns = list(zip(*rows, strict=True))
    score_, mean, low, high = (np.array(column, dtype=np.float64) for column in columns[:4])
    return Reliability(score_, mean, low, high, np.array(columns[4], dtype=np.int64))


def co_occurrence(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    """Counts [k, k] of videos with label i in `first` and j in `second` (0/1, [n, k]), and their share of the videos with i
    (NaN where there is none). With the truth twice it is co-occurrence, with truth and prediction the confusion."""
    one, other = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    counts = one.T @ other
    total = one.sum(axis=0)[:, None]
    return counts, np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)


# --- inside -----------------------------------------------------------------------------------------------------------


def _curve(target: ArrayLike, score: ArrayLike, weights: ArrayLike, read: object) -> Curve | None:
    truth, values, weight = np.asarray(target, dtype=bool), np.asarray(score, dtype=float), np.asarray(weights)
    if not 0 < truth.sum() < len(truth):
        return None
    order = np.argsort(-values, kind="stable")
    starts = np.flatnonzero(np.r_[True, values[order][1:] != values[order][:-1]])
    lines = []
    for row in weight:
        one = row[order].astype(float)
        positives = np.add.reduceat(one * truth[order], starts).cumsum()
        negatives = np.add.reduceat(one * ~truth[order], starts).cumsum()
        if positives[-1] > 0 and negatives[-1] > 0:
            lines.append(read(positives, negatives))  # type: ignore[operator]
    drawn = np.array(lines[1:])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0) if len(drawn) else (None, None)
    return Curve(GRID, lines[0], low, high)


def _tpr(positives: Floats, negatives: Floats) -> Floats:
    fpr, tpr = np.r_[0, negatives / negatives[-1]], np.r_[0, positives / positives[-1]]
    return np.asarray(tpr[np.searchsorted(fpr, GRID + 1e-12, side="right") - 1])


def _precision(positives: Floats, negatives: Floats) -> Floats:
    seen = positives + negatives
    precision = np.divide(positives, seen, out=np.ones_like(seen), where=seen > 0)
    recall = positives / positives[-1]
    first = np.searchsorted(recall, np.maximum(GRID, 1e-9) - 1e-12, side="left")  # at 0: the first threshold with a positive
    return np.asarray(precision[np.minimum(first, len(recall) - 1)])
