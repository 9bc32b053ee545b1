"""Train, validation and test by group, stratified over the categories, seeded.

Iterative stratification (Sechidis, Tsoumakas, Vlahavas 2011) with groups in place of examples: take the rarest remaining
label, give each of its groups to the split that lacks most of that label. A group never crosses a split.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence

from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.taxonomy import NONE, SPLITS

DEFAULT_FRACTIONS = (0.7, 0.1, 0.2)


def check_fractions(fractions: Sequence[float]) -> None:
    """Raise `InputError` unless there are three numbers from 0 that add up to 1."""
    if len(fractions) != len(SPLITS) or not all(share >= 0 for share in fractions) or not abs(sum(fractions) - 1) <= 1e-9:
        raise InputError(f"Split fractions {tuple(fractions)} must be three numbers from 0 that add up to 1.")


def assign_splits(
    groups: Mapping[str, Sequence[Sequence[str]]], *, fractions: Sequence[float] = DEFAULT_FRACTIONS, seed: int = 0
) -> dict[str, str]:
    """Group -> split; see `assign_parts`. Raises `InputError` for bad fractions."""
    check_fractions(fractions)
    return {group: SPLITS[part] for group, part in assign_parts(groups, fractions, seed=seed).items()}


def assign_parts(groups: Mapping[str, Sequence[Sequence[str]]], fractions: Sequence[float], *, seed: int) -> dict[str, int]:
    """Group -> number of its part. `groups` maps a group to its videos' category lists (empty: not unsafe, a label of its
    own); `fractions` are the parts' shares, which add up to 1.

    The result depends on the groups, fractions and seed, not on any order.
    """
    labels = {group: Counter(label for video in videos for label in (video or [NONE])) for group, videos in groups.items()}
    sizes = {group: len(videos) for group, videos in groups.items()}
    totals = sum(labels.values(), Counter())
    lacks = [{label: share * count for label, count in totals.items()} for share in fractions]
    room = [share * sum(sizes.values()) for share in fractions]
    order = sorted(groups, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    parts: dict[str, int] = {}
    while len(parts) < len(order):
        left = sum((labels[group] for group in order if group not in parts), Counter())
        label = min(left, key=lambda name: (left[name], name))
        for group in [group for group in order if group not in parts and label in labels[group]]:
            best = max(range(len(fractions)), key=lambda part: (fractions[part] > 0, lacks[part][label], room[part], -part))
            parts[group] = best
            room[best] -= sizes[group]
            for name, count in labels[group].items():
                lacks[best][name] -= count
    return parts
