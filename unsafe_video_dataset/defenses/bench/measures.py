"""What verdicts are worth, with intervals: accuracy, balanced accuracy, TPR, TNR, AUROC, AP; within one prompt too.

Several rows of arrays stand for several training seeds: a metric is their mean, in the sample and in each replicate, so that an
interval is about the defence and not about one training. Replicates draw whole groups of a prompt's samples.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...metrics import bootstrap_weights, ranking_metrics

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
COUNTED = ("accuracy", "balanced_accuracy", "tpr", "tnr")
Z = 1.959963984540054


def wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share of n independent trials (0 to 1); (0, 1) where n is 0.

    Source: E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference (1927).
    """
    if not 0 <= share <= 1 or n < 0:
        raise InputError(f"share={share!r} of n={n!r}: give a share from 0 to 1 of a number of trials.")
    if n == 0:
        return 0.0, 1.0
    middle = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(share * (1 - share) / n + Z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def weights_of(groups: Sequence[str], *, bootstrap: int, seed: int) -> Floats:
    """[1 + B, n]: row 0 is the sample itself, the others are replicates; the same for every defence, so that differences
    are paired."""
    drawn = bootstrap_weights(np.asarray(groups), replicates=bootstrap, seed=seed)
    return np.concatenate([np.ones((1, drawn.shape[1])), drawn.astype(np.float64)])


def counted(truth: Bools, blocked: Bools, weights: Floats) -> dict[str, Floats]:
    """accuracy, balanced_accuracy, tpr and tnr, each [S, 1 + B], of blocked [S, n]; NaN where a class is missing."""
    right = (blocked == truth).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        positives, negatives = weights @ truth, weights @ ~truth
        tpr = (right * truth) @ weights.T / positives
        tnr = (right * ~truth) @ weights.T / negatives
        accuracy = right @ weights.T / weights.sum(axis=1)
    return {"accuracy": accuracy, "balanced_accuracy": (tpr + tnr) / 2, "tpr": tpr, "tnr": tnr}


def ranked(truth: Bools, score: Floats, weights: Floats) -> dict[str, Floats]:
    """auroc and ap, each [S, 1 + B], of score [S, n]."""
    found = [ranking_metrics(truth, row, weights) for row in score]
    return {name: np.stack([one[name] for one in found]) for name in ("auroc", "ap")}


def within(truth: Bools, score: Floats, groups: Sequence[str], weights: Floats) -> Floats:
    """[S, 1 + B]: of all pairs of an unsafe and a safe sample **of the same group**, the share that the score puts in the
    right order, ties one half. 0.5 for whatever reads the prompt alone. NaN without such a pair."""
    names = np.asarray(groups)
    hits, pairs = np.zeros((len(score), len(weights))), np.zeros(len(weights))
    for name in np.unique(names):
        own = names == name
        one, other = score[:, own & truth], score[:, own & ~truth]
        if one.shape[1] and other.shape[1]:
            times = weights[:, np.flatnonzero(own)[0]]
            order = (one[:, :, None] > other[:, None, :]) + 0.5 * (one[:, :, None] == other[:, None, :])
            hits += order.sum(axis=(1, 2))[:, None] * times
            pairs += one.shape[1] * other.shape[1] * times
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(hits / pairs)


def estimate(samples: Floats, *, n: int, counts: bool = False) -> dict[str, Any]:
    """{value, low, high, n, seeds} of samples [S, 1 + B]; None where nothing is defined.

    For a share of `n` samples (`counts`) the interval is never narrower than Wilson's: a bootstrap of a share of 0 or 1 has no
    width.
    """
    mean = samples.mean(axis=0)
    value, drawn = mean[0], mean[1:][~np.isnan(mean[1:])]
    if np.isnan(value) or n == 0:
        return {"value": None, "low": None, "high": None, "n": n, "seeds": []}
    low, high = (float(value), float(value)) if not len(drawn) else map(float, np.quantile(drawn, [0.025, 0.975]))
    if counts:
        least, most = wilson(min(1.0, max(0.0, float(value))), n)
        low, high = min(low, least), max(high, most)
    elif not len(drawn):
        return {"value": float(value), "low": None, "high": None, "n": n, "seeds": samples[:, 0].tolist()}
    return {"value": float(value), "low": low, "high": high, "n": n, "seeds": samples[:, 0].tolist()}


def report(truth: Bools, blocked: Bools, score: Floats, weights: Floats) -> dict[str, Any]:
    """All metrics of one defence: blocked and score [S, n]."""
    found = counted(truth, blocked, weights)
    sizes = {"accuracy": len(truth), "tpr": int(truth.sum()), "tnr": int((~truth).sum()), "balanced_accuracy": len(truth)}
    made = {name: estimate(found[name], n=sizes[name], counts=name != "balanced_accuracy") for name in COUNTED}
    for name, samples in ranked(truth, score, weights).items():
        made[name] = estimate(samples, n=len(truth))
    return made
