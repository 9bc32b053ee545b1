"""The threshold of F1, chosen on the validation split and on nothing else. Pure functions of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import FilterError, InputError

FIXED = 0.5


@dataclass(frozen=True)
class Thresholds:
    """One threshold a label (a label is predicted where its score >= the threshold), where they come from, and notes."""

    values: dict[str, float]
    source: str  # 'fixed' or 'validation'
    notes: tuple[str, ...] = ()

    @property
    def array(self) -> NDArray[np.float64]:
        """float64 [k], in the order of the labels."""
        return np.array(list(self.values.values()), dtype=np.float64)


def fixed(names: Sequence[str], threshold: float = FIXED) -> Thresholds:
    """The same threshold for each label. Raises `FilterError` for one out of 0 to 1."""
    if not 0 <= threshold <= 1:
        raise FilterError(f"threshold={threshold!r} must be from 0 to 1.")
    return Thresholds(dict.fromkeys(names, float(threshold)), "fixed")


def best_f1_threshold(target: ArrayLike, score: ArrayLike) -> float | None:
    """The threshold with the highest F1 on `target` 0/1 and `score` in [0, 1], both [n]; None where one class is missing.

    It stands halfway between the lowest score that is taken and the next one below it (at half that score where none is
    below). Of several with the same F1 the highest.
    """
    truth, values = np.asarray(target, dtype=bool), np.asarray(score, dtype=np.float64)
    if truth.shape != values.shape or truth.ndim != 1 or not np.isfinite(values).all():
        raise InputError(f"target {truth.shape} and score {values.shape} must have one shape, [n], and finite scores.")
    if not 0 < truth.sum() < len(truth):
        return None
    cuts = np.unique(values)[::-1]
    taken = values[None] >= cuts[:, None]
    f1 = 2 * (taken & truth).sum(axis=1) / (taken.sum(axis=1) + truth.sum())
    best = int(np.argmax(f1))
    lowest, below = float(cuts[best]), float(cuts[best + 1]) if best + 1 < len(cuts) else 0.0
    middle = (lowest + below) / 2
    return middle if middle > below or below == 0.0 else lowest  # two neighbours in float64 have no middle


def chosen(names: Sequence[str], target: ArrayLike, score: ArrayLike) -> Thresholds:
    """The best threshold of each label on validation's `target` and `score` [n, k]; `FIXED`, and a note, without one."""
    truth, values = np.asarray(target), np.asarray(score)
    found = {name: best_f1_threshold(truth[:, label], values[:, label]) for label, name in enumerate(names)}
    without = [name for name, value in found.items() if value is None]
    note = f"{', '.join(without)}: threshold {FIXED:g}, because the validation split has one class only"
    values_ = {name: FIXED if value is None else value for name, value in found.items()}
    return Thresholds(values_, "validation", (note,) if without else ())
