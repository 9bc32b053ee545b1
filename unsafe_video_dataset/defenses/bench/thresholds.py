"""Thresholds by category on a validation split, in one way for every defence that gives scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..detectors.calibrate import fit_thresholds

TARGET_FPRS: tuple[float | None, ...] = (None, 0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of safe samples that may be called unsafe, to choose from; None stands for the best balanced accuracy."""

fit_limits = fit_thresholds


def best_limits(scores: NDArray[np.float64], unsafe: NDArray[np.bool_]) -> NDArray[np.float64]:
    """float64 [K]: of the thresholds for `TARGET_FPRS` those with the best accuracy on scores [n, K] and labels [n]."""
    grid = [fit_limits(scores, unsafe, target_fpr=target) for target in TARGET_FPRS]
    return max(grid, key=lambda limits: float(((scores >= limits).any(axis=1) == unsafe).mean()))
