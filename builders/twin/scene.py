"""What one video of the twin shows: a scene of chosen shapes on a painted ground, and its frames.

A scene is drawn from (seed, number) alone. Its ground is a sum of waves at random low frequencies, directions and phases, so
that perceptual hashes of two scenes differ in about half their bits; fine lines on it give edges that a blur removes. The
motifs are those of the sample (one a category, others for none), each in a square patch that travels on a slow path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..motifs import MOTIFS, NEUTRAL

SIZE = 128
NUM_FRAMES = 16
FPS = 8
_WAVES = 9
_ALL = MOTIFS | NEUTRAL
Frames = NDArray[np.uint8]  # [T, H, W, 3], RGB
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """A motif in a patch `side` pixels wide whose centre moves from `start` by `travel` (pixels: across, down) and back."""

    motif: str
    side: int
    start: tuple[float, float]
    travel: tuple[float, float]
    phase: float
    turns: float
    colour: tuple[float, float, float]


@dataclass(frozen=True)
class Wave:
    """One wave of the ground: cycles across and down the frame, phase and drift (radians a video), height in grey levels."""

    across: float
    down: float
    phase: float
    drift: float
    height: float


@dataclass(frozen=True)
class Scene:
    """Everything that is drawn. `lines` is the spacing of the fine lines in pixels, `tint` how waves colour the ground."""

    shapes: tuple[Shape, ...]
    waves: tuple[Wave, ...]
    ground: tuple[float, float, float]
    tint: tuple[float, float, float]
    lines: tuple[int, int]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def make_scene(seed: int, number: int, categories: Sequence[str], *, pace: float = 1.0) -> Scene:
    """Scene `number` of the twin `seed`: a motif for each category and a neutral one, or one or two neutral ones for none.

    `pace` scales all motion.
    """
    rng = np.random.default_rng([seed, 1, number])
    neutral = [
        str(name) for name in rng.choice(list(NEUTRAL), size=1 if categories else int(rng.integers(1, 3)), replace=False)
    ]
    names = [*categories, *neutral]
    largest = {1: 88, 2: 72, 3: 60}.get(len(names), 50)
    shapes = []
    for name in names:
        side = int(rng.integers(largest - 14, largest + 1))
        room = (SIZE - side) / 2 + 6
        start = SIZE / 2 + rng.uniform(-room, room, 2)
        travel = pace * rng.choice([-1, 1], 2) * rng.uniform(8, 26, 2)
        light = rng.uniform(-1, 1)
        colour = np.clip(np.where(light > 0, 225, 35) + rng.uniform(-30, 30, 3), 0, 255)
        turns = pace * rng.uniform(0.5, 0.9)
        shapes.append(Shape(name, side, _pair(start), _pair(travel), _round(rng.uniform(0, 1)), _round(turns), _triple(colour)))
    waves = []
    for _ in range(_WAVES):
        across, down = rng.uniform(0.2, 3.6), rng.uniform(0.2, 3.6) * rng.choice([-1, 1])
        height = 62.0 / (1.0 + 0.35 * float(np.hypot(across, down))) * rng.uniform(0.5, 1.0)
        drift = pace * rng.uniform(-0.7, 0.7)
        waves.append(Wave(*(_round(value) for value in (across, down, rng.uniform(0, 2 * np.pi), drift, height))))
    lines = tuple(int(value) for value in rng.integers(6, 15, 2))
    ground, tint = rng.uniform(95, 160, 3), rng.uniform(0.5, 1.0, 3)
    return Scene(tuple(shapes), tuple(waves), _triple(ground), _triple(tint), (lines[0], lines[1]))


def _round(value: float) -> float:
    return round(float(value), 4)


def _pair(values: NDArray[np.float64]) -> tuple[float, float]:
    return _round(values[0]), _round(values[1])


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return _round(values[0]), _round(values[1]), _round(values[2])


def render(scene: Scene, *, num_frames: int = NUM_FRAMES) -> Frames:
    """Frames uint8 [num_frames, 128, 128, 3] (RGB). Frame t is the same whatever `num_frames` is."""
    images = _ground(scene, num_frames)
    for shape in scene.shapes:
        for number in range(num_frames):
            _stamp(images[number], shape, number / NUM_FRAMES)
    np.clip(images, 0, 255, out=images)
    return images.astype(np.uint8)


def _ground(scene: Scene, num_frames: int) -> Floats:
    place = np.arange(SIZE, dtype=np.float32) / SIZE * np.float32(2 * np.pi)
    time = np.arange(num_frames, dtype=np.float32) / NUM_FRAMES
    height = np.zeros((num_frames, SIZE, SIZE), np.float32)
    for wave in scene.waves:  # cos(a + b) = cos a cos b - sin a sin b: two products a wave in place of a cosine a pixel
        down = wave.down * place[None, :] + wave.phase + wave.drift * time[:, None]
        across = wave.across * place
        height += wave.height * np.cos(down)[:, :, None] * np.cos(across)
        height -= wave.height * np.sin(down)[:, :, None] * np.sin(across)
    pixel = np.arange(SIZE)
    rows, columns = (pixel % scene.lines[0] == 0), (pixel % scene.lines[1] == 0)
    height += np.where(rows[:, None] | columns[None, :], np.float32(-26), np.float32(4))
    return np.asarray(height[..., None] * np.asarray(scene.tint, np.float32) + np.asarray(scene.ground, np.float32))


def _stamp(image: Floats, shape: Shape, time: float) -> None:
    """Draw one shape on one frame, in place. Edges are hard: smooth ones would take four times as long."""
    sway = np.sin(np.pi * time)
    centre = [start + travel * sway for start, travel in zip(shape.start, shape.travel, strict=True)]
    left, top = (round(value - shape.side / 2) for value in centre)
    steps: NDArray[np.float64] = (np.arange(shape.side, dtype=np.float64) + 0.5) * (2 / shape.side) - 1
    square = (shape.side, shape.side)
    phase = (shape.phase + shape.turns * time) % 1.0
    across, down = (np.broadcast_to(one, square) for one in (steps, steps[:, None]))
    cover = _ALL[shape.motif][1](across, down, phase)
    x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + shape.side, SIZE), min(top + shape.side, SIZE)
    if x0 >= x1 or y0 >= y1:
        return
    image[y0:y1, x0:x1][cover[y0 - top : y1 - top, x0 - left : x1 - left] > 0.5] = shape.colour
