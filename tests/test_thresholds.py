"""The threshold of F1: the best on validation, and what happens without one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from unsafe_video_dataset.errors import FilterError, InputError
from unsafe_video_dataset.thresholds import best_f1_threshold, chosen, fixed


def test_hand_computed() -> None:
    # Cuts at .9 (F1 2/3), .6 (4/5: TP 2, FP 1), .2 (4/6): the best takes .9 and .6, and stands halfway to .2.
    assert best_f1_threshold([1, 0, 1, 0], [0.9, 0.6, 0.6, 0.2]) == pytest.approx(0.4)
    # Cuts at .8 and .4 both have F1 2/3 (TP 1, FN 1; TP 2, FP 2): the higher one.
    assert best_f1_threshold([1, 0, 0, 1], [0.8, 0.4, 0.4, 0.4]) == pytest.approx(0.6)
    assert best_f1_threshold([1, 0], [0.5, 0.5]) == 0.25  # a constant says yes to all
    assert best_f1_threshold([1, 1], [0.1, 0.9]) is None
    assert best_f1_threshold([0], [0.1]) is None


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 8)), min_size=2, max_size=25))
@settings(max_examples=30, deadline=None)
def test_no_threshold_is_better(pairs: list[tuple[bool, int]]) -> None:
    truth, score = np.array([t for t, _ in pairs]), np.array([s for _, s in pairs]) / 8
    found = best_f1_threshold(truth, score)
    if found is None:
        assert truth.all() or not truth.any()
        return
    best = max(f1_score(truth, score >= cut, zero_division=0) for cut in np.arange(9) / 8)
    assert f1_score(truth, score >= found, zero_division=0) == pytest.approx(best)


def test_neighbours_in_float64_have_no_middle() -> None:
    low, high = 0.5, float(np.nextafter(0.5, 1))
    found = best_f1_threshold([0, 1], [low, high])
    assert found is not None
    assert low < found <= high


def test_a_category_with_one_class_keeps_the_fixed_threshold() -> None:
    made = chosen(["a", "b"], np.array([[1, 0], [0, 0]]), np.array([[0.8, 0.1], [0.2, 0.2]]))
    assert made.values == {"a": 0.5, "b": 0.5}  # (.8 + .2) / 2, and the fixed one
    assert made.notes == ("b: threshold 0.5, because the validation split has one class only",)
    assert made.source == "validation"


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_fixed_is_from_0_to_1(threshold: float) -> None:
    with pytest.raises(FilterError, match="0 to 1"):
        fixed(["a"], threshold)


def test_bad_arrays() -> None:
    with pytest.raises(InputError):
        best_f1_threshold([1, 0], [0.5])
    with pytest.raises(InputError):
        best_f1_threshold([1, 0], [0.5, float("nan")])
