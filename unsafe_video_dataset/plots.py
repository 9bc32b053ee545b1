"""Figures of an evaluation, as PNG and SVG: PR and ROC with bootstrap bands, reliability, confusion, score by agreement."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .ceiling import leave_one_out
from .curves import Curve, co_occurrence, precision_recall, reliability, roc
from .estimates import Design, make_design
from .evaluate import Model, load_model
from .figures import COLUMN, PAGE, SMALL, need_matplotlib, save, styled, subplots
from .palette import BLACK, CHANCE, COLORS, EMPTY, HUMAN, MARKERS, SEQUENTIAL, WHITE
from .predictions import Predictions
from .scores import Estimate
from .task import AGREEMENT_BINS, EvalConfig, EvalTarget, ReleaseLike, Task, open_task
from .taxonomy import CATEGORY_TITLES


def write_plots(
    predictions: Predictions,
    release: str | os.PathLike[str] | ReleaseLike,
    out: str | os.PathLike[str],
    *,
    config: EvalConfig = "unsafe",
    split: str = "test",
    target: EvalTarget = "multilabel",
    bootstrap: int = 1000,
    seed: int = 0,
    threshold: float | None = None,
    validation: Predictions | None = None,
) -> list[Path]:
    """Write the figures into the folder `out`; options as in `evaluate`, whose numbers they show. Returns the files.

    `pr`, `roc`, `confusion` (not for 'soft'), `reliability`, `agreement` (where votes exist), each .png (300 dpi)
    and .svg, as wide as one column of a paper or both (3.4 or 7 inches). Numbers and category names, no frames, no prompts.
    Raises as `evaluate`, and `MissingDependency` without matplotlib.
    """
    need_matplotlib()
    task = open_task(release, config=config, split=split, target=target)
    model = load_model(task, predictions, threshold=threshold, validation=validation)
    design = make_design(task.truth, task.names, task.groups, bootstrap=bootstrap, seed=seed, soft=target == "soft")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    drawn: dict[str, Any] = {}
    if target != "soft":
        drawn["pr"] = panels(task, design, model, "recall", "precision", precision_recall)
        drawn["roc"] = panels(task, design, model, "false positive rate", "true positive rate", roc)
        drawn["confusion"] = _confusion(task, model)
    drawn["reliability"] = _reliability(task, design, model)
    if any(value is not None for value in task.values("agreement")):
        drawn["agreement"] = _agreement(task, design, model)
    return [path for name, figure in drawn.items() for path in save(figure, folder / name)]


# --- figures ----------------------------------------------------------------------------------------------------------


def _title(name: str) -> str:
    return CATEGORY_TITLES.get(name, name.replace("_", " "))


def _grid(count: int) -> tuple[Any, list[Any]]:
    """A figure with `count` square panels in at most three columns; what is left of the last row is for the legend."""
    columns = min(3, count)
    rows = -(-count // columns)
    width = COLUMN if count == 1 else PAGE
    below = 0.6 if rows * columns == count else 0.2  # the legend, where no panel is left for it
    figure, axes = subplots(rows, columns, width=width, height=rows * (width / columns + 0.15) + below)
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes


@styled
def panels(task: Task, design: Design, model: Model, x: str, y: str, make: Callable[..., Curve | None]) -> Any:
    """A panel a label: the curve of `make` with its band, what knows nothing, and a rater's one point. A Figure."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure, axes = _grid(len(task.names))
    people = leave_one_out(task.votes, target=task.target, tie=task.tie)
    for label, (name, axis) in enumerate(zip(task.names, axes, strict=False)):
        truth, color = task.truth[:, label], COLORS[name]
        curve = make(truth, model.scores[:, label], design.weights)
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=x, ylabel=y, aspect="equal")
        axis.set_title(f"{_title(name)} ({int(truth.sum())} of {len(truth)})")
        if curve is None:
            axis.text(0.5, 0.5, "one class only", ha="center", va="center", color=CHANCE)
            continue
        side: Any = "pre" if y == "precision" else "post"  # at least this recall; at most this false positive rate
        if curve.low is not None:
            axis.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.22, linewidth=0, step=side)
        axis.step(curve.x, curve.y, color=color, linewidth=1.8, where=side)
        chance = [truth.mean()] * 2 if y == "precision" else [0, 1]
        axis.plot([0, 1], chance, color=CHANCE, linewidth=1, linestyle="--")
        if len(people.video):
            axis.plot(*_human_point(people, label, y), color=HUMAN, marker="*", markersize=10, clip_on=False, zorder=5)
    handles = [
        Line2D([], [], color=COLORS["unsafe"] if len(task.names) == 1 else HUMAN, linewidth=1.8, label="model"),
        Patch(color=CHANCE, alpha=0.3, label="95%, point by point"),
        Line2D([], [], color=CHANCE, linestyle="--", label="says yes to all" if y == "precision" else "chance"),
    ]
    if len(people.video):
        handles.append(Line2D([], [], color=HUMAN, marker="*", markersize=10, linestyle="", label="a rater, by the others"))
    _legend(figure, axes, len(task.names), handles)
    return figure


