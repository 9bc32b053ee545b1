"""What is read of a file for a filter, and that no fault in what was read is passed over. Counts of row groups, no times."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unsafe_video_dataset import scan as scanning
from unsafe_video_dataset.errors import SchemaError
from unsafe_video_dataset.filters import Where
from unsafe_video_dataset.footer import read_footer
from unsafe_video_dataset.records import arrow_schema
from unsafe_video_dataset.scan import scan
from unsafe_video_dataset.values import check_values

COLUMNS = ["video_id", "generator", "prompt_source", "is_unsafe", "num_raters", "agreement"]
GROUP = 10
Reads = list[tuple[tuple[int, ...], tuple[str, ...]]]


def rows(number: int = 100, **columns: list[Any]) -> pa.Table:
    """Rows in which the first half was made by one model with few raters, the second by another with many."""
    half = number // 2
    rng = np.random.default_rng(0)
    values: dict[str, Any] = {
        "video_id": [f"{index:016x}" for index in range(number)],
        "generator": ["animatediff"] * half + ["magictime"] * (number - half),
        "prompt_source": [None if index % 3 else "4chan" for index in range(number)],
        "is_unsafe": rng.integers(2, size=number).astype(bool).tolist(),
        "num_raters": [3] * half + [7] * (number - half),
        "agreement": [None if index % 7 == 0 else index / number for index in range(number)],
    }
    schema = arrow_schema("metadata")
    return pa.table({name: pa.array(value, schema.field(name).type) for name, value in (values | columns).items()})


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., tuple[pa.Table, Reads]]:
    """Write a table in row groups of ten, scan it, and say what was read: (row groups, columns) of each read."""

    def run(table: pa.Table, columns: list[str] | None = None, **filters: Any) -> tuple[pa.Table, Reads]:
        path = tmp_path / "table.parquet"
        pq.write_table(table, path, row_group_size=GROUP, write_page_checksum=True)
        footer, reads = read_footer(path), []

        class Counting(pq.ParquetFile):  # type: ignore[misc]
            def read_row_groups(self, groups: list[int], columns: list[str], **more: Any) -> pa.Table:
                reads.append((tuple(groups), tuple(columns)))
                return super().read_row_groups(groups, columns=columns, **more)

        def open_file(dictionaries: list[str]) -> pq.ParquetFile:
            return Counting(path, metadata=footer.arrow, read_dictionary=dictionaries)

        where = Where(filters) if filters else None
        found = scan(open_file, footer, columns or COLUMNS, where, partial(check_values, "video", place=path))
        return found, reads

    return run


FILTERS: list[dict[str, Any]] = [
    {},
    {"is_unsafe": True},
    {"is_unsafe": False, "min_raters": 5},
    {"generators": ["magictime"], "min_agreement": 0.8},
    {"prompt_sources": ["not_stated"]},
    {"prompt_sources": ["4chan"], "generators": ["animatediff", "magictime"]},
    {"min_raters": 8},
]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
@pytest.mark.parametrize("part", [1, 30, 10**6])
def test_it_gives_what_reading_all_and_filtering_gives(
    run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, filters: dict[str, Any], part: int
) -> None:
    monkeypatch.setattr(scanning, "_PART", part)
    table = rows()
    found, _ = run(table, **filters)
    mask = Where(filters).mask(table)
    assert found.equals(table if mask is None else table.filter(mask))


def test_row_groups_whose_bounds_exclude_every_row_are_not_read(run: Callable[..., Any]) -> None:
    _, reads = run(rows(), ["video_id", "num_raters"], min_raters=5)
    assert reads == [((5, 6, 7, 8, 9), ("num_raters",)), ((5, 6, 7, 8, 9), ("video_id",))]
    found, reads = run(rows(), ["video_id", "num_raters"], min_raters=8)
    assert found.num_rows == 0
    assert all(groups == () for groups, _ in reads)
    _, reads = run(rows(), ["video_id", "generator"], generators=["animatediff"])
    assert {groups for groups, _ in reads} == {(0, 1, 2, 3, 4)}


def test_the_other_columns_are_read_of_row_groups_with_a_hit_alone(run: Callable[..., Any]) -> None:
    unsafe = [index in (3, 77) for index in range(100)]
    unsafe[::GROUP] = [True] * 10  # no bounds help: each row group holds both
    agreement = [0.9 if index in (3, 77) else 0.95 if index % GROUP == 5 else 0.1 for index in range(100)]
    found, reads = run(
        rows(is_unsafe=unsafe, agreement=agreement),
        ["video_id", "is_unsafe", "agreement"],
        is_unsafe=True,
        min_agreement=0.5,
    )
    assert found["video_id"].to_pylist() == [f"{3:016x}", f"{77:016x}"]
    assert reads == [(tuple(range(10)), ("is_unsafe", "agreement")), ((0, 7), ("video_id",))]


@pytest.mark.parametrize(
    ("column", "value", "filters"),
    [
        ("is_unsafe", None, {"is_unsafe": True}),
        ("num_raters", None, {"min_raters": 5}),
        ("num_raters", -4, {"min_raters": 5}),
        ("agreement", 7.0, {"min_agreement": 0.5}),
        ("agreement", float("nan"), {"min_agreement": 0.5}),
        ("generator", None, {"generators": ["magictime"]}),
        ("generator", "", {"generators": ["magictime"]}),
    ],
)
def test_a_fault_in_a_filtered_column_is_reported_though_its_row_fails(
    run: Callable[..., Any], column: str, value: Any, filters: dict[str, Any]
) -> None:
    table = rows()
    values = table[column].to_pylist()
    values[4] = value  # in a row group that no filter here lets through
    with pytest.raises(SchemaError, match=f"column {column} holds"):
        run(rows(**{column: values}), **filters)


def test_a_fault_in_another_column_is_reported_where_its_row_passes(run: Callable[..., Any]) -> None:
    ids = rows()["video_id"].to_pylist()
    ids[60] = "no id"
    with pytest.raises(SchemaError, match="column video_id holds"):
        run(rows(video_id=ids), min_raters=5)


def test_bounds_are_used_where_they_are_whole_and_of_a_known_kind(run: Callable[..., Any], tmp_path: Path) -> None:
    footer_path = tmp_path / "no-statistics.parquet"
    table = rows()
    pq.write_table(table, footer_path, row_group_size=GROUP, write_statistics=False)
    footer = read_footer(footer_path)
    found = scan(lambda names: pq.ParquetFile(footer_path), footer, COLUMNS, Where({"min_raters": 5}), lambda table: None)
    assert found.num_rows == 50
