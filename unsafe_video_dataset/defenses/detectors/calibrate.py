"""Choose temperatures, thresholds and a sequential test's evidence on validation samples, and on nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError, one_of
from ..evidence import fit_evidence
from ..traces import AnyTraces, Traces, open_traces
from .card import Calibration
from .detector import Detector
from .folds import folds
from .score import logits_of

Floats = NDArray[np.float64]
Split = Literal["train", "validation", "test", "all"]


def calibrate(
    detector: Detector,
    traces: AnyTraces,
    *,
    split: Split = "validation",
    target_fpr: float | None = 0.05,
    any_scheduler: bool = False,
    progress: bool = True,
) -> Detector:
    """The detector with a calibration from the labelled samples of a split (`all`: the traces hold nothing else).

    `target_fpr`: at most this share of the safe x0 gets a positive vote. None takes the thresholds with the best balanced
    accuracy of votes. Raises `InputError` where the split has less than 2 samples of a kind, or a group that was trained on,
    `DetectorMismatch` where the traces are of another kind.
    """
    if target_fpr is not None and not 0 <= target_fpr < 1:
        raise InputError(f"target_fpr={target_fpr!r} must be from 0 up to 1.")
    chosen = part(detector, traces, split)
    detector.check(chosen, any_scheduler=any_scheduler)
    trained = set(detector.card.train_groups) & set(chosen.group_ids)
    if trained:
        raise InputError(
            f"{len(trained)} of the {len(set(chosen.group_ids))} groups were trained on: thresholds chosen there would be too "
            "good to be true. Calibrate on the validation split of the same traces, or on other prompts."
        )
    targets, unsafe = chosen.targets(detector.categories), chosen.unsafe()
    if not 2 <= unsafe.sum() <= len(unsafe) - 2:
        raise InputError(f"{unsafe.sum()} of {len(unsafe)} samples are unsafe: a calibration needs at least 2 of each kind.")
    logits = logits_of(detector, chosen, progress=progress).astype(np.float64)
    temperature = {
        name: fit_temperature(logits[:, :, k].ravel(), np.repeat(targets[:, k], logits.shape[1]))
        for k, name in enumerate(detector.categories)
    }
    scores = 1 / (1 + np.exp(-logits / np.array(list(temperature.values()))))
    flat, rows = scores.reshape(-1, scores.shape[2]), np.repeat(targets, scores.shape[1], axis=0)
    limits = fit_thresholds(flat, rows, target_fpr=target_fpr)
    made = Calibration(
        temperature=temperature,
        thresholds=dict(zip(detector.categories, limits.tolist(), strict=True)),
        target_fpr=target_fpr,
        votes_fpr=float((flat[~rows.any(axis=1)] >= limits).any(axis=1).mean()),
        evidence=fit_evidence(scores.max(axis=2), unsafe, steps=chosen.steps, num_steps=chosen.settings["num_steps"]).to_dict(),
        samples=len(chosen),
        groups=len(set(chosen.group_ids)),
        labels_sha256=chosen.labels_sha256(),
    )
    return replace(detector, card=detector.card.calibrated(made))


def part(detector: Detector, traces: AnyTraces, split: Split) -> Traces:
    """The labelled samples of a split, drawn as in the detector's training. Raises `InputError` where the split is empty."""
    one_of(split, get_args(Split), "split")
    labelled = open_traces(traces).labelled()
    if split == "all":
        return labelled
    settings = detector.card.training.get("settings")
    if settings is None:
        raise InputError(
            "This detector wasn't trained here, so its splits aren't known: use split='all' on samples of your choice."
        )
    found = getattr(folds(labelled, seed=settings["seed"], fractions=settings["fractions"]), split)
    if not found:
        raise InputError(f"The {split} split is empty. Record more prompts, or use other fractions.")
    return labelled.select(found)


def fit_temperature(logits: Floats, truth: NDArray[np.bool_]) -> float:
    """The temperature in [0.05, 20] with the lowest log loss of sigmoid(logits / T); 1 where one class is missing.

    Guo et al., On Calibration of Modern Neural Networks (2017). The loss has one minimum in 1/T: golden-section search.
    """
    if not 0 < truth.sum() < len(truth):
        return 1.0

    def loss(log_t: float) -> float:
        z = logits / np.exp(log_t)
        return float(np.mean(np.logaddexp(0, z) - truth * z))

    low, high, ratio = float(np.log(0.05)), float(np.log(20)), (5**0.5 - 1) / 2
    for _ in range(60):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) <= loss(right) else (left, high)
    return float(np.exp((low + high) / 2))


def fit_thresholds(scores: Floats, targets: NDArray[np.bool_], *, target_fpr: float | None) -> Floats:
    """A threshold a category, float64 [K], from scores [n, K] and labels [n, K].

    All categories let the same number of safe rows (none of the K) pass, the largest one for which the share of safe rows with
    any positive vote stays at most `target_fpr`; or, for None, the one with the best balanced accuracy of such votes. A
    category that has all of its own positives above fewer safe rows takes no more of them.
    """
    unsafe = targets.any(axis=1)
    safe = np.sort(scores[~unsafe], axis=0)[::-1]
    enough = _below(scores, targets)
    best, found = -1.0, np.maximum(_above(scores, safe[0]), enough)
    for passing in _counts(len(safe)):
        limits = np.maximum(_above(scores, safe[passing]), enough)
        votes = np.asarray((scores >= limits).any(axis=1))
        fpr, tpr = float(votes[~unsafe].mean()), float(votes[unsafe].mean())
        if target_fpr is None:
            if tpr - fpr > best:
                best, found = tpr - fpr, limits
        elif fpr <= target_fpr * (1 + 1e-12):
            found = limits
        else:
            break  # more rows pass with every count
    return found


def _counts(rows: int) -> list[int]:
    """How many safe rows may pass: each number up to 200, then about 400 more."""
    return sorted({*range(min(rows, 200)), *np.linspace(0, rows - 1, num=min(rows, 400)).astype(int).tolist()})


def _above(scores: Floats, floor: Floats) -> Floats:
    """Halfway between `floor` [K] and the next higher score of its category; above 1 where there is none higher but 1."""
    made = np.empty_like(floor)
    for k, value in enumerate(floor):
        higher = scores[:, k][scores[:, k] > value]
        middle = (value + (higher.min() if len(higher) else 1.0)) / 2
        made[k] = middle if middle > value else np.nextafter(value, 2.0)
    return made


def _below(scores: Floats, targets: NDArray[np.bool_]) -> Floats:
    """Halfway between the lowest score of a category's positives and the next lower one; 0 where it has no positive."""
    made = np.zeros(scores.shape[1])
    for k in range(scores.shape[1]):
        own = scores[targets[:, k], k]
        if len(own):
            lower = scores[scores[:, k] < own.min(), k]
            middle = (own.min() + (lower.max() if len(lower) else 0.0)) / 2
            made[k] = middle if middle < own.min() else own.min()
    return made
