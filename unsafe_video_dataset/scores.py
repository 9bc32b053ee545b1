"""What an evaluation says: estimates with intervals, rows of them, comparisons, and the report as JSON or text."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from .taxonomy import CATEGORIES


@dataclass(frozen=True)
class Estimate:
    """A value with its 95% interval. What does not exist is None, and `reason` says why.

    `replicates` is the number of bootstrap replicates in which the value is defined; the interval rests on these alone.
    """

    value: float | None
    low: float | None
    high: float | None
    reason: str | None = None
    replicates: int = 0


@dataclass(frozen=True)
class Row:
    """Metrics of one category, of 'macro' (mean over categories), or of 'micro' (all n * categories entries pooled).

    `n` counts videos ('micro': entries), `positives` those with the label (None for 'macro'), `positive_groups` the
    groups that hold at least one of them. In a table of differences the estimates are model minus comparison.
    """

    name: str
    n: int
    positives: int | None
    positive_groups: int | None
    ap: Estimate
    auroc: Estimate
    f1: Estimate

    @property
    def estimates(self) -> tuple[Estimate, Estimate, Estimate]:
        """AP, AUROC and F1."""
        return self.ap, self.auroc, self.f1


@dataclass(frozen=True)
class Comparison:
    """Another predictor on the same videos and bootstrap replicates: its rows, and `differences` = model minus it.

    Both are empty, with a `reason`, where it does not exist. `scores` are a constant predictor's scores by label.
    """

    name: str
    rows: tuple[Row, ...] = ()
    differences: tuple[Row, ...] = ()
    scores: dict[str, float] | None = None
    predictions_sha256: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class EvalReport:
    """What `evaluate` found. `rows` is the model, `majority` the prevalence predictor, `baseline` a second model."""

    release: str
    release_version: str
    manifest_sha256: str
    config: str
    split: str
    target: str
    n: int
    groups: int
    bootstrap: int
    seed: int
    threshold: float
    model: str | None
    predictions_sha256: str
    package_version: str
    numpy_version: str
    macro_categories: tuple[str, ...]
    rows: tuple[Row, ...]
    majority: Comparison
    baseline: Comparison | None = None

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values; no NaN."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain

    def to_json(self) -> str:
        """The report as indented JSON, with a newline at the end."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def to_text(self) -> str:
        """The report as a fixed-width table, then notes (what has no value or interval, and why) and its evidence."""
        head = f"{'':<18}{'n':>7}{'positives':>11}" + "".join(f"  {f'{name} [95%]':<24}" for name in ("AP", "AUROC", "F1"))
        lines, notes = [head.rstrip(), *map(_line, self.rows)], []
        for other in [self.majority, *([self.baseline] if self.baseline else [])]:
            if other.reason:
                notes.append(f"{other.name}: {other.reason}")
            for title, rows, sign in ((other.name, other.rows, ""), (f"model - {other.name}", other.differences, "+")):
                shown = [row for row in rows if row.name not in CATEGORIES]
                lines += ["", title, *(_line(row, sign) for row in shown)] if shown else []
        if self.target == "multilabel":
            notes.insert(0, "macro is the mean over " + (", ".join(self.macro_categories) or "no category"))
        # Which values and intervals exist depends on the labels alone: the model's rows speak for the others too.
        for reason in dict.fromkeys(found.reason for row in self.rows for found in row.estimates if found.reason):
            where = [row.name for row in self.rows if any(found.reason == reason for found in row.estimates)]
            notes.append(f"{', '.join(where)}: {reason}")
        for row in self.rows:
            if row.ap.low is not None and row.ap.replicates < self.bootstrap:
                notes.append(f"{row.name}: intervals from the {row.ap.replicates} replicates that have both classes")
        lines += ["", *(f"note: {note}" for note in notes)]
        lines.append(
            f"release {self.release} {self.release_version} (manifest {self.manifest_sha256[:12]}), "
            f"split {self.split}, config {self.config}, bootstrap {self.bootstrap}, seed {self.seed}"
        )
        lines.append(
            f"target {self.target}, {self.n} videos in {self.groups} groups, threshold {self.threshold:g}, "
            f"predictions {self.predictions_sha256[:12]}, package {self.package_version}, numpy {self.numpy_version}"
        )
        return "\n".join(lines) + "\n"


def _line(row: Row, sign: str = "") -> str:
    def cell(found: Estimate) -> str:
        if found.value is None:
            return "-"
        interval = "[-]" if found.low is None else f"[{found.low:{sign}.3f}, {found.high:{sign}.3f}]"
        return f"{found.value:{sign}.3f} {interval}"

    positives = "-" if row.positives is None else str(row.positives)
    cells = "".join(f"  {cell(found):<24}" for found in row.estimates)
    return f"{row.name:<18}{row.n:>7}{positives:>11}{cells}".rstrip()
