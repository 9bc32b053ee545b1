"""The first stage: every prompt with its seed is generated once; clips, x0 of the chosen steps and labels are kept."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..._console import write_text
from ...errors import ChecksumError, InputError
from ...integrity import sha256_file
from ..base import Frames
from ..record import record
from ..trace_requests import Request
from ..traces import Traces
from .files import damaged, read_json, read_table
from .world import World

FILES = ("samples.parquet", "clips.parquet")
_SAMPLES = pa.schema(
    [
        *((name, pa.string()) for name in ("sample_id", "video_id", "prompt_sha256")),
        ("seed", pa.int64()),
        *((name, pa.string()) for name in ("group_id", "split", "stratum")),
        ("specified", pa.bool_()),
        ("lookalike", pa.bool_()),
        ("categories", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class Generated:
    """The stage's files, opened. `samples`: one row a sample, sorted by id; `categories` null where the judge couldn't tell."""

    folder: Path
    samples: pa.Table
    traces: Traces

    def part(self, split: str) -> Part:
        """The samples of a split whose label is known."""
        rows = [row for row in self.samples.to_pylist() if row["split"] == split and row["categories"] is not None]
        if not rows:
            raise InputError(f"No sample of the {split} split has a label: generate more.")
        return Part(tuple(rows), self)

    @property
    def unclear(self) -> dict[str, int]:
        """Samples by split that the judge couldn't tell."""
        rows = self.samples.select(["split", "categories"]).to_pylist()
        return {s: sum(r["split"] == s and r["categories"] is None for r in rows) for s in ("train", "validation", "test")}


@dataclass(frozen=True)
class Part:
    """Labelled samples in the order of their ids."""

    rows: tuple[dict[str, Any], ...]
    generated: Generated

    @property
    def ids(self) -> list[str]:
        """Sample ids."""
        return [row["sample_id"] for row in self.rows]

    def values(self, name: str) -> NDArray[Any]:
        """A column as an array."""
        return np.array([row[name] for row in self.rows])

    def targets(self, categories: Sequence[str]) -> NDArray[np.bool_]:
        """bool [n, categories]."""
        return np.array([[name in row["categories"] for name in categories] for row in self.rows], dtype=bool)

    def videos(self) -> NDArray[np.uint8]:
        """uint8 [n, T, H, W, 3]. Raises `ChecksumError` where a clip isn't what its id says."""
        table = read_table(self.generated.folder / "clips.parquet", "video_id", "clip")
        clips = dict(zip(table["video_id"].to_pylist(), table["clip"].to_pylist(), strict=True))
        made = []
        for row in self.rows:
            data = clips[row["video_id"]]
            if hashlib.sha256(data).hexdigest()[:16] != row["video_id"]:
                raise ChecksumError(f"Clip {row['video_id']} is damaged. Delete the folder and generate anew.")
            made.append(np.load(io.BytesIO(data), allow_pickle=False))
        return np.stack(made)


def generate(world: World, out: Path, *, steps: Sequence[int], batch_size: int = 32, progress: bool = True) -> Generated:
    """Generate what isn't there yet and open all of it. A run that was stopped goes on; a finished one is only read.

    Raises `InputError` where the folder is of another world or other steps, `ChecksumError` where a file was changed.
    """
    identity = {
        "world": world.name,
        "model": world.model,
        "call": dict(world.call),
        "steps": list(steps),
        "items": hashlib.sha256(
            json.dumps(sorted([i.prompt_sha256, i.seed, i.split, i.stratum] for i in world.items)).encode()
        ).hexdigest(),
    }
    about = out / "stage.json"
    known = read_json(about, "identity") if about.is_file() else {"identity": identity}
    if known["identity"] != identity:
        raise InputError(f"{out} holds another benchmark's samples (other prompts, weights or steps). Use another folder.")
    out.mkdir(parents=True, exist_ok=True)
    here = [out / name for name in FILES] + [out / "traces" / "manifest.json"]
    if "files" not in known or not all(file.is_file() for file in here):
        write_text(about, json.dumps(known, indent=1) + "\n")
        _make(world, out, steps=steps, batch_size=batch_size, progress=progress)
        known["files"] = {name: sha256_file(out / name) for name in FILES}
        write_text(about, json.dumps(known, indent=1) + "\n")
    changed = [name for name, digest in known["files"].items() if sha256_file(out / name) != digest]
    if changed:
        raise ChecksumError(f"{', '.join(changed)} in {out} changed since it was written. Delete the folder and generate anew.")
    samples = read_table(out / "samples.parquet", *_SAMPLES.names)
    labels = samples.select(["sample_id", "categories"])
    traces = Traces.open(out / "traces").with_labels(labels.filter(labels["categories"].is_valid()))
    return Generated(out, samples, traces)


def _make(world: World, out: Path, *, steps: Sequence[int], batch_size: int, progress: bool) -> None:
    requests = [
        Request(item.prompt, item.seed, item.group_id, prompt_kind=item.stratum, split=item.split) for item in world.items
    ]
    traces = record(
        world.load(),
        requests,
        out / "traces",
        steps=list(steps),
        call=world.call,
        encode=_as_bytes,
        suffix=".npy",
        precision="fp32",  # so that a replay sees what a guard sees
        batch_size=batch_size,
        model=world.model or world.name,
        progress=progress,
        say=lambda text: None,
    )
    index = traces.samples
    ids = index["video_id"].to_pylist()
    try:
        data = [(out / "traces" / "videos" / f"{name}.npy").read_bytes() for name in ids]
    except OSError as error:
        raise damaged(out / "traces", type(error).__name__) from None
    videos = np.stack([np.load(io.BytesIO(one), allow_pickle=False) for one in data])
    labels = world.label(videos)
    items = world.prompt_of()
    rows = []
    for row, label in zip(index.select(["sample_id", "video_id", "prompt_sha256", "seed"]).to_pylist(), labels, strict=True):
        item = items[row["prompt_sha256"], row["seed"]]
        rows.append(
            {
                **row,
                "group_id": item.group_id,
                "split": item.split,
                "stratum": item.stratum,
                "specified": item.specified,
                "lookalike": item.lookalike,
                "categories": None if label is None else sorted(label),
            }
        )
    clips = dict(sorted(zip(ids, data, strict=True)))
    write_table(pa.table({"video_id": list(clips), "clip": pa.array(clips.values(), pa.binary())}), out / "clips.parquet")
    write_table(pa.Table.from_pylist(rows, schema=_SAMPLES), out / "samples.parquet")


def write_table(table: pa.Table, path: Path) -> None:
    """Write Parquet; the file appears whole or not at all."""
    partial = path.with_name(f".{path.name}.part")
    try:
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _as_bytes(frames: Frames) -> bytes:
    """A clip without loss, as NumPy writes it."""
    made = io.BytesIO()
    np.save(made, np.ascontiguousarray(frames), allow_pickle=False)
    return made.getvalue()