def _human_point(people: Any, label: int, y: str) -> tuple[list[float], list[float]]:
    said, true, share = people.answer[:, label] == 1, people.label[:, label] == 1, people.share
    hits, misses = (share * (said & true)).sum(), (share * (~said & true)).sum()
    false, rest = (share * (said & ~true)).sum(), (share * (~said & ~true)).sum()
    if hits + misses == 0 or false + rest == 0 or hits + false == 0:
        return [], []
    recall = hits / (hits + misses)
    return ([recall], [hits / (hits + false)]) if y == "precision" else ([false / (false + rest)], [recall])


@styled
def _reliability(task: Task, design: Design, model: Model) -> Any:
    from matplotlib.lines import Line2D

    figure, axes = _grid(len(task.names))
    for label, (name, axis) in enumerate(zip(task.names, axes, strict=False)):
        found = reliability(task.truth[:, label], model.scores[:, label], design.weights)
        axis.plot([0, 1], [0, 1], color=CHANCE, linewidth=1, linestyle="--")
        known = ~np.isnan(found.low)
        axis.vlines(found.score[known], found.low[known], found.high[known], color=COLORS[name], linewidth=1.6, alpha=0.5)
        size = 14 + 120 * found.count / found.count.sum()
        axis.plot(found.score, found.target, color=COLORS[name], linewidth=1)
        axis.scatter(found.score, found.target, s=size, color=COLORS[name], zorder=3, clip_on=False)
        wanted = "share of raters" if task.target == "soft" else "share of videos"
        axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="score", ylabel=wanted, aspect="equal", title=_title(name))
    handles = [
        Line2D([], [], color=HUMAN, marker="o", markersize=5, linewidth=1, label="bin (area: its videos)"),
        Line2D([], [], color=HUMAN, alpha=0.5, linewidth=1.6, label="95%"),
        Line2D([], [], color=CHANCE, linestyle="--", label="calibrated"),
    ]
    _legend(figure, axes, len(task.names), handles)
    return figure


def _legend(figure: Any, axes: Sequence[Any], used: int, handles: list[Any]) -> None:
    if used < len(axes):
        axes[used].legend(handles=handles, loc="center")
    else:
        figure.legend(handles=handles, loc="outside lower center", ncols=2)


@styled
def _confusion(task: Task, model: Model) -> Any:
    taken = (model.scores >= model.thresholds.array).astype(int)
    if task.target == "binary":
        both = [np.concatenate([table, 1 - table], axis=1) for table in (task.truth, taken)]
        return _heat_maps(["unsafe", "not unsafe"], [("label (row) and prediction (column)", co_occurrence(*both))])
    none = [np.concatenate([table, 1 - table.max(axis=1, keepdims=True)], axis=1) for table in (task.truth, taken)]
    rows = none[0] if none[0][:, -1].any() else task.truth  # no row for 'none' where every video has a label
    tables = [
        ("predicted (column), of the videos with a label (row)", co_occurrence(rows, none[1])),
        ("labelled (column), of the videos with a label (row)", co_occurrence(task.truth, task.truth)),
    ]
    return _heat_maps([*(_title(name) for name in task.names), "none"], tables)


