"""Frames at a fixed size, in whole numbers: the same frames give the same pixels on every machine and in every worker."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

_SCALE = 1 << 12  # weights are whole numbers of 1/4096


def resize(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Images uint8 [..., H, W] as uint8 [..., size, size]; the aspect is not kept.

    Shrinking by a whole factor averages boxes, the rest is a triangle filter that widens when it shrinks (what Pillow calls
    `BILINEAR` with `reducing_gap`). All sums are of whole numbers below 2^53, so neither BLAS nor its threads can change one.
    """
    height, width = images.shape[-2:]
    if min(height, width) < 1:
        raise ValueError(f"an image of {width}x{height} pixels has nothing to resize")
    images = _reduce(images, max(1, height // size), max(1, width // size))
    if images.shape[-2:] == (size, size):
        return images
    down, across = _weights(images.shape[-2], size), _weights(images.shape[-1], size)
    total = down @ images.astype(np.float64) @ across.T
    rounded: NDArray[np.uint8] = np.floor(total / _SCALE**2 + 0.5).astype(np.uint8)
    return rounded


def _reduce(images: NDArray[np.uint8], down: int, across: int) -> NDArray[np.uint8]:
    """Means of boxes of `down` by `across` pixels; the last box repeats the edge."""
    if down == across == 1:
        return images
    height, width = images.shape[-2:]
    pad = [(0, 0)] * (images.ndim - 2) + [(0, -height % down), (0, -width % across)]
    if any(sum(one) for one in pad):
        images = np.pad(images, pad, mode="edge")
    total = images[..., ::down, :].astype(np.uint32 if down * across > 256 else np.uint16)
    for row in range(1, down):
        total += images[..., row::down, :]
    columns = total[..., ::across].copy()
    for column in range(1, across):
        columns += total[..., column::across]
    columns += down * across // 2
    means: NDArray[np.uint8] = (columns // (down * across)).astype(np.uint8)
    return means


@functools.lru_cache(maxsize=64)
def _weights(length: int, size: int) -> NDArray[np.float64]:
    """[size, length]: whole numbers in floats, each row adding up to 4096."""
    ratio = length / size
    reach = max(1.0, ratio)
    centres = (np.arange(size)[:, None] + 0.5) * ratio - 0.5
    exact = np.clip(1 - abs(np.arange(length)[None] - centres) / reach, 0, None)
    whole = np.floor(exact / exact.sum(axis=1, keepdims=True) * _SCALE + 0.5)
    whole[np.arange(size), whole.argmax(axis=1)] += _SCALE - whole.sum(axis=1)
    weights: NDArray[np.float64] = whole
    return weights


def grey(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames uint8 [T, 3, H, W] (RGB) as light uint8 [T, H, W]: BT.601 in 1/256 (77, 150, 29)."""
    total = frames[:, 0] * np.uint16(77)
    total += frames[:, 1] * np.uint16(150)
    total += frames[:, 2] * np.uint16(29)
    total += np.uint16(128)
    light: NDArray[np.uint8] = (total >> 8).astype(np.uint8)
    return light
