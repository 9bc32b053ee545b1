"""The comparison as a figure: CPU time a clip against libav's decode alone, and clips a second; PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..figures import PAGE, need_matplotlib, save, styled, subplots
from ..palette import BLACK, CYAN, GREY, INDIGO, ROSE

KINDS = {
    "ours": (INDIGO, "this package"),
    "peer": (CYAN, "another loader"),
    "limit": (GREY, "limit: decoding alone"),
    "memory": (ROSE, "limit of a cache"),
}
"""A colour and a name for each kind of a loader; the bars carry the loaders' own names too."""


def write_plot(result: Mapping[str, Any], stem: Path) -> list[Path]:
    """Write `<stem>.png` and `<stem>.svg`; the paths. Bars are medians, lines the quartiles.

    Raises `MissingDependency` without matplotlib.
    """
    need_matplotlib()
    return save(draw(result), stem)


@styled
def draw(result: Mapping[str, Any]) -> Any:
    """The Figure: two panels for each number of workers."""
    from matplotlib.patches import Patch

    counts = result["settings"]["workers"]
    peers = len({row["peer"] for row in result["summary"]})
    figure, axes = subplots(len(counts), 2, width=PAGE, height=0.5 + (0.7 + 0.17 * peers) * len(counts))
    for place, workers in enumerate(counts):
        rows = [row for row in result["summary"] if row["workers"] == workers]
        rows.sort(key=lambda row: row["cpu_ms_a_clip"]["median"] if row["cpu_ms_a_clip"] else 0.0, reverse=True)
        left, right = axes[2 * place : 2 * place + 2]
        _bars(left, result, rows, "cpu_ms_a_clip", f"CPU ms a clip, {workers} workers (less is better)")
        _bars(right, result, rows, "clips_per_second", f"clips/s (log), {workers} workers (more is better)", log=True)
        right.set_yticklabels([])
    there = {row["kind"] for row in result["summary"]}
    handles = [Patch(color=color, label=name) for kind, (color, name) in KINDS.items() if kind in there]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _bars(axis: Any, result: Mapping[str, Any], rows: list[Any], measure: str, title: str, *, log: bool = False) -> None:
    found = [row for row in rows if row[measure]]
    middles = [row[measure]["median"] for row in found]
    spread = [
        [m - row[measure]["low"] for m, row in zip(middles, found, strict=True)],
        [row[measure]["high"] - m for m, row in zip(middles, found, strict=True)],
    ]
    colours = [KINDS[row["kind"]][0] for row in found]
    axis.barh([result["peers"][row["peer"]]["title"] for row in found], middles, xerr=spread, color=colours, ecolor=BLACK)
    axis.set_title(title)
    axis.grid(visible=False, axis="y")
    if log:
        from matplotlib.ticker import NullFormatter

        axis.set_xscale("log")
        axis.set_xlim(1, None)  # the same left end in each panel
        axis.xaxis.set_minor_formatter(NullFormatter())  # over less than two decades matplotlib names these ticks too
