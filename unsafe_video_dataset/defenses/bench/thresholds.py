"""One threshold for all categories of calibrated scores, chosen by accuracy; the same way for every defence with scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LIMITS: tuple[float, ...] = tuple(float(x) for x in np.round(1 / (1 + np.exp(-np.linspace(-5, 5, 41))), 6))
"""Thresholds to choose from, evenly spread in log-odds: 0.0067 to 0.9933."""


def best_limit(score: NDArray[np.float64], unsafe: NDArray[np.bool_]) -> float:
    """Of `LIMITS` the one with the best accuracy of `score >= limit` on [n]; of several the one nearest to 0.5."""
    found = [(float(((score >= limit) == unsafe).mean()), -abs(limit - 0.5), limit) for limit in LIMITS]
    return max(found)[2]
