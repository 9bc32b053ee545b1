"""Opening and filtering a release of many rows of metadata, beside duckdb on the same Parquet files."""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from .summary import spread

What = Literal["open", "dataset", "ours", "duckdb", "pyarrow"]
PARTS: tuple[What, ...] = ("open", "dataset", "ours", "duckdb", "pyarrow")
_REPEATS = 5

FILTERS: dict[str, tuple[dict[str, Any], str, str]] = {
    "one category": (
        {"columns": ["video_id", "categories"], "categories": ["terrifying"]},
        "video_id, categories",
        "list_has_any(categories, [1])",
    ),
    "unsafe, at least 5 raters": (
        {"columns": ["video_id"], "is_unsafe": True, "min_raters": 5},
        "video_id",
        "is_unsafe AND num_raters >= 5",
    ),
    "one generator, agreement from 0.6": (
        {"columns": ["video_id", "group_id"], "generators": ["magictime"], "min_agreement": 0.6},
        "video_id, group_id",
        "generator = 'magictime' AND agreement >= 0.6",
    ),
}
"""Name -> (arguments of `Release.metadata`, columns and condition of the same query in SQL)."""


def measure(job: Mapping[str, Any]) -> dict[str, Any]:
    """One part in this process: `seconds`, `cpu_seconds`, `added_bytes` (highest resident set above that before), or for the
    filters the median seconds and CPU seconds (all threads) of each over five, and their numbers of rows."""
    release, what = Path(job["release"]), job["part"]
    if what == "duckdb":
        return _filters(_duckdb(release))
    if what == "pyarrow":
        return _filters({name: partial(_read_alone, release, how) for name, (how, _, _) in FILTERS.items()})
    from ..release import Release

    if what == "ours":
        opened = Release.open(release)
        return _filters({name: partial(_rows, opened, how) for name, (how, _, _) in FILTERS.items()})
    torch = importlib.import_module("unsafe_video_dataset.torch") if what == "dataset" else None
    if torch is not None:
        torch.choose_decoder("auto")  # imports a codec, whatever the number of rows
    importlib.import_module("pyarrow").scalar(0)  # pyarrow imports pandas with the first value that it makes
    gc.collect()
    _forget_peak()
    before, cpu, start = _resident("VmRSS"), time.process_time(), time.perf_counter()
    found: Any = Release.open(release) if torch is None else torch.UnsafeVideoDataset(release, config="reviewed", split=None)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = _resident("VmHWM")
    rows = found.manifest["counts"]["videos"] if torch is None else len(found)
    return {"seconds": seconds, "cpu_seconds": cpu, "added_bytes": max(0, peak - before), "rows": rows}


def _rows(release: Any, how: Mapping[str, Any]) -> int:
    return int(release.metadata(**how).num_rows)


def _read_alone(release: Path, how: Mapping[str, Any]) -> int:
    """What our filter has to read, by pyarrow with page checksums, and nothing done with it: all rows of the release."""
    from pyarrow import parquet

    from ..filters import Where

    columns = sorted({"video_id", *how["columns"], *Where({name: how[name] for name in how if name != "columns"}).columns})
    files = sorted((release / "data" / "metadata").glob("*.parquet"))
    return sum(parquet.ParquetFile(file, page_checksum_verification=True).read(columns).num_rows for file in files)


def _filters(queries: Mapping[str, Callable[[], int]]) -> dict[str, Any]:
    rows = {name: query() for name, query in queries.items()}  # the first of each reads from disk and imports
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in queries}
    for _ in range(_REPEATS):
        for name, query in queries.items():
            start, cpu = time.perf_counter(), time.process_time()
            query()
            times[name].append((time.perf_counter() - start, time.process_time() - cpu))
    found = {}
    for name, pairs in times.items():
        seconds, cpu_seconds = (spread(values)["median"] for values in zip(*pairs, strict=True))
        found[name] = {"rows": rows[name], "seconds": seconds, "cpu_seconds": cpu_seconds}
    return {"filters": found}


def _duckdb(release: Path) -> dict[str, Callable[[], int]]:
    import duckdb

    files = [str(path) for path in sorted((release / "data" / "metadata").glob("*.parquet"))]
    connection = duckdb.connect()

    def query(columns: str, condition: str) -> int:
        relation = connection.sql(f"SELECT {columns} FROM read_parquet(?) WHERE {condition}", params=[files])
        return int(relation.to_arrow_table().num_rows)

    return {name: partial(query, columns, condition) for name, (_, columns, condition) in FILTERS.items()}


def _resident(which: str) -> int:
    """`VmRSS` (now) or `VmHWM` (highest) in bytes; now where there is no /proc."""
    try:
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith(which + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return int(importlib.import_module("psutil").Process().memory_info().rss)


def _forget_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return


def combine(rounds: Sequence[Mapping[What, Mapping[str, Any]]]) -> dict[str, Any]:
    """Medians and spreads over rounds. `ratio` of a filter is the spread of ours / duckdb within a round, None without duckdb;
    `pyarrow` the time of reading its columns alone; `cpu` holds the same four of CPU time.

    Raises `ValueError` where ours and duckdb find another number of rows.
    """
    parts = {
        part: {key: spread([one[part][key] for one in rounds]) for key in ("seconds", "cpu_seconds", "added_bytes")}
        for part in ("open", "dataset")
    }
    filters = []
    for name in FILTERS:
        mine, theirs = ([one[part]["filters"][name] for one in rounds if part in one] for part in ("ours", "duckdb"))
        counts = {one["rows"] for one in [*mine, *theirs]}
        if len(counts) != 1:
            raise ValueError(f"filter {name!r} gives {sorted(counts)} rows")
        alone = [one["pyarrow"]["filters"][name] for one in rounds if "pyarrow" in one]
        pairs = [
            (one["ours"]["filters"][name], one["duckdb"]["filters"][name]) for one in rounds if {"ours", "duckdb"} <= one.keys()
        ]
        times, cpu = (_compared(mine, theirs, alone, pairs, key) for key in ("seconds", "cpu_seconds"))
        filters.append({"filter": name, "rows": counts.pop(), **times, "cpu": cpu})
    return {"rows": rounds[0]["dataset"]["rows"], "rounds": len(rounds), **parts, "filters": filters}


def _compared(
    mine: Sequence[Mapping[str, float]],
    theirs: Sequence[Mapping[str, float]],
    alone: Sequence[Mapping[str, float]],
    pairs: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
    key: str,
) -> dict[str, Any]:
    def over(found: Sequence[float]) -> dict[str, float] | None:
        return spread(found) if found else None

    return {
        "ours": over([one[key] for one in mine]),
        "duckdb": over([one[key] for one in theirs]),
        "ratio": over([ours[key] / other[key] for ours, other in pairs if other[key]]),
        "pyarrow": over([one[key] for one in alone]),
    }
