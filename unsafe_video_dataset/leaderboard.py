"""One table of several predictions files: the same videos, replicates and rule for the threshold, ranked, with tests."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ._tables import Table, markdown_table
from .compare import bootstrap_p, holm
from .errors import FilterError, InputError
from .estimates import make_design, minus
from .evaluate import Model, evaluate, load_model
from .predictions import Predictions, predictions_sha256
from .report_text import TITLES, as_text, cell, one_line
from .scores import Estimate
from .task import EvalConfig, EvalTarget, ReleaseLike, open_task

FIRST = {"multilabel": "ap", "binary": "ap", "soft": "cross_entropy"}
SHOWN = {"soft": ("cross_entropy", "brier", "jensen_shannon", "ece")}
ALPHA = 0.05


@dataclass(frozen=True)
class Entry:
    """A predictor of the table. `gap` is its first metric minus the leader's, `p_holm` that of no difference to the leader,
    corrected over all models; `like_first`: it can't be told from the leader (p_holm >= 0.05). `thresholds` are its own, a
    label each, and `validation_sha256` of the predictions that they were chosen on. `rank` is None for the majority and the
    human, which are no competitors."""

    name: str
    rank: int | None
    metrics: Mapping[str, Estimate]
    gap: Estimate | None = None
    p: float | None = None
    p_holm: float | None = None
    like_first: bool | None = None
    predictions_sha256: str | None = None
    thresholds: Mapping[str, float] | None = None
    validation_sha256: str | None = None


@dataclass(frozen=True)
class Leaderboard:
    """Entries, best first, then majority and human; `row` is the row of a report that they stand for."""

    release: str
    release_version: str
    release_commit: str | None
    manifest_sha256: str
    config: str
    split: str
    split_sha256: str
    target: str
    row: str
    n: int
    groups: int
    bootstrap: int
    seed: int
    thresholds: str
    package_version: str
    numpy_version: str
    python_version: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The table as plain JSON values; no NaN."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain

    def table(self) -> Table:
        """The cells, for text and Markdown alike."""
        first = FIRST[self.target]
        metrics = [name for name in TITLES if name in self.entries[0].metrics]
        head = ("", "rank", *(f"{TITLES[m]} [95%]" for m in metrics), f"{TITLES[first]} - first's", "p (Holm)")
        lines = []
        for entry in self.entries:
            p = "-" if entry.p is None or entry.p_holm is None else f"{entry.p:.4f} ({entry.p_holm:.4f})"
            gap = "-" if entry.gap is None else cell(entry.gap, "+")
            values = (cell(entry.metrics[name]) for name in metrics)
            rank = "-" if entry.rank is None else f"{entry.rank} =" if entry.like_first else str(entry.rank)
            lines.append((one_line(entry.name), rank, *values, gap, p))
        return Table("", head, tuple(lines))

    def to_text(self) -> str:
        """A fixed-width table, notes and evidence."""
        return as_text([self.table()], self.notes, [self._evidence()])

    def blocks(self) -> list[Table | str]:
        """Table, notes and evidence for a terminal."""
        return [self.table(), "\n".join(f"note: {note}" for note in self.notes), self._evidence()]

    def to_markdown(self) -> str:
        """The same as Markdown."""
        notes = "\n".join(f"- {note}" for note in self.notes)
        return f"{markdown_table(self.table())}\n\n{notes}\n\n> {self._evidence()}\n"

    def _evidence(self) -> str:
        commit = f", commit {self.release_commit[:12]}" if self.release_commit else ""
        return (
            f"release {self.release} {self.release_version} (manifest {self.manifest_sha256[:12]}{commit}), split {self.split} "
            f"({self.split_sha256[:12]}), config {self.config}, target {self.target}, {self.n} videos in {self.groups} groups, "
            f"thresholds {self.thresholds}, bootstrap {self.bootstrap}, seed {self.seed}, package {self.package_version}, "
            f"numpy {self.numpy_version}, Python {self.python_version}"
        )


def leaderboard(
    predictions: Mapping[str, Predictions],
    release: str | os.PathLike[str] | ReleaseLike,
    *,
    config: EvalConfig = "unsafe",
    split: str = "test",
    target: EvalTarget = "multilabel",
    bootstrap: int = 1000,
    seed: int = 0,
    threshold: float | None = None,
    validation: Mapping[str, Predictions] | None = None,
) -> Leaderboard:
    """Rank several models (name -> predictions) on one split; options as in `evaluate`, `validation` for all or none.

    Ranked by macro AP ('binary': AP; 'soft': macro cross-entropy, the lower the better), names break ties. Each model is
    compared with the first in the same replicates; the p-values are corrected by Holm over the models. They say what
    the order is worth, not which of two models below the first is better: `evaluate(..., baseline=)` does.
    Raises as `evaluate`, and `InputError` without a model, `FilterError` where `validation` does not name the same models.
    """
    if not predictions:
        raise InputError("A leaderboard needs the predictions of at least one model.")
    if validation is not None and set(validation) != set(predictions):
        raise FilterError("validation= must name the same models as the predictions: thresholds are chosen alike for all.")
    task = open_task(release, config=config, split=split, target=target)
    design = make_design(task.truth, task.names, task.groups, bootstrap=bootstrap, seed=seed, soft=target == "soft")
    first, place = FIRST[target], len(task.names) if len(task.names) > 1 else 0
    models: dict[str, Model] = {}
    for name, given in predictions.items():
        held_out = None if validation is None else validation[name]
        models[name] = load_model(task, given, threshold=threshold, validation=held_out)
    samples = {name: design.samples(model.scores, model.thresholds.array) for name, model in models.items()}
    values = {name: float(found[first][place, 0]) for name, found in samples.items()}
    order = sorted(values, key=lambda name: (np.isnan(values[name]), values[name] if target == "soft" else -values[name], name))
    leader = order[0]
    gaps = {name: minus(samples[name], samples[leader]) for name in order[1:]}
    tests = {name: None if np.isnan(values[name]) else bootstrap_p(gap[first][place, 1:]) for name, gap in gaps.items()}
    adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))
    entries = []
    for rank, name in enumerate(order, start=1):
        row, corrected = design.rows(samples[name])[place], adjusted.get(name)
        gap = design.rows(gaps[name])[place].metrics[first] if name in gaps else None
        like = None if corrected is None else corrected >= ALPHA
        model = models[name]
        evidence: dict[str, Any] = {
            "predictions_sha256": predictions_sha256(model.records),
            "thresholds": None if target == "soft" else model.thresholds.values,
            "validation_sha256": None if model.validation is None else predictions_sha256(model.validation),
        }
        entries.append(Entry(name, rank, _shown(row.metrics, target), gap, tests.get(name), corrected, like, **evidence))
    # The majority and the human of the report on the leader: neither depends on the model.
    report = evaluate(
        predictions[leader], release=task.release, config=config, split=split, target=target, bootstrap=bootstrap, seed=seed,
        threshold=threshold, validation=None if validation is None else validation[leader],
    )  # fmt: skip
    notes = [f"ranked by {TITLES[first]} ({design.row_names[place]}); =: not told apart from the first (p >= {ALPHA:g})"]
    if report.majority.rows:
        entries.append(
            Entry("majority", None, _shown(report.majority.rows[place].metrics, target), thresholds=report.majority.thresholds)
        )
    if report.ceiling.human:
        entries.append(Entry("human", None, _shown(report.ceiling.human[place].metrics, target)))
        notes.append("human: a rater against the other raters' label; `evaluate` scores a model against the same labels")
    else:
        notes.append(f"human: {report.ceiling.reason}")
    return Leaderboard(
        release=report.release,
        release_version=report.release_version,
        release_commit=report.release_commit,
        package_version=report.package_version,
        numpy_version=report.numpy_version,
        python_version=report.python_version,
        manifest_sha256=report.manifest_sha256,
        config=config,
        split=split,
        split_sha256=report.split_sha256,
        target=target,
        row=design.row_names[place],
        n=report.n,
        groups=report.groups,
        bootstrap=report.bootstrap,
        seed=report.seed,
        thresholds="none" if target == "soft" else "from validation" if validation else f"{report.threshold:g}",
        entries=tuple(entries),
        notes=tuple(notes),
    )


def _shown(metrics: Mapping[str, Estimate], target: str) -> dict[str, Estimate]:
    return {name: metrics[name] for name in SHOWN.get(target, ("ap", "auroc", "f1", "tpr_at_5_fpr"))}
