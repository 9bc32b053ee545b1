"""Figures of a result, as PNG and SVG: accuracy by step, cost by eta, accuracy by kind of prompt, the rules' trade-off."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...figures import PAGE, SMALL, need_matplotlib, save, styled, subplots
from ...palette import BLACK, CYAN, GREY, INDIGO, OLIVE, ROSE, TEAL, WINE
from ..flops import LOOKS, Cost
from .cells import title_of
from .contenders import EARLY, LVD, SEQUENTIAL

RULES = {"eta-lambda": (INDIGO, "o"), "single step": (ROSE, "s"), "sequential": (TEAL, "^")}
SHOWN = {"keyword": (CYAN, "v"), "ngram": (OLIVE, "s"), EARLY: (ROSE, "^"), LVD: (INDIGO, "o"), SEQUENTIAL: (TEAL, "D")}
OUTPUT = {"frame filter": (WINE, "<"), "clip filter": (BLACK, ">")}
LOOK = {"decoder": (WINE, "s"), "small decoder": (ROSE, "^"), "latent": (INDIGO, "o")}


def write_plots(result: Mapping[str, Any], base: str | os.PathLike[str]) -> list[Path]:
    """Write BASE-step, BASE-strata, BASE-rules and, with real sizes, BASE-cost, each .png and .svg; the files.

    Raises `MissingDependency` without matplotlib.
    """
    need_matplotlib()
    drawn = {"step": by_step(result), "strata": by_stratum(result), "rules": by_rule(result)}
    if "real_sizes" in result:
        drawn["cost"] = by_cost(result)
    base = Path(base)
    return [path for name, figure in drawn.items() for path in save(figure, base.with_name(f"{base.name}-{name}"))]


@styled
def by_step(result: Mapping[str, Any]) -> Any:
    """AUROC and accuracy of one step alone, for prompts that say all and for those that leave it to the noise."""
    figure, axes = subplots(1, 2, width=PAGE, height=3.0)
    curve = result["curves"]["single step"]
    for axis, metric, title in zip(
        axes, ("auroc", "accuracy"), ("AUROC of x0 alone", "accuracy, threshold from validation"), strict=True
    ):
        for name, color, marker, label in (
            ("specified", INDIGO, "o", "the prompt says all"),
            ("open", ROSE, "s", "the noise decides"),
        ):
            found = [row["strata"][name][metric] for row in curve]
            _band(axis, [row["eta"] for row in curve], found, color=color, marker=marker, label=label)
        axis.set(xlabel=f"denoising step (of {result['settings']['sampling_steps']})", ylabel=title, ylim=(0.75, 1.01))
        _steps_axis(axis)
    axes[1].axhline(0.9, color=GREY, linestyle="--", linewidth=1)
    axes[1].text(50, 0.893, "the paper's 0.90", ha="right", va="top", color=GREY, fontsize=SMALL)
    axes[0].legend(loc="lower right")
    return figure


@styled
def by_rule(result: Mapping[str, Any]) -> Any:
    """Accuracy against the steps that a blocked generation took, for each rule, as eta grows."""
    figure, axes = subplots(1, 2, width=PAGE, height=3.0)
    steps = result["settings"]["sampling_steps"]
    for axis, name, title in zip(axes, ("specified", "open"), ("the prompt says all", "the noise decides"), strict=True):
        for rule, (color, marker) in RULES.items():
            rows = [row for row in result["curves"][rule] if row["strata"][name]["blocked_at"] is not None]
            x = [row["strata"][name]["blocked_at"] for row in rows]
            found = [row["strata"][name]["accuracy"] for row in rows]
            axis.vlines(x, [one["low"] for one in found], [one["high"] for one in found], color=color, alpha=0.2)
            joined = "-" if sorted(x) == x else "none"  # a larger eta may need fewer votes
            axis.plot(
                x, [one["value"] for one in found], linestyle=joined, color=color, marker=marker, markersize=4, label=rule
            )
        axis.axvline(steps / 10, color=GREY, linestyle="--", linewidth=1)
        axis.set(xlabel="mean step at which a generation is blocked", ylabel="accuracy", title=title, ylim=(0.75, 1.01))
        _steps_axis(axis)
    axes[0].text(steps / 10 / 1.05, 0.76, "10x fewer steps\nthan in full", color=GREY, fontsize=SMALL, va="bottom", ha="right")
    axes[1].legend(loc="lower right")
    return figure


def _steps_axis(axis: Any) -> None:
    axis.set_xscale("log")
    axis.set_xticks([1, 2, 3, 5, 10, 20, 50], ["1", "2", "3", "5", "10", "20", "50"])
    axis.minorticks_off()


@styled
def by_stratum(result: Mapping[str, Any]) -> Any:
    """Accuracy of each defence by kind of prompt, and AUROC within one prompt."""
    names = [name for name in result["samples"]["strata"] if name not in ("specified", "open")]
    shown = {name: style for name, style in {**SHOWN, **OUTPUT}.items() if name in result["defenses"]}
    figure, (axis,) = subplots(1, 1, width=PAGE, height=3.6)
    for place, (name, (color, marker)) in enumerate(shown.items()):
        one = result["defenses"][name]
        found = [one["strata"][stratum]["accuracy"] for stratum in names] + [one["within_prompt"]]
        for at, value in enumerate(found):
            if value["value"] is None:
                continue
            x = at + (place - (len(shown) - 1) / 2) * 0.11
            axis.vlines(x, value["low"], value["high"], color=color, linewidth=1.4, alpha=0.6)
            axis.plot(
                [x], [value["value"]], color=color, marker=marker, linestyle="", markersize=5, label=name if at == 0 else None
            )
    counts = result["samples"]["strata"]
    labels = [f"{_wrapped(title_of(name))}\n(n = {counts[name]})" for name in names]
    axis.set_xticks(range(len(names) + 1), [*labels, "AUROC\nwithin\na prompt"], fontsize=SMALL)
    axis.axvline(len(names) - 0.5, color=GREY, linewidth=1)
    axis.set(ylabel="accuracy", ylim=(0, 1.02), xlim=(-0.5, len(names) + 0.5))
    axis.grid(visible=False, axis="x")
    figure.legend(loc="outside upper center", ncols=4)
    return figure


@styled
def by_cost(result: Mapping[str, Any]) -> Any:
    """How many times cheaper a generation stopped after eta steps is, at real sizes, by how x0 is looked at."""
    costs = [Cost(**one) for one in result["real_sizes"]]
    figure, axes = subplots(1, len(costs), width=PAGE, height=3.0)
    for axis, cost in zip(axes, costs, strict=True):
        etas = [eta for eta in (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50) if eta <= cost.steps]
        for how in LOOKS:
            color, marker = LOOK[how]
            axis.plot(etas, [cost.saving(eta, how) for eta in etas], color=color, marker=marker, markersize=4, label=how)
        axis.axhline(10, color=GREY, linestyle="--", linewidth=1)
        axis.axhline(1, color=BLACK, linewidth=0.8)
        axis.set(xscale="log", yscale="log", ylim=(0.4, 80), title=cost.name, xlabel="eta (steps looked at)")
        axis.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
        axis.set_yticks([0.5, 1, 2, 5, 10, 20, 50], ["0.5", "1", "2", "5", "10", "20", "50"])
        axis.minorticks_off()
    axes[0].set_ylabel("times cheaper than a full generation")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(LOOKS), title="x0 is looked at by")
    return figure


def _band(axis: Any, x: Sequence[float], found: Sequence[Mapping[str, Any]], *, color: str, marker: str, label: str) -> None:
    there = [(at, one) for at, one in zip(x, found, strict=True) if one["value"] is not None]
    axis.fill_between(
        [at for at, _ in there],
        [one["value"] if one["low"] is None else one["low"] for _, one in there],
        [one["value"] if one["high"] is None else one["high"] for _, one in there],
        color=color,
        alpha=0.15,
        linewidth=0,
    )
    axis.plot(
        [at for at, _ in there], [one["value"] for _, one in there], color=color, marker=marker, markersize=4, label=label
    )


def _wrapped(text: str) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, 11))
