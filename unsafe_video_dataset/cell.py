"""One value of a Parquet file by itself: the bytes of one video without those of the fifteen that share its row group.

pyarrow reads a column chunk as a whole, copies it and adds up its checksums: 7 ms for 16 videos of 500 kB. A release's
writer stores MP4 bytes as they are, so that one of them can be found by the lengths before it. Whoever reads a value this
way checks its sha256, which is more than the page's checksum; what is stored in another way is left to pyarrow.

Layout: parquet-format, "Data Pages" (version 1), "Plain encoding" and "Run Length Encoding / Bit-Packing Hybrid".
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from .errors import IntegrityError
from .footer import Column, Footer
from .pages import is_count, page_header

_BYTE_ARRAY, _UNCOMPRESSED, _DATA_PAGE, _PLAIN, _RLE = 6, 0, 0, 0, 3
_KNOWN_GROUPS = 2048  # row groups whose ids are kept, some 5 kB each
LEVEL = 2
"""Definition level of a value in `video.bytes`: a struct that may be null, with a field that may be null."""


class OneVideo:
    """The MP4 bytes of single videos of a release's data files; the ids of the last row groups are kept."""

    def __init__(
        self,
        footer: Callable[[Path], Footer],
        read_group: Callable[[Path, int, Sequence[str]], pa.Table],
        source: Callable[[Path], Any],
    ) -> None:
        self._footer, self._read_group, self._source = footer, read_group, source
        self._known: dict[tuple[Path, int], tuple[Footer, dict[str, tuple[int, str]]]] = {}

    def bytes(self, path: Path, group: int, video_id: str) -> bytes | None:
        """The bytes of a video that have the sha256 of its row; None where they can't be read alone, or are others."""
        row, sha256 = self._rows(path, group).get(video_id, (-1, ""))
        if row < 0:
            return None
        column = next((one for one in self._footer(path).row_groups[group].columns if one.path == "video.bytes"), None)
        if column is None:
            return None
        source = self._source(path)
        try:
            with source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source) as file:
                data = read_cell(path, file, column, row)
        except (IntegrityError, OSError):
            return None  # the longer way says what is wrong
        whole = data is not None and sha256.startswith(video_id) and hashlib.sha256(data).hexdigest() == sha256
        return data if whole else None

    def _rows(self, path: Path, group: int) -> dict[str, tuple[int, str]]:
        """For each `video_id` of a row group its row and sha256; empty if an id is there twice."""
        footer = self._footer(path)
        known = self._known.get((path, group))
        if known is None or known[0] is not footer:
            rows = self._read_group(path, group, ["video_id", "sha256"])
            both = zip(rows["video_id"].to_pylist(), rows["sha256"].to_pylist(), strict=True)
            found = {video_id: (row, sha256 or "") for row, (video_id, sha256) in enumerate(both)}
            if len(self._known) >= _KNOWN_GROUPS:
                self._known.clear()
            known = self._known[path, group] = footer, found if len(found) == rows.num_rows else {}
        return known[1]


def read_cell(path: Path, file: BinaryIO, column: Column, row: int) -> bytes | None:
    """The value of a row of a column chunk; None where it is not stored plainly, among values of which none is null.

    Reads the headers of the pages up to it, the lengths of the values before it in its page, and itself: never more bytes
    than the chunk has. `path` names the file. Raises `IntegrityError` for a page header that can't be read.
    """
    position, end = column.start, column.start + column.stored
    plain = (column.kind, column.codec, column.elsewhere) == (_BYTE_ARRAY, _UNCOMPRESSED, False)
    if not plain or position < 4 or end > file.seek(0, 2):
        return None
    while position < end:
        header, used = page_header(path, column, file, position, end)
        facts, size = header.get(5), header.get(3)
        if header.get(1) != _DATA_PAGE or not isinstance(facts, dict) or not is_count(size):
            return None
        values = facts.get(1)
        if not is_count(values) or (facts.get(2), facts.get(3)) != (_PLAIN, _RLE):
            return None
        position += used
        if row < values:
            return _in_page(file, position, min(position + size, end), values, row)
        row -= values
        position += size
    return None


def _in_page(file: BinaryIO, position: int, end: int, values: int, row: int) -> bytes | None:
    present = _varint(values << 1) + bytes([LEVEL])  # one run: every value is there
    file.seek(position)
    if file.read(4 + len(present)) != len(present).to_bytes(4, "little") + present:
        return None
    position += 4 + len(present)
    for left in range(row, -1, -1):
        if position + 4 > end:
            return None
        file.seek(position)
        length = int.from_bytes(file.read(4), "little")
        position += 4
        if position + length > end:
            return None
        if not left:
            return file.read(length)
        position += length
    return None


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
