"""What an evaluation says: estimates with intervals, rows of them, comparisons, slices, a human ceiling, the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._tables import Table


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

    `n` counts videos ('micro': entries), `positives` those with the label (None for 'macro' and where labels are shares of
    votes), `positive_groups` the groups that hold at least one of them. In a table of differences the estimates are model
    minus comparison. `metrics`: `ap`, `auroc`, `f1`, `tpr_at_1_fpr`, `tpr_at_5_fpr`; for the target `soft`
    `cross_entropy`, `brier`, `jensen_shannon`, `ece` (lower is better).
    """

    name: str
    n: int
    positives: int | None
    positive_groups: int | None
    metrics: Mapping[str, Estimate]

    @property
    def ap(self) -> Estimate:
        """Average precision. `KeyError` for the target `soft`, as `auroc` and `f1`."""
        return self.metrics["ap"]

    @property
    def auroc(self) -> Estimate:
        """Area under the ROC curve."""
        return self.metrics["auroc"]

    @property
    def f1(self) -> Estimate:
        """F1 at the threshold."""
        return self.metrics["f1"]

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """The metrics that stand first in a table: AP, AUROC and F1, or the four of the target `soft`."""
        return tuple(found for name, found in self.metrics.items() if not name.startswith("tpr_"))


@dataclass(frozen=True)
class Significance:
    """One test of 'no difference' between two models: `method` 'bootstrap' or 'mcnemar' (on the decisions at the threshold).

    `p_holm` is corrected over the categories of one metric (None for macro and micro). McNemar: `only_first` and
    `only_second` count the videos on which just one model is right.
    """

    name: str
    metric: str
    method: str
    p: float | None
    p_holm: float | None
    only_first: int | None = None
    only_second: int | None = None


@dataclass(frozen=True)
class Comparison:
    """Another predictor on the same videos and bootstrap replicates: its rows, and `differences` = model minus it.

    Both are empty, with a `reason`, where it does not exist. `scores` are a constant predictor's scores by label,
    `thresholds` its own, `validation_sha256` of the predictions that they were chosen on. `tests` says which differences
    are more than chance.
    """

    name: str
    rows: tuple[Row, ...] = ()
    differences: tuple[Row, ...] = ()
    scores: dict[str, float] | None = None
    thresholds: dict[str, float] | None = None
    predictions_sha256: str | None = None
    model: str | None = None
    tests: tuple[Significance, ...] = ()
    reason: str | None = None
    validation_sha256: str | None = None


@dataclass(frozen=True)
class Slice:
    """The model on the videos with one value of `by` (generator, prompt_source, agreement), and the human ceiling on these.
    `macro_categories` may differ from slice to slice: then their macro rows are not comparable."""

    by: str
    value: str
    n: int
    groups: int
    macro_categories: tuple[str, ...]
    rows: tuple[Row, ...]
    ceiling: Ceiling


@dataclass(frozen=True)
class Ceiling:
    """How well a rater does who is scored like the model: `human` against the label of the other raters of the same video.

    Matched in n: each video counts once, its raters sharing that weight. `model` is the model against the same labels of
    the same videos, `differences` model minus human in the same replicates. Empty, with a `reason`, without votes.
    """

    n: int = 0
    answers: int = 0
    raters: int = 0
    human: tuple[Row, ...] = ()
    model: tuple[Row, ...] = ()
    differences: tuple[Row, ...] = ()
    reason: str | None = None


@dataclass(frozen=True)
class EvalReport:
    """What `evaluate` found. `rows` is the model, `majority` the prevalence predictor, `baseline` a second model.

    `thresholds` are the model's, a label each; `threshold` is set where it was fixed by hand. `split_sha256` is of the
    sorted `video_id`s of the split in this config, a line each. `release_commit` is null for a release that no Hub commit
    is known of.
    """

    release: str
    release_version: str
    release_commit: str | None
    manifest_sha256: str
    config: str
    split: str
    split_sha256: str
    target: str
    n: int
    groups: int
    bootstrap: int
    seed: int
    threshold: float | None
    threshold_source: str
    thresholds: dict[str, float]
    model: str | None
    predictions_sha256: str
    validation_sha256: str | None
    package_version: str
    numpy_version: str
    python_version: str
    macro_categories: tuple[str, ...]
    rows: tuple[Row, ...]
    majority: Comparison
    baseline: Comparison | None = None
    ceiling: Ceiling = field(default_factory=Ceiling)
    slices: tuple[Slice, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values; no NaN. The metrics of a row stand beside its name."""
        plain: dict[str, Any] = _flat(json.loads(json.dumps(asdict(self), allow_nan=False)))
        return plain

    def to_json(self) -> str:
        """The report as indented JSON, with a newline at the end."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n"

    def to_text(self) -> str:
        """The report as fixed-width tables, then notes (what has no value or interval, and why) and its evidence."""
        from .report_text import to_text

        return to_text(self)

    def blocks(self) -> list[Table | str]:
        """The same for a terminal: tables, then notes and evidence, not wrapped."""
        from .report_text import blocks

        return blocks(self)

    def to_markdown(self) -> str:
        """The same as Markdown tables."""
        from .report_text import to_markdown

        return to_markdown(self)


def _flat(value: Any) -> Any:
    if isinstance(value, list):
        return [_flat(item) for item in value]
    if isinstance(value, dict):
        metrics = value.get("metrics")
        own = {key: _flat(item) for key, item in value.items() if key != "metrics"}
        return {**own, **metrics} if isinstance(metrics, dict) else own
    return value
