"""Label sets with given counts: so many videos in each category, so many in any."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from unsafe_video_dataset.taxonomy import CATEGORIES
from unsafe_video_dataset.votes import in_order

_MOVES = 30  # random moves a video: after some ten the sizes of the sets no longer change on the whole


def label_sets(counts: Mapping[str, int], unsafe: int, rng: np.random.Generator) -> list[list[str]]:
    """`unsafe` non-empty lists of categories; category c stands in exactly `counts[c]` of them. The order is random.

    Each category goes to the videos that have fewest so far, which covers every video; then single categories move
    between random videos, never leaving one empty, so that the sizes of the sets vary.
    """
    if max(counts.values()) > unsafe or sum(counts.values()) < unsafe:
        raise ValueError(f"counts {dict(counts)} can't cover {unsafe} videos")
    table = np.zeros((unsafe, len(CATEGORIES)), dtype=bool)
    for column in sorted(range(len(CATEGORIES)), key=lambda one: -counts[CATEGORIES[one]]):
        order = np.lexsort((rng.random(unsafe), table.sum(axis=1)))
        table[order[: counts[CATEGORIES[column]]], column] = True
    draws = rng.integers(0, [[unsafe], [unsafe], [len(CATEGORIES)]], size=(3, _MOVES * unsafe))
    for giver, taker, column in draws.T:
        if table[giver, column] and not table[taker, column] and table[giver].sum() > 1:
            table[giver, column], table[taker, column] = False, True
    return [in_order(name for name, given in zip(CATEGORIES, row, strict=True) if given) for row in table]
