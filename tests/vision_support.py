"""A small real context for stages that look at frames, and the tables that it starts from."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from unsafe_video_dataset.builders.pipeline.stage import Failure
from unsafe_video_dataset.builders.vision.measure import MEASURES, measure
from unsafe_video_dataset.builders.vision.synthetic import encode, make_copy, scene
from unsafe_video_dataset.mp4 import inspect_mp4
from unsafe_video_dataset.video import decode_frames


@dataclass
class SerialContext:
    """Tables by stage name, files by item, and a map that runs here, one after the other. Counts what it maps."""

    base: Path
    folder: Path
    settings: Any
    tables: dict[str, pa.Table] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    progress: bool = False
    mapped: dict[str, list[str]] = field(default_factory=dict)

    def table(self, stage: str) -> pa.Table:
        return self.tables[stage]

    def kept(self, stage: str) -> pa.Table:
        return self.tables[stage].filter(self.tables[stage]["kept"])

    def path(self, item: str) -> Path:
        return self.files[item]

    def map(
        self, function: Callable[[Any], Mapping[str, Any]], items: Sequence[tuple[str, Any]], *, what: str
    ) -> dict[str, Mapping[str, Any] | Failure]:
        answers: dict[str, Mapping[str, Any] | Failure] = {}
        for name, argument in items:
            self.mapped.setdefault(what, []).append(name)
            try:
                answers[name] = function(argument)
            except Exception as error:
                answers[name] = Failure(type(error).__name__)
        return answers


@functools.cache
def clip_bytes(seed: int, how: str = "", frames: int = 16, size: int = 128) -> bytes:
    film = scene(seed, frames=frames, size=size)
    if how:
        return make_copy(decode_frames(encode(film)), how)
    return encode(film)


def probe_row(item: str, data: bytes, *, hash: str = "phash") -> dict[str, Any]:
    """What the probe says of a readable file."""
    info = inspect_mp4(data, name=item)
    sha256 = hashlib.sha256(data).hexdigest()
    return {
        "item": item,
        "kept": True,
        "reason": None,
        "sha256": sha256,
        "video_id": sha256[:16],
        "num_frames": info.num_frames,
        "fps": info.fps,
        "width": info.width,
        "height": info.height,
        "duration_seconds": info.duration_seconds,
        "codec": info.codec,
        "num_bytes": len(data),
        **measure(decode_frames(data), hash=hash),
    }


PROBE = pa.schema(
    [
        ("item", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("sha256", pa.string()),
        ("video_id", pa.string()),
        ("num_frames", pa.int32()),
        ("fps", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("duration_seconds", pa.float64()),
        ("codec", pa.string()),
        ("num_bytes", pa.int64()),
        *MEASURES,
    ]
)


def context(
    folder: Path, videos: Mapping[str, bytes], settings: Any, *, prompts: Mapping[str, str] | None = None
) -> SerialContext:
    """Files in a folder, and the tables of ingest and probe for them; stages add theirs with `run_stage`."""
    found = SerialContext(folder, folder / "work", settings)
    for item, data in videos.items():
        path = folder / "raw" / item
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        found.files[item] = path
    rows = [probe_row(item, data) for item, data in sorted(videos.items())]
    found.tables["probe"] = pa.Table.from_pylist(rows, schema=PROBE)
    names = ("item", "kept", "reason", "sha256", "video_id")
    ingest = [{name: row[name] for name in names} | {"prompt_id": (prompts or {}).get(row["item"])} for row in rows]
    schema = pa.schema([*list(PROBE)[: len(names)], pa.field("prompt_id", pa.string())])
    found.tables["ingest"] = pa.Table.from_pylist(ingest, schema=schema)
    return found


def run_stage(stage: Any, given: SerialContext, settings: Any = None) -> dict[str, Any]:
    """Run a stage with (default) settings, keep its table, return its report."""
    given.settings = settings or stage.settings()
    given.folder = given.base / "work" / stage.name
    given.folder.mkdir(parents=True, exist_ok=True)
    result = stage.run(given)
    given.tables[stage.name] = result.table
    return dict(result.report)


def rows(table: pa.Table, *names: str) -> list[Any]:
    """A column's values, or tuples of several."""
    columns = [table[name].to_pylist() for name in names]
    return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))


def shuffled(table: pa.Table, seed: int) -> pa.Table:
    return table.take(np.random.default_rng(seed).permutation(table.num_rows))


def write_csv(file: Path, lines: Iterable[str]) -> Path:
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file
