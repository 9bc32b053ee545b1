"""The footer of a Parquet file: its row groups, and where their columns lie.

pyarrow ends the process when it is asked about a column whose footer contradicts itself (a histogram of the wrong length,
statistics of the wrong size; pyarrow 26 and before). So what this package asks of a footer is read here, and pyarrow gets
the footer for reading rows only: there it raises as it should.

Structs and field numbers are those of parquet-format (`FileMetaData`, `RowGroup`, `ColumnChunk`, `ColumnMetaData`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from .thrift import Thrift, TooShort

LONGEST = 1 << 26
"""Bytes of a footer that are read at most."""
_TAIL = 1 << 16  # read at first; most footers are shorter
_TEXT = (6, 7)  # BYTE_ARRAY, FIXED_LEN_BYTE_ARRAY


class BadFooter(ValueError):
    """A footer that can't be used. Who reads a file says which file that is."""


@dataclass(frozen=True)
class Column:
    """A column chunk: `stored` bytes from `start` on. `lowest` and `highest` are bounds of its values, `nulls` how many
    are null, where they are known.

    `kind` and `codec` are parquet-format's numbers of the physical type and the compression.
    """

    path: str
    kind: int
    codec: int
    num_values: int
    start: int
    stored: int
    elsewhere: bool
    lowest: bytes | None
    highest: bytes | None
    nulls: int | None

    @property
    def is_text(self) -> bool:
        """Whether its values are texts or bytes."""
        return self.kind in _TEXT


@dataclass(frozen=True)
class RowGroup:
    """Rows that are stored together."""

    num_rows: int
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Footer:
    """What the end of a file says. `arrow` is pyarrow's own reading of it, for `ParquetFile(metadata=…)`."""

    num_rows: int
    row_groups: tuple[RowGroup, ...]
    arrow: pq.FileMetaData


def read_footer(source: Path | BinaryIO) -> Footer:
    """The footer of a file. Raises `BadFooter`, and `OSError` of the disk."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return read_footer(file)
    size = source.seek(0, 2)

    def read(start: int, end: int) -> bytes:
        source.seek(start)
        return source.read(end - start)

    return read_footer_by(read, size)


def read_footer_by(read: Callable[[int, int], bytes], size: int) -> Footer:
    """As `read_footer`, from a function that gives the bytes from one place to another."""
    tail = read(max(size - _TAIL, 0), size)
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if tail[-4:] != b"PAR1" or not 8 < length <= min(size, LONGEST):
        raise BadFooter("it does not end as a Parquet file does")
    if length > len(tail):
        tail = read(size - length, size - len(tail)) + tail
    try:
        fields = Thrift(tail[-length:-8]).struct()
        groups = tuple(RowGroup(_count(group[3]), tuple(map(_column, group[1]))) for group in fields[4])
        footer = Footer(_count(fields[3]), groups, pq.read_metadata(pa.BufferReader(tail)))
        leaves = footer.arrow.num_columns
    except (TooShort, LookupError, TypeError, ValueError, AttributeError, pa.ArrowException, OSError) as error:
        raise BadFooter(f"its footer can't be read ({type(error).__name__})") from error
    if any(len(group.columns) != leaves for group in groups) or sum(group.num_rows for group in groups) != footer.num_rows:
        raise BadFooter("its footer contradicts itself")
    return footer


def _column(chunk: dict[int, Any]) -> Column:
    facts = chunk[3]
    start, dictionary = _count(facts[9]), facts.get(11)
    statistics = facts.get(12) or {}
    return Column(
        path=b".".join(facts[3]).decode(),
        kind=_count(facts[1]),
        codec=_count(facts[4]),
        num_values=_count(facts[5]),
        start=dictionary if type(dictionary) is int and 0 < dictionary < start else start,
        stored=_count(facts[7]),
        elsewhere=bool(chunk.get(1)),
        lowest=_bound(statistics.get(6)),
        highest=_bound(statistics.get(5)),
        nulls=None if statistics.get(3) is None else _count(statistics[3]),
    )


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def _bound(value: Any) -> bytes | None:
    if value is not None and type(value) is not bytes:
        raise ValueError
    return value
