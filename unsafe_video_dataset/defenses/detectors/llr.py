"""How much the scores of the steps so far speak for 'unsafe': a log-likelihood ratio that a sequential test can use.

Adding up a ratio for each step would count the same evidence again and again, since the guesses of neighbouring steps are
nearly the same picture. So the ratio after step t is a function of the one before and of the new score,

    L_t = carry_t * L_(t-1) + slope_t * z_t + shift_t        z = ln(p / (1 - p)), the score's log-odds

fitted step by step, with a logistic regression of the label on (L_(t-1), z_t); the log-odds of the calibration set itself are
taken off, so that L has no prior in it (as in the calibration of likelihood ratios; Brummer & du Preez 2006). Numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

Floats = NDArray[np.float64]
_LIMIT = 12.0  # of a score's log-odds
_RIDGE = 1.0  # a normal prior of variance 1 on the weight of a standardised feature: separable data must not give infinity


@dataclass(frozen=True)
class StepLLR:
    """One (carry, slope, shift) for each step seen, in order; the first `carry` is 0."""

    weights: tuple[tuple[float, float, float], ...]

    def __len__(self) -> int:
        """How many steps it knows."""
        return len(self.weights)

    def update(self, total: float, *, place: int, score: float) -> float:
        """The ratio after the vote number `place` (from 0), whose score (0 to 1) is new; `total` is the one before, 0 at first.

        After the last step that it knows the ratio stays as it is.
        """
        if place >= len(self.weights):
            return total
        carry, slope, shift = self.weights[place]
        return carry * total + slope * float(log_odds(np.array(score))) + shift

    def accumulate(self, scores: Any) -> Floats:
        """float64 [N, S]: the ratio after each step, of scores float [N, S] in [0, 1]. Raises `InputError` for more steps."""
        values = np.asarray(scores, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] > len(self.weights):
            raise InputError(f"Scores of shape {values.shape}: the calibration knows {len(self.weights)} steps.")
        made, total = np.empty_like(values), np.zeros(len(values))
        for place, (carry, slope, shift) in enumerate(self.weights[: values.shape[1]]):
            total = carry * total + slope * log_odds(values[:, place]) + shift
            made[:, place] = total
        return made

    @classmethod
    def from_card(cls, llr: Mapping[str, tuple[float, float, float]]) -> StepLLR:
        """From `Calibration.llr`, by step number."""
        return cls(tuple(llr[step] for step in sorted(llr, key=int)))


def fit_llr(scores: Any, unsafe: Any) -> StepLLR:
    """Fit on validation scores float [N, S] in [0, 1] and labels bool [N]. Raises `InputError` where one class is missing."""
    values, truth = log_odds(scores), np.asarray(unsafe, dtype=bool)
    if values.ndim != 2 or truth.shape != values.shape[:1] or not 0 < truth.sum() < len(truth):
        raise InputError(f"Scores {values.shape} and labels {truth.shape}: give [N, S] and [N], with safe and unsafe samples.")
    prior = float(np.log(truth.sum() / (~truth).sum()))
    total, weights = np.zeros(len(truth)), []
    for place in range(values.shape[1]):
        features = values[:, [place]] if place == 0 else np.column_stack([total, values[:, place]])
        *slopes, shift = _logistic(features, truth)
        carry = slopes[0] if place else 0.0
        weights.append((carry, slopes[-1], shift - prior))
        total = carry * total + slopes[-1] * values[:, place] + shift - prior
    return StepLLR(tuple(weights))


def log_odds(scores: Any) -> Floats:
    """ln(p / (1 - p)) of scores in [0, 1], cut to [-12, 12]. Raises `InputError` on others."""
    values = np.asarray(scores, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise InputError("Scores must be from 0 to 1.")
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(np.log(values) - np.log1p(-values), -_LIMIT, _LIMIT))


def _logistic(features: Floats, truth: NDArray[np.bool_]) -> list[float]:
    """Slopes and intercept of a ridge logistic regression, by Newton's method; the intercept is free."""
    mean, std = features.mean(axis=0), features.std(axis=0)
    std = np.where(std > 1e-9, std, 1.0)
    design = np.column_stack([(features - mean) / std, np.ones(len(features))])
    penalty = np.diag([_RIDGE] * features.shape[1] + [1e-9])
    beta = np.zeros(design.shape[1])
    beta[-1] = np.log(truth.sum() / (~truth).sum())

    def cost(at: Floats) -> float:
        z = design @ at
        return float(np.sum(np.logaddexp(0, z) - truth * z) + at @ penalty @ at / 2)

    for _ in range(100):
        p = 1 / (1 + np.exp(-(design @ beta)))
        gradient = design.T @ (p - truth) + penalty @ beta
        change = np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design + penalty, gradient)
        size = 1.0
        while cost(beta - size * change) > cost(beta) and size > 1e-6:
            size /= 2
        beta = beta - size * change
        if np.abs(size * change).max() < 1e-10:
            break
    slopes = beta[:-1] / std
    return [*slopes.tolist(), float(beta[-1] - slopes @ mean)]
