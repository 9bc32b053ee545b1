"""Scores of predicted probabilities against shares of votes: cross-entropy, Brier, Jensen-Shannon, calibration.

Each category is a separate yes/no question, so a video's votes on it are a Bernoulli distribution: `target` is the share
of raters who said yes, `score` the predicted probability, both float in [0, 1], [n] or [n, k] (the n*k entries are then
pooled). `weights` are row multiplicities as in `metrics`: none, [n], or [B, n]. Lower is better for all four. NaN where
the weights sum to 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import InputError

Floats = NDArray[np.float64]
CLIP = 1e-6
"""Cross-entropy takes a probability of 0 or 1 as this far from it: else one certain mistake would make the mean infinite."""
BINS = 10
SOFT_METRICS = ("cross_entropy", "brier", "jensen_shannon", "ece")


def cross_entropy(target: ArrayLike, score: ArrayLike) -> Floats:
    """-q log p - (1 - q) log(1 - p) of each entry, in nats, p clipped to [CLIP, 1 - CLIP]; its least is the entropy of q."""
    share, guess = _checked(target, score)
    guess = np.clip(guess, CLIP, 1 - CLIP)
    return np.asarray(-share * np.log(guess) - (1 - share) * np.log1p(-guess))


def entropy(target: ArrayLike) -> Floats:
    """-q log q - (1 - q) log(1 - q) of each entry, in nats: the least cross-entropy that any prediction can have."""
    share = _checked(target, target)[0]
    return _plogp(share) + _plogp(1 - share)


def brier(target: ArrayLike, score: ArrayLike) -> Floats:
    """(p - q)^2 of each entry, 0 to 1. Source: G. Brier (1950), with the share of votes as the outcome."""
    share, guess = _checked(target, score)
    return np.asarray((guess - share) ** 2)


def jensen_shannon(target: ArrayLike, score: ArrayLike) -> Floats:
    """Jensen-Shannon divergence of the two Bernoulli distributions of each entry, in bits, 0 to 1.

    H((p + q) / 2) - (H(p) + H(q)) / 2. Source: J. Lin, Divergence measures based on the Shannon entropy (1991), eq. 3.2.
    """
    share, guess = _checked(target, score)
    middle = (share + guess) / 2
    found = entropy(middle) - (entropy(share) + entropy(guess)) / 2
    return np.asarray(np.maximum(found, 0) / np.log(2))  # rounding may fall below 0


def ece(target: ArrayLike, score: ArrayLike, weights: ArrayLike | None = None, *, bins: int = BINS) -> Floats:
    """Expected calibration error, 0 to 1: sum over bins of (share of entries) * |mean score - mean target|; shape [B].

    Bins of equal width; a score of 1 belongs to the last. It is never 0 by chance, so that on few videos it is too large,
    and a bootstrap of it too: compare models on the same videos only. Source: Guo et al., On Calibration of Modern Neural
    Networks (2017), eq. 3, with the share of votes as the accuracy.
    """
    share, guess = _columns(*_checked(target, score))
    weight = _weights(weights, len(share))
    place = np.minimum((guess * bins).astype(np.int64), bins - 1)
    gaps = np.stack([((guess - share) * (place == number)).sum(axis=1) for number in range(bins)], axis=1)  # [n, bins]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.abs(weight @ gaps).sum(axis=1) / (weight.sum(axis=1) * share.shape[1]))


def soft_metrics(target: ArrayLike, score: ArrayLike, weights: ArrayLike) -> dict[str, Floats]:
    """The four, float64 [B] each, of weights [B, n]."""
    share, guess = _columns(*_checked(target, score))
    weight = _weights(weights, len(share))
    found = {}
    for name, loss in (("cross_entropy", cross_entropy), ("brier", brier), ("jensen_shannon", jensen_shannon)):
        with np.errstate(invalid="ignore", divide="ignore"):
            found[name] = np.asarray(weight @ loss(share, guess).mean(axis=1) / weight.sum(axis=1))
    return {**found, "ece": ece(share, guess, weight)}


# --- inside -----------------------------------------------------------------------------------------------------------


def _plogp(share: Floats) -> Floats:
    return np.asarray(-share * np.log(np.where(share > 0, share, 1)))


def _checked(target: ArrayLike, score: ArrayLike) -> tuple[Floats, Floats]:
    share, guess = np.asarray(target, dtype=np.float64), np.asarray(score, dtype=np.float64)
    if share.shape != guess.shape:
        raise InputError(f"target {share.shape} and score {guess.shape} must have one shape.")
    for name, values in (("target", share), ("score", guess)):
        if not ((values >= 0) & (values <= 1)).all():  # NaN too
            raise InputError(f"{name} must hold probabilities, 0 to 1: found NaN or another number.")
    return share, guess


def _columns(share: Floats, guess: Floats) -> tuple[Floats, Floats]:
    return (share[:, None], guess[:, None]) if share.ndim == 1 else (share, guess)


def _weights(weights: ArrayLike | None, n: int) -> Floats:
    weight = np.ones((1, n)) if weights is None else np.atleast_2d(np.asarray(weights, dtype=np.float64))
    if weight.shape[1:] != (n,):
        raise InputError(f"weights {weight.shape} must have shape [n] or [B, n] with n={n}.")
    return weight
