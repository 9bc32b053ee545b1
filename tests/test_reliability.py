"""Alpha, MASI, AC1: against the package `krippendorff`, nltk's MASI, published figures and definitions in plain words."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from unsafe_video_dataset.reliability import (
    ac1,
    ac1_parts,
    alpha,
    alpha_parts,
    masi_distance,
    masi_distances,
    nominal_distances,
    raw_agreement,
    resampled,
)

NAN = math.nan
# K. Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C: four observers, twelve units.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
]
counts = st.integers(2, 5).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 4), min_size=k, max_size=k), min_size=1, max_size=12)
)
sets = st.sets(st.sampled_from("abcde"))


def table() -> Any:
    given_ = np.array(OBSERVERS)
    return np.array([[(given_[:, unit] == value).sum() for value in (1, 2, 3, 4, 5)] for unit in range(12)])


def nominal(counted: Any) -> float:
    distances = nominal_distances(np.asarray(counted).shape[1])
    return float(alpha(alpha_parts(counted, distances).sum(axis=0), distances))


def test_the_published_examples() -> None:
    assert nominal(table()) == pytest.approx(0.743, abs=5e-4)
    # The same table in K. L. Gwet's Handbook (2014): AC1 0.775.
    assert float(ac1(ac1_parts(table()).sum(axis=0))) == pytest.approx(0.775, abs=5e-4)


@given(counts)
@settings(deadline=None)
def test_alpha_is_that_of_the_package(counted: list[list[int]]) -> None:
    krippendorff = pytest.importorskip("krippendorff")
    if max(map(sum, counted)) < 2 or sum(any(row[k] for row in counted if sum(row) > 1) for k in range(len(counted[0]))) < 2:
        assert math.isnan(nominal(counted))
    else:
        assert nominal(counted) == pytest.approx(krippendorff.alpha(value_counts=counted, level_of_measurement="nominal"))


@given(st.lists(st.lists(sets.map(frozenset), min_size=1, max_size=5), min_size=1, max_size=6))
@settings(deadline=None)
def test_set_valued_alpha_is_that_of_the_package(units: list[list[frozenset[str]]]) -> None:
    krippendorff = pytest.importorskip("krippendorff")
    known = sorted({one for unit in units for one in unit}, key=sorted)
    counted = np.array([[unit.count(one) for one in known] for unit in units])
    distances = masi_distances(known)
    found = float(alpha(alpha_parts(counted, distances).sum(axis=0), distances))
    assume(len(known) > 1 and counted.sum(axis=1).max() > 1 and not math.isnan(found))

    def metric(v1: Any, v2: Any, i1: Any, i2: Any, n_v: Any, dtype: Any) -> Any:
        return distances[i1, i2]

    assert found == pytest.approx(krippendorff.alpha(value_counts=counted, level_of_measurement=metric))


@given(sets, sets)
def test_masi_is_that_of_nltk_but_for_its_rounded_thirds(one: set[str], other: set[str]) -> None:
    distance = pytest.importorskip("nltk.metrics.distance")
    found = masi_distance(one, other)
    assert found == masi_distance(other, one)
    assert (found == 0) == (one == other)
    if one or other:
        assert found == pytest.approx(distance.masi_distance(one, other), abs=0.005)


def test_masi_by_hand() -> None:
    assert masi_distance([], []) == 0
    assert masi_distance([], ["a"]) == 1
    assert masi_distance(["a"], ["b"]) == 1
    assert masi_distance(["a"], ["b", "a"]) == pytest.approx(1 - 1 / 2 * 2 / 3)
    assert masi_distance(["a", "b"], ["b", "c"]) == pytest.approx(1 - 1 / 3 * 1 / 3)


@given(counts)
def test_raw_agreement_and_ac1_by_their_definitions(counted: list[list[int]]) -> None:
    sums = ac1_parts(counted).sum(axis=0)
    answers = [[k for k, number in enumerate(row) for _ in range(number)] for row in counted]
    shares = [[one == other for one, other in itertools.combinations(unit, 2)] for unit in answers if len(unit) > 1]
    if not shares:
        assert math.isnan(float(raw_agreement(sums)))
        assert math.isnan(float(ac1(sums)))
        return
    raw = sum(sum(pairs) / len(pairs) for pairs in shares) / len(shares)
    seen = [unit for unit in answers if unit]
    classes = len(counted[0])
    pi = [sum(unit.count(k) / len(unit) for unit in seen) / len(seen) for k in range(classes)]
    chance = sum(p * (1 - p) for p in pi) / (classes - 1)
    assert float(raw_agreement(sums)) == pytest.approx(raw)
    assert float(ac1(sums)) == pytest.approx((raw - chance) / (1 - chance))


def test_what_does_not_exist_is_nan() -> None:
    assert math.isnan(nominal([[3, 0], [2, 0]]))  # no variation
    assert math.isnan(nominal([[1, 0], [0, 1]]))  # no pair
    assert float(ac1(ac1_parts([[3, 0], [2, 0]]).sum(axis=0))) == 1


def test_resampling_is_recomputing() -> None:
    rng = np.random.default_rng(0)
    counted = rng.integers(0, 4, (40, 3))
    weights = rng.integers(0, 3, (7, 40)).astype(np.int32)
    distances = nominal_distances(3)
    found = alpha(resampled(alpha_parts(counted, distances), weights), distances)
    again = [nominal(np.repeat(counted, row, axis=0)) for row in weights]
    assert found == pytest.approx(again)
    assert resampled(alpha_parts(counted, distances), weights[:0]).shape == (0, 4)
