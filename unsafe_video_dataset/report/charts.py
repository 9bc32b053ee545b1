"""Small accessible SVG charts as HTML: a caption, a picture with a title, and its numbers as a table below.

Colours are classes of the stylesheet (`fill-<category>`), so that light and dark pages share a palette. All text is escaped.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..curves import Curve, Floats
from ..errors import plain
from ..palette import SEQUENTIAL_STOPS
from .facts import Bar

_WIDE, _LABEL, _TEXT, _ROW = 360, 112, 84, 24  # of a bar chart: all, the label, the text at the right; height of a bar's row
PART_TITLES = {"fill-unsafe": "unsafe", "fill-not_unsafe": "not unsafe"}


@dataclass(frozen=True)
class Line:
    """A curve in a panel: the model's name, its number (which sets the dashes), and the points."""

    name: str
    number: int
    curve: Curve


@dataclass(frozen=True)
class Panel:
    """One label of a curve figure: title, css class of its colour, curves, and what knows nothing ('diagonal' or a height)."""

    title: str
    style: str
    lines: Sequence[Line]
    chance: float | None = None
    note: str = field(default="")


def escape(text: object) -> str:
    """Text for HTML, in an attribute too; control and direction characters are written as escapes."""
    return html.escape(plain(str(text)), quote=True)


def bars(key: str, title: str, rows: Sequence[Bar], *, note: str = "") -> str:
    """Horizontal bars, one a row, with parts beside each other. `key` makes ids unique on the page."""
    most = max((row.total for row in rows), default=0) or 1
    room = _WIDE - _LABEL - _TEXT
    parts = []
    for place, row in enumerate(rows):
        y, x = place * _ROW, float(_LABEL)
        shown = row.label if len(row.label) <= 17 else row.label[:16] + "…"
        parts.append(f'<text class="label" x="{_LABEL - 6}" y="{y + 16}">{escape(shown)}</text>')
        for style, count in row.parts:
            width = room * count / most
            if count:
                parts.append(f'<rect class="{escape(style)}" x="{x:.1f}" y="{y + 4}" width="{max(width, 1):.1f}" height="16"/>')
            x += width
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 16}">{escape(row.text or format(row.total, ","))}</text>')
    kinds = [style for style, _ in rows[0].parts] if rows else []
    several = len(kinds) > 1
    head = ["", *(PART_TITLES.get(kind, kind) for kind in kinds), "videos"] if several else ["", "videos"]
    lines = [[row.label, *(f"{n:,}" for _, n in row.parts), f"{row.total:,}"] if several else [row.label, f"{row.total:,}"]
             for row in rows]  # fmt: skip
    legend = _legend(kinds) if several else ""
    picture = _svg(key, title, _WIDE, max(len(rows), 1) * _ROW, "".join(parts))
    return _figure(key, title, picture + legend, head, lines, note=note)


def matrix(key: str, title: str, names: Sequence[str], counts: NDArray[np.int64], shares: Floats, *, note: str = "") -> str:
    """A heat map [k, k]: counts as text, the share of the row's videos as colour (the map of the paper's figures)."""
    size, left, top = 46, 112, 4
    width, height = left + size * len(names) + 8, top + size * len(names) + 76
    parts = []
    for row, column in np.ndindex(counts.shape):
        share = shares[row, column]
        step = None if np.isnan(share) else round(float(share) * (len(SEQUENTIAL_STOPS) - 1))
        x, y = left + column * size, top + row * size
        style = "heat-none" if step is None else f"heat-{step}"
        ink = "ink-light" if step is not None and step <= 3 else "ink-dark"
        parts.append(f'<rect class="{style}" x="{x}" y="{y}" width="{size - 2}" height="{size - 2}"/>')
        parts.append(
            f'<text class="{ink}" x="{x + size / 2 - 1:.0f}" y="{y + size / 2 + 4:.0f}">{counts[row, column]:,}</text>'
        )
    for place, name in enumerate(names):
        parts.append(f'<text class="label" x="{left - 6}" y="{top + place * size + size / 2 + 4:.0f}">{escape(name)}</text>')
        x, y = left + place * size + size / 2 + 4, top + size * len(names) + 12
        parts.append(f'<text class="label" transform="translate({x:.0f} {y:.0f}) rotate(-40)">{escape(name)}</text>')
    lines = [[name, *(f"{count:,}" for count in counts[row])] for row, name in enumerate(names)]
    return _figure(key, title, _svg(key, title, width, height, "".join(parts)), ["", *names], lines, note=note)


def table(key: str, title: str, head: Sequence[str], lines: Sequence[Sequence[str]], *, note: str = "") -> str:
    """A figure that is a table alone; a line of one cell is the heading of the lines below it."""
    tail = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<figure class="chart table-only" id="{key}"><figcaption>{escape(title)}</figcaption>'
        f"{_table(title, head, lines)}{tail}</figure>"
    )


