"""Columns of a table as they are used row by row: no Python object a row, however many there are.

A list of a million ids takes 80 MB and a copy of it in each worker, as reading an element writes its reference count; an
Arrow column takes the bytes of its texts, once.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_AT_ONCE = 65_536


class Texts(Sequence[Any]):
    """The values of a string column, as a sequence of str (None for null). Compares with lists; slices are lists."""

    def __init__(self, column: pa.ChunkedArray | pa.Array) -> None:
        self._array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column

    def __len__(self) -> int:
        return len(self._array)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self._array.take(pa.array(range(*index.indices(len(self))), pa.int64())).to_pylist()
        number = operator.index(index)
        if not -len(self) <= number < len(self):
            raise IndexError(f"index {number} is out of range: there are {len(self)} rows")
        return self._array[number % len(self)].as_py()

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), _AT_ONCE):
            yield from self._array.slice(start, _AT_ONCE).to_pylist()

    def __contains__(self, value: object) -> bool:
        return (value is None or isinstance(value, str)) and self._find(value) >= 0

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """The first place of a text. Raises `ValueError` where it is not there."""
        start, stop, _ = slice(start, stop).indices(len(self))
        found = Texts(self._array.slice(start, max(stop - start, 0)))._find(value)
        if found < 0:
            raise ValueError(f"{value!r} is not in the column")
        return start + found

    def _find(self, value: Any) -> int:
        if value is None:
            return int(pc.index(pc.is_null(self._array), True).as_py())
        return int(pc.index(self._array, pa.scalar(value, self._array.type)).as_py())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Texts):
            return bool(self._array.equals(other._array))
        if isinstance(other, (list, tuple)):
            return len(self) == len(other) and all(map(operator.eq, self, other))
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3]))
        return f"<{len(self)} texts: {shown}{', …' if len(self) > 3 else ''}>"


def list_parents(lists: pa.ListArray) -> npt.NDArray[np.int64]:
    """For each element of a list column, the number of its row: int64, in the order of `lists.flatten()`."""
    return np.asarray(pc.list_parent_indices(lists).to_numpy(), dtype=np.int64)


def fixed_bytes(texts: pa.StringArray, length: int) -> npt.NDArray[np.bytes_] | None:
    """A column without nulls whose texts all have `length` bytes as numpy `S<length>` [N], without a copy; else None."""
    if texts.null_count or not len(texts):
        return None
    _, offsets, data = texts.buffers()
    places = np.frombuffer(offsets, np.int32, len(texts) + 1, texts.offset * 4)
    if data is None or not (np.diff(places) == length).all():
        return None
    return np.frombuffer(data, f"S{length}", len(texts), int(places[0]))


def encoded(texts: Sequence[str]) -> npt.NDArray[np.bytes_]:
    """Texts in UTF-8 as one numpy array of bytes; `Texts` that are all as long as the first without a copy."""
    found = fixed_bytes(texts._array, len(texts[0] or "")) if isinstance(texts, Texts) and len(texts) else None
    return np.array([text.encode() for text in texts], np.bytes_) if found is None else found


def lines_sha256(texts: npt.NDArray[np.bytes_]) -> str:
    """sha256 of texts with a line feed between each two."""
    letters = np.ascontiguousarray(texts).view(np.uint8).reshape(len(texts), texts.itemsize)
    if not len(texts) or not letters.all():  # a shorter text is filled with zeros
        return hashlib.sha256(b"\n".join(texts.tolist())).hexdigest()
    lines = np.full((len(texts), letters.shape[1] + 1), ord("\n"), np.uint8)
    lines[:, :-1] = letters
    return hashlib.sha256(lines.ravel()[:-1].data).hexdigest()


def all_differ(texts: pa.ChunkedArray, length: int) -> bool:
    """Whether no text stands twice in a column of texts of `length` bytes (a multiple of 8). Rows in order cost the least."""
    column = fixed_bytes(texts.combine_chunks(), length)
    if column is None:
        return int(pc.count_distinct(texts).as_py()) == len(texts)
    words = column.view(">u8").reshape(len(column), -1)
    above, same = np.zeros(len(column) - 1, bool), np.ones(len(column) - 1, bool)
    for word in words.T:
        above |= same & (word[1:] > word[:-1])
        same &= word[1:] == word[:-1]
    return bool(above.all()) or int(pc.count_distinct(texts).as_py()) == len(texts)
