"""Scores of probabilities against shares of votes: by hand, against scikit-learn and SciPy, and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from sklearn.metrics import brier_score_loss, log_loss

from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.soft import CLIP, brier, cross_entropy, ece, entropy, jensen_shannon, soft_metrics


def test_hand_computed() -> None:
    share, guess = [0.5, 1.0, 0.25], [0.5, 0.5, 0.75]
    assert cross_entropy(share, guess) == pytest.approx(
        [math.log(2), math.log(2), -0.25 * math.log(0.75) - 0.75 * math.log(0.25)]
    )
    assert brier(share, guess) == pytest.approx([0, 0.25, 0.25])
    assert entropy(share) == pytest.approx([math.log(2), 0, -0.25 * math.log(0.25) - 0.75 * math.log(0.75)])
    assert jensen_shannon([1.0, 0.3], [0.0, 0.3]) == pytest.approx([1, 0])  # nothing in common; the same
    # Bins [.5, .6) and [.7, .8): gaps (.5 + .5) - (.5 + 1) = -.5 and .75 - .25 = .5, over 3 entries.
    assert ece(share, guess) == pytest.approx([(0.5 + 0.5) / 3])


def test_agrees_with_scikit_learn_and_scipy() -> None:
    rng = np.random.default_rng(0)
    truth, share, guess = rng.integers(0, 2, 50), rng.integers(0, 7, 50) / 6, rng.random(50)
    assert cross_entropy(truth, guess).mean() == pytest.approx(log_loss(truth, guess))
    assert brier(truth, guess).mean() == pytest.approx(brier_score_loss(truth, guess))
    oracle = [jensenshannon([q, 1 - q], [p, 1 - p], base=2) ** 2 for q, p in zip(share, guess, strict=True)]
    assert jensen_shannon(share, guess) == pytest.approx(oracle, abs=1e-12)
    plain = sum(
        abs((guess[i] - share[i]).sum()) / 50 for b in range(10) if (i := (guess >= b / 10) & (guess < (b + 1) / 10)).any()
    )
    assert ece(share, guess) == pytest.approx([plain])


def test_the_least_cross_entropy_is_the_entropy() -> None:
    share = np.linspace(0, 1, 11)
    assert cross_entropy(share, share) == pytest.approx(entropy(share), abs=2 * CLIP)
    assert (cross_entropy(share, np.full(11, 0.4)) >= entropy(share)).all()


def test_certain_mistakes_are_finite_and_counted_as_clipped() -> None:
    assert cross_entropy([1.0], [0.0]) == pytest.approx([-math.log(CLIP)])
    assert np.isfinite(cross_entropy([0.0, 1.0], [1.0, 0.0])).all()


def test_weights_are_copies_of_rows() -> None:
    rng = np.random.default_rng(1)
    share, guess, weight = rng.random((6, 5)), rng.random((6, 5)), np.array([2, 0, 1, 3, 0, 1])
    copied = soft_metrics(np.repeat(share, weight, axis=0), np.repeat(guess, weight, axis=0), np.ones((1, 7)))
    weighed = soft_metrics(share, guess, weight[None])
    for name, value in copied.items():
        assert weighed[name] == pytest.approx(value)
    nothing = soft_metrics(share, guess, np.zeros((2, 6)))
    assert all(np.isnan(value).all() and value.shape == (2,) for value in nothing.values())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -0.1, 1.1])
def test_only_probabilities(bad: float) -> None:
    for share, guess in (([0.5], [bad]), ([bad], [0.5])):
        with pytest.raises(InputError, match="0 to 1"):
            brier(share, guess)
    with pytest.raises(InputError, match="one shape"):
        brier([0.5], [0.5, 0.5])
    with pytest.raises(InputError, match="weights"):
        ece([0.5], [0.5], np.ones((1, 2)))