def _heat_maps(names: Sequence[str], tables: Sequence[tuple[str, tuple[Any, Any]]]) -> Any:
    from matplotlib import colormaps

    colours = colormaps[SEQUENTIAL].with_extremes(bad=EMPTY)
    width = PAGE if len(tables) > 1 else COLUMN
    ratios = [counts.shape[1] for _, (counts, _) in tables]
    figure, axes = subplots(
        1, len(tables), width=width, height=0.45 * width + 0.15 * len(names), grid=False, width_ratios=ratios
    )
    for place, (axis, (title, (counts, shares))) in enumerate(zip(axes, tables, strict=True)):
        image = axis.imshow(shares, vmin=0, vmax=1, cmap=colours)
        axis.set_title(title, fontsize=SMALL)
        axis.set_xticks(range(counts.shape[1]), names[: counts.shape[1]], rotation=40, ha="right", rotation_mode="anchor")
        axis.set_yticks(range(len(counts)), names[: len(counts)] if not place else [""] * len(counts))
        axis.tick_params(length=0)
        for spine in axis.spines.values():
            spine.set_visible(False)
        axis.set_xticks(np.arange(counts.shape[1] - 1) + 0.5, minor=True)
        axis.set_yticks(np.arange(len(counts) - 1) + 0.5, minor=True)
        axis.grid(which="minor", color=WHITE, linewidth=1.5)
        axis.tick_params(which="minor", length=0)
        for row, column in np.ndindex(counts.shape):
            dark = not np.isnan(shares[row, column]) and shares[row, column] < 0.55
            number = str(counts[row, column])
            axis.text(column, row, number, ha="center", va="center", fontsize=SMALL, color=WHITE if dark else BLACK)
    figure.colorbar(image, ax=axes, shrink=0.7 if len(tables) > 1 else 1.0, label="share of the row's videos", aspect=25)
    return figure


@styled
def _agreement(task: Task, design: Design, model: Model) -> Any:
    """The first metric in bins of the raters' agreement, and the videos of each bin."""
    metric, title = ("brier", "Brier score (lower is better)") if task.target == "soft" else ("f1", "F1")
    bins, values = [name for _, name in AGREEMENT_BINS], np.array(task.values("agreement"), dtype=object)
    found: dict[str, list[Estimate]] = {}
    for value in bins:
        part = design.part(values == value)
        if not len(part.truth):
            continue
        rows = part.rows(part.samples(model.scores[values == value], model.thresholds.array))
        for row in rows:
            found.setdefault(row.name, []).append(row.metrics[metric])
    kept = [value for value in bins if (values == value).any()]
    figure, (axis,) = subplots(1, 1, width=PAGE, height=3.2)
    shown = [name for name in (*task.names, "micro") if name in found]
    for place, name in enumerate(shown):
        x = np.arange(len(kept)) + (place - (len(shown) - 1) / 2) * 0.11
        _estimates(axis, x, found[name], color=COLORS[name], marker=MARKERS.get(name, "P"), label=_title(name))
    axis.set_xticks(range(len(kept)), [f"{value}\n(n = {int((values == value).sum())})" for value in kept])
    top = 1.03 if task.target != "soft" else None
    axis.set(
        xlim=(-0.5, len(kept) - 0.5),
        ylim=(-0.03 if top else 0, top),
        xlabel="share of rater pairs that agree",
        ylabel=title,
    )
    axis.grid(visible=False, axis="x")
    figure.legend(loc="outside right center")
    return figure


def _estimates(axis: Any, x: Any, found: Sequence[Estimate], *, color: str, marker: str, label: str) -> None:
    """Points with their intervals; what has no value has no point."""
    there = [(at, one) for at, one in zip(x, found, strict=True) if one.value is not None]
    axis.plot([at for at, _ in there], [one.value for _, one in there], color=color, marker=marker, linestyle="", label=label)
    for at, one in there:
        if one.low is not None:
            axis.vlines(at, one.low, one.high, color=color, linewidth=1.4, alpha=0.6)