def curves(key: str, title: str, x: str, y: str, panels: Sequence[Panel], names: Sequence[str], *, note: str = "") -> str:
    """Panels of curves with their bands, a panel a label; models differ by their dashes."""
    found = []
    for number, panel in enumerate(panels):
        parts = ['<path class="axis" d="M34 8V148H174"/>']
        for mark in (0.0, 0.5, 1.0):
            if mark != 0.5:  # the axis' name stands there
                parts.append(f'<text class="label" x="30" y="{152 - 140 * mark:.0f}">{mark:g}</text>')
            parts.append(f'<text class="middle" x="{34 + 140 * mark:.0f}" y="162">{mark:g}</text>')
        parts.append(f'<text class="middle" x="104" y="178">{escape(x)}</text>')
        parts.append(f'<text class="middle" transform="translate(22 78) rotate(-90)">{escape(y)}</text>')
        if panel.lines:
            start = 0.0 if panel.chance is None else panel.chance
            end = 1.0 if panel.chance is None else panel.chance
            parts.append(f'<path class="chance" d="M{_at(0, start)}L{_at(1, end)}"/>')
        else:
            parts.append('<text class="middle" x="104" y="80">one class only</text>')
        for line in panel.lines:
            if line.curve.low is not None and line.curve.high is not None and len(panel.lines) == 1:
                there = [*zip(line.curve.x, line.curve.low, strict=True)][::-1]
                edge = [*zip(line.curve.x, line.curve.high, strict=True), *there]
                parts.append(f'<path class="band {panel.style}" d="M{"L".join(_at(a, b) for a, b in edge)}Z"/>')
        for line in panel.lines:
            points = "L".join(_at(a, b) for a, b in zip(line.curve.x, line.curve.y, strict=True))
            parts.append(f'<path class="curve dash-{line.number % 4} {panel.style.replace("fill", "line")}" d="M{points}"/>')
        inner = _svg(f"{key}-{number}", f"{title}, {panel.title}", 184, 184, "".join(parts))
        tail = f"<small>{escape(panel.note)}</small>" if panel.note else ""
        found.append(f'<div class="panel"><h4>{escape(panel.title)} {tail}</h4>{inner}</div>')
    key_lines = "".join(
        f'<li><svg aria-hidden="true" width="34" height="10"><path class="curve dash-{number % 4} line-any" d="M1 5H33"/></svg>'
        f"<bdi>{escape(name)}</bdi></li>"
        for number, name in enumerate(names)
    )
    tail = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<figure class="chart{" wide" if len(panels) > 1 else ""}" id="{key}"><figcaption>{escape(title)}</figcaption>'
        f'<div class="panels">{"".join(found)}</div><ul class="legend">{key_lines}</ul>{tail}</figure>'
    )


# --- inside -----------------------------------------------------------------------------------------------------------


def _at(x: float, y: float) -> str:
    return f"{34 + 140 * x:.1f} {148 - 140 * y:.1f}"


def _svg(key: str, title: str, width: float, height: float, inner: str) -> str:
    name = f"{key}-title"
    return (
        f'<svg role="img" aria-labelledby="{name}" viewBox="0 0 {width:g} {height:g}">'
        f'<title id="{name}">{escape(title)}</title>{inner}</svg>'
    )


def _legend(kinds: Sequence[str]) -> str:
    items = "".join(f'<li><span class="swatch {kind}"></span>{escape(PART_TITLES.get(kind, kind))}</li>' for kind in kinds)
    return f'<ul class="legend">{items}</ul>'


def _figure(key: str, title: str, inner: str, head: Sequence[str], lines: Sequence[Sequence[str]], *, note: str) -> str:
    tail = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<figure class="chart" id="{key}"><figcaption>{escape(title)}</figcaption>{inner}{tail}<details><summary>Numbers'
        f'<span class="hidden-text"> of {escape(title)}</span></summary>{_table(title, head, lines)}</details></figure>'
    )


def _table(title: str, head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    first = "".join(f'<th scope="col">{escape(cell)}</th>' if cell else "<td></td>" for cell in head)
    body = "".join(_line(line, len(head)) for line in lines)
    return (
        f'<div class="table" tabindex="0" role="group" aria-label="{escape(title)}, table">'
        f"<table><thead><tr>{first}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _line(line: Sequence[str], width: int) -> str:
    if len(line) == 1:  # the heading of a group of lines
        return f'</tbody><tbody><tr><th scope="rowgroup" colspan="{width}"><bdi>{escape(line[0])}</bdi></th></tr>'
    cells = "".join(f"<td>{escape(cell)}</td>" for cell in line[1:])
    return f'<tr><th scope="row"><bdi>{escape(line[0])}</bdi></th>{cells}</tr>'
