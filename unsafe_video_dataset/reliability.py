"""Krippendorff's alpha, the MASI distance, Gwet's AC1 and raw agreement, from sums over units. Arrays in and out.

Raters may differ from unit to unit and be missing. Each coefficient is a function of sums over units of a few numbers a
unit, so a bootstrap over units only weighs those numbers anew. Sums carry the numbers on their last axis; a coefficient
that does not exist (no unit with two answers, or no variation) is NaN.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def masi_distance(one: Collection[str], other: Collection[str]) -> float:
    """1 - Jaccard * monotonicity, 0 to 1: the distance of two sets; two empty sets are equal.

    Monotonicity is 1 for equal sets, 2/3 where one holds the other, 1/3 where they overlap otherwise, 0 for disjoint ones.
    Source: R. Passonneau, Measuring Agreement on Set-valued Items (MASI), LREC 2006, section 3.
    """
    first, second = set(one), set(other)
    if first == second:
        return 0.0
    shared = first & second
    if not shared:
        return 1.0
    return 1 - len(shared) / len(first | second) * (2 / 3 if first <= second or second <= first else 1 / 3)


def masi_distances(sets: Sequence[Collection[str]]) -> Floats:
    """`masi_distance` of each pair, float64 [K, K]."""
    return np.array([[masi_distance(one, other) for other in sets] for one in sets], dtype=np.float64)


def nominal_distances(classes: int) -> Floats:
    """0 for the same class, 1 for another, float64 [K, K]."""
    return np.asarray(1 - np.eye(classes))


def alpha_parts(counts: ArrayLike, distances: Floats) -> Floats:
    """What a unit adds to alpha, float64 [U, K + 1], from its number of raters a class, `counts` [U, K].

    Its answers a class, and the distances within it (sum over ordered pairs, divided by raters - 1); 0 for fewer than two.
    """
    given = np.asarray(counts, dtype=np.float64)
    number = given.sum(axis=1)
    pairable = number >= 2
    within = np.einsum("uk,kl,ul->u", given, distances, given) / np.where(pairable, number - 1, 1)
    return np.asarray(np.column_stack([given, within]) * pairable[:, None])


def alpha(sums: Floats, distances: Floats) -> Floats:
    """Krippendorff's alpha from sums [..., K + 1] of `alpha_parts`: 1 - observed / expected distance.

    Source: K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), form E for any number of observers.
    """
    answers, observed = sums[..., :-1], sums[..., -1]
    expected = np.einsum("...k,kl,...l->...", answers, distances, answers)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(expected > 0, 1 - (answers.sum(axis=-1) - 1) * observed / expected, np.nan))


def ac1_parts(counts: ArrayLike) -> Floats:
    """What a unit adds to AC1 and raw agreement, float64 [U, K + 3], from its raters a class, `counts` [U, K].

    The share of raters a class and 1 where there is any; the share of agreeing pairs and 1 where there are two.
    """
    given = np.asarray(counts, dtype=np.float64)
    number = given.sum(axis=1)
    pairs = number * (number - 1)
    agreeing = (given * (given - 1)).sum(axis=1) / np.where(pairs > 0, pairs, 1)
    shares = given / np.where(number > 0, number, 1)[:, None]
    return np.column_stack([shares, number > 0, agreeing, pairs > 0]).astype(np.float64)


def raw_agreement(sums: Floats) -> Floats:
    """Mean over units of the share of agreeing pairs of raters, from sums of `ac1_parts`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(sums[..., -2] / sums[..., -1])


def ac1(sums: Floats) -> Floats:
    """Gwet's AC1 from sums [..., K + 3] of `ac1_parts`: (raw - chance) / (1 - chance), chance = sum pi (1 - pi) / (K - 1).

    Source: K. L. Gwet, Computing inter-rater reliability and its variance in the presence of high agreement, British
    Journal of Mathematical and Statistical Psychology 61 (2008), 29-48, equations 16 to 18; units with one answer count
    for the class shares `pi`, as in his Handbook of Inter-Rater Reliability (2014), chapter 2.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = sums[..., :-3] / sums[..., -3:-2]
    chance = (shares * (1 - shares)).sum(axis=-1) / (shares.shape[-1] - 1)
    return np.asarray((raw_agreement(sums) - chance) / (1 - chance))


def resampled(parts: Floats, weights: NDArray[np.int32]) -> Floats:
    """Sums of `parts` [U, M] by bootstrap weights [B, U] -> float64 [B, M], a bounded number of replicates at a time."""
    step = max(1, 2_000_000 // max(1, len(parts)))
    chunks = [weights[start : start + step].astype(np.float64) @ parts for start in range(0, len(weights), step)]
    return np.concatenate(chunks) if chunks else np.empty((0, parts.shape[1]))
