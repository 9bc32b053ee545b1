"""The simulated raters: so many of each kind, each with a sensitivity and a specificity a category."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unsafe_video_dataset.taxonomy import CATEGORIES

RaterKind = Literal["skilled", "fair", "weak", "spammer", "too_fast", "inattentive"]
HONEST: tuple[str, ...] = ("skilled", "fair", "weak")
# Lowest and highest sensitivity and specificity. Mistakes by naming a category are rarer than by missing one.
_SKILL = {
    "skilled": ((0.88, 0.98), (0.95, 0.995)),
    "fair": ((0.75, 0.88), (0.88, 0.96)),
    "weak": ((0.58, 0.75), (0.82, 0.92)),
    "spammer": ((0.3, 0.3), (0.7, 0.7)),
    "too_fast": ((0.5, 0.5), (0.6, 0.6)),
    "inattentive": ((0.6, 0.75), (0.75, 0.88)),
}


@dataclass(frozen=True)
class Rater:
    """`name` is the raw name, which the pipeline replaces; `sensitivity`, `specificity` in the order of `CATEGORIES`."""

    name: str
    kind: str
    sensitivity: tuple[float, ...]
    specificity: tuple[float, ...]

    @property
    def honest(self) -> bool:
        """True for a rater whose answers count."""
        return self.kind in HONEST


def make_raters(numbers: Mapping[str, int], rng: np.random.Generator) -> list[Rater]:
    """One rater for each of `numbers`, by name; kinds are shuffled over the names."""
    kinds = [kind for kind, number in numbers.items() for _ in range(number)]
    raters = []
    for number, place in enumerate(rng.permutation(len(kinds))):
        kind = kinds[place]
        (low, high), (lowest, highest) = _SKILL[kind]
        sensitivity = rng.uniform(low, high, len(CATEGORIES))
        specificity = rng.uniform(lowest, highest, len(CATEGORIES))
        raters.append(Rater(f"participant-{number + 1:04d}", kind, _rounded(sensitivity), _rounded(specificity)))
    return raters


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)
