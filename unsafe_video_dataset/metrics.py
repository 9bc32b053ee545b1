"""AP, AUROC, F1 and TPR at a fixed FPR of scores with ties, and the weights of a bootstrap over groups. Arrays in and out.

The metrics agree with scikit-learn wherever both classes are present (the tests use it as the oracle), and are
NaN where one class is missing: a number would then say something about the sample, not about the detector.

Each takes `target` and `score` of shape [n], or of shape [n, k] for k labels a row; the n*k entries are then pooled
('micro'). `weights` are row multiplicities: none (all 1), [n], or [B, n] for B bootstrap replicates, which share one
sort. Integer weights give exact counts, so a result does not depend on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError

Floats = NDArray[np.float64]
FPRS = {"tpr_at_1_fpr": 0.01, "tpr_at_5_fpr": 0.05}
_CHUNK = 2_000_000  # numbers of a weight matrix held at a time: bounds memory, changes no result
MAX_REPLICATES = 100_000  # of a bootstrap: more would fill the memory and change no digit that is shown


@overload
def average_precision(target: ArrayLike, score: ArrayLike, weights: None = None) -> float: ...
@overload
def average_precision(target: ArrayLike, score: ArrayLike, weights: ArrayLike) -> Floats: ...
def average_precision(target: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> float | Floats:
    """Average precision: sum over distinct thresholds t of `(recall_t - recall_before) * precision_t`, as a step.

    As `sklearn.metrics.average_precision_score`. `target` 0/1 or bool, `score` finite, both [n] or [n, k]; `weights`
    finite and >= 0, [n] or [B, n]. Returns a float in (0, 1], or float64 [B] with weights [B, n] (shape [] with [n]);
    NaN where one class is missing. Raises `InputError` for other shapes or values.
    """
    return _shaped(_ranked(target, score, weights, [_average_precision])[0], weights)


@overload
def auroc(target: ArrayLike, score: ArrayLike, weights: None = None) -> float: ...
@overload
def auroc(target: ArrayLike, score: ArrayLike, weights: ArrayLike) -> Floats: ...
def auroc(target: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None) -> float | Floats:
    """Area under the ROC curve: the probability that a positive scores above a negative, a tie counting one half.

    As `sklearn.metrics.roc_auc_score` (Mann-Whitney U / (positives * negatives)). Arguments, shapes, NaN and errors as
    in `average_precision`; values in [0, 1].
    """
    return _shaped(_ranked(target, score, weights, [_auroc])[0], weights)


@overload
def tpr_at_fpr(target: ArrayLike, score: ArrayLike, weights: None = None, *, fpr: float) -> float: ...
@overload
def tpr_at_fpr(target: ArrayLike, score: ArrayLike, weights: ArrayLike, *, fpr: float) -> Floats: ...
def tpr_at_fpr(target: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None, *, fpr: float) -> float | Floats:
    """The highest true positive rate of a threshold whose false positive rate is at most `fpr` (0 to 1).

    A point of the ROC curve that a threshold reaches, not one between two of them: as `sklearn.metrics.roc_curve` with
    `tpr[fpr <= limit].max()`. Arguments, shapes, NaN and errors as in `average_precision`; values in [0, 1]. With fewer
    than 1 / `fpr` negatives not one false positive is allowed: see `min_negatives`.
    """
    return _shaped(_ranked(target, score, weights, [_tpr(fpr)])[0], weights)


def min_negatives(fpr: float) -> int:
    """The fewest negatives among which one false positive is at most a share `fpr`: 100 for 1%, 20 for 5%."""
    return round(1 / fpr)


def ranking_metrics(target: ArrayLike, score: ArrayLike, weights: ArrayLike) -> dict[str, Floats]:
    """`ap`, `auroc` and the TPRs of `FPRS`, each float64 [B], of weights [B, n]: one sort for them all."""
    found = _ranked(target, score, weights, [_average_precision, _auroc, *map(_tpr, FPRS.values())])
    return dict(zip(("ap", "auroc", *FPRS), found, strict=True))


@overload
def f1(target: ArrayLike, score: ArrayLike, weights: None = None, *, threshold: float = 0.5) -> float: ...
@overload
def f1(target: ArrayLike, score: ArrayLike, weights: ArrayLike, *, threshold: float = 0.5) -> Floats: ...
def f1(target: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None, *, threshold: float = 0.5) -> float | Floats:
    """F1 of the prediction `score >= threshold`: `2 TP / (2 TP + FP + FN)`.

    As `sklearn.metrics.f1_score`. Arguments, shapes, NaN and errors as in `average_precision`; values in [0, 1].
    """
    truth, values, weight = _checked(target, score, weights)
    predicted = values >= threshold
    rows = np.stack(  # [4, n]: what a row adds to the positives, the negatives, TP, and the predicted positives
        [truth.sum(axis=1), (~truth).sum(axis=1), (truth & predicted).sum(axis=1), predicted.sum(axis=1)]
    ).astype(np.float64)
    positives, negatives, hits, guesses = _by_chunks(weight, len(truth), lambda part: rows @ part.T, 4)
    with np.errstate(invalid="ignore", divide="ignore"):
        result = np.where((positives > 0) & (negatives > 0), 2 * hits / (positives + guesses), np.nan)
    return _shaped(result, weights)


def bootstrap_weights(groups: ArrayLike, *, replicates: int, seed: int) -> NDArray[np.int32]:
    """Multiplicities of the rows in a cluster bootstrap: whole groups are drawn with replacement, as many as there are.

    `groups` [n] names the group of each row (str or int). Returns int32 [replicates, n]; in a replicate all rows of a
    group have the same number, and these numbers sum to the number of groups. A function of (the set of group ids,
    `replicates`, `seed`): not of the order of the rows. Raises `InputError` for a bad number or an empty `groups`.

    Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), section 3.8 (resampling of clusters).
    """
    names = np.asarray(groups)
    if names.ndim != 1 or not len(names):
        raise InputError(f"groups must be one id a row, at least one; found shape {names.shape}.")
    for name, number in (("replicates", replicates), ("seed", seed)):
        if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 0:
            raise InputError(f"{name}={number!r} must be an integer of at least 0.")
    if replicates > MAX_REPLICATES:
        raise InputError(f"{replicates:,} bootstrap replicates are too many: at most {MAX_REPLICATES:,}; 1,000 are usual.")
    ids, member = np.unique(names, return_inverse=True)  # sorted ids: the order of the rows is gone
    rng = np.random.default_rng(int(seed))
    drawn = np.empty((int(replicates), len(ids)), dtype=np.int32)
    for replicate in drawn:
        replicate[:] = np.bincount(rng.integers(0, len(ids), size=len(ids)), minlength=len(ids))
    return drawn[:, member.reshape(-1)]


# --- inside -----------------------------------------------------------------------------------------------------------


def _checked(target: ArrayLike, score: ArrayLike, weights: ArrayLike | None) -> tuple[NDArray[np.bool_], Floats, Any]:
    """`target` and `score` as [n, k], `weights` as [B, n]."""
    truth, values = np.asarray(target), np.asarray(score, dtype=np.float64)
    if truth.shape != values.shape or truth.ndim not in (1, 2):
        raise InputError(f"target {truth.shape} and score {values.shape} must have one shape, [n] or [n, k].")
    if truth.dtype != np.bool_ and not np.isin(truth, (0, 1)).all():
        raise InputError("target must hold 0 and 1 only.")
    if not np.isfinite(values).all():
        raise InputError("score must hold finite numbers only: found NaN or infinity.")
    truth = truth.astype(bool)
    if truth.ndim == 1:
        truth, values = truth[:, None], values[:, None]
    weight = np.ones((1, len(truth)), dtype=np.int8) if weights is None else np.atleast_2d(np.asarray(weights))
    if weight.ndim != 2 or weight.shape[1] != len(truth):
        raise InputError(f"weights {weight.shape} must have shape [n] or [B, n] with n={len(truth)}.")
    if weight.dtype.kind not in "biuf" or not np.isfinite(weight).all() or (weight < 0).any():
        raise InputError("weights must be finite numbers of at least 0.")
    return truth, values, weight


def _shaped(result: Floats, weights: ArrayLike | None) -> float | Floats:
    return float(result[0]) if weights is None else result.reshape(np.asarray(weights).shape[:-1])


def _by_chunks(weight: Any, width: int, reduce: Callable[[Floats], Floats], rows: int) -> Floats:
    """`reduce(float64 weights [b, n]) -> [rows, b]` over all of `weight` [B, n], a bounded number of rows at a time."""
    result = np.empty((rows, len(weight)))
    step = max(1, _CHUNK // max(1, width))
    for start in range(0, len(weight), step):
        result[:, start : start + step] = reduce(weight[start : start + step].astype(np.float64))
    return result


def _ranked(
    target: ArrayLike, score: ArrayLike, weights: ArrayLike | None, metrics: Sequence[Callable[[Floats, Floats], Floats]]
) -> Floats:
    """[metrics, B] from the weights of positives and negatives at each distinct score, highest first."""
    truth, values, weight = _checked(target, score, weights)
    if not truth.size:
        return np.full((len(metrics), len(weight)), np.nan)
    order = np.argsort(-values, axis=None, kind="stable")
    ranked, positive, row = values.reshape(-1)[order], truth.reshape(-1)[order], order // truth.shape[1]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])

    def reduce(part: Floats) -> Floats:
        entries = part[:, row]
        positives = np.add.reduceat(entries * positive, starts, axis=1)
        negatives = np.add.reduceat(entries * ~positive, starts, axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.stack([metric(positives, negatives) for metric in metrics])
        defined = (positives.sum(axis=1) > 0) & (negatives.sum(axis=1) > 0)
        return np.where(defined, found, np.nan)

    return _by_chunks(weight, truth.size, reduce, len(metrics))


def _average_precision(positives: Floats, negatives: Floats) -> Floats:
    hits = positives.cumsum(axis=1)
    seen = hits + negatives.cumsum(axis=1)
    precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
    return np.asarray((positives * precision).sum(axis=1) / hits[:, -1])


def _auroc(positives: Floats, negatives: Floats) -> Floats:
    above = positives.cumsum(axis=1) - positives / 2  # positives above each threshold's negatives, ties one half
    return np.asarray((negatives * above).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1)))


def _tpr(limit: float) -> Callable[[Floats, Floats], Floats]:
    def metric(positives: Floats, negatives: Floats) -> Floats:
        false, true = negatives.cumsum(axis=1), positives.cumsum(axis=1)
        allowed = false <= limit * false[:, -1:] * (1 + 1e-12)  # 0.05 * 20 is one, whatever its last bit says
        return np.asarray(np.where(allowed, true, 0).max(axis=1) / true[:, -1])

    return metric
