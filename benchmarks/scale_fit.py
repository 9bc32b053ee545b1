"""From measured costs to laws of growth, robust to a size or two that a busy machine spoiled."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Line:
    """`fixed + slope * n`; `low` and `high` are the middle half of the slopes between any two sizes."""

    fixed: float
    slope: float
    low: float
    high: float

    def at(self, n: float) -> float:
        """The value at n."""
        return self.fixed + self.slope * n

    def reaches(self, value: float) -> float:
        """The n at which the value is reached; infinite where it never is."""
        return (value - self.fixed) / self.slope if self.slope > 0 else math.inf


@dataclass(frozen=True)
class Power:
    """`value` at size `n`, and from there `(size / n) ** power`. `low` and `high`: the powers between any two sizes used."""

    n: float
    value: float
    power: float
    low: float
    high: float

    def at(self, n: float) -> float:
        """The value at n."""
        return float(self.value * (n / self.n) ** self.power)

    def reaches(self, value: float) -> float:
        """The n at which the value is reached."""
        return float(self.n * (value / self.value) ** (1 / self.power))


def line(sizes: Sequence[float], values: Sequence[float]) -> Line:
    """Theil and Sen's line: the median of the slopes between any two sizes, and the median of what is left as `fixed`.

    Half of the pairs may be wrong without harm. Neither part is below 0: time and memory don't shrink with work. Raises
    `ValueError` for less than two sizes.
    """
    points = sorted(zip(sizes, values, strict=True))
    slopes = sorted((v1 - v0) / (n1 - n0) for (n0, v0), (n1, v1) in itertools.combinations(points, 2) if n1 > n0)
    if not slopes:
        raise ValueError("a line needs two sizes")
    slope = max(median(slopes), 0.0)
    fixed = max(median(value - slope * n for n, value in points), 0.0)
    return Line(fixed, slope, _quantile(slopes, 0.25), _quantile(slopes, 0.75))


def power(sizes: Sequence[float], values: Sequence[float], *, least: float, largest: int = 4) -> Power:
    """The growth exponent of the largest sizes whose values are at least `least`; smaller ones are mostly fixed costs.

    The exponent is the median of those between any two of the sizes, and the law goes through the largest one. Raises
    `ValueError` where less than two sizes are left.
    """
    points = sorted((n, v) for n, v in zip(sizes, values, strict=True) if v >= least)[-largest:]
    pairs = itertools.combinations(points, 2)
    powers = sorted(math.log(v1 / v0) / math.log(n1 / n0) for (n0, v0), (n1, v1) in pairs if n1 > n0)
    if not powers:
        raise ValueError(f"a power needs two sizes with values of at least {least}")
    n, value = points[-1]
    return Power(n, value, median(powers), powers[0], powers[-1])


def _quantile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])
