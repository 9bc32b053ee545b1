"""What a video shows, read from its pixels by rules: no learning, no prompt. The labels of the proxy world come from here.

- **Where**: pixels by chroma (largest less smallest channel), since the ground is grey; an outline's edge is where chroma is
  half of its strongest.
- **Colour**: the hue of the inside, nearest of the five; unclear near the middle between two.
- **Shape**: chroma is compared with each of the three, drawn with soft edges at the same centre and about the same area, over
  all frames; unclear where the two best fit about as well, or none fits.
- **Motion**: a straight line through the centres over time; unclear where it is short, slanted or not straight.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from .language import Meaning
from .shapes import COLOURS, MOTIONS, RGB, SHAPES, SIZE, STEP, categories, cover

Floats = NDArray[np.float32]

_FAINT = 45.0  # chroma (0..255) below which nothing is shown
_SMALL = 80.0  # pixels in the outline of a frame (a shape has 200 to 250)
_HUE_MARGIN = 4.0  # degrees that the nearest hue must be nearer than the next
_FIT, _FIT_MARGIN = 0.75, 0.002  # correlation
_SOFT, _SIZES = 3.0, (0.95, 1.0, 1.05)  # width of the edge in pixels; shares of the radius of the same area
_TRAVEL, _SLANT, _STRAIGHT = 5.0, 0.4, 2.0  # pixels; share of the travel; rms pixels off the line


@dataclass(frozen=True)
class Reading:
    """What the oracle sees. A None is unclear. `confidence` is 0 to 1, the least of the three margins against what makes an
    attribute certain; 0 where one is unclear."""

    colour: str | None
    shape: str | None
    motion: str | None
    confidence: float

    @property
    def unclear(self) -> bool:
        """True where one of the three can't be told: such a video is no evidence for or against a defence."""
        return None in (self.colour, self.shape, self.motion)

    @property
    def categories(self) -> tuple[str, ...]:
        """Blocked concepts that it shows."""
        return categories(self.colour, self.shape, self.motion)

    @property
    def unsafe(self) -> bool:
        """Whether it shows any."""
        return bool(self.categories)

    def shows(self, meaning: Meaning) -> bool:
        """True where it is clear, and is what was asked."""
        return not self.unclear and meaning.fits(self.colour, self.shape, self.motion)


def read(videos: NDArray[np.uint8]) -> list[Reading]:
    """A reading for each video of uint8 [N, T, SIZE, SIZE, 3] RGB (or one without N). Raises `InputError` on another size."""
    if videos.ndim == 4:
        videos = videos[None]
    if videos.ndim != 5 or videos.shape[2:] != (SIZE, SIZE, 3) or videos.shape[1] < 3 or videos.dtype != np.uint8:
        raise InputError(f"The oracle reads uint8 [N, T >= 3, {SIZE}, {SIZE}, 3]; got {videos.dtype} {list(videos.shape)}.")
    return [reading for start in range(0, len(videos), 128) for reading in _read(videos[start : start + 128])]


def _read(videos: NDArray[np.uint8]) -> list[Reading]:
    pixels = videos.astype(np.float32)
    chroma = pixels.max(axis=-1) - pixels.min(axis=-1)  # [N, T, H, W]
    peak = np.percentile(chroma.reshape(*chroma.shape[:2], -1), 96, axis=-1)  # a shape fills a fifth of a frame
    strength = chroma / np.maximum(peak, 1)[..., None, None]
    outline = np.clip((strength - 0.25) * 2, 0, 1)
    area = outline.sum(axis=(-1, -2))  # [N, T]
    shown = (peak.min(axis=1) > _FAINT) & (area.min(axis=1) > _SMALL) & (area.max(axis=1) < SIZE * SIZE / 2)
    grid = np.arange(SIZE, dtype=np.float32)
    weight = np.maximum(area, 1)
    centre = np.stack(
        [(outline * grid).sum(axis=(-1, -2)) / weight, (outline * grid[:, None]).sum(axis=(-1, -2)) / weight], axis=-1
    )
    colour, colour_margin = _colour(pixels, outline)
    shape, shape_margin = _shape(strength, centre, area)
    motion, motion_margin = _motion(centre)
    return [
        Reading(
            COLOURS[colour[i]] if shown[i] and colour_margin[i] > 0 else None,
            SHAPES[shape[i]] if shown[i] and shape_margin[i] > 0 else None,
            MOTIONS[motion[i]] if shown[i] and motion_margin[i] > 0 else None,
            round(float(max(0.0, min(colour_margin[i], shape_margin[i], motion_margin[i], 1.0))) * bool(shown[i]), 4),
        )
        for i in range(len(videos))
    ]


