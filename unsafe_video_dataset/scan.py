"""The rows of a Parquet file that pass filters, with no more of the file read than they need.

Row groups whose bounds in the footer let no row pass are left alone. Of the others the filtered columns come first, small
ones as a rule, and every value of them is checked, not only those that pass; the other columns follow, of row groups that
have a row to give. A footer whose bounds are not those of such a column is not believed: its rows are read, and found out.

Parts of a file are read on as many threads as Arrow has (`pyarrow.set_cpu_count`, `OMP_NUM_THREADS`): text columns take the
time, and Arrow decodes a column on one thread. The threads end with the call, so none crosses a fork.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .filters import Where
from .footer import Column, Footer

Check = Callable[[pa.Table], None]
_PART = 200_000  # rows that a thread takes at once
_NUMBERS = {0: ("<?", 1), 1: ("<i", 4), 2: ("<q", 8)}  # parquet-format's physical types; bounds of floats hide a NaN


def scan(
    open_file: Callable[[list[str]], pq.ParquetFile],
    footer: Footer,
    columns: Sequence[str],
    where: Where | None,
    check: Check,
) -> pa.Table:
    """The columns of the rows that pass.

    `open_file` opens the file anew, given the text columns to read as dictionaries; `columns` hold those of `where`. `check`
    raises for values that may not be: it gets every value read of a filtered column, and of others those of rows that pass.
    """
    wanted = _may_pass(footer, where, check)
    parts = _parts(footer, wanted)
    if len(parts) < 2:
        return _part(open_file, footer, wanted, columns, where, check)
    with ThreadPoolExecutor(min(pa.cpu_count(), len(parts))) as pool:
        return pa.concat_tables(pool.map(lambda part: _part(open_file, footer, part, columns, where, check), parts))


def _parts(footer: Footer, groups: Sequence[int]) -> list[list[int]]:
    parts: list[list[int]] = []
    room = 0
    for group in groups:
        rows = footer.row_groups[group].num_rows
        if not parts or rows > room:
            parts.append([])
            room = _PART
        parts[-1].append(group)
        room -= rows
    return parts


def _part(
    open_file: Callable[[list[str]], pq.ParquetFile],
    footer: Footer,
    groups: list[int],
    columns: Sequence[str],
    where: Where | None,
    check: Check,
) -> pa.Table:
    first = [] if where is None else [name for name in columns if name in where.columns]
    others = [name for name in columns if name not in first]
    if where is None or not first:
        return _read(open_file([]), groups, others, check)
    file = open_file([name for name in first if name in where.texts])
    looked_at = _read(file, groups, first, check)
    mask = np.asarray(pc.fill_null(where.mask(looked_at), False).to_numpy(zero_copy_only=False), dtype=bool)
    hits, kept = _with_hits(footer, groups, mask)
    found = dict(zip(first, looked_at.filter(pa.array(mask)).columns, strict=True))
    if others:
        rest = _read(file, hits, others, None).filter(pa.array(kept))
        check(rest)
        found |= dict(zip(others, rest.columns, strict=True))
    return pa.table([_plain(found[name]) for name in columns], schema=_schema(footer, columns))


def _read(file: pq.ParquetFile, groups: list[int], columns: Sequence[str], check: Check | None) -> pa.Table:
    table = file.read_row_groups(groups, columns=list(columns), use_threads=False).select(list(columns))
    table.validate(full=True)  # texts may be none, offsets may lie
    if check is not None:
        check(table)
    return table


def _with_hits(footer: Footer, groups: Sequence[int], mask: npt.NDArray[np.bool_]) -> tuple[list[int], npt.NDArray[np.bool_]]:
    """Row groups with a row that passes, and the part of the mask that is theirs."""
    ends = np.cumsum([footer.row_groups[group].num_rows for group in groups], dtype=np.int64)
    pieces = list(zip(groups, np.split(mask, ends[:-1]), strict=True)) if len(groups) else []
    hits = [(group, piece) for group, piece in pieces if piece.any()]
    return [group for group, _ in hits], np.concatenate([piece for _, piece in hits]) if hits else mask[:0]


def _schema(footer: Footer, columns: Sequence[str]) -> pa.Schema:
    stored = footer.arrow.schema.to_arrow_schema()
    return pa.schema([stored.field(name) for name in columns])


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _may_pass(footer: Footer, where: Where | None, check: Check) -> list[int]:
    """Row groups that can hold a row that passes, by bounds that are those of columns without faults."""
    numbers = range(len(footer.row_groups))
    if where is None or not where.columns:
        return list(numbers)
    bounds: list[dict[str, tuple[object, object]]] = [{} for _ in numbers]
    for field in _schema(footer, where.columns):
        chunks = [_chunk(footer, number, field.name) for number in numbers]
        found = [None if chunk is None or chunk.nulls is None else _bounds(chunk) for chunk in chunks]
        nulls = any(chunk.nulls for chunk in chunks if chunk is not None)
        if _holds(field, [value for pair in found if pair is not None for value in pair], nulls, check):
            for number, pair in enumerate(found):
                bounds[number] |= {} if pair is None else {field.name: pair}
    return [number for number in numbers if where.may_pass(bounds[number])]


def _chunk(footer: Footer, group: int, name: str) -> Column | None:
    return next((column for column in footer.row_groups[group].columns if column.path == name), None)


def _bounds(column: Column) -> tuple[object, object] | None:
    if column.lowest is None or column.highest is None:
        return None
    if column.is_text:
        return column.lowest.decode(errors="replace"), column.highest.decode(errors="replace")
    form, size = _NUMBERS.get(column.kind, ("", -1))
    if {len(column.lowest), len(column.highest)} != {size}:
        return None
    return struct.unpack(form, column.lowest)[0], struct.unpack(form, column.highest)[0]


def _holds(field: pa.Field, values: list[object], nulls: bool, check: Check) -> bool:
    """Whether a column with these bounds, and nulls or none, could be without faults."""
    try:
        check(pa.table({field.name: pa.array([*values, *[None] * nulls], field.type)}))
    except (ValueError, TypeError, pa.ArrowException):  # an IntegrityError is a ValueError
        return False
    return True
