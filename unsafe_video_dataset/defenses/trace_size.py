"""How large a recording will be, said and checked before anything is generated."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import StorageError

Precision = Literal["fp16", "fp32"]
BYTES = {"fp16": 2, "fp32": 4}


@dataclass(frozen=True)
class SizePlan:
    """What a recording will take: `samples` still to make, of `steps` steps of `shape` in `precision`; sizes in bytes."""

    samples: int
    done: int
    steps: tuple[int, ...]
    num_steps: int
    shape: tuple[int, ...]
    precision: Precision
    free_bytes: int

    @property
    def sample_bytes(self) -> int:
        """Tensor bytes of one sample."""
        size = BYTES[self.precision] * len(self.steps)
        for axis in self.shape:
            size *= axis
        return size

    @property
    def total_bytes(self) -> int:
        """Tensor bytes of all samples, done or not."""
        return self.sample_bytes * (self.samples + self.done)

    def to_text(self) -> str:
        """One line for people."""
        shown = "x".join(map(str, self.shape))
        return (
            f"{self.samples} samples to record ({self.done} done) x {len(self.steps)} of {self.num_steps} steps x {shown} "
            f"{self.precision} = {_size(self.sample_bytes * self.samples)} more, {_size(self.total_bytes)} in all; "
            f"{_size(self.free_bytes)} free"
        )

    def check(self, *, max_bytes: int | None, shard_samples: int) -> None:
        """Raise `StorageError` where the limit or the disk is too small: all of it, and one shard while it is packed."""
        if max_bytes is not None and self.total_bytes > max_bytes:
            raise StorageError(
                f"The traces would take {_size(self.total_bytes)}, over the limit of {_size(max_bytes)}. Record fewer steps or "
                "samples, use fp16, or raise max_bytes."
            )
        extra = min(shard_samples, self.samples + self.done) * self.sample_bytes
        needed = self.samples * self.sample_bytes + extra
        if needed > self.free_bytes:
            raise StorageError(
                f"Recording needs {_size(needed)} and the disk has {_size(self.free_bytes)} free. Record fewer steps or "
                "samples, use fp16, or another folder."
            )

    def to_dict(self) -> dict[str, object]:
        """The plan as plain JSON values."""
        return {**vars(self), "sample_bytes": self.sample_bytes, "total_bytes": self.total_bytes}


def free_bytes(folder: Path) -> int:
    """Free bytes on the disk that holds (or will hold) the folder."""
    while not folder.exists():
        folder = folder.absolute().parent
    return shutil.disk_usage(folder).free


def _size(count: int) -> str:
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"
