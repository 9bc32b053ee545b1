"""Perceptual hashes of frames: pHash (own, 64 bits) and PDQ (256 bits, optional), each with a quality from 0 to 100."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unsafe_video_dataset.errors import MissingDependency, one_of

from .resample import grey, resize

HashKind = Literal["phash", "pdq"]
HashSetting = Literal["auto", "phash", "pdq"]
HASH_KINDS: tuple[str, ...] = ("phash", "pdq")
BITS: dict[str, int] = {"phash": 64, "pdq": 256}
VERSION = 1  # goes up when the same frames would get other hashes

_SIDE = 32
_KEPT = 8
_PDQ_SIDE = 128
# A coefficient this far from the median (grey levels, orthonormal DCT of 32x32) keeps its bit under re-encoding.
_STABLE = 2.0


def choose_hash(setting: str) -> HashKind:
    """`auto` is PDQ where `pdqhash` is installed and pHash otherwise. Raises `FilterError`, `MissingDependency`."""
    one_of(setting, ("auto", *HASH_KINDS), "hash")
    installed = importlib.util.find_spec("pdqhash") is not None
    if setting == "pdq" and not installed:
        raise MissingDependency("PDQ hashes need pdqhash: pip install 'unsafe-video-dataset[pdq]' (it needs a compiler)")
    return "pdq" if setting == "pdq" or (setting == "auto" and installed) else "phash"


def hash_frames(frames: NDArray[np.uint8], kind: HashKind) -> tuple[list[bytes], list[int]]:
    """A hash of each frame of uint8 [T, 3, H, W] (8 bytes for pHash, 32 for PDQ) and its quality, 0 to 100.

    A low quality means that noise decides many of its bits (flat or nearly flat frames): such hashes are close to one
    another by chance and must not be matched.
    """
    return _HASHERS[kind](frames)


def phash(frames: NDArray[np.uint8]) -> tuple[list[bytes], list[int]]:
    """pHash of each frame of uint8 [T, 3, H, W].

    Light at 32x32, its DCT, the 8x8 coefficients after the first row and column, each one bit: above their median
    (Zauner, Implementation and benchmarking of perceptual image hash functions, 2010, section 3.2.1). Here the DCT's cosines
    are whole numbers of 1/4096, so that all sums are exact. Quality: the share of bits, in percent, whose coefficient is
    at least 2 grey levels from the median; those are the bits that re-encoding leaves alone.
    """
    light = resize(grey(frames), _SIDE)
    cosines = _cosines()
    values = (cosines @ light.astype(np.float64) @ cosines.T).reshape(len(light), -1)
    above = values - np.median(values, axis=1, keepdims=True)
    scale = 4096**2 * 16  # of an orthonormal DCT: cosines come 4096 times too large, and 4 times for sqrt(2 / 32)
    quality = (abs(above) >= _STABLE * scale).sum(axis=1) * 100 // values.shape[1]
    return [np.packbits(bits).tobytes() for bits in above > 0], [int(one) for one in quality]


@functools.cache
def _cosines() -> NDArray[np.float64]:
    """Rows 1 to 8 of the DCT-II of 32 values, times 4096, rounded."""
    order, place = np.arange(1, _KEPT + 1)[:, None], np.arange(_SIDE)[None]
    rows: NDArray[np.float64] = np.round(4096 * np.cos(np.pi * order * (2 * place + 1) / (2 * _SIDE)))
    return rows


def pdq(frames: NDArray[np.uint8]) -> tuple[list[bytes], list[int]]:
    """PDQ of each frame of uint8 [T, 3, H, W], by `pdqhash` (Facebook's C++), shrunk to 128x128 first; pHash's quality.

    PDQ's own quality falls with contrast: soft scenes have 25 to 60 of 100 where their hashes hold through re-encoding, so a
    limit that keeps flat frames out would keep them out too. pHash's is 0 on flat frames and ramps and 85 or more on those.
    """
    choose_hash("pdq")
    import pdqhash

    small = resize(frames, _PDQ_SIDE).transpose(0, 2, 3, 1)
    found = [pdqhash.compute(np.ascontiguousarray(image))[0] for image in small]
    return [np.packbits(bits.astype(bool)).tobytes() for bits in found], phash(frames)[1]


_HASHERS: dict[str, Callable[[NDArray[np.uint8]], tuple[list[bytes], list[int]]]] = {"phash": phash, "pdq": pdq}
