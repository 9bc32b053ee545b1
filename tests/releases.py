"""Small releases for tests, and ways to damage them: rows edited, the manifest made to fit."""

from __future__ import annotations

import functools
import hashlib
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import video_files

from unsafe_video_dataset.builders import write
from unsafe_video_dataset.builders.assemble import Candidate, assemble
from unsafe_video_dataset.integrity import sha256_file
from unsafe_video_dataset.mp4 import inspect_mp4
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES

Rows = list[dict[str, Any]]


@functools.cache
def _base(frames: int) -> bytes:
    return video_files.encode(video_files.shapes(frames, 32, 32), x264="bframes=0")


def tiny(number: int, *, pad: int = 0, frames: int = 3) -> bytes:
    """A small valid MP4; a `free` box at its end makes its bytes unique and `pad` bytes longer."""
    return _base(frames) + struct.pack(">I4sQ", 16 + pad, b"free", number) + bytes(pad)


def build(
    out: Path,
    number: int = 24,
    *,
    pad: int = 0,
    votes: bool = True,
    prompts: bool = True,
    shard_bytes: int | None = None,
    seed: int = 0,
    name: str = "small",
    fractions: tuple[float, float, float] = (0.5, 0.25, 0.25),
    change: Callable[[int, bytes], bytes] = lambda index, data: data,
    prompt: str = "a shape number {} that moves {}",
) -> Path:
    """Build a release: two videos a prompt, a quarter not unsafe, three generators, 2 to 4 frames, up to five votes.

    `change` may give a video other bytes, `prompt` is what all prompts are made from.
    """
    draw = random.Random(seed)
    candidates = []
    for index in range(number):
        data = tiny(1000 * seed + index, pad=pad, frames=2 + index % 3)
        data = change(index, data)
        truth = [] if index % 4 == 3 else sorted({CATEGORIES[index % 5], CATEGORIES[draw.randrange(5)]}, key=CATEGORIES.index)
        candidates.append(
            Candidate(
                source_index=index,
                sha256=hashlib.sha256(data).hexdigest(),
                info=inspect_mp4(data),
                read=functools.partial(bytes, data),
                generator=("magictime", "animatediff", "videocrafter")[index % 3],
                categories=truth,
                prompt=prompt.format(index // 2, seed),
                prompt_source=("4chan", "lexica")[index // 2 % 2] if prompts else None,
                votes=[_vote(rater, truth, draw) for rater in range(1, 3 + index % 4)] if votes else None,
            )
        )
    assembled = assemble(candidates, fractions=fractions, seed=seed, keep_prompts=prompts)
    info = write.ReleaseInfo(name=name, builder="test", settings={"seed": seed, "tie": "negative"})
    with mock.patch.object(write, "MAX_SHARD_BYTES", shard_bytes or write.MAX_SHARD_BYTES):
        write.write_release(out, assembled, info, progress=False)
    return out


def _vote(rater: int, truth: list[str], draw: random.Random) -> dict[str, Any]:
    return {"rater_id": f"r{rater:02d}", "categories": truth if draw.random() < 0.85 else [], "seconds": 3.5}


def manifest(release: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((release / "manifest.json").read_text(encoding="utf-8"))
    return loaded


def edit_manifest(release: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    changed = manifest(release)
    edit(changed)
    (release / "manifest.json").write_text(json.dumps(changed), encoding="utf-8")


def refresh(release: Path) -> None:
    """Make the manifest's list of files fit the files, as an attacker or a careless person would."""

    def edit(changed: dict[str, Any]) -> None:
        for entry in changed["files"]:
            path = release / entry["path"]
            entry["bytes"], entry["sha256"] = path.stat().st_size, sha256_file(path)
            entry["rows"] = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None

    edit_manifest(release, edit)


def edit_rows(release: Path, name: str, edit: Callable[[Rows], Rows | None], *, schema: pa.Schema | None = None) -> None:
    """Rewrite a Parquet file with edited rows and make the manifest fit."""
    path = release / name
    table = pq.read_table(path)
    rows = table.to_pylist()
    edited = edit(rows)
    made = pa.Table.from_pylist(rows if edited is None else edited, schema=schema or table.schema)
    pq.write_table(made, path, row_group_size=16, write_page_checksum=True)
    refresh(release)


def data_file(release: Path, split: str = "train", folder: str = "unsafe") -> str:
    """Name of the first data file of a split."""
    return next(entry["path"] for entry in manifest(release)["files"] if entry["path"].startswith(f"data/{folder}/{split}"))


def ids(release: Path | Release, split: str | None = None, **filters: Any) -> list[str]:
    opened = release if isinstance(release, Release) else Release.open(release)
    found: list[str] = opened.metadata(split, columns=["video_id"], **filters)["video_id"].to_pylist()
    return found


def corrupt(path: Path, find: bytes) -> None:
    """Flip one bit at the first place of `find`; the file keeps its length."""
    data = bytearray(path.read_bytes())
    data[data.index(find)] ^= 1
    path.write_bytes(data)


def undecodable(data: bytes) -> bytes:
    """The MP4 with the coded slices of its frames wiped: its structure is whole, and no decoder gets a frame out of it."""
    start = data.index(b"mdat") + 4
    end = start - 8 + struct.unpack(">I", data[start - 8 : start - 4])[0]
    wiped = bytearray(data)
    while start + 4 < end:
        (length,) = struct.unpack(">I", data[start : start + 4])
        if data[start + 4] & 31 in (1, 5):  # the NAL unit types of slices
            wiped[start + 5 : start + 4 + length] = b"\xff" * (length - 1)
        start += 4 + length
    return bytes(wiped)
