"""Traces on disk: a part a sample while recording, shards and an index when it is done.

    settings.json          what was recorded and how; a resumed recording must agree with it
    parts/<sample>.safetensors     samples not packed yet: the tensor x0 [S, ...], its row of facts in the metadata
    x0-00000.safetensors   the tensor x0 [samples * S, ...], the samples' facts in the metadata
    labels.json            labels that came from a table, by sample id
    index.parquet          one row a sample and step
    manifest.json          bytes and sha256 of all of these, written last

A kill at any moment loses at most the batch under way: a part appears whole or not at all, and it goes only after its shard is
there. Samples are packed in the order of their ids, so that how often a recording was stopped leaves no mark.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from .._console import write_text
from ..errors import InputError, IntegrityError
from ..integrity import sha256_file
from .lock import LOCK

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
INDEX = pa.schema(
    [
        ("sample_id", pa.string()),
        ("video_id", pa.string()),
        ("prompt_sha256", pa.string()),
        ("group_id", pa.string()),
        ("prompt_kind", pa.string()),
        ("split", pa.string()),
        ("seed", pa.int64()),
        ("pipeline", pa.string()),
        ("scheduler", pa.string()),
        ("prediction_type", pa.string()),
        ("x0_convention", pa.string()),
        ("num_steps", pa.int32()),
        ("step", pa.int32()),
        ("timestep", pa.float64()),
        ("log_snr", pa.float64()),
        ("sigma", pa.float64()),
        ("shard", pa.string()),
        ("row", pa.int32()),
        ("categories", pa.list_(pa.string())),
    ]
)
PER_STEP = ("step", "timestep", "log_snr", "sigma", "shard", "row")


class TraceStore:
    """The writing side of a folder of traces. Opening it for `settings` raises `InputError` where it holds others."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self.settings = folder, dict(settings)
        self.parts = folder / "parts"
        file = folder / "settings.json"
        if file.exists():
            self._agree(file)
        else:
            check_folder(folder)
            folder.mkdir(parents=True, exist_ok=True)
            write_text(file, _json(self.settings))
        self.parts.mkdir(exist_ok=True)
        for left in (*folder.glob(".*.part"), *self.parts.glob(".*.part")):
            left.unlink()  # of a run that was killed while it wrote

    def done(self) -> set[str]:
        """Ids of the samples that are recorded already."""
        packed = {fact["sample_id"] for shard in self.shards() for fact in shard_facts(shard)}
        return packed | {path.stem for path in self.parts.glob("*.safetensors")}

    def shards(self) -> list[Path]:
        """The shard files, in order."""
        return sorted(self.folder.glob("x0-*.safetensors"))

    def add(self, facts: Mapping[str, Any], x0: Tensor) -> None:
        """Keep one sample: `x0` [S, ...] of S steps; `facts` the index values of the sample and lists of its steps'."""
        _write_tensor(self.parts / f"{facts['sample_id']}.safetensors", x0, [facts])

    def label(self, labels: Mapping[str, Sequence[str]]) -> None:
        """Keep labels by sample id beside the traces; they go before what a labeller said."""
        write_text(self.folder / "labels.json", _json({name: list(value) for name, value in labels.items()}))

    def finish(self, *, shard_samples: int) -> Path:
        """Pack all parts into shards of at most so many samples, write index and manifest; returns the manifest's path."""
        import torch

        done = {fact["sample_id"] for shard in self.shards() for fact in shard_facts(shard)}
        parts = sorted(self.parts.glob("*.safetensors"))
        for path in parts:
            if path.stem in done:
                path.unlink()  # packed by a run that was killed before it could remove it
        parts = [path for path in parts if path.stem not in done]
        first = len(self.shards())
        for number, start in enumerate(range(0, len(parts), shard_samples), first):
            chunk = parts[start : start + shard_samples]
            facts = [fact for path in chunk for fact in shard_facts(path)]
            _write_tensor(
                self.folder / f"x0-{number:05d}.safetensors", torch.cat([_read_tensor(path) for path in chunk]), facts
            )
            for path in chunk:
                path.unlink()
        self.parts.rmdir()
        manifest = self.folder / "manifest.json"
        manifest.unlink(missing_ok=True)  # without it the folder counts as unfinished, until all of it agrees again
        _write_parquet(self.folder / "index.parquet", index_table(self.shards(), self._labels()))
        sides = [self.folder / name for name in ("settings.json", "labels.json", "index.parquet")]
        files = [path for path in sides if path.exists()] + self.shards()
        listed = [{"path": path.name, "bytes": path.stat().st_size, "sha256": sha256_file(path)} for path in files]
        write_text(manifest, _json({"format": FORMAT, "files": listed}))
        return manifest

    def _labels(self) -> dict[str, list[str]]:
        file = self.folder / "labels.json"
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}

    def _agree(self, file: Path) -> None:
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise IntegrityError(f"{file} can't be read ({type(error).__name__}). Record into a new folder.") from error
        other = sorted(key for key in {*found, *self.settings} if found.get(key) != json.loads(_json(self.settings)).get(key))
        if other:
            raise InputError(
                f"{self.folder} holds traces recorded with other settings ({', '.join(other)}). Use those, or a new folder."
            )


def check_folder(folder: Path) -> None:
    """Raise `InputError` where the folder holds something, and no traces."""
    if (folder / "settings.json").exists() or not folder.exists():
        return
    if any(path.name != LOCK for path in folder.iterdir()):
        raise InputError(f"{folder} is not empty and holds no traces. Give an empty or a new folder.")


def shard_facts(path: Path) -> list[dict[str, Any]]:
    """The samples' facts of a part or shard, without reading its tensor. Raises `IntegrityError` where it can't be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as opened:
            facts: list[dict[str, Any]] = json.loads((opened.metadata() or {})["facts"])
            return facts
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise IntegrityError(f"{path} is no file of traces or is damaged ({type(error).__name__}). Record anew.") from error


def index_table(shards: Iterable[Path], labels: Mapping[str, Sequence[str]] | None = None) -> pa.Table:
    """The index of these shards, sorted by sample and step; columns as in `INDEX`. `labels` go before the shards' own."""
    labels = labels or {}
    rows: list[dict[str, Any]] = []
    for shard in shards:
        at = 0
        for fact in shard_facts(shard):
            steps = [dict(zip(("step", "timestep", "log_snr", "sigma"), values, strict=True)) for values in fact["steps"]]
            whole = {name: fact.get(name) for name in INDEX.names if name not in PER_STEP}
            whole["categories"] = labels.get(fact["sample_id"], fact["categories"])
            rows += [{**whole, **step, "shard": shard.name, "row": at + i} for i, step in enumerate(steps)]
            at += len(steps)
    rows.sort(key=lambda row: (row["sample_id"], row["step"]))
    return pa.Table.from_pylist(rows, schema=INDEX)


def _write_tensor(path: Path, x0: Tensor, facts: Sequence[Mapping[str, Any]]) -> None:
    from safetensors.torch import save_file

    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(
            {"x0": x0.contiguous()}, partial, metadata={"facts": json.dumps(list(facts), allow_nan=False, sort_keys=True)}
        )
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _read_tensor(path: Path) -> Tensor:
    from safetensors.torch import load_file

    return load_file(path)["x0"]


def _write_parquet(path: Path, table: pa.Table) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        pq.write_table(table.combine_chunks(), partial, compression="zstd", write_page_checksum=True)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
