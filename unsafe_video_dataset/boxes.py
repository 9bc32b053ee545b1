"""Walk the boxes of an ISO base media file (MP4), each number checked against the bytes before it is used.

Standard library only. Section numbers are those of ISO/IEC 14496-12:2015. A walk goes one level deep and takes at most
`MAX_BOXES` boxes; callers go down a fixed path, so that depth and time are bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

COMMAND = "ffmpeg -i in -c:v libx264 -pix_fmt yuv420p -map_metadata -1 out.mp4"
REENCODE = f"Re-encode it: {COMMAND}"
"""The next step that most refusals end in; ffmpeg also applies rotation and edit lists while it re-encodes."""
MAX_BOXES = 4096  # in one container; a real file has some tens


class Refusal(Exception):
    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason, self.fix = reason, fix


def refuse(reason: str, fix: str = REENCODE) -> NoReturn:
    raise Refusal(reason, fix)


@dataclass(frozen=True)
class Box:
    kind: bytes
    start: int  # of the payload
    end: int


def boxes(data: bytes, start: int, end: int, where: str) -> Iterator[Box]:
    """The boxes between two offsets, each checked to lie inside them."""
    count = 0
    while start < end:
        count += 1
        if count > MAX_BOXES:
            refuse(f"{where} holds more than {MAX_BOXES} boxes")
        if end - start < 8:
            refuse(f"{where} ends with {end - start} stray bytes that are no box")
        size, kind = struct.unpack_from(">I4s", data, start)
        header = 8
        if size == 1:
            if end - start < 16:
                refuse(f"the box {show(kind)} in {where} is cut off")
            (size,) = struct.unpack_from(">Q", data, start + 8)
            header = 16
        elif size == 0:
            if end != len(data) or kind != b"mdat":
                refuse(f"the box {show(kind)} in {where} has no size")
            size = end - start
        if size < header:
            refuse(f"the box {show(kind)} in {where} says that it has {size} bytes, less than its own header")
        if size > end - start:
            missing = f"the box {show(kind)} in {where} says {size:,} bytes, and {end - start:,} are there"
            refuse(
                f"{missing}: the file is truncated or damaged",
                f"Get the file again, or, if it plays, re-encode it: {COMMAND}",
            )
        yield Box(kind, start + header, start + size)
        start += size


def children(data: bytes, box: Box, where: str) -> list[Box]:
    return list(boxes(data, box.start, box.end, where))


def find(among: list[Box], kind: bytes, where: str) -> Box | None:
    """The one box of a kind, or None. Two are refused: which of them counts differs from decoder to decoder."""
    found = [box for box in among if box.kind == kind]
    if len(found) > 1:
        refuse(f"{where} has {len(found)} boxes {show(kind)}, and one is expected")
    return found[0] if found else None


def only(among: list[Box], kind: bytes, where: str) -> Box:
    box = find(among, kind, where)
    if box is None:
        hint = ": the file is truncated, or its header was never written" if kind == b"moov" else ""
        refuse(f"{where} has no box {show(kind)}{hint}")
    return box


def show(kind: bytes) -> str:
    return repr(kind.decode("latin-1"))


def unpack(layout: str, data: bytes, box: Box, offset: int) -> tuple[int, ...]:
    """Read big-endian numbers at an offset into a box's payload."""
    layout = ">" + layout
    if box.start + offset + struct.calcsize(layout) > box.end:
        refuse(f"the box {show(box.kind)} is too short for what it holds")
    return struct.unpack_from(layout, data, box.start + offset)


def table(data: bytes, box: Box, layout: str, *, most: int, at: int = 4, rows: int | None = None) -> list[tuple[int, ...]]:
    """The rows of a full box's table; their number is checked against the box's size and `most` before a read."""
    if rows is None:
        (rows,) = unpack("I", data, box, at)
        at += 4
    layout = ">" + layout
    start, width = box.start + at, struct.calcsize(layout)
    if rows * width > box.end - start:
        refuse(f"the box {show(box.kind)} says {rows:,} rows, and {max(0, box.end - start) // width:,} fit in it")
    if rows > most:
        refuse(f"the box {show(box.kind)} has {rows:,} rows, and at most {most:,} make sense")
    return list(struct.iter_unpack(layout, memoryview(data)[start : start + rows * width]))
