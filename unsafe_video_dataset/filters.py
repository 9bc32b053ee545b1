"""Filters on a release's videos: checked names and values, and which rows of a table pass."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .columns import list_parents
from .errors import FilterError, one_of
from .taxonomy import CATEGORIES

NOT_STATED = "not_stated"  # how a manifest counts, and a filter names, videos whose prompt source is null
Filters = dict[str, Any]


def checked_filters(counts: Mapping[str, Any], **filters: Any) -> Filters:
    """The filters, checked against what a release counts. Raises `FilterError` for unknown names and values of another kind."""
    known = {"categories": CATEGORIES, "generators": counts["generators"], "prompt_sources": counts["prompt_sources"]}
    kinds: dict[str, Any] = {"is_unsafe": bool, "min_raters": int, "min_agreement": (int, float)}
    for name, value in filters.items():
        if value is None:
            continue
        if name in known:
            filters[name] = checked_names(value, known[name], name)
        elif not isinstance(value, kinds[name]) or (isinstance(value, bool) and name != "is_unsafe"):
            raise FilterError(f"{name}={value!r} must be {'True or False' if name == 'is_unsafe' else 'a number'}.")
    return filters


def checked_names(values: Iterable[str], known: Iterable[str], what: str) -> list[str]:
    """The names as a list. Raises `FilterError` for an unknown one, and for a bare string."""
    if isinstance(values, str):
        raise FilterError(f"{what}={str(values)!r} must be a list: {what}=[{str(values)!r}].")
    return [str(getattr(value, "value", value)) for value in values if one_of(value, list(known), what)]


@dataclass(frozen=True)
class Where:
    """Which rows of a table pass the filters. Names and values are those of `checked_filters`."""

    filters: Mapping[str, Any]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the filters look at."""
        return tuple(_COLUMNS[name] for name, value in self.filters.items() if value is not None)

    @property
    def texts(self) -> tuple[str, ...]:
        """Those of `columns` that hold one of few names a row: best read as dictionaries."""
        return tuple(name for name in self.columns if name in ("generator", "prompt_source"))

    def may_pass(self, bounds: Mapping[str, tuple[Any, Any]]) -> bool:
        """Whether rows can pass whose columns lie within these bounds (lowest, highest); one without bounds may be anything.

        Nulls are not in bounds: they pass where `not_stated` is asked for, and nowhere else.
        """
        asked = ((_POSSIBLE.get(name), _COLUMNS[name], value) for name, value in self.filters.items() if value is not None)
        return all(test(*bounds[column], value) for test, column, value in asked if test is not None and column in bounds)

    def mask(self, table: pa.Table) -> pa.ChunkedArray | pa.Array | None:
        """A boolean a row, null where the filtered value is; None where every row passes. Text columns may be dictionaries."""
        masks = [_TERMS[name](table[_COLUMNS[name]], value) for name, value in self.filters.items() if value is not None]
        return functools.reduce(pc.and_, masks) if masks else None


def has_any(lists: pa.ChunkedArray, categories: Sequence[str]) -> pa.Array:
    """For each row, whether its list of class indices holds any of the categories."""
    column = lists.combine_chunks()
    wanted = np.isin(np.arange(len(CATEGORIES)), [CATEGORIES.index(name) for name in categories])
    indices = column.flatten().to_numpy()
    outside = (indices < 0) | (indices >= len(CATEGORIES))  # values are checked after the filter; these pass none
    mask = np.zeros(len(column), dtype=bool)
    mask[list_parents(column)[wanted[np.where(outside, 0, indices)] & ~outside]] = True
    return pa.array(mask)


def nothing_passes(name: str, counts: Mapping[str, Any], filters: Mapping[str, object]) -> FilterError:
    """The error for filters that leave nothing of release `name`: what was asked, and what there is by its `counts`."""
    given = ", ".join(f"{key}={value!r}" for key, value in filters.items() if value is not None) or "no filter"
    splits = {key: f"{n['unsafe']} unsafe + {n['not_unsafe']} not" for key, n in counts["splits"].items()}
    there = {key: counts[key] for key in ("categories", "generators", "prompt_sources")}
    listed = "; ".join(f"{key}: {value}" for key, value in {"splits": splits, **there}.items())
    split = counts["splits"].get(str(filters.get("split")), {"unsafe": 1})
    fewer = "" if split["unsafe"] else " The shares of the splits are set by the build: unsafe-video-build upstream --splits."
    return FilterError(f"No video of release {name} passes {given}. It holds {listed}.{fewer}".replace("'", ""))


def _in(column: pa.ChunkedArray, names: Sequence[str | None]) -> pa.ChunkedArray:
    wanted = pa.array(names, pa.string())
    if not pa.types.is_dictionary(column.type):
        return pc.is_in(column, value_set=wanted)
    chunks = []
    for chunk in column.chunks:  # a look at each name, not at each row
        passes = pc.is_in(chunk.dictionary, value_set=wanted).take(chunk.indices)
        chunks.append(pc.fill_null(passes, None in names))
    return pa.chunked_array(chunks, pa.bool_())


def _names_within(low: str, high: str, names: Sequence[str]) -> bool:
    return any(name == NOT_STATED or low <= name <= high for name in names)


_COLUMNS = {
    "categories": "categories",
    "generators": "generator",
    "prompt_sources": "prompt_source",
    "is_unsafe": "is_unsafe",
    "min_raters": "num_raters",
    "min_agreement": "agreement",
}
_TERMS: dict[str, Callable[[Any, Any], Any]] = {
    "categories": has_any,
    "generators": _in,
    "prompt_sources": lambda column, names: _in(column, [None if name == NOT_STATED else name for name in names]),
    "is_unsafe": pc.equal,
    "min_raters": pc.greater_equal,
    "min_agreement": pc.greater_equal,
}
_POSSIBLE: dict[str, Callable[[Any, Any, Any], bool]] = {
    "generators": _names_within,
    "prompt_sources": _names_within,
    "is_unsafe": lambda low, high, value: bool(low <= value <= high),
    "min_raters": lambda low, high, value: bool(high >= value),
}
