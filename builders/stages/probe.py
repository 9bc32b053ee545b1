"""probe: every distinct file decoded once, in a child process that may die -> what it is, and measures of its frames.

Later stages read the measures; none decodes again. A file that does not decode, or on which the decoder crashes, hangs
or takes too much, is a row with the reason.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from unsafe_video_dataset.errors import ChecksumError, DecodeError, plain
from unsafe_video_dataset.isolate import ChildLimits
from unsafe_video_dataset.mp4 import DEFAULT_LIMITS
from unsafe_video_dataset.video import choose_decoder, probe_frames

from ..pipeline.stage import COMMON, Context, Failure, StageResult

_FACTS = [
    pa.field("num_frames", pa.int32()),
    pa.field("fps", pa.float64()),
    pa.field("width", pa.int32()),
    pa.field("height", pa.int32()),
    pa.field("duration_seconds", pa.float64()),
    pa.field("codec", pa.string()),
    pa.field("num_bytes", pa.int64()),
]
_CHANGED = "changed since it was ingested"


@dataclass(frozen=True)
class ProbeSettings:
    """`[probe]`. All frames are decoded; at most `frames` of them, evenly spread and at most `longest_side` pixels high and
    wide, are measured. `hash` is the perceptual hash of the measures. The others limit what one video may cost."""

    frames: int = 64
    longest_side: int = 256
    hash: str = "auto"
    memory_bytes: int = 2 * 2**30
    cpu_seconds: float = 120.0
    wall_seconds: float = 300.0

    def problems(self) -> list[tuple[str, str]]:
        """(field, message) of each value that can't be used."""
        most = {"frames": 1024, "longest_side": 1024}
        names = ("frames", "longest_side", "memory_bytes", "cpu_seconds", "wall_seconds")
        found = [(name, f"{getattr(self, name)}; give more than 0") for name in names if not getattr(self, name) > 0]
        return found + [
            (name, f"{getattr(self, name)}; give at most {top}") for name, top in most.items() if getattr(self, name) > top
        ]


@dataclass(frozen=True)
class Task:
    """One distinct file, and how it is measured: `measures` names the module with `measure` and `MEASURES`."""

    path: Path
    sha256: str
    settings: ProbeSettings
    measures: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Probe:
    """The second stage. `measures` is the module that measures frames."""

    measures: str = f"{__package__.removesuffix('.stages')}.vision.measure"
    name: str = "probe"
    version: int = 1
    needs: tuple[str, ...] = ("ingest",)
    settings: type[ProbeSettings] = ProbeSettings

    def files(self, settings: ProbeSettings, base: Path) -> list[Path]:
        """None: the sha256 of each raw file stands in ingest's table."""
        return []

    def run(self, context: Context) -> StageResult:
        """Decode and measure. Raises `MissingDependency` without PyAV, `ChecksumError` for files changed since ingest."""
        choose_decoder("pyav")
        module = importlib.import_module(self.measures)
        settings: ProbeSettings = context.settings
        options: tuple[tuple[str, str], ...] = ()
        if hasattr(module, "choose_hash"):  # decided once, here: workers on other machines may have other packages
            options = (("hash", module.choose_hash(settings.hash)),)
        rows = context.kept("ingest").select(["item", "sha256", "video_id"]).to_pylist()
        first: dict[str, str] = {}
        for row in rows:  # sorted by item
            first.setdefault(row["sha256"], row["item"])
        tasks = [
            (sha256, Task(context.path(item), sha256, settings, self.measures, options))
            for sha256, item in sorted(first.items())
        ]
        probed = context.map(probe_file, tasks, what="decoding")
        changed = sorted(first[sha256] for sha256, answer in probed.items() if _has_changed(answer))
        if changed:
            shown = ", ".join(changed[:5]) + (" …" if len(changed) > 5 else "")
            raise ChecksumError(f"{len(changed)} raw files changed since they were ingested ({shown}). Run again.")
        schema = pa.schema(
            [*COMMON, pa.field("sha256", pa.string()), pa.field("video_id", pa.string()), *_FACTS, *module.MEASURES]
        )
        values = {sha256: _values(answer) for sha256, answer in probed.items()}
        made = [{**row, **values[row["sha256"]], "kept": values[row["sha256"]]["reason"] is None} for row in rows]
        return StageResult(pa.Table.from_pylist(made, schema=schema), _report(made, probed))


STAGE = Probe()


def probe_file(task: Task) -> dict[str, Any]:
    """Facts and measures of a file with `reason` None, or only `reason`; one isolated decode.

    Raises `ChecksumError` where the file can't be read or its bytes are not those of `task.sha256` any more.
    """
    video_id = task.sha256[:16]
    try:
        size = task.path.stat().st_size
        if size > DEFAULT_LIMITS.max_bytes:
            return {"reason": f"{size:,} bytes is over the limit of {DEFAULT_LIMITS.max_bytes:,}"}
        data = task.path.read_bytes()
    except OSError as error:  # ingest could read it; whether it can be read now is ingest's to say
        raise ChecksumError(_CHANGED) from error
    if hashlib.sha256(data).hexdigest() != task.sha256:
        raise ChecksumError(_CHANGED)
    limits = ChildLimits(task.settings.memory_bytes, task.settings.cpu_seconds, task.settings.wall_seconds)
    try:
        info, frames = probe_frames(
            data, frames=task.settings.frames, longest_side=task.settings.longest_side, name=video_id, isolate=limits
        )
    except DecodeError as error:
        return {"reason": plain(" ".join(str(error).removeprefix(f"{video_id}: ").split()))}
    measures = importlib.import_module(task.measures).measure(frames, **dict(task.options))
    return {"reason": None, **{field.name: getattr(info, field.name) for field in _FACTS}, **measures}


def _has_changed(answer: Mapping[str, Any] | Failure) -> bool:
    return isinstance(answer, Failure) and answer.error.endswith(_CHANGED)


def _values(answer: Mapping[str, Any] | Failure) -> Mapping[str, Any]:
    return {"reason": answer.error} if isinstance(answer, Failure) else answer


def _report(rows: list[dict[str, Any]], probed: Mapping[str, Mapping[str, Any] | Failure]) -> dict[str, Any]:
    codecs = sorted({row["codec"] for row in rows if row["kept"]})
    return {
        "videos": len(rows),
        "decoded": len(probed),
        "failed": sum(not row["kept"] for row in rows),
        "crashed_workers_or_bugs": sum(isinstance(answer, Failure) for answer in probed.values()),
        "codecs": {codec: sum(row["kept"] and row["codec"] == codec for row in rows) for codec in codecs},
        "frames": sum(row["num_frames"] for row in rows if row["kept"]),
        "seconds": round(sum(row["duration_seconds"] for row in rows if row["kept"]), 3),
    }
