"""Tests of a difference: against SciPy, by hand, and that they reject as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from unsafe_video_dataset.compare import bootstrap_p, holm, mcnemar, significance
from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.estimates import evaluate_arrays
from unsafe_video_dataset.metrics import auroc, bootstrap_weights


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_mcnemar_is_scipys_exact_binomial_test(b: int, c: int, same: int) -> None:
    first = [True] * b + [False] * c + [True] * same
    second = [False] * b + [True] * c + [True] * same
    expected = 1.0 if b + c == 0 else binomtest(b, b + c, 0.5).pvalue
    assert mcnemar(first, second) == (b, c, pytest.approx(expected, abs=1e-12))


def test_mcnemar_by_hand_and_for_large_n() -> None:
    assert mcnemar([1, 1, 1, 1, 1], [0, 0, 0, 0, 0]) == (5, 0, 2 / 32)
    assert mcnemar([True] * 900, [False] * 900)[2] == 2.0**-899
    with pytest.raises(InputError):
        mcnemar([True], [True, False])


def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 .4: times 4, 3, 2, 1 = .04 .06 .06 .4, none below the one before it.
    assert holm([0.4, 0.01, None, 0.03, 0.02]) == pytest.approx([0.4, 0.04, None, 0.06, 0.06])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([None]) == [None]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_holm_is_between_raw_and_bonferroni_and_keeps_the_order(values: list[float]) -> None:
    adjusted = [value for value in holm(values) if value is not None]
    for raw, corrected in zip(values, adjusted, strict=True):
        assert raw <= corrected <= min(1, raw * len(values)) + 1e-12
    by_raw = [corrected for _, corrected in sorted(zip(values, adjusted, strict=True))]
    assert by_raw == sorted(by_raw)


def test_bootstrap_p() -> None:
    assert bootstrap_p([1.0] * 99) == 2 / 100  # never 0
    assert bootstrap_p([0.0] * 10) == 1
    assert bootstrap_p([-1, 1, 1, 1, np.nan]) == pytest.approx(2 * 2 / 5)
    assert bootstrap_p([np.nan]) is None
    assert bootstrap_p([]) is None


def test_the_p_is_small_about_where_the_interval_leaves_out_0() -> None:
    rng = np.random.default_rng(0)
    for shift in (0.0, 1.5, 1.9, 2.1, 3.0):
        drawn = rng.standard_normal(4000) + shift
        low = np.quantile(drawn, 0.025)
        p = bootstrap_p(drawn)
        assert p is not None
        assert (p < 0.05) == (low > 0) or abs(low) < 0.05


def test_two_equal_models_are_rarely_told_apart() -> None:
    # Under 'no difference' p < .1 in about a tenth of the test sets; 60 of them, so at most 14 but for chance in 1000.
    rng, rejected = np.random.default_rng(1), 0
    for seed in range(60):
        truth = rng.integers(0, 2, 60)
        scores = truth[:, None] * 0.8 + rng.standard_normal((60, 2))
        weights = bootstrap_weights(np.arange(60), replicates=150, seed=seed)
        p = bootstrap_p(auroc(truth, scores[:, 0], weights) - auroc(truth, scores[:, 1], weights))
        rejected += p is not None and p < 0.1
    assert rejected <= 14


def test_significance_names_every_row_and_corrects_the_categories_only() -> None:
    differences = {"ap": np.array([[0.1] * 10, [-0.1] * 10, [np.nan] * 10, [0.2] * 10])}
    right = np.array([[1, 0], [1, 1], [1, 1]], bool), np.array([[0, 0], [0, 1], [0, 0]], bool)
    found = significance(["a", "b", "c", "macro"], differences, None, corrected=["a", "b", "c"])
    assert [(one.name, one.p, one.p_holm) for one in found] == [
        ("a", 0.2, 0.4), ("b", 0.2, 0.4), ("c", None, None), ("macro", 0.2, None),
    ]  # fmt: skip
    tests = significance(["a", "b"], {}, right, corrected=["a", "b"])
    assert [(one.method, one.only_first, one.only_second) for one in tests] == [("mcnemar", 3, 0), ("mcnemar", 1, 0)]
    assert [one.p for one in tests] == [2 / 8, 1.0]


def test_paired_intervals_are_narrower_than_unpaired_ones() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 200)
    score = truth * 0.6 + rng.random(200)
    other = score + rng.random(200) * 0.1
    groups = [str(number) for number in range(200)]
    (row,), compared = evaluate_arrays(truth, score, groups, others={"other": other}, bootstrap=200)
    gap = compared["other"].differences[0].auroc
    assert gap.high - gap.low < (row.auroc.high - row.auroc.low) / 2  # type: ignore[operator]
