"""What is measured on the decoded frames of a video, once: quality, perceptual hashes, a descriptor without weights.

Everything is worked out in whole numbers and correctly rounded divisions and roots, so that the same frames give the same
bytes on every machine and in every worker. Frames of any size are first brought to 128x128.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .descriptor import describe
from .phash import VERSION, choose_hash, hash_frames
from .resample import grey, resize

SIDE = 128  # pixels of the square that frames are measured at
HASHED_FRAMES = 32  # at most so many frames, evenly spread, are hashed: all of a usual clip
# A pixel is black up to a tenth of full light, and a frame where 98% of its pixels are (FFmpeg's `blackdetect`); white alike.
_BLACK, _WHITE, _MOST = 25, 230, 0.98
_FLAT = 2.0  # a frame is blank where its light varies by less than this standard deviation, in grey levels
_BLOCK = 8  # pixels; a pair of frames is frozen where no block of 8x8 changes by a grey level on average
_FROZEN = 1.0

MEASURES = [
    pa.field("sharpness", pa.float64()),
    pa.field("edge_sharpness", pa.float64()),
    pa.field("brightness", pa.float64()),
    pa.field("contrast", pa.float64()),
    pa.field("black_fraction", pa.float64()),
    pa.field("white_fraction", pa.float64()),
    pa.field("blank_fraction", pa.float64()),
    pa.field("frozen_fraction", pa.float64()),
    pa.field("longest_freeze", pa.float64()),
    pa.field("motion", pa.float64()),
    pa.field("hash_kind", pa.string()),
    pa.field("hash_version", pa.int32()),
    pa.field("hashes", pa.list_(pa.binary())),
    pa.field("hash_quality", pa.list_(pa.int32())),
    pa.field("hash_frames", pa.list_(pa.int32())),
    pa.field("descriptor", pa.list_(pa.float32())),
]


def measure(frames: NDArray[np.uint8], *, hash: str = "auto") -> dict[str, Any]:
    """The values of `MEASURES` for frames uint8 [T, 3, H, W] (RGB), T at least 1: JSON values, and bytes in `hashes`.

    sharpness: variance of the Laplacian of the light (0 to 255), the median frame's (Pech-Pacheco and others, 2000).
    edge_sharpness: the Laplacian's energy over that of the slopes, the median frame's: falls as 1 / s^2 for edges blurred by s
        pixels, whatever their contrast; 1.4 to 3 for sharp pictures. The edges of a coarse codec's blocks look sharp to it.
    brightness, contrast: mean of the light and mean of the frames' standard deviations, both 0 to 1.
    black_fraction, white_fraction, blank_fraction: share of frames where 98% of the pixels are below 0.1 or above 0.9 of full
        light, and of frames of one flat tone (standard deviation below 2 of 255).
    frozen_fraction: share of consecutive pairs that show no change: no block of 8x8 pixels changes by a grey level on
        average; 1 for a single frame. A clip that was brought from 12 to 25 frames a second has about half.
    longest_freeze: the longest run of such pairs over all pairs: a clip that stops, told from one whose frames were doubled.
    motion: mean absolute change of the light between consecutive frames, 0 to 1; 0 for a single frame.
    hashes, hash_quality, hash_frames: perceptual hashes of at most 32 evenly spread frames, their quality (0 to 100) and frame
        numbers; `hash` is `auto` (PDQ where it is installed), `phash` or `pdq`, and `hash_kind` says which it was.
    descriptor: see `descriptor.describe`.

    Raises `FilterError` or `MissingDependency` for `hash`, `ValueError` for no frames or another shape.
    """
    if frames.ndim != 4 or frames.shape[1] != 3 or not frames.size or frames.dtype != np.uint8:
        raise ValueError(f"frames {frames.dtype} {frames.shape}, expected uint8 [T, 3, H, W] with T at least 1")
    kind = choose_hash(hash)
    small = resize(frames, SIDE)
    light = grey(small)
    chosen = spread(len(small), HASHED_FRAMES)
    hashes, quality = hash_frames(small[chosen], kind)
    return {
        **_looks(light),
        **_changes(light),
        "hash_kind": kind,
        "hash_version": VERSION,
        "hashes": hashes,
        "hash_quality": quality,
        "hash_frames": chosen,
        "descriptor": describe(small, light),
    }


def spread(length: int, number: int) -> list[int]:
    """At most `number` frame numbers, evenly spread from the first to the last of `length`."""
    if length <= number:
        return list(range(length))
    return [(2 * place * (length - 1) + number - 1) // (2 * (number - 1)) for place in range(number)]


def _looks(light: NDArray[np.uint8]) -> dict[str, float]:
    """Measures of single frames, from their light [T, 128, 128]."""
    count = light[0].size
    values = light.reshape(len(light), -1)
    totals = values.sum(axis=1, dtype=np.int64)
    squares = _energy(values.astype(np.int16))
    spreads = np.sqrt((count * squares - totals**2) / count**2)
    wide = light.astype(np.int16)
    across, down = wide[:, :, 1:] - wide[:, :, :-1], wide[:, 1:] - wide[:, :-1]
    bend = (across[:, 1:-1, 1:] - across[:, 1:-1, :-1]) + (down[:, 1:, 1:-1] - down[:, :-1, 1:-1])
    inner = bend[0].size
    flat = bend.reshape(len(bend), -1)
    bent = _energy(flat)
    slopes = _energy(across.reshape(len(across), -1)) + _energy(down.reshape(len(down), -1))
    sharpness = (inner * bent - flat.sum(axis=1, dtype=np.int64) ** 2) / inner**2
    edges = bent / (slopes + 2 * count)  # slopes of a grey level are rounding and noise, and must not look sharp
    return {
        "sharpness": float(np.median(sharpness)),
        "edge_sharpness": float(np.median(edges)),
        "brightness": int(totals.sum()) / (values.size * 255),
        "contrast": float(sum(spreads.tolist())) / (len(light) * 255),
        "black_fraction": float(((values <= _BLACK).sum(axis=1) >= _MOST * count).mean()),
        "white_fraction": float(((values >= _WHITE).sum(axis=1) >= _MOST * count).mean()),
        "blank_fraction": float((spreads < _FLAT).mean()),
    }


def _energy(values: NDArray[np.int16]) -> NDArray[np.int64]:
    """Sums of squares of the rows of a matrix of whole numbers up to 1,020; exact."""
    wide = values.astype(np.int32)
    sums: NDArray[np.int64] = (wide * wide).sum(axis=1, dtype=np.int64)
    return sums


def _changes(light: NDArray[np.uint8]) -> dict[str, float]:
    """Measures of consecutive pairs of frames, from their light [T, 128, 128]."""
    if len(light) == 1:
        return {"frozen_fraction": 1.0, "longest_freeze": 1.0, "motion": 0.0}
    before, after = light[:-1], light[1:]
    change = np.maximum(before, after) - np.minimum(before, after)
    blocks = change.reshape(len(change), SIDE // _BLOCK, _BLOCK, SIDE // _BLOCK, _BLOCK).sum(axis=(2, 4), dtype=np.int32)
    still = blocks.reshape(len(blocks), -1).max(axis=1) < _FROZEN * _BLOCK**2
    moving = np.flatnonzero(np.concatenate([[True], ~still, [True]]))
    return {
        "frozen_fraction": float(still.mean()),
        "longest_freeze": int(np.diff(moving).max() - 1) / len(still),
        "motion": int(blocks.sum()) / (change.size * 255),
    }
