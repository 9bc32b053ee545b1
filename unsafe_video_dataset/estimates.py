"""The protocol on arrays: every metric in the sample and in each bootstrap replicate, and estimates made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import FilterError, InputError
from .metrics import FPRS, bootstrap_weights, f1, min_negatives, ranking_metrics
from .scores import Comparison, Estimate, Row
from .soft import SOFT_METRICS, soft_metrics
from .taxonomy import CATEGORIES

Floats = NDArray[np.float64]
Samples = Mapping[str, Floats]  # metric -> [rows, 1 + B]: a row a label, then macro and micro; column 0 is the sample
METRICS = ("ap", "auroc", "f1", *FPRS)
LEAST_REPLICATES = 100
"""Fewer leave two or three replicates in a tail of 2.5%, or none: no interval is made of them."""


@dataclass(frozen=True)
class Design:
    """What is scored: `truth` [n, k] (0/1, or shares of votes where `soft`), a name a label, a group a row, and `weights`
    [1 + B, n] whose row 0 is the sample itself.

    `share` [n] is a row's part of its video where several rows stand for one (None: all 1). `undefined` names metrics that
    the scores can't have, with the reason.
    """

    truth: NDArray[Any]
    names: tuple[str, ...]
    groups: NDArray[Any]
    weights: NDArray[Any]
    soft: bool = False
    share: Floats | None = None
    undefined: Mapping[str, str] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, in the order of a report."""
        return SOFT_METRICS if self.soft else METRICS

    @property
    def row_names(self) -> tuple[str, ...]:
        """The labels, and for several of them 'macro' and 'micro'."""
        return (*self.names, "macro", "micro") if len(self.names) > 1 else self.names

    @property
    def usable(self) -> list[bool]:
        """A label each: whether it has both classes ('macro' is the mean over these); where `soft`, always."""
        return [self.soft or 0 < self.truth[:, label].sum() < len(self.truth) for label in range(len(self.names))]

    def part(self, mask: NDArray[np.bool_]) -> Design:
        """The rows of `mask`, in the same replicates."""
        return replace(self, truth=self.truth[mask], groups=self.groups[mask], weights=self.weights[:, mask])

    def samples(self, scores: Floats, thresholds: Floats) -> Samples:
        """Every metric in the sample and each replicate, for scores [n, k] and a threshold a label."""
        width, weights = len(self.names), self._weights()
        labels = [self._metrics(self.truth[:, i], scores[:, i], scores[:, i] >= thresholds[i], weights) for i in range(width)]
        result = {name: np.stack([found[name] for found in labels]) for name in self.metrics}
        if width > 1:
            micro = self._metrics(self.truth, scores, scores >= thresholds, weights)
            for name, rows in result.items():
                some = rows[self.usable]
                macro = some.mean(axis=0) if len(some) else np.full(rows.shape[1], np.nan)
                result[name] = np.concatenate([rows, macro[None], micro[name][None]])
        for name in self.undefined:
            result[name] = np.full_like(result[name], np.nan)
        return result

    def rows(self, samples: Samples) -> tuple[Row, ...]:
        """Estimates from samples, a `Row` for each of `row_names`."""
        made = []
        for index, name in enumerate(self.row_names):
            label, n = index < len(self.names), len(self.truth)
            if self.share is not None:
                n = round(float(self.share.sum()))
            positives = held = None
            if not self.soft and self.share is None and name != "macro":
                mask = self.truth[:, index] == 1 if label else (self.truth == 1).any(axis=1)
                positives = int(mask.sum()) if label else int(self.truth.sum())
                held = len(np.unique(self.groups[mask]))
            found = {metric: self._estimate(metric, samples[metric][index], index) for metric in self.metrics}
            made.append(Row(name, n * len(self.names) if name == "micro" and not label else n, positives, held, found))
        return tuple(made)

    # --- inside ---

    def _weights(self) -> NDArray[Any]:
        return self.weights if self.share is None else np.asarray(self.weights * self.share)

    def _metrics(self, truth: NDArray[Any], scores: Floats, taken: NDArray[np.bool_], weights: NDArray[Any]) -> Samples:
        if self.soft:
            return soft_metrics(truth, scores, weights)
        found = {**ranking_metrics(truth, scores, weights), "f1": f1(truth, taken.astype(np.float64), weights)}
        negatives = self._negatives(truth)
        return {n: np.full_like(v, np.nan) if n in FPRS and negatives < min_negatives(FPRS[n]) else v for n, v in found.items()}

    def _negatives(self, truth: NDArray[Any]) -> int:
        """Negative videos (entries, where pooled); rows that share a video count as their part."""
        share = np.ones(len(truth)) if self.share is None else self.share
        return round(float((share.reshape((-1,) + (1,) * (truth.ndim - 1)) * (truth == 0)).sum()))

    def _undefined(self, metric: str, index: int) -> str:
        if metric in self.undefined:
            return self.undefined[metric]
        if self.soft:
            return "no video has votes"
        name = self.row_names[index]
        if name == "macro" and index >= len(self.names):
            if not any(self.usable):
                return "no category has both positive and negative videos"
            return f"not every category has the {min_negatives(FPRS[metric])} negatives that {FPRS[metric]:.0%} FPR needs"
        truth = self.truth if index >= len(self.names) else self.truth[:, index]
        if not (truth == 1).any():
            return "no video is positive"
        if (truth == 1).all():
            return "every video is positive, so none is negative"
        return f"{self._negatives(truth)} negatives; {FPRS[metric]:.0%} FPR needs {min_negatives(FPRS[metric])}"

    def _estimate(self, metric: str, drawn: Floats, index: int) -> Estimate:
        value, drawn = drawn[0], drawn[1:]
        if np.isnan(value):
            return Estimate(None, None, None, self._undefined(metric, index), 0)
        defined = drawn[~np.isnan(drawn)]
        reason = None
        if len(np.unique(self.groups)) == 1:
            reason = "no interval: one group, so there is nothing to resample"
        elif not len(drawn):
            reason = "no interval: bootstrap=0"
        elif len(drawn) < LEAST_REPLICATES:
            reason = f"no interval: bootstrap={len(drawn)}, and {LEAST_REPLICATES} replicates or more have 2.5% tails"
        elif 2 * len(defined) < len(drawn):
            reason = f"no interval: only {len(defined)} of {len(drawn)} bootstrap replicates have both classes"
        if reason:
            return Estimate(float(value), None, None, reason, len(defined))
        low, high = np.quantile(defined, [0.025, 0.975])
        return Estimate(float(value), float(low), float(high), None, len(defined))


