"""Predictions -> a report with intervals. Every number carries its n, its interval and what it was computed from.

Each video of a split is predicted exactly once. Intervals are 95% percentile intervals of a bootstrap over groups
(videos of one prompt, or near-duplicates), because videos of a group are not independent. A prompt-free predictor that
knows only the train split's prevalences is always scored beside the model, in the same bootstrap replicates, so that
the differences are paired; where votes exist, so is a rater. A number that does not exist is null with a reason, never NaN.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .ceiling import Answers, human_ceiling, leave_one_out
from .compare import significance
from .errors import FilterError
from .estimates import Design, Samples, make_design, minus
from .estimates import evaluate_arrays as evaluate_arrays
from .predictions import Predictions, predictions_sha256
from .records import Record
from .scores import Comparison, EvalReport, Row, Slice
from .soft import entropy
from .task import AGREEMENT_BINS, SLICES, EvalConfig, EvalTarget, ReleaseLike, Task, open_task
from .taxonomy import CATEGORIES
from .thresholds import FIXED, Thresholds, chosen, fixed


@dataclass(frozen=True)
class Model:
    """Scores of one predictions file on a task: [n, k], thresholds a label, and the records that they come from."""

    scores: NDArray[np.float64]
    thresholds: Thresholds
    records: list[Record]
    validation: list[Record] | None = None

    @property
    def name(self) -> str | None:
        """The `model` that all records name, else None."""
        names = {record.get("model") for record in self.records}
        return names.pop() if len(names) == 1 else None


def evaluate(
    predictions: Predictions,
    release: str | os.PathLike[str] | ReleaseLike,
    *,
    config: EvalConfig = "unsafe",
    split: str = "test",
    target: EvalTarget = "multilabel",
    bootstrap: int = 1000,
    seed: int = 0,
    threshold: float | None = None,
    validation: Predictions | None = None,
    baseline: Predictions | None = None,
    baseline_validation: Predictions | None = None,
) -> EvalReport:
    """Score predictions (a file of `read_predictions`, or records) on one split of a release.

    `config`: 'unsafe' takes the unsafe videos, 'reviewed' all. `target`: 'multilabel' scores `scores` against the five
    categories, 'binary' scores `unsafe_score` against `is_unsafe`, 'soft' scores `scores` against the shares of raters.
    F1 predicts a label where its score >= a threshold: `threshold` (0 to 1, default 0.5), or, with `validation` (predictions
    of the same model for the validation split), each label's best on that split, and on no other. `bootstrap` replicates
    (0: no intervals) and `seed` fix the intervals. `baseline`: predictions of a second model, to be compared in the same
    replicates, with tests; `baseline_validation` its own for the validation split.

    Raises `FaultsError` with every fault at once where records are invalid, or do not cover each video of the split
    exactly once; `FilterError` for an unknown option, an empty split, a target that the config can't have, or a threshold
    that is not the same for both models.
    """
    task = open_task(release, config=config, split=split, target=target)
    if baseline is None and baseline_validation is not None:
        raise FilterError("baseline_validation= is for a second model: give its predictions as baseline=.")
    if baseline is not None and (validation is None) != (baseline_validation is None):
        raise FilterError(
            "The thresholds of both models must be chosen alike: give validation= and baseline_validation=, or neither."
        )
    model = load_model(task, predictions, threshold=threshold, validation=validation)
    design = make_design(task.truth, task.names, task.groups, bootstrap=bootstrap, seed=seed, soft=target == "soft")
    mine = design.samples(model.scores, model.thresholds.array)
    second = None
    if baseline is not None:
        other = load_model(task, baseline, threshold=threshold, validation=baseline_validation)
        second = compared(design, model, mine, other, name="baseline")
    answers = leave_one_out(task.votes, target=target, tie=task.tie)
    return EvalReport(
        release=str(task.release.manifest["name"]),
        release_version=str(task.release.manifest["release_version"]),
        release_commit=task.commit,
        manifest_sha256=task.release.manifest_sha256,
        config=config,
        split=split,
        split_sha256=task.split_sha256,
        target=target,
        n=len(task.rows),
        groups=len(set(task.groups)),
        bootstrap=int(bootstrap),
        seed=int(seed),
        threshold=None if validation is not None or target == "soft" else float(FIXED if threshold is None else threshold),
        threshold_source="none" if target == "soft" else model.thresholds.source,
        thresholds={} if target == "soft" else model.thresholds.values,
        model=model.name,
        predictions_sha256=predictions_sha256(model.records),
        validation_sha256=None if model.validation is None else predictions_sha256(model.validation),
        package_version=_package_version(),
        numpy_version=np.__version__,
        python_version=platform.python_version(),
        macro_categories=_macro(design),
        rows=design.rows(mine),
        majority=_majority(task, design, mine, threshold, validation is not None),
        baseline=second,
        ceiling=human_ceiling(design, answers, model.scores, model.thresholds.array),
        slices=tuple(_slices(task, design, model, answers)),
        notes=_notes(task, model, paired=second is not None),
    )


def load_model(
    task: Task, predictions: Predictions, *, threshold: float | None = None, validation: Predictions | None = None
) -> Model:
    """Scores and thresholds of a predictions file; see `evaluate`. Raises as `evaluate`."""
    if task.target == "soft" and not (threshold is None and validation is None):
        raise FilterError("target='soft' scores probabilities and has no threshold: leave out threshold= and validation=.")
    if validation is not None and threshold is not None:
        raise FilterError("Give threshold= or validation=, not both: the threshold is fixed, or chosen on validation.")
    if validation is not None and task.split == "validation":
        raise FilterError("A threshold chosen on the validation split can't be scored there: score split='test'.")
    scores, records = task.scores(predictions)
    if validation is None:
        return Model(scores, fixed(task.names, FIXED if threshold is None else threshold), records)
    held_out = open_task(task.release, config=task.config, split="validation", target=task.target)  # type: ignore[arg-type]
    values, of_validation = held_out.scores(validation)
    return Model(scores, chosen(task.names, held_out.truth, values), records, of_validation)


def compared(design: Design, model: Model, mine: Samples, other: Model, *, name: str) -> Comparison:
    """`other` on the same videos and replicates as `model` (`mine` are its samples), with tests of the differences."""
    samples = design.samples(other.scores, other.thresholds.array)
    gaps = minus(mine, samples)
    right = None
    if not design.soft:
        first, then = ((m.scores >= m.thresholds.array) == (design.truth == 1) for m in (model, other))
        right = first, then
    return Comparison(
        name,
        design.rows(samples),
        design.rows(gaps),
        thresholds=None if design.soft else other.thresholds.values,
        predictions_sha256=predictions_sha256(other.records),
        model=other.name,
        tests=significance(design.row_names, gaps, right, corrected=design.names),
        validation_sha256=None if other.validation is None else predictions_sha256(other.validation),
    )


# --- inside -----------------------------------------------------------------------------------------------------------


def _majority(task: Task, design: Design, mine: Samples, threshold: float | None, on_validation: bool) -> Comparison:
    """The train prevalences as scores. Where thresholds are chosen it says yes to all: a constant's best F1 on any split."""
    prior = task.prior()
    if prior is None:
        reason = f"split 'train' of config {task.config!r} has no videos, so there are no prevalences to predict"
        return Comparison("majority", reason=reason)
    scores = np.tile(prior, (len(task.rows), 1))
    cuts = fixed(task.names, FIXED if threshold is None else threshold)
    if on_validation:
        cuts = Thresholds(dict.fromkeys(task.names, 0.0), "validation")
    samples = design.samples(scores, cuts.array)
    constants = {name: float(share) for name, share in zip(task.names, prior, strict=True)}
    used = None if design.soft else cuts.values
    return Comparison("majority", design.rows(samples), design.rows(minus(mine, samples)), constants, used)


