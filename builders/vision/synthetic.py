"""Harmless scenes, and altered copies of videos, to measure the search of near duplicates with."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Frames = NDArray[np.uint8]  # [T, 3, H, W], RGB


def scene(seed: int, *, frames: int = 16, size: int = 128) -> Frames:
    """A harmless scene, uint8 [T, 3, size, size]: soft ground, five discs and bars that drift; another one for each seed."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    ground = rng.uniform(40, 170, 3)[:, None, None] + rng.uniform(-60, 60, 3)[:, None, None] * (
        x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1)
    )
    parts = [
        (rng.uniform(0, 1, 2), rng.uniform(-0.25, 0.25, 2), rng.uniform(0.08, 0.25), rng.uniform(20, 235, 3), rng.integers(2))
        for _ in range(5)
    ]
    film = np.empty((frames, 3, size, size), np.uint8)
    for number in range(frames):
        image = ground.copy()
        for place, speed, reach, colour, round_ in parts:
            across, down = x - (place[0] + speed[0] * number / frames), y - (place[1] + speed[1] * number / frames)
            inside = np.hypot(across, down) < reach if round_ else (abs(across) < reach) & (abs(down) < reach / 3)
            image = np.where(inside, colour[:, None, None], image)
        film[number] = np.clip(image, 0, 255).astype(np.uint8)
    return film


def encode(frames: Frames, *, fps: int = 8, crf: int = 20) -> bytes:
    """H.264 MP4 bytes of uint8 [T, 3, H, W]; odd sizes lose a row or column."""
    film = np.ascontiguousarray(frames[..., : frames.shape[2] // 2 * 2, : frames.shape[3] // 2 * 2].transpose(0, 2, 3, 1))
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width, stream.pix_fmt = film.shape[1], film.shape[2], "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast", "threads": "1"}
        for image in film:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return sink.getvalue()


def resized(frames: Frames, height: int, width: int) -> Frames:
    """Frames at another size, bicubic."""
    images = [Image.fromarray(frame.transpose(1, 2, 0)).resize((width, height), Image.Resampling.BICUBIC) for frame in frames]
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])


def lit(frames: Frames, gain: float, more: float = 0) -> Frames:
    """Light times `gain` plus `more`, cut to 0 to 255."""
    changed: Frames = np.clip(frames * gain + more, 0, 255).astype(np.uint8)
    return changed


# What is done to a copy before it is encoded anew: frames -> (frames, frames a second, crf).
COPIES: dict[str, Callable[[Frames], tuple[Frames, int, int]]] = {
    "re-encoded, crf 36": lambda film: (film, 8, 36),
    "half the frames a second": lambda film: (film[::2], 4, 23),
    "twice the frames a second": lambda film: (np.repeat(film, 2, axis=0), 16, 23),
    "half the size": lambda film: (resized(film, film.shape[2] // 2, film.shape[3] // 2), 8, 23),
    "squeezed to a square of 160": lambda film: (resized(film, 160, 160), 8, 23),
    "brighter by a quarter": lambda film: (lit(film, 1.25, 10), 8, 23),
    "darker by a third": lambda film: (lit(film, 0.67), 8, 23),
    "first half": lambda film: (film[: len(film) // 2], 8, 23),
    "last third": lambda film: (film[-(len(film) // 3) :], 8, 23),
    "all of it: trimmed, 96 pixels, brighter, crf 32": lambda film: (lit(resized(film[2:-2], 96, 96), 1.1, 12), 8, 32),
}


def make_copy(frames: Frames, how: str) -> bytes:
    """MP4 bytes of an altered copy of decoded frames; `how` is a key of `COPIES`."""
    film, fps, crf = COPIES[how](frames)
    return encode(film, fps=fps, crf=crf)
