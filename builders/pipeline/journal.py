"""Answers that are done, kept as they come: an append-only log in a few files, whole after a kill but for its last record.

A record is its length, a CRC-32, the 16-byte key of what decides the answer, and the answer as compressed JSON. A new
file starts after `CHUNK` bytes, so a million answers make tens of files. A torn end (a kill, a full disk) is cut off
when the journal is read again; its item is then worked out again.
"""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Collection, Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

CHUNK = 64 * 2**20
KEY_BYTES = 16
_HEAD = struct.Struct("<II16s")
_PLAIN = (str, int, bool, type(None))


class Journal:
    """One stage's log. Only the process that holds the lock on the work folder may open it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: FileIO | None = None

    def read(self, wanted: Collection[bytes]) -> dict[bytes, Mapping[str, Any]]:
        """The answers for these keys that are in the log, in one pass over it. Cuts off torn ends."""
        self.close()
        found: dict[bytes, Mapping[str, Any]] = {}
        for path in self._chunks():
            good = 0
            for key, payload, good in _records(path):  # noqa: B007 - `good` is where the last whole record ends
                if key in wanted:
                    found[key] = decode(payload)
            if good < path.stat().st_size:
                with path.open("r+b") as file:
                    file.truncate(good)
        return found

    def append(self, key: bytes, answer: Mapping[str, Any]) -> Mapping[str, Any]:
        """Keep an answer and return it as `read` will give it. Raises `OSError` where it can't be written."""
        payload = encode(answer)
        if self._file is None or self._file.tell() > CHUNK:
            self._open()
        assert self._file is not None
        record = memoryview(_HEAD.pack(len(payload), _crc(key, payload), key) + payload)
        while record:  # straight to the system: a kill of this process loses nothing that was returned
            record = record[self._file.write(record) :]
        return decode(payload)

    def close(self) -> None:
        """Close the file that is written."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        self.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        chunks = self._chunks()
        number = int(chunks[-1].stem) if chunks else 0
        if chunks and chunks[-1].stat().st_size > CHUNK:
            number += 1
        self._file = (self._folder / f"{number:06d}.log").open("ab", buffering=0)

    def _chunks(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*.log"))


def _records(path: Path) -> Iterator[tuple[bytes, bytes, int]]:
    """(key, payload, end) of each whole record, up to the first that is not."""
    left, end = path.stat().st_size, 0
    with path.open("rb") as file:
        while left >= _HEAD.size:
            length, crc, key = _HEAD.unpack(file.read(_HEAD.size))
            left -= _HEAD.size + length
            if left < 0:
                return
            payload = file.read(length)
            if _crc(key, payload) != crc:
                return
            end += _HEAD.size + length
            yield key, payload, end


def _crc(key: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(key))


def encode(answer: Mapping[str, Any]) -> bytes:
    """JSON values and bytes (and numbers and arrays of numpy) as compressed JSON. Raises `TypeError` for other values."""
    text = json.dumps(_pack(answer), separators=(",", ":"), ensure_ascii=True)
    return zlib.compress(text.encode(), 1)


def decode(payload: bytes) -> Mapping[str, Any]:
    """What `encode` was given, tuples and arrays as lists."""
    value: Mapping[str, Any] = json.loads(zlib.decompress(payload), object_hook=_unpack)
    return value


def _pack(value: Any) -> Any:
    if isinstance(value, _PLAIN) or type(value) is float:
        return value
    if isinstance(value, (bytes, bytearray)):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return _pack_list(value)
    if isinstance(value, Mapping):
        if any(not isinstance(key, str) or key.startswith("$") for key in value):
            raise TypeError("the keys of an answer are texts that do not start with `$`")
        return {key: _pack(one) for key, one in value.items()}
    if isinstance(value, (np.ndarray, np.generic)):
        return _pack(value.tolist())
    raise TypeError(f"an answer holds a {type(value).__name__}; give JSON values or bytes")


def _pack_list(values: Any) -> Any:
    """Long lists of numbers that float32 holds exactly (descriptors) take 5 bytes a number, not 20."""
    if len(values) >= 8 and all(type(one) is float for one in values):
        wide = np.array(values, np.float64)
        with np.errstate(over="ignore"):
            narrow = wide.astype("<f4")
        if np.array_equal(narrow.astype(np.float64).view(np.int64), wide.view(np.int64)):
            return {"$f32": base64.b64encode(narrow.tobytes()).decode()}
    return [_pack(one) for one in values]


def _unpack(value: dict[str, Any]) -> Any:
    if len(value) == 1:
        if "$bytes" in value:
            return base64.b64decode(value["$bytes"])
        if "$f32" in value:
            return np.frombuffer(base64.b64decode(value["$f32"]), "<f4").astype(np.float64).tolist()
    return value
