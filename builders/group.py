"""Groups: videos that must stay in one split, because they share a prompt or their bytes."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Hashable, Iterable, Sequence


def prompt_id(prompt: str) -> str:
    """First 16 hex digits of the sha256 of the prompt, normalised to NFC and stripped."""
    return hashlib.sha256(unicodedata.normalize("NFC", prompt).strip().encode()).hexdigest()[:16]


def group_ids(keys: Sequence[Iterable[Hashable]], video_ids: Sequence[str]) -> list[str]:
    """A group id for each video: connected components of videos that share any key (union-find).

    The id is made from the component's smallest `video_id`, so it does not depend on the order of the input.
    """
    parent = list(range(len(video_ids)))

    def find(item: int) -> int:
        while parent[item] != item:
            parent[item] = parent[parent[item]]
            item = parent[item]
        return item

    first: dict[Hashable, int] = {}
    for item, own_keys in enumerate(keys):
        for key in own_keys:
            parent[find(item)] = find(first.setdefault(key, item))
    smallest: dict[int, str] = {}
    for item, video_id in enumerate(video_ids):
        root = find(item)
        smallest[root] = min(video_id, smallest.get(root, video_id))
    return [f"g{smallest[find(item)]}" for item in range(len(video_ids))]
