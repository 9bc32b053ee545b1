"""What one benchmark run does: how many clips and rounds, which loaders, how many workers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError

FRAMES = 16
"""Frames of a clip; all loaders take `UniformFrames(FRAMES)`."""


@dataclass(frozen=True)
class BenchSettings:
    """One run. `clips` is a folder of MP4s, or None for generated ones; `peers` None is all that are known.

    `copies` files are made of each clip, with the same frames and other bytes, so that an epoch is `copies` times as long.
    `twin` is a release of many rows without videos, to open and filter; None leaves that out.
    `minutes` bounds the comparison: a further round starts only if one as long as the longest so far still fits. A measurement
    that has not ended after `job_seconds` is stopped, and listed as failed.
    """

    clips: Path | None = None
    workers: tuple[int, ...] = (0, 2)
    peers: tuple[str, ...] | None = None
    generated: int = 24
    generated_size: int = 512
    copies: int = 2
    most_clips: int | None = None
    rounds: int = 3
    batch_size: int = 8
    size: int = 224
    seed: int = 0
    minutes: float = 9.0
    profile_clips: int = 24
    epochs: int = 60
    epoch_clips: int = 16
    twin: Path | None = None
    opening_rounds: int = 3
    job_seconds: float = 300.0

    def __post_init__(self) -> None:
        least = {"generated": 1, "generated_size": 32, "copies": 1, "rounds": 1, "batch_size": 1, "size": 8}
        least |= {"job_seconds": 1}
        low = [
            f"{name}={getattr(self, name)}: at least {value}" for name, value in least.items() if getattr(self, name) < value
        ]
        low += [f"workers={self.workers}: one or more numbers from 0"] if not self.workers or min(self.workers) < 0 else []
        low += ["seed: 0 or more"] if self.seed < 0 else []
        low += ["peers: name one at least, or leave them out for all"] if self.peers is not None and not self.peers else []
        if low:
            raise InputError(f"These settings can't be used: {'; '.join(low)}.")


def fast_settings(*, clips: Path | None, workers: tuple[int, ...], seed: int = 0) -> BenchSettings:
    """A run of at most two minutes: one round over a few clips; shows that all works, and little about speed."""
    return BenchSettings(
        clips=clips,
        workers=workers,
        seed=seed,
        generated=6,
        copies=1,
        most_clips=8,
        rounds=1,
        minutes=1.0,
        profile_clips=6,
        epochs=4,
        epoch_clips=4,
        opening_rounds=1,
    )
