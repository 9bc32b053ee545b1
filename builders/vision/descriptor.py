"""A descriptor of a video without weights: histograms of colour, layout, gradients and motion. It knows no meaning.

It tells colours, places of light and dark, directions of edges and amount of motion apart, and nothing else: use it to
sort, not to recognise. For meaning give the recipe a checkpoint (`embed.py`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NAME = "colour-gradient-motion"
VERSION = 1
_GRID = 4  # cells a side
_LEVELS = 4  # of each of R, G, B in the colour histogram
_TURNS = 8  # directions of edges
_STEPS = np.array([1, 2, 4, 8, 16, 32, 64])  # change of light between frames, in grey levels: edges of a histogram
DIM = _LEVELS**3 + _GRID**2 * 3 + _GRID**2 * _TURNS + _GRID**2 + len(_STEPS) + 1


def describe(frames: NDArray[np.uint8], light: NDArray[np.uint8]) -> list[float]:
    """`DIM` (264) numbers for frames uint8 [T, 3, S, S] and their light [T, S, S], S a multiple of 16, 5 decimals.

    Four parts, each of length 1 (Hellinger: the root of a histogram's shares): colours over all frames; mean R, G and B in
    4x4 cells; edge directions in 4x4 cells, weighted by strength; where and how much the light changes.
    """
    every = frames.shape[-1] // 32
    few = frames[:, :, every // 2 :: every, every // 2 :: every]
    shade = light[:, every // 2 :: every, every // 2 :: every]
    levels = few >> 6
    colours = np.bincount(((levels[:, 0] * _LEVELS + levels[:, 1]) * _LEVELS + levels[:, 2]).ravel(), minlength=_LEVELS**3)
    layout = _cells(few.sum(axis=0, dtype=np.int64))
    parts = [colours, layout, _edges(light), *_motion(shade)]
    return [float(value) for part in parts for value in _shares(part)]


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Roots of the shares of whole numbers: a vector of length 1, or zeros."""
    total = int(counts.sum())
    roots: NDArray[np.float64] = np.round(np.sqrt(counts.ravel() / np.float64(max(total, 1))), 5)
    return roots


def _cells(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """[..., S, S] summed to [..., 4, 4]."""
    side = values.shape[-1] // _GRID
    summed: NDArray[np.int64] = values.reshape(*values.shape[:-2], _GRID, side, _GRID, side).sum(axis=(-3, -1))
    return summed


def _edges(light: NDArray[np.uint8]) -> NDArray[np.int64]:
    """[4, 4, 8] strength of edges by direction, of every fourth frame; the direction is found by comparing, not by angles."""
    wide = light[::4, ::2, ::2].astype(np.int16)
    across, down = np.zeros_like(wide), np.zeros_like(wide)
    across[:, :, 1:-1] = wide[:, :, 2:] - wide[:, :, :-2]
    down[:, 1:-1] = wide[:, 2:] - wide[:, :-2]
    turn = (across > 0) * 4 + (down > 0) * 2 + (abs(across) > abs(down))
    strength = abs(across) + abs(down)
    side = wide.shape[-1]
    cell = np.arange(side) // (side // _GRID)
    place = (cell[:, None] * _GRID + cell[None]) * _TURNS + turn
    counts = np.bincount(place.ravel(), weights=strength.ravel(), minlength=_GRID**2 * _TURNS)  # whole numbers: exact
    return counts.astype(np.int64)


def _motion(shade: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the light changes [4, 4], and a histogram [8] of how much a pixel changes from frame to frame."""
    if len(shade) == 1:
        return np.zeros((_GRID, _GRID), np.int64), np.zeros(len(_STEPS) + 1, np.int64)
    before, after = shade[:-1], shade[1:]
    change = np.maximum(before, after) - np.minimum(before, after)
    amount = np.bincount(np.searchsorted(_STEPS, change.ravel(), side="right"), minlength=len(_STEPS) + 1)
    return _cells(change.sum(axis=0, dtype=np.int64)), amount
