"""Thumbnails of a release on sheets of 64 strips: small, grey and blurred in the file itself, unless revealed.

A sheet's name is a digest of all that it is made from, so a run that was stopped goes on where it was. Videos are decoded
in child processes; one that does not decode has an empty strip and its id in the comment of the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DecodeError, missing_extra
from ..palette import BEHIND
from ..release import Release

if TYPE_CHECKING:
    from PIL import Image

FRAMES, SIDE = 3, 64  # of a strip; a frame's longer side in pixels
COLUMNS, PER_SHEET = 4, 64
STRIP = (FRAMES * SIDE, SIDE)
_MADE = 1  # goes up when a sheet of the same videos would look different


@dataclass(frozen=True)
class Sheets:
    """Names of the sheets, in the order of the videos, and the ids of the videos that do not decode."""

    names: tuple[str, ...] = ()
    broken: frozenset[str] = frozenset()


def write_sheets(
    release: Release, video_ids: Sequence[str], folder: Path, *, reveal: bool = False, progress: bool = True, reuse: Path | None
) -> Sheets:
    """Write the sheets of the videos into `folder`; those that are there, or in `reuse`, are not drawn again.

    Raises `ChecksumError` for a video that is not what the release says, `MissingDependency` without Pillow or a decoder.
    """
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise missing_extra(error, "This") from error
    from tqdm import tqdm

    folder.mkdir(parents=True, exist_ok=True)
    names, broken = [], set()
    with (
        tqdm(total=len(video_ids), desc="thumbnails", unit="video", disable=not progress) as bar,
        ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool,
    ):
        for start in range(0, len(video_ids), PER_SHEET):
            ids = video_ids[start : start + PER_SHEET]
            path = folder / f"{_digest(release, ids, reveal)}.jpg"
            if not path.exists():
                old = reuse / path.name if reuse is not None else None
                if old is not None and old.is_file():
                    _put(path, old.read_bytes())
                else:
                    _draw(release, ids, path, pool, reveal=reveal)
            with Image.open(path) as sheet:
                broken |= set(json.loads(sheet.info.get("comment") or b"[]"))
            names.append(path.name)
            bar.update(len(ids))
    return Sheets(tuple(names), frozenset(broken))


# --- inside -----------------------------------------------------------------------------------------------------------


def _digest(release: Release, ids: Sequence[str], reveal: bool) -> str:
    made_from = [_MADE, release.manifest_sha256, FRAMES, SIDE, COLUMNS, reveal, *ids]
    return ("clear-" if reveal else "") + hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]


def _draw(release: Release, ids: Sequence[str], path: Path, pool: ThreadPoolExecutor, *, reveal: bool) -> None:
    import io

    from PIL import Image

    columns = min(COLUMNS, len(ids))
    sheet = Image.new("RGB", (columns * STRIP[0], -(-len(ids) // columns) * STRIP[1]), BEHIND)
    broken = []
    for number, strip in enumerate(pool.map(lambda pair: _strip(*pair, reveal=reveal), _files(release, ids))):
        if strip is None:
            broken.append(ids[number])
        else:
            sheet.paste(strip, (number % columns * STRIP[0], number // columns * STRIP[1]))
    sink = io.BytesIO()
    picture = sheet if reveal else sheet.convert("L")
    picture.save(sink, "JPEG", quality=80 if reveal else 60, optimize=True, comment=json.dumps(broken).encode())
    _put(path, sink.getvalue())


def _files(release: Release, ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The MP4 files in the order of `ids`; videos of one row group are read together."""
    held: dict[str, bytes] = {}
    for video_id in ids:
        if video_id not in held:
            release.refuse_withdrawn(video_id)
            held.update(release.group_videos(video_id, set(ids)))
        yield video_id, held.pop(video_id)


def _strip(video_id: str, data: bytes, *, reveal: bool) -> Image.Image | None:
    from ..preview import strip

    try:
        return strip(data, video_id, frames=FRAMES, reveal=reveal, isolate=True, tile=SIDE, label=False, background=BEHIND)
    except DecodeError:
        return None


def _put(path: Path, data: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def describe(sheets: Sheets) -> dict[str, Any] | None:
    """What the page needs to find a video's strip; None without thumbnails."""
    if not sheets.names:
        return None
    return {
        "files": list(sheets.names),
        "perSheet": PER_SHEET,
        "columns": COLUMNS,
        "width": STRIP[0],
        "height": STRIP[1],
        "frames": FRAMES,
    }
