"""Metrics against hand-computed tables and scikit-learn; bootstrap weights by their properties."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score, roc_curve

from unsafe_video_dataset import metrics
from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.metrics import (
    auroc,
    average_precision,
    bootstrap_weights,
    f1,
    min_negatives,
    ranking_metrics,
    tpr_at_fpr,
)

ALL: list[Callable[..., Any]] = [average_precision, auroc, f1]

# target, score, AP, AUROC, F1 at 0.5: worked out on paper.
TABLES = [
    # Thresholds .8 (P 1, R 1/2), .4 (R 1/2), .35 (P 2/3, R 1): AP 1/2 + 1/2 * 2/3. Pairs won 3 of 4. TP 1, FN 1.
    ([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], 5 / 6, 3 / 4, 2 / 3),
    # A tie across the classes at .5: P 2/3, R 1. Pairs won 3 and a half of 4. TP 2, FP 1.
    ([1, 0, 1, 0], [0.9, 0.5, 0.5, 0.1], 5 / 6, 7 / 8, 4 / 5),
    # One score for all: AP is the prevalence, AUROC one half; below the threshold nothing is predicted.
    ([1, 0, 0, 0, 1], [0.4] * 5, 2 / 5, 1 / 2, 0.0),
    ([1, 1, 0], [1.0, 1.0, 0.0], 1.0, 1.0, 1.0),
    ([0, 0, 1], [1.0, 1.0, 0.0], 1 / 3, 0.0, 0.0),
]


@pytest.mark.parametrize(("target", "score", "ap", "roc", "f"), TABLES)
def test_hand_computed(target: list[int], score: list[float], ap: float, roc: float, f: float) -> None:
    assert average_precision(target, score) == pytest.approx(ap, abs=1e-15)
    assert auroc(target, score) == pytest.approx(roc, abs=1e-15)
    assert f1(target, score) == pytest.approx(f, abs=1e-15)


def test_weights_count_rows() -> None:
    # Rows twice, once, never, three times are the same as the rows written out.
    target, score, weights = np.array([1, 0, 1, 0]), np.array([0.9, 0.5, 0.5, 0.1]), np.array([2, 1, 0, 3])
    for metric in ALL:
        assert metric(target, score, weights) == metric(np.repeat(target, weights), np.repeat(score, weights))


@st.composite
def tied(draw: st.DrawFn) -> tuple[Any, Any, Any]:
    """Targets of both classes, scores from few values (many ties), and [B, n] weights with many zeros."""
    n = draw(st.integers(2, 30))
    target = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    levels = draw(st.integers(1, 6))
    score = np.array(draw(st.lists(st.integers(0, levels), min_size=n, max_size=n))) / 4
    b = draw(st.integers(1, 4))
    weights = np.array([draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)) for _ in range(b)])
    return target, score, weights


@given(tied())
@settings(max_examples=150, deadline=None)
def test_agrees_with_scikit_learn(case: tuple[Any, Any, Any]) -> None:
    target, score, weights = case
    weights = np.concatenate([np.ones_like(weights[:1]), weights])
    found = [metric(target, score, weights) for metric in ALL]
    for row, weight in enumerate(weights):
        present = {int(t) for t in target[weight > 0]}
        if present != {0, 1}:
            assert all(math.isnan(values[row]) for values in found)
            continue
        oracle = [
            average_precision_score(target, score, sample_weight=weight),
            roc_auc_score(target, score, sample_weight=weight),
            f1_score(target, score >= 0.5, sample_weight=weight, zero_division=0),
        ]
        assert [values[row] for values in found] == pytest.approx(oracle, abs=1e-12)
        if row == 0:
            assert [metric(target, score) for metric in ALL] == [values[0] for values in found]


@given(tied(), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_order_of_rows_changes_nothing(case: tuple[Any, Any, Any], random: Any) -> None:
    target, score, weights = case
    order = list(range(len(target)))
    random.shuffle(order)
    for metric in ALL:
        np.testing.assert_array_equal(metric(target, score, weights), metric(target[order], score[order], weights[:, order]))


@given(tied())
@settings(deadline=None)
def test_float_weights(case: tuple[Any, Any, Any]) -> None:
    target, score, weights = case
    for metric in ALL:
        np.testing.assert_allclose(metric(target, score, weights * 0.37), metric(target, score, weights), atol=1e-12)


def test_random_against_scikit_learn_micro_and_weighted() -> None:
    rng = np.random.default_rng(1)
    target, score = rng.integers(0, 2, (150, 5)), rng.random((150, 5)).round(1)
    weights = bootstrap_weights(np.arange(150) // 3, replicates=8, seed=2)
    for row, weight in enumerate(weights):
        entries = {"sample_weight": np.repeat(weight, 5)}
        flat, scores = target.ravel(), score.ravel()
        assert average_precision(target, score, weights)[row] == pytest.approx(
            average_precision_score(flat, scores, **entries), abs=1e-12
        )
        assert auroc(target, score, weights)[row] == pytest.approx(roc_auc_score(flat, scores, **entries), abs=1e-12)
        found = f1(target, score, weights, threshold=0.3)[row]
        assert found == pytest.approx(f1_score(flat, scores >= 0.3, **entries), abs=1e-12)


def test_shapes_and_types() -> None:
    target, score = [0, 1, 1], [0.2, 0.3, 0.1]
    for metric in ALL:
        assert type(metric(target, score)) is float
        assert metric(target, score, [1, 1, 1]).shape == ()
        assert metric(target, score, np.ones((4, 3))).shape == (4,)
        assert metric(target, score, np.ones((0, 3))).shape == (0,)
        assert metric(np.array(target, bool), np.array(score, np.float32)) == metric(target, score)
        assert metric(target, score) == metric([[t] for t in target], [[s] for s in score])


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("target", [[0, 0], [1, 1], []])
def test_one_class_is_nan_without_a_warning(metric: Callable[..., Any], target: list[int]) -> None:
    assert math.isnan(metric(target, [0.5] * len(target)))


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize(
    ("target", "score", "weights"),
    [
        ([0, 1], [0.1], None),
        ([0, 2], [0.1, 0.2], None),
        ([0, 1], [0.1, math.nan], None),
        ([0, 1], [0.1, math.inf], None),
        ([0, 1], [0.1, 0.2], [1]),
        ([0, 1], [0.1, 0.2], [1, -1]),
        ([0, 1], [0.1, 0.2], [1, math.nan]),
        ([[[0]]], [[[0.1]]], None),
    ],
)
def test_bad_input_is_refused(metric: Callable[..., Any], target: Any, score: Any, weights: Any) -> None:
    with pytest.raises(InputError):
        metric(target, score, weights)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    target, score = rng.integers(0, 2, 50), rng.random(50).round(1)
    weights = bootstrap_weights(range(50), replicates=20, seed=0)
    whole = [metric(target, score, weights) for metric in ALL]
    monkeypatch.setattr(metrics, "_CHUNK", 150)
    for metric, expected in zip(ALL, whole, strict=True):
        np.testing.assert_array_equal(metric(target, score, weights), expected)


# --- bootstrap weights ------------------------------------------------------------------------------------------------

group_lists = st.lists(st.sampled_from(["ga", "gb", "gc", "gd", "ge", "gf"]), min_size=1, max_size=20)


@given(group_lists, st.integers(0, 5), st.integers(0, 99))
@settings(deadline=None)
def test_whole_groups_are_drawn(groups: list[str], replicates: int, seed: int) -> None:
    weights = bootstrap_weights(groups, replicates=replicates, seed=seed)
    assert weights.shape == (replicates, len(groups))
    assert weights.dtype == np.int32
    ids, first, member = np.unique(groups, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(weights, weights[:, first][:, member])
    assert (weights[:, first].sum(axis=1) == len(ids)).all()
    np.testing.assert_array_equal(weights, bootstrap_weights(groups, replicates=replicates, seed=seed))


@given(group_lists, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_weights_follow_their_rows(groups: list[str], random: Any) -> None:
    order = list(range(len(groups)))
    random.shuffle(order)
    weights = bootstrap_weights(groups, replicates=6, seed=5)
    np.testing.assert_array_equal(bootstrap_weights([groups[i] for i in order], replicates=6, seed=5), weights[:, order])


def test_more_replicates_begin_with_the_same() -> None:
    groups = [1, 1, 2, 3]
    few, many = (bootstrap_weights(groups, replicates=n, seed=0) for n in (5, 50))
    np.testing.assert_array_equal(few, many[:5])
    assert (bootstrap_weights(groups, replicates=50, seed=1) != many).any()


def test_each_group_is_drawn_once_on_average() -> None:
    weights = bootstrap_weights(range(40), replicates=4000, seed=0)
    # Multiplicity is binomial(40, 1/40): mean 1, variance 0.975.
    assert abs(weights.mean(axis=0) - 1).max() < 5 * math.sqrt(0.975 / 4000)
    assert weights.var() == pytest.approx(0.975, abs=0.02)


@pytest.mark.parametrize(
    ("groups", "replicates", "seed"),
    [([], 1, 0), ([["a"]], 1, 0), (["a"], -1, 0), (["a"], 1, -1), (["a"], 1.5, 0), (["a"], True, 0)],
)
def test_bad_bootstrap_input_is_refused(groups: Any, replicates: Any, seed: Any) -> None:
    with pytest.raises(InputError):
        bootstrap_weights(groups, replicates=replicates, seed=seed)


# --- TPR at a fixed FPR -----------------------------------------------------------------------------------------------


def test_tpr_at_fpr_by_hand() -> None:
    # Scores from the top: P N P N N P. FPR 0 allows one positive of 3, 1/3 two, 2/3 still two, 1 all.
    target, score = [1, 0, 1, 0, 0, 1], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    assert [tpr_at_fpr(target, score, fpr=fpr) for fpr in (0, 0.3, 1 / 3, 0.9, 1)] == pytest.approx(
        [1 / 3, 1 / 3, 2 / 3, 2 / 3, 1]
    )
    assert tpr_at_fpr([1, 0], [0.5, 0.5], fpr=0.5) == 0  # a tie can't be cut
    assert math.isnan(tpr_at_fpr([1, 1], [0.1, 0.9], fpr=0.5))


@given(tied(), st.sampled_from([0.01, 0.05, 0.25, 0.5]))
@settings(max_examples=100, deadline=None)
def test_tpr_at_fpr_is_a_point_of_scikit_learns_curve(case: tuple[Any, Any, Any], fpr: float) -> None:
    target, score, weights = case
    for weight, found in zip(weights, tpr_at_fpr(target, score, weights, fpr=fpr), strict=True):
        if {int(t) for t in target[weight > 0]} != {0, 1}:
            assert math.isnan(found)
            continue
        false, true, _ = roc_curve(target, score, sample_weight=weight, drop_intermediate=False)
        assert found == pytest.approx(true[false <= fpr + 1e-12].max())


def test_one_of_twenty_negatives_is_five_percent() -> None:
    target, score = [0] * 20 + [1], [*np.linspace(0, 0.4, 19), 0.9, 0.5]
    assert tpr_at_fpr(target, score, fpr=0.05) == 1
    assert tpr_at_fpr(target, score, np.full(21, 1 / 3), fpr=0.05) == 1  # weights that round
    assert (min_negatives(0.01), min_negatives(0.05)) == (100, 20)


def test_ranking_metrics_are_the_single_ones() -> None:
    rng = np.random.default_rng(0)
    target, score, weights = rng.integers(0, 2, 40), rng.random(40).round(1), rng.integers(0, 3, (5, 40))
    found = ranking_metrics(target, score, weights)
    assert list(found) == ["ap", "auroc", "tpr_at_1_fpr", "tpr_at_5_fpr"]
    assert (found["ap"] == average_precision(target, score, weights)).all()
    assert (found["auroc"] == auroc(target, score, weights)).all()
    assert (found["tpr_at_5_fpr"] == tpr_at_fpr(target, score, weights, fpr=0.05)).all()
