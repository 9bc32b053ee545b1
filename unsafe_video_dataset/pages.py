"""What a Parquet file takes once it is read, worked out before it is: a file of 2 kB can hold a gigabyte.

A footer may lie, so the headers of the pages are read: what they state is what pyarrow allocates, and it refuses a page
that does not expand to just that. A dictionary can repeat one long text at no cost: where the worst case is too large,
the real size is added up from the dictionary and its indices, before any text is copied. Encodings that a release's
writer does not use (some repeat as well) are refused.

Page headers are Thrift structs (parquet-format, `PageHeader`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .errors import IntegrityError
from .footer import Column, Footer
from .thrift import Thrift, TooShort

FLOOR = 256 * 2**20
RATIO = 32
"""What is read at once may take `FLOOR` bytes, and `RATIO` times the bytes that it has in the file."""
_VALUE = 16  # bytes that a value takes in Arrow at most, beside its text: itself, its levels, its offset
_ENCODINGS = {0: "PLAIN", 2: "PLAIN_DICTIONARY", 3: "RLE", 4: "BIT_PACKED", 8: "RLE_DICTIONARY"}
_BYTE_ARRAY = 6
_CODECS = {1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd"}  # that pyarrow expands by name; others take the longer way
_HEADER_SIZES = (1 << 12, 1 << 16, 1 << 21)  # a header holds statistics, which may be long


def check_file(path: Path, footer: Footer, columns: Iterable[str] | None = None) -> None:
    """Refuse a file whose columns (default: all), read at once, would take far more memory than they have bytes.

    Raises `IntegrityError`.
    """
    _check(path, footer, range(len(footer.row_groups)), columns)


def check_group(
    path: Path, footer: Footer, group: int, columns: Iterable[str] | None = None, *, file: BinaryIO | None = None
) -> None:
    """As `check_file`, for one row group; of an open file, if one is given (`path` then only names it)."""
    _check(path, footer, [group], columns, file)


@dataclass
class _Chunk:
    stored: int = 0  # bytes in the file
    expanded: int = 0  # bytes of its pages, decompressed
    values: int = 0
    dictionary: int = 0  # bytes of the dictionary page, decompressed
    pages: tuple[tuple[int, int, int], ...] = ()  # of the dictionary: where, bytes in the file, bytes decompressed


def _check(
    path: Path, footer: Footer, groups: Iterable[int], columns: Iterable[str] | None, given: BinaryIO | None = None
) -> None:
    wanted = None if columns is None else set(columns)
    stored = needed = 0
    repeated: dict[str, list[tuple[int, Column, _Chunk]]] = {}
    with contextlib.nullcontext(given) if given is not None else path.open("rb") as file:
        length = file.seek(0, 2)
        for group in groups:
            for column in footer.row_groups[group].columns:
                leaf = column.path
                if column.num_values == 0 or (wanted is not None and leaf.split(".")[0] not in wanted):
                    continue  # an empty table has no pages
                chunk = _read_chunk(path, file, length, column)
                stored += chunk.stored
                needed += chunk.expanded + _VALUE * chunk.values
                if chunk.dictionary and column.is_text:
                    repeated.setdefault(leaf, []).append((group, column, chunk))
        stored = min(stored, length)  # chunks may lie upon one another
        allowed = FLOOR + RATIO * stored
        if needed <= allowed:
            worst = {leaf: sum(chunk.values * chunk.dictionary for _, _, chunk in chunks) for leaf, chunks in repeated.items()}
            for leaf in sorted(worst, key=lambda leaf: -worst[leaf]):
                if needed + sum(worst.values()) <= allowed:
                    break
                worst[leaf] = sum(_most_text(file, column, chunk) for _, column, chunk in repeated[leaf])
            total = sum(worst.values())
            needed += total if needed + total <= allowed else _repeated_text(given or path, footer, repeated, allowed - needed)
    if needed > allowed:
        raise IntegrityError(
            f"{path} would take over {allowed:,} bytes of memory, and what is read of it has {stored:,}: it is made to fill"
            " the memory, or damaged. Do not use this release."
        )


def _most_text(file: BinaryIO, column: Column, chunk: _Chunk) -> int:
    """The most bytes of text that a chunk's dictionary can expand to: fewer where its texts are of one length, as ids are."""
    if column.kind != _BYTE_ARRAY:  # others have no lengths in their pages
        return chunk.values * chunk.dictionary
    longest = 0
    for start, stored, expanded in chunk.pages:
        file.seek(start)
        data: Any = file.read(stored)
        if column.codec in _CODECS:
            try:
                data = pa.decompress(data, decompressed_size=expanded, codec=_CODECS[column.codec])
            except (pa.ArrowException, OSError, ValueError):
                return chunk.values * chunk.dictionary
        page = np.frombuffer(data, np.uint8)
        entry = 4 + int.from_bytes(page[:4].tobytes(), "little")  # PLAIN: a length of 4 bytes, then the text
        if column.codec not in (0, *_CODECS) or len(page) != expanded or not len(page) or len(page) % entry:
            return chunk.values * chunk.dictionary
        if (page.reshape(-1, entry)[:, :4] != page[:4]).any():
            return chunk.values * chunk.dictionary
        longest = max(longest, entry - 4)
    return chunk.values * longest


