"""One decoded clip as a file: what its name stands for, and a header (key, shape, checksum) before the frames."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

Clip = npt.NDArray[np.uint8]
"""uint8 [T, 3, H, W]."""
FORMAT = 1
"""Of the file and of what is in a key; another one makes other keys."""
_MAGIC = b"uvclip\x00\x01"
_HEAD = struct.Struct("<8s16sQIII20x")  # magic, key, checksum, frames, height, width


@dataclass(frozen=True)
class ClipKey:
    """The name of a clip: `video_id`, and 32 hex digits that stand for all that decides its pixels."""

    video_id: str
    digest: str


def clip_key(sha256: str, indices: Sequence[int], size: tuple[int, int] | None, version: str) -> ClipKey:
    """The key of a clip.

    `sha256` of the MP4, frame `indices` as asked for, `size` (height, width) or None for the video's own, `version` of
    decoder and resize (`video.decoder_version`).
    """
    text = json.dumps([FORMAT, sha256, [int(index) for index in indices], size, version])
    return ClipKey(sha256[:16], hashlib.blake2b(text.encode(), digest_size=16).hexdigest())


def file_bytes(clip: Clip) -> int:
    """The size of a clip's file."""
    return _HEAD.size + clip.nbytes


def write_clip(file: int, key: ClipKey, clip: Clip) -> None:
    """Write a C-contiguous clip to an open file, all of it. Raises `OSError`."""
    frames, _, height, width = clip.shape
    head = _HEAD.pack(_MAGIC, bytes.fromhex(key.digest), xxhash.xxh3_64_intdigest(clip.data), frames, height, width)
    for data in (memoryview(head), clip.data.cast("B")):
        while data:
            data = data[os.write(file, data) :]


def read_clip(file: int, key: ClipKey, out: Clip | None) -> Clip | None:
    """The clip in an open file, if it is whole and the one of `key`."""
    size = os.fstat(file).st_size
    head = os.read(file, _HEAD.size)
    if len(head) < _HEAD.size:
        return None
    magic, digest, checksum, frames, height, width = _HEAD.unpack(head)
    shape = (frames, 3, height, width)
    fits = magic == _MAGIC and digest.hex() == key.digest and size == _HEAD.size + frames * 3 * height * width
    if not fits or (out is not None and out.shape != shape):
        return None
    clip = np.empty(shape, np.uint8) if out is None else out
    rest: Any = clip.data.cast("B")
    while rest:
        got = os.readv(file, [rest]) if hasattr(os, "readv") else _read_some(file, rest)
        if not got:
            return None
        rest = rest[got:]
    return clip if xxhash.xxh3_64_intdigest(clip.data) == checksum else None


def _read_some(file: int, place: memoryview) -> int:  # Windows has no readv
    data = os.read(file, min(len(place), 1 << 24))
    place[: len(data)] = data
    return len(data)
