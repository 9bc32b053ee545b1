"""Where each video of a release lies: its folder and split, by its id."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from .columns import fixed_bytes
from .taxonomy import SPLITS


class Places:
    """The sorted ids of a release and the (folder, split) of each: 17 bytes a video, found by halving.

    `read(split)` gives a table with the columns `video_id` (texts of 16 bytes) and `is_unsafe`.
    """

    def __init__(self, read: Callable[[str], pa.Table]) -> None:
        self._pairs: list[tuple[str, str]] = []
        ids, which = [], []
        for split in SPLITS:
            table = read(split)
            found = fixed_bytes(table["video_id"].combine_chunks(), 16)
            ids.append(np.empty(0, "S16") if found is None else found)  # none, or checked to be of 16
            unsafe = np.asarray(table["is_unsafe"].to_numpy(zero_copy_only=False), dtype=np.int8)
            which.append(len(self._pairs) + unsafe)
            self._pairs += [("not_unsafe", split), ("unsafe", split)]
        all_ids = np.concatenate(ids)
        order = np.argsort(all_ids)
        self._ids, self._which = all_ids[order], np.concatenate(which)[order]

    def find(self, video_id: str) -> tuple[str, str] | None:
        """(folder, split) of a video; None for an id that is not there."""
        key = np.bytes_(video_id.encode())
        position = int(np.searchsorted(self._ids, key))
        if position == len(self._ids) or self._ids[position] != key:
            return None
        return self._pairs[int(self._which[position])]
