"""Curves and tables behind the figures: by hand, against scikit-learn, and their empty cases."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import multilabel_confusion_matrix, roc_curve

from unsafe_video_dataset.curves import GRID, co_occurrence, precision_recall, reliability, roc
from unsafe_video_dataset.metrics import auroc, average_precision, bootstrap_weights
from unsafe_video_dataset.soft import ece


def data(n: int = 120) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, n)
    weights = np.concatenate([np.ones((1, n), int), bootstrap_weights(np.arange(n), replicates=30, seed=0)])
    return truth, (truth * 0.3 + rng.random(n) * 0.7).round(2), weights


def test_roc_is_scikit_learns_at_each_point_of_the_grid() -> None:
    truth, score, weights = data()
    curve = roc(truth, score, weights)
    assert curve is not None
    false, true, _ = roc_curve(truth, score, drop_intermediate=False)
    assert curve.y.tolist() == pytest.approx([true[false <= x + 1e-12].max() for x in GRID])
    assert curve.low is not None
    assert curve.high is not None
    assert (curve.low <= curve.high).all()
    assert np.mean((curve.low <= curve.y) & (curve.y <= curve.high)) > 0.9
    assert curve.y.mean() == pytest.approx(auroc(truth, score), abs=0.02)


def test_precision_recall_sums_to_average_precision() -> None:
    truth, score, weights = data()
    curve = precision_recall(truth, score, weights)
    assert curve is not None
    assert curve.y[1:].mean() == pytest.approx(average_precision(truth, score), abs=0.02)
    # By hand: scores .9 (P 1, R 1/2), .5 (P 1/2, R 1/2), .4 (P 2/3, R 1).
    small = precision_recall([1, 0, 1], [0.9, 0.5, 0.4], np.ones((1, 3)))
    assert small is not None
    assert small.y[[0, 50, 51, 100]] == pytest.approx([1, 1, 2 / 3, 2 / 3])
    assert small.low is None


def test_one_class_has_no_curve() -> None:
    assert roc([1, 1], [0.1, 0.2], np.ones((1, 2))) is None
    assert precision_recall([0], [0.1], np.ones((1, 1))) is None


def test_reliability_bins_are_those_of_the_calibration_error() -> None:
    truth, score, weights = data()
    found = reliability(truth, score, weights)
    gap = np.abs(found.score - found.target) @ found.count / len(truth)
    assert gap == pytest.approx(ece(truth, score)[0])
    assert found.count.sum() == len(truth)
    alone = reliability([1.0, 0.0], [1.0, 0.05], np.ones((1, 2)))
    assert alone.score.tolist() == [0.05, 1.0]
    assert np.isnan(alone.low).all()


def test_confusion_and_co_occurrence() -> None:
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]])
    taken = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0]])
    counts, shares = co_occurrence(truth, taken)
    assert counts.tolist() == [[1, 2, 0], [0, 1, 0], [0, 0, 0]]
    assert shares[0].tolist() == [0.5, 1, 0]
    assert np.isnan(shares[2]).all()
    assert np.diag(counts).tolist() == multilabel_confusion_matrix(truth, taken)[:, 1, 1].tolist()
    both, _ = co_occurrence(truth, truth)
    assert (both == both.T).all()
