"""In which order, and how often, an epoch takes its videos. Pure functions of arrays and a random generator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

Indices = NDArray[np.int64]


def repeat_factors(targets: NDArray[np.float64], *, threshold: float = 0.25, power: float = 0.5) -> NDArray[np.float64]:
    """How often each video comes in an epoch on average: float [N], at least 1. Repeat factor sampling, for several labels.

    `targets` [N, K], above 0 where a video has a label. A label that a share `f` of the videos has gets the factor
    max(1, (threshold / f) ** power), and a video the largest factor of its labels; a video without any label counts as one of
    the label 'none'. So no video is left out, and rare labels come more often, together with whatever else their videos
    show. Gupta, Dollár and Girshick, LVIS, 2019 (section 'repeat factor sampling'), where power is 0.5. 39 of 937 videos
    with threshold 0.25: 2.5 times; with power 1: 6 times.

    Raises `InputError` for a threshold outside ]0, 1], a power outside [0, 1], or targets that are not [N, K].
    """
    if not 0 < threshold <= 1 or not 0 <= power <= 1:
        raise InputError(f"threshold={threshold} must be above 0 and at most 1, and power={power} from 0 to 1.")
    if targets.ndim != 2 or not len(targets):
        raise InputError(f"Balancing needs targets [N, K] of at least one video, not {list(targets.shape)}.")
    has = targets > 0
    has = np.column_stack([has, ~has.any(axis=1)])
    shares = has.mean(axis=0)
    factors = np.maximum(1.0, (threshold / np.maximum(shares, 1 / len(has))) ** power)
    return np.asarray(np.where(has, factors, 1.0).max(axis=1), dtype=np.float64)


def repeated(factors: NDArray[np.float64], rng: np.random.Generator) -> Indices:
    """Indices, each floor or ceil of its factor times, in random order; the length is the rounded sum, whatever is drawn.

    The fractions are rounded by systematic sampling over a random order: on average each comes as often as its factor says
    (to within the rounding of their sum).
    """
    order = rng.permutation(len(factors))
    whole = np.floor(factors).astype(np.int64)
    ends = np.cumsum((factors - whole)[order])
    total, part = round(float(ends[-1])), float(ends[-1] % 1)
    start = rng.random() * (1 - part) if total <= ends[-1] else 1 - part * rng.random()  # so that the sum is rounded alike
    marks = np.minimum(np.floor(ends + start), total).astype(np.int64)
    marks[-1] = total
    whole[order] += np.diff(marks, prepend=0)
    return rng.permutation(np.repeat(np.arange(len(factors)), whole))


def one_a_group(
    groups: Sequence[str] | NDArray[Any], rng: np.random.Generator, *, epoch: int, turn: np.random.Generator
) -> Indices:
    """One video of each group, in random order. Which one goes round with the epoch, so that none is left out for ever.

    `turn` draws the order inside each group; it must be the same in every epoch.
    """
    _, rows, starts, sizes = _shuffled_groups(groups, turn)
    return rng.permutation(rows[starts + epoch % sizes])


def apart(groups: Sequence[str] | NDArray[Any], rng: np.random.Generator) -> Indices:
    """Every video once; the videos of a group lie as far apart as an even spread over the epoch allows."""
    number, rows, starts, sizes = _shuffled_groups(groups, rng)
    of_row = number[rows]
    keys = np.empty(len(rows))
    keys[rows] = (np.arange(len(rows)) - starts[of_row] + rng.random(len(starts))[of_row]) / sizes[of_row]
    return np.argsort(keys, kind="stable").astype(np.int64)


def together(groups: Sequence[str] | NDArray[Any], rng: np.random.Generator) -> Indices:
    """Every video once; groups in random order, the videos of a group next to each other."""
    number, rows, starts, _ = _shuffled_groups(groups, rng)
    place = rng.permutation(len(starts))
    return rows[np.argsort(place[number[rows]], kind="stable")]


def _shuffled_groups(
    groups: Sequence[str] | NDArray[Any], rng: np.random.Generator
) -> tuple[Indices, Indices, Indices, Indices]:
    """The number of each row's group (by name), all rows group by group and in random order inside each, and where each
    group starts among these and how many it has."""
    _, number, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    rows = np.lexsort((rng.permutation(len(number)), number))
    return number.astype(np.int64), rows.astype(np.int64), np.cumsum(sizes) - sizes, sizes