def make_design(
    truth: NDArray[Any], names: Sequence[str], groups: Sequence[str], *, bootstrap: int, seed: int, soft: bool = False
) -> Design:
    """A design whose replicates draw whole groups with replacement. Raises `InputError` for a bad number or no row."""
    drawn = bootstrap_weights(groups, replicates=bootstrap, seed=seed)
    weights = np.concatenate([np.ones((1, len(truth)), np.int32), drawn])
    return Design(truth, tuple(names), np.asarray(groups), weights, soft)


def evaluate_arrays(
    targets: ArrayLike,
    scores: ArrayLike,
    groups: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    others: Mapping[str, ArrayLike] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    threshold: float | Sequence[float] = 0.5,
    soft: bool = False,
) -> tuple[tuple[Row, ...], dict[str, Comparison]]:
    """The protocol on arrays: rows of the scores, and a `Comparison` with each of `others` (scores of the same shape).

    `targets` (0/1; shares of votes where `soft`) and `scores` are [n, k], or [n] for one label; `groups` holds n ids; `names`
    k labels (default: the categories for k=5, 'unsafe' for k=1); `threshold` one number, or one a label. For k > 1 the rows
    'macro' and 'micro' follow the labels. Macro is the mean over the labels with both classes; a replicate in which one of
    these lacks a class does not count for macro. Intervals are the 2.5% and 97.5% quantiles over replicates, null where
    fewer than half are defined or where there is one group.
    Raises `InputError` for wrong shapes or values, `FilterError` for a threshold out of 0 to 1.
    """
    truth, values = _columns(targets), _columns(np.asarray(scores, dtype=np.float64))
    theirs = {name: _columns(np.asarray(other, dtype=np.float64)) for name, other in (others or {}).items()}
    if truth.ndim != 2 or any(table.shape != truth.shape for table in (values, *theirs.values())):
        raise InputError(f"targets {truth.shape} and scores {values.shape} must have one shape, [n, k] or [n].")
    labels = tuple(names or (CATEGORIES if truth.shape[1] == len(CATEGORIES) else ("unsafe",)))
    if len(groups) != len(truth) or len(labels) != truth.shape[1]:
        raise InputError(f"targets {truth.shape} need a group for each row and a name for each column.")
    cuts = np.broadcast_to(np.asarray(threshold, dtype=np.float64), (len(labels),))
    if not ((cuts >= 0) & (cuts <= 1)).all():
        raise FilterError(f"threshold={threshold!r} must be from 0 to 1.")
    design = make_design(truth, labels, groups, bootstrap=bootstrap, seed=seed, soft=soft)
    mine = design.samples(values, cuts)
    compared = {}
    for name, table in theirs.items():
        samples = design.samples(table, cuts)
        compared[name] = Comparison(name, design.rows(samples), design.rows(minus(mine, samples)))
    return design.rows(mine), compared


def minus(first: Samples, second: Samples) -> Samples:
    """Paired differences, first minus second."""
    return {metric: first[metric] - second[metric] for metric in first}


def _columns(values: ArrayLike) -> NDArray[Any]:
    table = np.asarray(values)
    return table[:, None] if table.ndim == 1 else table
