"""Recorded x0, opened for reading: verified, mapped into memory when asked for, and never taken for traces of another kind."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ..errors import ChecksumError, DetectorMismatch, InputError, IntegrityError, SchemaError
from ..integrity import sha256_file
from .trace_labels import AnyLabels, join_labels
from .trace_store import FORMAT, INDEX

if TYPE_CHECKING:
    from torch import Tensor

KIND = ("x0_convention", "scheduler", "prediction_type")
"""What two recordings must share for one detector to read both; and the number of channels."""


@dataclass(frozen=True)
class Traces:
    """A folder of traces, or some samples of it. `index` has one row a sample and step (`trace_store.INDEX`), sorted.

    `settings` say how it was recorded. Nothing is read from a shard before `x0` asks for it; no file stays open.
    """

    folder: Path
    settings: Mapping[str, Any]
    index: pa.Table
    sha256: str
    """sha256 of the folder's manifest, which names those of all files."""
    _open: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)  # mapped shards, shared with parts of it
    _own: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)

    @classmethod
    def open(cls, folder: str | Path, *, verify: bool = True) -> Traces:
        """Open a recorded folder; `verify` reads all bytes once for their sha256, else only sizes are compared.

        Raises `InputError` where there are no finished traces, `ChecksumError` where a file isn't as recorded, `SchemaError`
        or `IntegrityError` where the index or manifest can't be used.
        """
        folder = Path(folder)
        data = _manifest(folder)
        for entry in json.loads(data)["files"]:
            path = folder / entry["path"]
            if not path.is_file() or path.stat().st_size != entry["bytes"] or (verify and sha256_file(path) != entry["sha256"]):
                raise ChecksumError(f"{path} is missing or not as recorded. Record the traces anew, or copy the folder again.")
        try:
            settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
            index = pq.read_table(folder / "index.parquet", page_checksum_verification=True)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise IntegrityError(f"{folder} can't be read ({type(error).__name__}). Record the traces anew.") from None
        if index.schema.remove_metadata() != INDEX:
            raise SchemaError(f"The index of {folder} has other columns than this version writes. Record the traces anew.")
        return cls(folder, settings, index, hashlib.sha256(data).hexdigest())

    # -- what is in it

    def __len__(self) -> int:
        """How many samples."""
        return len(self.sample_ids)

    @property
    def steps(self) -> tuple[int, ...]:
        """The recorded steps, from 1."""
        return tuple(self.settings["steps"])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one x0: [C, T, H, W], or [C, H, W] for images."""
        return tuple(self.settings["shape"])

    @property
    def samples(self) -> pa.Table:
        """One row a sample (that of its first step), sorted by sample id."""
        return self.index.filter(pc.equal(self.index["step"], self.steps[0]))

    @property
    def sample_ids(self) -> list[str]:
        """Ids of the samples, sorted."""
        return list(self.samples["sample_id"].to_pylist())

    @property
    def group_ids(self) -> list[str]:
        """The group of each sample."""
        return list(self.samples["group_id"].to_pylist())

    @property
    def log_snr(self) -> NDArray[np.float64]:
        """float64 [samples, steps]: ln(alpha^2 / sigma^2) of the noisy sample at each step."""
        return np.asarray(self.index["log_snr"].to_numpy()).reshape(len(self), len(self.steps))

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that any sample is labelled with, sorted."""
        return tuple(sorted({name for row in self.samples["categories"].to_pylist() for name in row or ()}))

    def targets(self, categories: Sequence[str]) -> NDArray[np.bool_]:
        """bool [samples, categories]. Raises `InputError` where a sample has no label, or one outside `categories`."""
        rows = self.samples["categories"].to_pylist()
        missing = sum(row is None for row in rows)
        if missing:
            raise InputError(
                f"{missing} of {len(rows)} samples have no label. Join a label table, or take `labelled()` samples."
            )
        other = sorted({name for row in rows for name in row} - set(categories))
        if other:
            raise InputError(f"Labels name {', '.join(other)}, which are not among {', '.join(categories)}.")
        return np.array([[name in row for name in categories] for row in rows], dtype=bool).reshape(len(rows), len(categories))

    def unsafe(self) -> NDArray[np.bool_]:
        """bool [samples]: labelled with any category. Raises `InputError` where a sample has no label."""
        return np.asarray(self.targets(self.categories).any(axis=1))

    # -- parts of it

    def select(self, sample_ids: Sequence[str]) -> Traces:
        """Only these samples. Raises `InputError` where one isn't here, or none is left."""
        unknown = set(sample_ids) - set(self.sample_ids)
        if unknown or not sample_ids:
            raise InputError(
                f"{len(unknown)} of {len(sample_ids)} asked samples are not in {self.folder}; at least one is needed."
            )
        return replace(self, index=self.index.filter(pc.is_in(self.index["sample_id"], pa.array(sorted(set(sample_ids))))))

    def labelled(self) -> Traces:
        """Only the samples that have a label. Raises `InputError` where none has."""
        ids = [
            row["sample_id"]
            for row in self.samples.select(["sample_id", "categories"]).to_pylist()
            if row["categories"] is not None
        ]
        if not ids:
            raise InputError(f"No sample of {self.folder} has a label. Give a label table, or record with a labeller.")
        return self.select(ids)

    def with_labels(self, labels: AnyLabels) -> Traces:
        """The same traces with labels from a table, joined by id: see `trace_labels.read_labels`."""
        return replace(self, index=join_labels(self.index, labels))

    def labels_sha256(self) -> str:
        """sha256 of the samples and their labels as they are now: what a detector trained on these has seen."""
        rows = self.samples.select(["sample_id", "categories"]).to_pylist()
        return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()

    # -- x0

    def x0(self, samples: Sequence[int], steps: Sequence[int]) -> Tensor:
        """float32 [n, *shape]: x0 of sample number `samples[i]` (its place in `sample_ids`) at step `steps[i]`.

        Raises `InputError` on a step that wasn't recorded.
        """
        import torch

        place = {step: i for i, step in enumerate(self.steps)}
        unknown = sorted({int(step) for step in steps} - set(place))
        if unknown:
            raise InputError(f"Steps {unknown} were not recorded; {self.folder} has {list(self.steps)}.")
        at = [int(sample) * len(self.steps) + place[int(step)] for sample, step in zip(samples, steps, strict=True)]
        shards, rows = self._places()
        made = torch.empty((len(at), *self.shape), dtype=torch.float32)
        for i, row in enumerate(at):
            made[i] = self._slice(shards[row])[int(rows[row])]
        return made

    def batches(self, size: int = 64) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], Tensor]]:
        """(sample numbers, steps, x0) of everything, sample by sample in order."""
        pairs = [(sample, step) for sample in range(len(self)) for step in self.steps]
        for start in range(0, len(pairs), size):
            chunk = np.array(pairs[start : start + size], dtype=np.int64)
            yield chunk[:, 0], chunk[:, 1], self.x0(chunk[:, 0].tolist(), chunk[:, 1].tolist())

    def _places(self) -> tuple[list[str], NDArray[np.int32]]:
        if "places" not in self._own:
            self._own["places"] = (self.index["shard"].to_pylist(), self.index["row"].to_numpy())
        shards, rows = self._own["places"]
        return shards, rows

    def _slice(self, shard: str) -> Any:
        """The mapped tensor of a shard."""
        if shard not in self._open:
            from safetensors import safe_open

            with safe_open(self.folder / shard, framework="pt") as opened:
                self._open[shard] = opened.get_tensor("x0")
        return self._open[shard]

    # -- kind

    def kind(self) -> dict[str, Any]:
        """What a detector must have been trained on to read these: `KIND` and the number of channels."""
        return {**{name: self.settings[name] for name in KIND}, "channels": self.shape[0]}

    def check_kind(self, kind: Mapping[str, Any], *, any_scheduler: bool = False) -> None:
        """Raise `DetectorMismatch` where a detector of that kind may not read these; see `mismatch`."""
        mismatch(kind, self.kind(), any_scheduler=any_scheduler, where=str(self.folder))


