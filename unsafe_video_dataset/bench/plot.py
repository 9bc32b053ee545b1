"""The comparison as a figure: CPU time a clip against libav's decode alone, and clips a second; PNG and SVG."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import MissingDependency

_COLOURS = {"ours": "#0b6e4f", "peer": "#8d99ae", "limit": "#d1495b", "memory": "#d1495b"}


def write_plot(result: Mapping[str, Any], stem: Path) -> list[Path]:
    """Write `<stem>.png` and `<stem>.svg`; the paths. Bars are medians, lines the quartiles.

    Raises `MissingDependency` without matplotlib.
    """
    try:
        matplotlib: Any = import_module("matplotlib")
        matplotlib.use("Agg")
        pyplot: Any = import_module("matplotlib.pyplot")
    except ImportError as error:
        raise MissingDependency("The figure needs matplotlib: pip install 'unsafe-video-dataset[bench]'") from error
    matplotlib.rcParams["svg.hashsalt"] = "unsafe-video"  # the same figure, the same bytes
    counts = result["settings"]["workers"]
    figure, grid = pyplot.subplots(len(counts), 2, figsize=(11, 0.6 + 3.6 * len(counts)), squeeze=False)
    for line, workers in zip(grid, counts, strict=True):
        rows = [row for row in result["summary"] if row["workers"] == workers]
        rows.sort(key=lambda row: row["cpu_ms_a_clip"]["median"] if row["cpu_ms_a_clip"] else 0.0, reverse=True)
        _bars(line[0], result, rows, "cpu_ms_a_clip", f"CPU ms a clip, {workers} workers (less is better)")
        _bars(line[1], result, rows, "clips_per_second", f"clips/s, {workers} workers, log scale (more is better)", log=True)
        line[1].set_yticklabels([])
    figure.tight_layout()
    paths = []
    for ending, more in ((".png", {"dpi": 110, "metadata": {"Software": None}}), (".svg", {"metadata": {"Date": None}})):
        path = stem.with_name(stem.name + ending)
        partial = path.with_name("." + path.name)
        figure.savefig(partial, format=ending[1:], **more)
        partial.replace(path)
        paths.append(path)
    pyplot.close(figure)
    return paths


def _bars(axis: Any, result: Mapping[str, Any], rows: list[Any], measure: str, title: str, *, log: bool = False) -> None:
    found = [row for row in rows if row[measure]]
    middles = [row[measure]["median"] for row in found]
    spread = [
        [m - row[measure]["low"] for m, row in zip(middles, found, strict=True)],
        [row[measure]["high"] - m for m, row in zip(middles, found, strict=True)],
    ]
    colours = [_COLOURS[row["kind"]] for row in found]
    axis.barh([result["peers"][row["peer"]]["title"] for row in found], middles, xerr=spread, color=colours, ecolor="#333333")
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=8)
    if log:
        axis.set_xscale("log")
