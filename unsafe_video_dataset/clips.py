"""Which frames of a video a clip takes. Pure functions of (number of frames, random generator); nothing is decoded here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .errors import FilterError

Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Clip(Protocol):
    """Anything with `.indices(num_frames, rng)`; write your own where the four below do not fit."""

    def indices(self, num_frames: int, rng: np.random.Generator | None = None) -> tuple[Indices, Mask]:
        """Frame indices int64 [T], ascending, each in [0, num_frames), and mask bool [T]: False where a frame is padding."""
        ...


@dataclass(frozen=True)
class UniformFrames:
    """`n` frames spread evenly: the middle frame of each of `n` equal parts, `floor((i + 0.5) * num_frames / n)`.

    A video with fewer than `n` frames gives all its frames once, then its last frame as masked padding.
    """

    n: int = 16

    def __post_init__(self) -> None:
        _at_least_one(self.n, "UniformFrames(n)")

    def indices(self, num_frames: int, rng: np.random.Generator | None = None) -> tuple[Indices, Mask]:
        """See `Clip.indices`; `rng` is not used."""
        _at_least_one(num_frames, "num_frames")
        steps = np.arange(self.n, dtype=np.int64)
        if num_frames < self.n:
            return _padded(steps, num_frames)
        return (2 * steps + 1) * num_frames // (2 * self.n), np.ones(self.n, dtype=np.bool_)


@dataclass(frozen=True)
class RandomClip:
    """`n` frames, `frame_stride` apart, from a random start (uniform over all that fit).

    A video too short for that gives a clip from its first frame, then its last frame as masked padding.
    """

    n: int = 16
    frame_stride: int = 1

    def __post_init__(self) -> None:
        _at_least_one(self.n, "RandomClip(n)")
        _at_least_one(self.frame_stride, "frame_stride")

    def indices(self, num_frames: int, rng: np.random.Generator | None = None) -> tuple[Indices, Mask]:
        """See `Clip.indices`. Raises `FilterError` without `rng`: a random clip must be reproducible."""
        _at_least_one(num_frames, "num_frames")
        if rng is None:
            raise FilterError("RandomClip needs rng=numpy.random.default_rng(seed).")
        room = num_frames - _span(self.n, self.frame_stride)
        start = int(rng.integers(room + 1)) if room > 0 else 0
        return _padded(start + np.arange(self.n, dtype=np.int64) * self.frame_stride, num_frames)


@dataclass(frozen=True)
class CenterClip:
    """`n` frames, `frame_stride` apart, from the middle of the video; short videos as in `RandomClip`."""

    n: int = 16
    frame_stride: int = 1

    def __post_init__(self) -> None:
        _at_least_one(self.n, "CenterClip(n)")
        _at_least_one(self.frame_stride, "frame_stride")

    def indices(self, num_frames: int, rng: np.random.Generator | None = None) -> tuple[Indices, Mask]:
        """See `Clip.indices`; `rng` is not used."""
        _at_least_one(num_frames, "num_frames")
        start = max(num_frames - _span(self.n, self.frame_stride), 0) // 2
        return _padded(start + np.arange(self.n, dtype=np.int64) * self.frame_stride, num_frames)


@dataclass(frozen=True)
class AllFrames:
    """Every frame of the video. Clips then differ in length: `collate` pads them and says so in `mask`."""

    def indices(self, num_frames: int, rng: np.random.Generator | None = None) -> tuple[Indices, Mask]:
        """See `Clip.indices`; `rng` is not used."""
        _at_least_one(num_frames, "num_frames")
        return np.arange(num_frames, dtype=np.int64), np.ones(num_frames, dtype=np.bool_)


def _span(n: int, frame_stride: int) -> int:
    return (n - 1) * frame_stride + 1


def _padded(wanted: Indices, num_frames: int) -> tuple[Indices, Mask]:
    mask = wanted < num_frames
    last = wanted[mask].max()  # pad with the clip's own last frame, so that nothing past it is decoded
    return np.where(mask, wanted, last), mask


def _at_least_one(value: int, what: str) -> None:
    if not isinstance(value, (int, np.integer)) or value < 1:
        raise FilterError(f"{what} is {value!r}; it must be a whole number of at least 1.")
