"""What a release holds, as numbers for charts: counts of videos by label, source, split, votes, agreement and length."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..agreement import SETS, agreement
from ..curves import Floats, co_occurrence
from ..records import Record
from ..release import Release
from ..scores import Estimate
from ..taxonomy import CATEGORIES, CATEGORY_TITLES, SPLITS
from .rows import Rows

NOT_STATED = "not stated"
MOST_BARS = 12  # of a chart; the smallest of more go together, and lengths into bins


@dataclass(frozen=True)
class Bar:
    """One bar: its label, parts that add up to it, each (css class, count), and a text beside it."""

    label: str
    parts: tuple[tuple[str, int], ...]
    text: str = ""

    @property
    def total(self) -> int:
        """All parts together."""
        return sum(count for _, count in self.parts)


@dataclass(frozen=True)
class Facts:
    """Everything that the page's charts show of a release."""

    categories: tuple[Bar, ...]
    together: tuple[NDArray[np.int64], Floats]
    generators: tuple[Bar, ...]
    sources: tuple[Bar, ...]
    splits: tuple[Bar, ...]
    votes: tuple[Bar, ...]
    agreement: tuple[Bar, ...]
    lengths: tuple[Bar, ...]
    alpha: tuple[tuple[str, Estimate], ...]


def gather(release: Release, rows: Rows, *, bootstrap: int = 1000) -> Facts:
    """Count; every bar has its unsafe part first and then the rest. `alpha` is Krippendorff's, a category, with intervals."""
    table = rows.table
    labels = np.zeros((len(table), len(CATEGORIES)), dtype=np.int64)
    for number, row in enumerate(table):
        labels[number, row["categories"]] = 1
    found = labels.sum(axis=0)
    categories = [
        Bar(CATEGORY_TITLES[name], ((f"fill-{name}", int(found[place])),), _share(int(found[place]), len(table)))
        for place, name in enumerate(CATEGORIES)
    ]
    safe = sum(not row["is_unsafe"] for row in table)
    categories.append(Bar("not unsafe", (("fill-none", safe),), _share(safe, len(table))))
    return Facts(
        categories=tuple(categories),
        together=co_occurrence(labels, labels),
        generators=_largest(_by(table, lambda row: row["generator"]), len(table)),
        sources=_largest(_by(table, lambda row: row["prompt_source"] or NOT_STATED), len(table)),
        splits=_by(table, lambda row: row["split"], order=list(SPLITS)),
        votes=_by(table, lambda row: row["num_raters"]),
        agreement=_by(table, _agreement, order=[*(f"{10 * tenth} to {10 * tenth + 10}%" for tenth in range(10)), "not known"]),
        lengths=_lengths(table),
        alpha=_alpha(release, bootstrap),
    )


# --- inside -----------------------------------------------------------------------------------------------------------


def _by(
    table: list[Record],
    read: Callable[[Record], Any],
    *,
    order: list[str] | None = None,
    key: Callable[[Any], Any] | None = None,
) -> tuple[Bar, ...]:
    unsafe = Counter(read(row) for row in table if row["is_unsafe"])
    every = Counter(read(row) for row in table)
    if order is not None:  # from the first to the last that is there: a gap in a scale is shown
        there = [place for place, value in enumerate(order) if every[value]]
        values: list[Any] = order[there[0] : there[-1] + 1] if order[-1] != "not known" else _scale(order, every)
    else:
        values = sorted(every, key=key) if key else sorted(every)
    return tuple(
        Bar(
            str(value),
            (("fill-unsafe", unsafe[value]), ("fill-not_unsafe", every[value] - unsafe[value])),
            _share(every[value], len(table)),
        )
        for value in values
    )


def _largest(bars: tuple[Bar, ...], total: int) -> tuple[Bar, ...]:
    """At most 12 bars: of more, the largest 11, and the others together."""
    if len(bars) <= MOST_BARS:
        return bars
    ranked = sorted(bars, key=lambda bar: (-bar.total, bar.label))
    kept, rest = ranked[: MOST_BARS - 1], ranked[MOST_BARS - 1 :]
    parts = tuple((style, sum(bar.parts[place][1] for bar in rest)) for place, (style, _) in enumerate(rest[0].parts))
    together = Bar(f"{len(rest)} others", parts)
    return (*kept, Bar(together.label, parts, _share(together.total, total)))


def _lengths(table: list[Record]) -> tuple[Bar, ...]:
    """Every length where there are few, else ten bins of equal width."""
    seconds = [row["duration_seconds"] for row in table]
    if len(set(seconds)) <= MOST_BARS:
        return _by(table, lambda row: f"{row['duration_seconds']:g} s", key=lambda text: float(text[:-2]))
    low, width = min(seconds), (max(seconds) - min(seconds)) / 10
    digits = max(1, math.ceil(-math.log10(width)))  # so many that no two bins have one name
    names = [f"{low + place * width:.{digits}f} to {low + (place + 1) * width:.{digits}f} s" for place in range(10)]
    bins: list[list[Record]] = [[] for _ in names]
    for row in table:
        bins[min(int((row["duration_seconds"] - low) / width), 9)].append(row)
    found = []
    for name, part in zip(names, bins, strict=True):
        unsafe = sum(row["is_unsafe"] for row in part)
        parts = (("fill-unsafe", unsafe), ("fill-not_unsafe", len(part) - unsafe))
        found.append(Bar(name, parts, _share(len(part), len(table))))
    return tuple(found)


def _scale(order: list[str], every: Counter[Any]) -> list[str]:
    there = [place for place, value in enumerate(order[:-1]) if every[value]]
    return [*(order[there[0] : there[-1] + 1] if there else []), *(order[-1:] if every[order[-1]] else [])]


def _agreement(row: Record) -> str:
    if row["agreement"] is None:
        return "not known"
    tenth = min(int(10 * row["agreement"] + 1e-9), 9)
    return f"{10 * tenth} to {10 * tenth + 10}%"


def _share(count: int, total: int) -> str:
    return f"{count:,} ({100 * count / max(total, 1):.0f}%)"


def _alpha(release: Release, bootstrap: int) -> tuple[tuple[str, Estimate], ...]:
    if "annotations" not in release.manifest["configs"] or not release.manifest["counts"]["votes"]:
        return ()
    report = agreement(release.annotations(), bootstrap=bootstrap)
    return tuple((CATEGORY_TITLES.get(name, "the whole set"), report.alpha[name]) for name in (*CATEGORIES, SETS))
