"""Predictions -> a report with intervals. Every number carries its n, its interval and what it was computed from.

Each video of a split is predicted exactly once. Intervals are 95% percentile intervals of a bootstrap over groups
(videos of one prompt, or near-duplicates), because videos of a group are not independent. A prompt-free predictor that
knows only the train split's prevalences is always scored beside the model, in the same bootstrap replicates, so that
the differences are paired. A number that does not exist is null with a reason, never NaN.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from typing import Any, Literal, Protocol, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from .errors import FilterError, InputError, one_of
from .metrics import auroc, average_precision, bootstrap_weights, f1
from .predictions import Predictions, covered, predictions_sha256
from .records import Record
from .scores import Comparison, Estimate, EvalReport, Row
from .taxonomy import CATEGORIES, SPLITS

EvalConfig = Literal["unsafe", "reviewed"]
EvalTarget = Literal["multilabel", "binary"]
METRICS = ("ap", "auroc", "f1")


class ReleaseLike(Protocol):
    """What `evaluate` needs of a `Release`."""

    @property
    def manifest(self) -> dict[str, Any]: ...
    @property
    def manifest_sha256(self) -> str: ...
    def metadata(self, split: str | None = None, *, columns: Sequence[str] | None = None) -> pa.Table: ...


def evaluate(
    predictions: Predictions,
    release: str | os.PathLike[str] | ReleaseLike,
    *,
    config: EvalConfig = "unsafe",
    split: str = "test",
    target: EvalTarget = "multilabel",
    bootstrap: int = 1000,
    seed: int = 0,
    threshold: float = 0.5,
    baseline: Predictions | None = None,
) -> EvalReport:
    """Score predictions (a file of `read_predictions`, or records) on one split of a release.

    `config`: 'unsafe' takes the unsafe videos, 'reviewed' all. `target`: 'multilabel' scores `scores` against the five
    categories, 'binary' scores `unsafe_score` against `is_unsafe`. F1 predicts a label where its score >= `threshold`
    (0 to 1). `bootstrap` replicates (0: no intervals) and `seed` fix the intervals. `baseline`: predictions of a second
    model, to be compared in the same replicates.

    Raises `FaultsError` with every fault at once where records are invalid, or do not cover each video of the split
    exactly once; `FilterError` for an unknown option, an empty split, or a target that the config can't have.
    """
    one_of(config, get_args(EvalConfig), "config")
    one_of(split, SPLITS, "split")
    if one_of(target, get_args(EvalTarget), "target") == "binary" and config == "unsafe":
        raise FilterError(
            "target='binary' needs videos of both classes, and every video of config='unsafe' is unsafe. Use config='reviewed'."
        )
    if isinstance(release, (str, os.PathLike)):
        from .release import Release

        release = Release.open(release, config="metadata")
    columns = ["video_id", "is_unsafe", "categories", "group_id", "split"]
    everything: list[Record] = release.metadata(None, columns=columns).to_pylist()
    chosen = sorted((row for row in everything if row["is_unsafe"] or config == "reviewed"), key=lambda r: r["video_id"])
    rows = [row for row in chosen if row["split"] == split]
    if not rows:
        counts = ", ".join(f"{name} {sum(row['split'] == name for row in chosen)}" for name in SPLITS)
        raise FilterError(f"split={split!r} of config={config!r} has no videos. Videos a split: {counts}. Choose another.")

    model = covered(predictions, rows, everything, target=target, split=split, config=config)
    second = None if baseline is None else covered(baseline, rows, everything, target=target, split=split, config=config)
    truth, names = _targets(rows, target)
    train = [row for row in chosen if row["split"] == "train"]
    prevalence = _targets(train, target)[0].mean(axis=0) if train else None
    others = {}
    if prevalence is not None:
        others["majority"] = np.tile(prevalence, (len(rows), 1))
    if second is not None:
        others["baseline"] = _scores(second, target)
    groups = [str(row["group_id"]) for row in rows]
    settings: dict[str, Any] = {"names": names, "bootstrap": bootstrap, "seed": seed, "threshold": threshold}
    table, compared = evaluate_arrays(truth, _scores(model, target), groups, others=others, **settings)
    if prevalence is not None:
        constants = {name: float(share) for name, share in zip(names, prevalence, strict=True)}
        majority = replace(compared["majority"], scores=constants)
    else:
        reason = f"split 'train' of config {config!r} has no videos, so there are no prevalences to predict"
        majority = Comparison("majority", reason=reason)
    models = {record.get("model") for record in model}
    return EvalReport(
        release=str(release.manifest["name"]),
        release_version=str(release.manifest["release_version"]),
        manifest_sha256=release.manifest_sha256,
        config=config,
        split=split,
        target=target,
        n=len(rows),
        groups=len(set(groups)),
        bootstrap=int(bootstrap),
        seed=int(seed),
        threshold=float(threshold),
        model=models.pop() if len(models) == 1 else None,
        predictions_sha256=predictions_sha256(model),
        package_version=_package_version(),
        numpy_version=np.__version__,
        macro_categories=tuple(row.name for row in table if row.name in CATEGORIES and row.ap.value is not None),
        rows=table,
        majority=majority,
        baseline=replace(compared["baseline"], predictions_sha256=predictions_sha256(second)) if second is not None else None,
    )


def evaluate_arrays(
    targets: ArrayLike,
    scores: ArrayLike,
    groups: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    others: Mapping[str, ArrayLike] | None = None,
    bootstrap: int = 1000,
    seed: int = 0,
    threshold: float = 0.5,
) -> tuple[tuple[Row, ...], dict[str, Comparison]]:
    """The protocol on arrays: rows of the scores, and a `Comparison` with each of `others` (scores of the same shape).

    `targets` 0/1 and `scores` float are [n, k], or [n] for one label; `groups` holds n ids; `names` k labels (default:
    the categories for k=5, 'unsafe' for k=1). For k > 1 the rows 'macro' and 'micro' follow the labels. Macro is the
    mean over the labels with both classes; a replicate in which one of these lacks a class does not count for macro.
    Intervals are the 2.5% and 97.5% quantiles over replicates, null where fewer than half are defined or where there is
    one group.
    Raises `InputError` for wrong shapes or values, `FilterError` for a threshold out of 0 to 1.
    """
    truth, values = _columns(np.asarray(targets)), _columns(np.asarray(scores, dtype=np.float64))
    theirs = {name: _columns(np.asarray(other, dtype=np.float64)) for name, other in (others or {}).items()}
    if truth.ndim != 2 or any(table.shape != truth.shape for table in (values, *theirs.values())):
        raise InputError(f"targets {truth.shape} and scores {values.shape} must have one shape, [n, k] or [n].")
    labels = tuple(names or (CATEGORIES if truth.shape[1] == len(CATEGORIES) else ("unsafe",)))
    if len(groups) != len(truth) or len(labels) != truth.shape[1]:
        raise InputError(f"targets {truth.shape} need a group for each row and a name for each column.")
    if not 0 <= threshold <= 1:
        raise FilterError(f"threshold={threshold!r} must be from 0 to 1.")
    drawn = bootstrap_weights(groups, replicates=bootstrap, seed=seed)
    weights = np.concatenate([np.ones((1, len(truth)), np.int32), drawn])  # row 0 is the sample itself
    member = np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    estimate = _estimator(truth, int(member.max()) + 1)

    def rows(samples: dict[str, NDArray[np.float64]]) -> tuple[Row, ...]:
        made = []
        for index, name in enumerate((*labels, "macro", "micro")[: samples["ap"].shape[0]]):
            n, mask = len(truth), truth.any(axis=1)
            positives: int | None = int(truth.sum())
            if index < len(labels):
                mask, positives = truth[:, index] == 1, int(truth[:, index].sum())
            elif name == "macro":
                positives = None
            else:
                n = truth.size
            held = None if positives is None else len(np.unique(member[mask]))
            found = {metric: estimate(samples[metric][index], index) for metric in METRICS}
            made.append(Row(name, n, positives, held, **found))
        return tuple(made)

    mine = _samples(truth, values, weights, threshold)
    compared = {}
    for name, table in theirs.items():
        samples = _samples(truth, table, weights, threshold)
        differences = {metric: mine[metric] - samples[metric] for metric in METRICS}
        compared[name] = Comparison(name, rows(samples), rows(differences))
    return rows(mine), compared


def _columns(values: NDArray[Any]) -> NDArray[Any]:
    return values[:, None] if values.ndim == 1 else values


def _samples(
    truth: NDArray[Any], scores: NDArray[np.float64], weights: NDArray[np.int32], threshold: float
) -> dict[str, NDArray[np.float64]]:
    """Metric -> [rows, 1 + B]: a row a label, then macro and micro where there are several; column 0 is the sample."""
    metrics: dict[str, Callable[..., Any]] = {
        "ap": average_precision,
        "auroc": auroc,
        "f1": lambda target, score, weight: f1(target, score, weight, threshold=threshold),
    }
    width = truth.shape[1]
    usable = [0 < truth[:, label].sum() < len(truth) for label in range(width)]
    result = {}
    for name, metric in metrics.items():
        rows = np.stack([metric(truth[:, label], scores[:, label], weights) for label in range(width)])
        if width > 1:
            macro = rows[usable].mean(axis=0) if any(usable) else np.full(len(weights), np.nan)
            rows = np.concatenate([rows, macro[None], metric(truth, scores, weights)[None]])
        result[name] = rows
    return result


def _estimator(truth: NDArray[Any], groups: int) -> Callable[[NDArray[np.float64], int], Estimate]:
    width = truth.shape[1]

    def undefined(index: int) -> str:
        if index == width and width > 1:
            return "no category has both positive and negative videos"
        positives = int(truth[:, index].sum() if index < width else truth.sum())
        return "no video is positive" if positives == 0 else "every video is positive, so none is negative"

    def estimate(samples: NDArray[np.float64], index: int) -> Estimate:
        value, drawn = samples[0], samples[1:]
        if np.isnan(value):
            return Estimate(None, None, None, undefined(index), 0)
        defined = drawn[~np.isnan(drawn)]
        reason = None
        if groups == 1:
            reason = "no interval: one group, so there is nothing to resample"
        elif not len(drawn):
            reason = "no interval: bootstrap=0"
        elif 2 * len(defined) < len(drawn):
            reason = f"no interval: only {len(defined)} of {len(drawn)} bootstrap replicates have both classes"
        if reason:
            return Estimate(float(value), None, None, reason, len(defined))
        low, high = np.quantile(defined, [0.025, 0.975])
        return Estimate(float(value), float(low), float(high), None, len(defined))

    return estimate


def _targets(rows: Sequence[Record], target: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    if target == "binary":
        return np.array([[bool(row["is_unsafe"])] for row in rows], dtype=np.int64), ("unsafe",)
    truth = [[index in row["categories"] for index in range(len(CATEGORIES))] for row in rows]
    return np.array(truth, dtype=np.int64), CATEGORIES


def _scores(records: Sequence[Record], target: str) -> NDArray[np.float64]:
    if target == "binary":
        return np.array([[record["unsafe_score"]] for record in records], dtype=np.float64)
    return np.array([[record["scores"][name] for name in CATEGORIES] for record in records], dtype=np.float64)


def _package_version() -> str:
    try:
        return metadata.version("unsafe-video-dataset")
    except metadata.PackageNotFoundError:
        return "unknown"