def _slices(task: Task, design: Design, model: Model, answers: Answers) -> list[Slice]:
    found = []
    for by in SLICES:
        values = task.values(by)
        for value in sorted({v for v in values if v is not None}, key=_place):
            mask = np.array([v == value for v in values])
            part = design.part(mask)
            rows: tuple[Row, ...] = part.rows(part.samples(model.scores[mask], model.thresholds.array))
            groups = len(np.unique(part.groups))
            cuts, where = model.thresholds.array, f"{by.replace('_', ' ')} {value}"
            ceiling = human_ceiling(part, answers.part(mask), model.scores[mask], cuts, where=where)
            found.append(Slice(by, value, int(mask.sum()), groups, _macro(part), rows, ceiling))
    return found


def _place(value: str) -> tuple[int, str]:
    bins = [name for _, name in AGREEMENT_BINS]
    return (bins.index(value) if value in bins else -1, value)


def _macro(design: Design) -> tuple[str, ...]:
    return tuple(n for n, ok in zip(design.names, design.usable, strict=True) if ok and n in CATEGORIES)


def _notes(task: Task, model: Model, *, paired: bool) -> tuple[str, ...]:
    notes = list(model.thresholds.notes)
    groups = len(set(task.groups))
    if paired and groups < len(task.rows) and task.target != "soft":
        notes.append(f"McNemar takes videos as independent: {len(task.rows)} in {groups} groups make its p too small")
    if task.target == "soft":
        notes.append("ECE is too large on few videos, and its interval too: it may leave out the value")
        least = float(entropy(task.truth).mean())
        notes.append(f"the least cross-entropy that these votes allow is {least:.3f} (their entropy, macro)")
        if left_out := len(task.members) - len(task.rows):
            notes.append(f"{left_out} videos of the split have no votes and are not scored")
    methods: Sequence[Any] = sorted({str(row["label_method"]) for row in task.rows if row["votes"]})
    if "dawid_skene" in methods and task.target != "soft":
        notes.append("the labels are Dawid-Skene's; the human ceiling is against the majority of the other raters")
    return tuple(notes)


def _package_version() -> str:
    try:
        return metadata.version("unsafe-video-dataset")
    except metadata.PackageNotFoundError:
        return "unknown"
