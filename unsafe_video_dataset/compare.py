"""Is the difference between two models more than chance? Paired bootstrap, exact McNemar test, Holm's correction. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError
from .scores import Significance


def bootstrap_p(differences: ArrayLike) -> float | None:
    """Two-sided p of 'no difference' from bootstrap replicates of a paired difference [B], NaN left out; None without any.

    Twice the smaller of the shares of replicates at or below 0 and at or above 0, each counted with one more replicate so
    that p is never 0: (1 + count) / (1 + B). It is below 0.05 about where the 95% percentile interval leaves out 0.
    Source: Davison and Hinkley, Bootstrap Methods and their Application (1997), sections 4.2.1 and 4.4.1.
    """
    drawn = np.asarray(differences, dtype=np.float64)
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return None
    tail = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2 * (1 + tail) / (1 + len(drawn)))


def mcnemar(first_right: ArrayLike, second_right: ArrayLike) -> tuple[int, int, float]:
    """Exact McNemar test on two models' right decisions, bool [n] each: (only the first, only the second, two-sided p).

    Under 'no difference' each video on which just one is right is a fair coin: p = min(1, 2 * P(X <= min(b, c))), X
    binomial(b + c, 1/2); 1 where b + c = 0. It takes videos as independent: with groups of several videos p is too small.
    Source: Q. McNemar (1947); exact form: A. Agresti, Categorical Data Analysis (2013), section 11.1.1.
    """
    first, second = np.asarray(first_right, dtype=bool), np.asarray(second_right, dtype=bool)
    if first.shape != second.shape or first.ndim != 1:
        raise InputError(f"the two models' decisions {first.shape} and {second.shape} must have one shape, [n].")
    b, c = int((first & ~second).sum()), int((second & ~first).sum())
    tail = sum(comb(b + c, k) for k in range(min(b, c) + 1))
    return b, c, min(1.0, 2 * tail / 2 ** (b + c))  # whole numbers until the division: exact for any n


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p of a family of tests, in the same order; None (no test) is left out of the family.

    The i-th smallest of m is multiplied by m - i + 1, never below the one before it, at most 1.
    Source: S. Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    order = sorted((value, place) for place, value in enumerate(p_values) if value is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, (value, place) in enumerate(order):
        least = max(least, min(1.0, value * (len(order) - rank)))
        adjusted[place] = least
    return adjusted


def significance(
    names: Sequence[str],
    differences: Mapping[str, NDArray[np.float64]],
    right: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None,
    *,
    corrected: Sequence[str],
) -> tuple[Significance, ...]:
    """A test for each metric and name, from `differences` (metric -> [names, 1 + B], column 0 the sample itself).

    `right`: the two models' right decisions, bool [n, len(corrected)], for McNemar. Holm corrects over the `corrected`
    names (the categories) of one metric; the others (macro, micro) are one test each.
    """
    found: list[Significance] = []
    for metric, drawn in differences.items():
        raw = [None if np.isnan(row[0]) else bootstrap_p(row[1:]) for row in drawn]
        adjusted = holm([p for name, p in zip(names, raw, strict=True) if name in corrected])
        over = dict(zip([name for name in names if name in corrected], adjusted, strict=True))
        found += [Significance(n, metric, "bootstrap", p, over.get(n)) for n, p in zip(names, raw, strict=True)]
    if right is not None:
        tests = [mcnemar(right[0][:, place], right[1][:, place]) for place in range(len(corrected))]
        adjusted = holm([p for _, _, p in tests])
        for name, (b, c, p), over_all in zip(corrected, tests, adjusted, strict=True):
            found.append(Significance(name, "decisions", "mcnemar", p, over_all, b, c))
    return tuple(found)
