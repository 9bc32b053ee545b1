"""Filters on a release's videos: checked names and values, and the Arrow expression that is pushed down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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


def expression(filters: Filters) -> pc.Expression | None:
    """What Parquet readers can filter by; `categories` is left to `has_any`, as a list column can't be pushed down."""
    terms: dict[str, Callable[[Any], Any]] = {
        "generators": lambda names: pc.field("generator").isin(pa.array(names, pa.string())),
        "prompt_sources": lambda names: pc.field("prompt_source").isin(
            pa.array([None if name == NOT_STATED else name for name in names], pa.string())
        ),
        "is_unsafe": lambda flag: pc.field("is_unsafe") == flag,
        "min_raters": lambda least: pc.field("num_raters") >= least,
        "min_agreement": lambda least: pc.field("agreement") >= least,
    }
    wanted = [terms[name](value) for name, value in filters.items() if value is not None and name in terms]
    joined = wanted[0] if wanted else None
    for term in wanted[1:]:
        joined = joined & term
    return joined


def has_any(lists: pa.ChunkedArray, categories: Sequence[str]) -> pa.Array:
    """For each row, whether its list of class indices holds any of the categories."""
    column = lists.combine_chunks()
    wanted = pa.array([CATEGORIES.index(name) for name in categories], pa.int64())
    hits = pc.is_in(pc.list_flatten(column), value_set=wanted)
    mask = np.zeros(len(column), dtype=bool)
    mask[pc.list_parent_indices(column).to_numpy()[hits.to_numpy(zero_copy_only=False)]] = True
    return pa.array(mask)
