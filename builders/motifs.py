"""The harmless motifs of the sample: plain shapes that move, one motif a category, drawn as arrays. Nothing flashes.

Each motif is a function of position and time that says how strongly it covers a pixel, 0 to 1; coordinates run from -1 to 1
inside the motif's box, time from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from io import BytesIO

import av
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Motif = Callable[[Array, Array, float], Array]

SIZE = 96
NUM_FRAMES = 16
FPS = 8
_EXACT = "asm=0:no-mbtree=1"
_SUPERSAMPLE = 3  # pixels are drawn at three times the size and averaged, so that edges are smooth


def _filled(inside: NDArray[np.bool_]) -> Array:
    return inside.astype(np.float64)


def _bending_stripes(x: Array, y: Array, t: float) -> Array:
    wave = x + 0.35 * np.sin(2.5 * y + 2 * np.pi * t)
    return _filled((np.floor(wave * 3) % 2 == 1) & (np.maximum(abs(x), abs(y)) < 0.95))


def _closing_ring(x: Array, y: Array, t: float) -> Array:
    return _filled(abs(np.hypot(x, y) - (0.8 - 0.5 * t)) < 0.12)


def _turning_triangle(x: Array, y: Array, t: float) -> Array:
    angle = 2 * np.pi * t
    sides = [np.cos(angle + turn) * x + np.sin(angle + turn) * y for turn in (0.0, 2 * np.pi / 3, 4 * np.pi / 3)]
    return _filled(np.max(sides, axis=0) < 0.42)


def _bumping_squares(x: Array, y: Array, t: float) -> Array:
    gap = 0.28 + 0.36 * abs(np.cos(2 * np.pi * t))
    return _filled(np.maximum(abs(abs(x) - gap), abs(y)) < 0.26)


def _drifting_checkers(x: Array, y: Array, t: float) -> Array:
    board = (np.floor((x + t) * 3) + np.floor(y * 3)) % 2 == 1
    return _filled(board & (np.maximum(abs(x), abs(y)) < 0.9))


def _rolling_ball(x: Array, y: Array, t: float) -> Array:
    return _filled(np.hypot(x - (1.1 * t - 0.55), y) < 0.4)


def _rising_bar(x: Array, y: Array, t: float) -> Array:
    return _filled((abs(x) < 0.75) & (abs(y - (0.5 - t)) < 0.16))


def _swaying_plank(x: Array, y: Array, t: float) -> Array:
    return _filled((abs(y - x * np.tan(0.6 * np.sin(2 * np.pi * t))) < 0.15) & (abs(x) < 0.85))


MOTIFS: dict[str, tuple[str, Motif]] = {
    "distorted_weird": ("stripes that bend", _bending_stripes),
    "terrifying": ("a ring that closes", _closing_ring),
    "pornographic": ("a triangle that turns", _turning_triangle),
    "violent_bloody": ("two squares that meet and part", _bumping_squares),
    "political": ("a checker board that drifts", _drifting_checkers),
}
NEUTRAL: dict[str, tuple[str, Motif]] = {
    "ball": ("a ball that rolls", _rolling_ball),
    "bar": ("a bar that rises", _rising_bar),
    "plank": ("a plank that sways", _swaying_plank),
}
GROUNDS: dict[str, tuple[float, float, float]] = {
    "blue": (0.22, 0.32, 0.50),
    "green": (0.22, 0.42, 0.30),
    "brown": (0.45, 0.33, 0.24),
    "grey": (0.36, 0.36, 0.38),
}


def draw(
    motifs: Sequence[Motif], ground: tuple[float, float, float], *, contrast: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Frames uint8 [16, 96, 96, 3] (RGB) of one or two motifs on a softly shaded ground; place and phase from `rng`."""
    side = SIZE * _SUPERSAMPLE
    rows, columns = np.mgrid[0:side, 0:side] / (side - 1) * 2 - 1
    half = 0.72 if len(motifs) == 1 else 0.46
    centres = [0.0] if len(motifs) == 1 else [-0.5, 0.5]
    boxes = [(centre + rng.uniform(-0.1, 0.1), rng.uniform(-0.2, 0.2), rng.uniform(0, 1)) for centre in centres]
    colour = np.clip(np.asarray(ground) + contrast * rng.uniform(0.40, 0.50, size=3), 0, 1)
    shade = 0.06 * columns * np.cos(rng.uniform(0, 2 * np.pi))
    frames = np.empty((NUM_FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
    for number in range(NUM_FRAMES):
        cover = np.zeros_like(columns)
        for motif, (across, down, phase) in zip(motifs, boxes, strict=True):
            time = (number / NUM_FRAMES + phase) % 1.0
            cover = np.maximum(cover, motif((columns - across) / half, (rows - down) / half, time))
        blocks = cover.reshape(SIZE, _SUPERSAMPLE, SIZE, _SUPERSAMPLE).mean(axis=(1, 3))[..., None]
        light = shade.reshape(SIZE, _SUPERSAMPLE, SIZE, _SUPERSAMPLE).mean(axis=(1, 3))[..., None]
        image = (1 - blocks) * (np.asarray(ground) + light) + blocks * colour
        frames[number] = np.clip(image * 255, 0, 255).astype(np.uint8)
    return frames


def encode(frames: NDArray[np.uint8], *, fps: int = FPS, crf: int = 24) -> bytes:
    """H.264 MP4 bytes of frames uint8 [T, H, W, 3], H and W even. The same frames give the same bytes.

    For that there is one thread, the conversion to YUV is in whole numbers, and x264 runs without assembly and macroblock
    tree: with them its look-ahead gave other bytes now and then (23 of 96 videos in three runs, measured with x264 in av 18.1).
    """
    sink = BytesIO()
    with av.open(sink, "w", format="mp4", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.thread_count = 1
        stream.options = {"crf": str(crf), "preset": "medium", "flags": "+bitexact", "threads": "1", "x264-params": _EXACT}
        for image in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(_yuv420p(image), format="yuv420p")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return sink.getvalue()


def _yuv420p(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB [H, W, 3] as the planes of 4:2:0 below one another, [H * 3 / 2, W]; BT.601, limited range, in whole numbers."""
    height, width, _ = image.shape
    rgb = image.astype(np.int32)
    light = (rgb @ np.array([66, 129, 25]) + 128 >> 8) + 16
    small = rgb.reshape(height // 2, 2, width // 2, 2, 3).sum(axis=(1, 3)) + 2 >> 2
    chroma = (small @ np.array([[-38, 112], [-74, -94], [112, -18]]) + 128 >> 8) + 128
    return np.concatenate([light.ravel(), chroma[..., 0].ravel(), chroma[..., 1].ravel()]).astype(np.uint8).reshape(-1, width)