def _repeated_text(
    source: Path | BinaryIO, footer: Footer, repeated: dict[str, list[tuple[int, Column, _Chunk]]], allowed: int
) -> int:
    """Bytes of text that the dictionaries expand to; stops once they are more than allowed."""
    total = 0
    for leaf, chunks in repeated.items():
        file = pq.ParquetFile(source, metadata=footer.arrow, read_dictionary=[leaf], page_checksum_verification=True)
        for group, _, _ in chunks:
            for batch in file.iter_batches(batch_size=8192, row_groups=[group], columns=[leaf]):
                total += sum(_text_bytes(array) for array in batch.columns)
                if total > allowed:
                    return total
    return total


def _text_bytes(array: pa.Array) -> int:
    if pa.types.is_dictionary(array.type):
        sizes = pc.binary_length(array.dictionary).cast(pa.int64())
        return int(pc.sum(sizes.take(array.indices)).as_py() or 0)
    if pa.types.is_struct(array.type):
        return sum(_text_bytes(child) for child in array.flatten())
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        return _text_bytes(array.flatten())
    return int(array.nbytes)


def _read_chunk(path: Path, file: BinaryIO, length: int, column: Column) -> _Chunk:
    """Add up the page headers of a column chunk, as pyarrow finds them."""
    start, size = column.start, column.stored
    if start < 4 or size < 0 or start + size > length:
        raise _refused(path, column, "lies outside the file")
    if column.elsewhere:
        raise _refused(path, column, "is said to be in another file")
    chunk = _Chunk(stored=size)
    position, end = start, start + size
    while position < end:
        header, used = page_header(path, column, file, position, end)
        expanded, compressed = header.get(2), header.get(3)
        if not is_count(expanded) or not is_count(compressed):
            raise _refused(path, column, "has a page without a size")
        position += used + compressed
        if position > end:
            raise _refused(path, column, "has a page that goes on beyond its end")
        chunk.expanded += expanded
        kind = header.get(1)
        if kind in (0, 3):
            page = header.get(5 if kind == 0 else 8)
            fields = page if isinstance(page, dict) else {}
            values, encoding = fields.get(1), fields.get(2 if kind == 0 else 4)
            if not is_count(values):
                raise _refused(path, column, "has a page without a number of values")
            if not is_count(encoding) or encoding not in _ENCODINGS:
                raise _refused(path, column, f"has the encoding {encoding}; a release has {', '.join(_ENCODINGS.values())}")
            chunk.values += values
        elif kind == 2:
            chunk.dictionary += expanded
            chunk.pages += ((position - compressed, compressed, expanded),)
    if column.num_values > chunk.values:
        raise _refused(path, column, f"is said to have {column.num_values:,} values and has {chunk.values:,}")
    return chunk


def is_count(value: Any) -> TypeGuard[int]:
    """Whether a field of a header is a whole number of at least 0."""
    return type(value) is int and value >= 0


def _refused(path: Path, column: Column, reason: str) -> IntegrityError:
    name = "".join(letter if letter.isprintable() else "?" for letter in column.path[:80])
    return IntegrityError(f"{path}: column {name} {reason}: the file is damaged or made to harm. Get the release anew.")


def page_header(path: Path, column: Column, file: BinaryIO, position: int, end: int) -> tuple[dict[int, Any], int]:
    """The fields of the page header at a place of a column chunk, and its bytes. Raises `IntegrityError`."""
    for size in _HEADER_SIZES:
        file.seek(position)
        data = file.read(min(size, end - position))
        reader = Thrift(data)
        try:
            return reader.struct(), reader.at
        except TooShort:
            if len(data) < size:
                break
    raise _refused(path, column, "has a page whose header can't be read")