def mismatch(trained: Mapping[str, Any], given: Mapping[str, Any], *, any_scheduler: bool = False, where: str) -> None:
    """Raise `DetectorMismatch` where two kinds of x0 differ; `any_scheduler` lets another scheduler and output type pass.

    x0 is the same quantity under every scheduler, so a detector that knows the log-SNR may carry over; that is for its user
    to check. Another convention of reading x0, or another number of channels, is never let pass.
    """
    free = {"scheduler", "prediction_type"} if any_scheduler else set()
    if not trained:  # a wrapped callable that doesn't say
        return
    other = [name for name in (*KIND, "channels") if name not in free and trained.get(name) != given.get(name)]
    if other:
        told = "; ".join(f"{name} {trained.get(name)!r}, here {given.get(name)!r}" for name in other)
        hint = " any_scheduler=True lets another scheduler pass." if set(other) <= {"scheduler", "prediction_type"} else ""
        raise DetectorMismatch(
            f"The detector was trained on x0 of another kind than {where}: {told}. Train one for this.{hint}"
        )


def _manifest(folder: Path) -> bytes:
    file = folder / "manifest.json"
    if not file.is_file():
        why = (
            "its recording was not finished: run the same again to go on"
            if (folder / "settings.json").exists()
            else "no traces"
        )
        raise InputError(f"{folder} has no manifest.json: {why}.")
    data = file.read_bytes()
    try:
        manifest = json.loads(data)
        names = [entry["path"] for entry in manifest["files"]]
        sound = manifest["format"] == FORMAT and all(isinstance(name, str) and Path(name).name == name for name in names)
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound or not {"settings.json", "index.parquet"} <= set(names):
        raise IntegrityError(f"{file} is no manifest of traces of this version. Record the traces anew.")
    return data


AnyTraces = Traces | str | Path


def open_traces(traces: AnyTraces) -> Traces:
    """The traces themselves, or those of a folder."""
    return traces if isinstance(traces, Traces) else Traces.open(traces)
