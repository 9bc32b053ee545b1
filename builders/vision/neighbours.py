"""Which hashes lie within a Hamming distance of one another: faiss's binary indexes, exact at every size."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unsafe_video_dataset.errors import MissingDependency

_CHUNK = 4096
_BUCKET_BITS = 16


def near_pairs(
    hashes: NDArray[np.uint8], radius: int, *, exhaustive: bool = True
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]]:
    """Rows of `hashes` (uint8 [N, bytes]) at most `radius` bits apart, in blocks of (left, right, distance), left < right.

    Rows that are equal are left out: give distinct ones. `exhaustive` compares every pair (`IndexBinaryFlat`), which was
    quicker at every size that was measured (docs/scale.md). Without it `IndexBinaryMultiHash` looks into buckets of 16 bits
    with up to f bits flipped. Two hashes of 16 m bits that differ in at most m (f + 1) - 1 bits agree up to f flips in one of
    the m parts, so with f = radius // m no pair is missed: the recall is 1, only the time differs. Raises `MissingDependency`
    without faiss.
    """
    try:
        import faiss
    except ModuleNotFoundError as error:
        raise MissingDependency(
            "The search of near duplicates needs faiss: pip install 'unsafe-video-dataset[build]'"
        ) from error
    if not len(hashes):
        return
    bits = hashes.shape[1] * 8
    index: Any = faiss.IndexBinaryFlat(bits)
    if not exhaustive:
        parts = bits // _BUCKET_BITS
        index = faiss.IndexBinaryMultiHash(bits, parts, _BUCKET_BITS)
        index.nflip = radius // parts
    hashes = np.ascontiguousarray(hashes)
    index.add(hashes)
    for start in range(0, len(hashes), _CHUNK):
        block = hashes[start : start + _CHUNK]
        limits, distances, found = index.range_search(block, radius + 1)  # faiss leaves out the radius itself
        left = np.repeat(np.arange(start, start + len(block)), np.diff(limits.astype(np.int64)))
        right = found.astype(np.int64)
        keep = left < right
        yield left[keep], right[keep], distances[keep].astype(np.int32)