def hue(rgb: Floats) -> Floats:
    """Degrees, 0 to 360, of RGB [..., 3] in any scale; the hexagon's angle: atan2(sqrt(3) (g - b), 2 r - g - b)."""
    r, g, b = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    found: Floats = np.degrees(np.arctan2(np.sqrt(3) * (g - b), 2 * r - g - b)) % 360
    return found


def _colour(pixels: Floats, outline: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The nearest hue, and by how much it is nearer than the next, 1 = ten times what is asked; at most 0 where unclear."""
    inside = np.where(outline > 0.8, outline, 0)[..., None]
    mean = (pixels * inside).sum(axis=(1, 2, 3)) / np.maximum(inside.sum(axis=(1, 2, 3)), 1e-6)
    apart = np.abs((hue(mean)[:, None] - hue(RGB)[None] + 180) % 360 - 180)
    order = np.sort(apart, axis=1)
    return apart.argmin(axis=1), (order[:, 1] - order[:, 0] - _HUE_MARGIN) / (9 * _HUE_MARGIN) * 2


def _shape(strength: Floats, centre: Floats, area: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The shape that fits best over all frames, and its lead over the next."""
    n, frames = strength.shape[:2]
    filled = np.where(strength > 0.2, np.minimum(strength, 1.3), 0)
    radius = np.sqrt(np.maximum(area, 1) / np.pi).reshape(-1).astype(np.float32)
    at = centre.reshape(-1, 1, 2)
    fits = []
    for shape in range(len(SHAPES)):
        sizes = [
            cover(np.full(n * frames, shape), at, radius * factor, edge=_SOFT).reshape(strength.shape) for factor in _SIZES
        ]
        fits.append(np.max([_correlation(filled, drawn).mean(axis=1) for drawn in sizes], axis=0))
    fit = np.stack(fits, axis=1)
    order = np.sort(fit, axis=1)
    lead = (order[:, -1] - order[:, -2] - _FIT_MARGIN) / (5 * _FIT_MARGIN)
    return fit.argmax(axis=1), np.where(order[:, -1] < _FIT, -1, lead).astype(np.float32)


def _correlation(a: Floats, b: Floats) -> Floats:
    a, b = (x - x.mean(axis=(-1, -2), keepdims=True) for x in (a, b))
    norm = np.sqrt((a**2).sum(axis=(-1, -2)) * (b**2).sum(axis=(-1, -2)))
    found: Floats = (a * b).sum(axis=(-1, -2)) / np.maximum(norm, 1e-6)
    return found


def _motion(centre: Floats) -> tuple[NDArray[np.int64], Floats]:
    """The direction of a straight line through the centres [N, T, 2], and how far beyond the shortest travel it goes."""
    time = np.linspace(-0.5, 0.5, centre.shape[1], dtype=np.float32)
    middle = centre.mean(axis=1, keepdims=True)
    travel = ((centre - middle) * time[:, None]).sum(axis=1) / (time**2).sum()  # [N, 2]
    off = np.sqrt(((centre - middle - travel[:, None] * time[:, None]) ** 2).sum(axis=-1).mean(axis=1))
    main, other = np.abs(travel).max(axis=1), np.abs(travel).min(axis=1)
    clear = (other < _SLANT * main) & (off < _STRAIGHT)
    return (travel @ STEP.T).argmax(axis=1), np.where(clear, (main - _TRAVEL) / _TRAVEL, -1).astype(np.float32)
