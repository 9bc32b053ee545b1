"""What this package set out to reach, and whether a run shows that it does: figures, quartiles, and what limits them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._tables import Table, make_table

Result = Mapping[str, Any]
Row = tuple[str, str, str, str, str]
HEADER = ("target", "asked", "measured (quartiles)", "met", "why")
LEAST_ROUNDS = 3
"""Fewer rounds have no quartiles to speak of."""


def targets_table(result: Result) -> Table:
    """A line a target. The last column is a sentence made from the run's own profile."""
    rows: list[Row] = []
    for workers in result["settings"]["workers"]:
        rows += _loader_rows(result, workers)
    rows += _opening_rows(result)
    rows += _filter_rows(result)
    rows.append(_memory_row(result))
    return make_table(HEADER, rows)


def _loader_rows(result: Result, workers: int) -> list[Row]:
    here = {row["peer"]: row for row in result["summary"] if row["workers"] == workers}
    first, later = here.get("ours"), here.get("ours-cache")
    with_workers = f"{workers} workers"
    return [
        (
            f"first epoch, CPU to libav's decode alone, {with_workers}",
            "at most 1.3",
            *_held(_ratio(first, "cpu_ms_a_clip", "to_limit"), most=1.3),
            _decode_share(result),
        ),
        (
            f"first epoch, CPU to the best peer, {with_workers}",
            "below 1",
            *_held(_ratio(first, "cpu_ms_a_clip", "to_best_peer"), most=1.0),
            _beside_peer(result, first),
        ),
        (
            f"later epochs with cache=, clips/s to the best peer, {with_workers}",
            "at least 15",
            *_held(_ratio(later, "clips_per_second", "to_best_peer"), least=15.0, digits=1),
            "Clips are read from the cache and not decoded again; every other loader decodes.",
        ),
        (
            f"later epochs with cache=, clips/s to a copy in memory, {with_workers}",
            "near 1, no number was set",
            _figures(_ratio(later, "clips_per_second", "to_memory"), 2),
            "-",
            "A cached clip is a read from a file and a checksum; the limit is one copy of memory.",
        ),
    ]


def _opening_rows(result: Result) -> list[Row]:
    asked = ("opening a million rows, seconds", "opening a million rows, MB added")
    if not result["opening"]:
        return [(name, bound, "not measured", "-", "") for name, bound in zip(asked, ("below 1", "below 300"), strict=True)]
    one, rows = result["opening"]["dataset"], result["opening"]["rows"]
    cpu = one["cpu_seconds"]["median"]
    megabytes = {key: value / 1e6 for key, value in one["added_bytes"].items()}
    return [
        (
            f"UnsafeVideoDataset(...) on {rows:,} rows, seconds",
            "below 1",
            *_held(one["seconds"], most=1.0),
            f"CPU time is {cpu:.2f} s: ids, frame counts and categories are read and checked, nothing else.",
        ),
        (
            f"UnsafeVideoDataset(...) on {rows:,} rows, MB added at most",
            "below 300",
            *_held(megabytes, most=300.0, digits=0),
            "Columns stay Arrow arrays; no Python object a row.",
        ),
    ]


def _filter_rows(result: Result) -> list[Row]:
    rows: list[Row] = []
    for one in result["opening"]["filters"] if result["opening"] else []:
        for what, found in (("time", one), ("CPU time", one["cpu"])):
            rows.append(
                (f"filter, {one['filter']}: {what} to duckdb's", "at most 1", *_held(found["ratio"], most=1.0), _limit(found))
            )
    return rows


def _memory_row(result: Result) -> Row:
    asked = ("memory over epochs, MB an epoch", "interval holds 0, or below it")
    found = result["epochs"] and result["epochs"]["slope"]
    if not found:
        return (*asked, "not measured", "-", "")
    slope, low, high = (found[key] / 1e6 for key in ("slope", "low", "high"))
    values = result["epochs"]["bytes"]
    half = len(values) // 2
    grown = (values[-1] - values[half]) / 1e6
    return (
        *asked,
        f"{slope:+.2f} (95% interval {low:+.2f} to {high:+.2f})",
        "yes" if low <= 0 else "no",
        f"The second half of {len(values)} epochs changed it by {grown:+.0f} MB in all. "
        "A test counts that no object, file or footer is kept.",
    )


def _ratio(row: Mapping[str, Any] | None, measure: str, name: str) -> Mapping[str, float] | None:
    found = row and row[measure]
    quartiles: Mapping[str, float] | None = found["quartiles"][name] if found else None
    return quartiles


def _held(
    found: Mapping[str, float] | None, *, least: float | None = None, most: float | None = None, digits: int = 2
) -> tuple[str, str]:
    """Figures, and whether the median is on the right side."""
    if found is None:
        return "not measured", "-"
    met = (least is None or found["median"] >= least) and (most is None or found["median"] <= most)
    return _figures(found, digits), "yes" if met else "no"


def _figures(found: Mapping[str, float] | None, digits: int) -> str:
    if found is None:
        return "not measured"
    return f"{found['median']:.{digits}f} ({found['low']:.{digits}f}-{found['high']:.{digits}f})"


def _decode_share(result: Result) -> str:
    if not result["profile"]:
        return ""
    cpu = result["profile"]["cpu_ms"]
    parts = {name: cpu[name]["median"] / cpu["batch"]["median"] for name in ("libav", "convert", "read")}
    return (
        f"libav takes {parts['libav']:.0%} of a clip, resize and conversion {parts['convert']:.0%}, "
        f"reading and its sha256 {parts['read']:.0%}."
    )


def _beside_peer(result: Result, row: Mapping[str, Any] | None) -> str:
    best = row and row["cpu_ms_a_clip"] and row["cpu_ms_a_clip"]["best_peer"]
    if not best:
        return ""
    text = f"The best peer is {result['peers'][best]['title']}, which checks neither bytes nor structure"
    if not result["profile"]:
        return f"{text}."
    cpu = result["profile"]["cpu_ms"]
    return f"{text}; ours pays {cpu['read']['median'] + cpu['check']['median']:.1f} ms a clip for reading and both checks."


def _limit(found: Mapping[str, Any]) -> str:
    if not found["pyarrow"] or not found["duckdb"]:
        return ""
    alone = found["pyarrow"]["median"] / found["duckdb"]["median"]
    return f"pyarrow alone, reading these columns and no more, takes {alone:.2f} times duckdb's."
