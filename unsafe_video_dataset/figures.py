"""What every figure has in common: two widths that fit a paper, its style, and how it is saved.

A figure is a `matplotlib.figure.Figure` of its own. Nothing here touches pyplot or the caller's settings and backend.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

from .errors import missing_extra
from .palette import GRID, WHITE

Draw = TypeVar("Draw", bound=Callable[..., Any])
COLUMN, PAGE = 3.4, 7.0
"""Inches: the width of a column of a paper, and of both together. Figures are put in without being scaled."""
SMALL = 7.0
"""Points: the smallest text of a figure."""
DPI = 300
_STYLE: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.which": "major",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "unsafe-video-dataset",  # the same figure, the same bytes
}


def need_matplotlib() -> None:
    """Raise `MissingDependency`, which says what to install, without matplotlib."""
    try:
        import matplotlib.figure  # noqa: F401
    except ModuleNotFoundError as error:
        raise missing_extra(error, "This") from error


def styled(draw: Draw) -> Draw:
    """A function that draws does so in this style; the caller's settings are as before afterwards."""

    @functools.wraps(draw)
    def inside(*given: Any, **named: Any) -> Any:
        from matplotlib import rc_context

        with rc_context(_STYLE):
            return draw(*given, **named)

    return cast(Draw, inside)


def subplots(rows: int, columns: int, *, width: float, height: float, grid: bool = True, **more: Any) -> tuple[Any, list[Any]]:
    """A figure of that size in inches and its axes, row by row; `more` goes to `Figure.subplots`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, **more).reshape(-1))
    for axis in axes:
        axis.grid(visible=grid)
    return figure, axes


@styled
def save(figure: Any, base: Path) -> list[Path]:
    """Write `<base>.png` (300 dpi) and `<base>.svg`, each whole or not at all; returns the files."""
    written = []
    for ending, options in (("png", {"dpi": DPI, "metadata": {"Software": None}}), ("svg", {"metadata": {"Date": None}})):
        path = base.with_name(f"{base.name}.{ending}")
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            figure.savefig(partial, format=ending, facecolor=WHITE, **options)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        written.append(path)
    return written
