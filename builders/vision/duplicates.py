"""From hashes of frames to groups of near-duplicate videos, and the one of each group that stays.

Two videos match where enough frames of one have a look-alike in the other: the share counts in the direction in which it is
larger, so a trimmed copy, all of whose frames are in the original, matches it. There are two thresholds: `duplicate` groups
keep one video, `related` groups stay in one split.

Chains: where A looks like B and B like C, but A not like C, union-find alone would drop C for A. Here a video is dropped only
for a keeper that it matches itself, at least at the looser threshold; C else stays, as a group of its own. All three share
their related group, so no split separates them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .neighbours import near_pairs
from .phash import BITS


@dataclass(frozen=True)
class Threshold:
    """Frames match within `distance` bits; videos match where at least `share` of one's frames match one of the other's."""

    distance: int
    share: float


@dataclass(frozen=True)
class Hashed:
    """The hashed frames of one distinct video, and what decides who stays. `item` is its smallest raw file."""

    video_id: str
    item: str
    pixels: int
    num_frames: int
    num_bytes: int
    hashes: Sequence[bytes]
    quality: Sequence[int]

    def rank(self) -> tuple[int, int, int, str]:
        """Keepers come first: more pixels a frame, more frames, more bytes, smaller video_id."""
        return -self.pixels, -self.num_frames, -self.num_bytes, self.video_id


@dataclass(frozen=True)
class Match:
    """Two videos, `left` < `right`: the larger share of matching frames at each threshold, the closest pair of frames."""

    left: str
    right: str
    duplicate_share: float
    related_share: float
    distance: int


@dataclass(frozen=True)
class Groups:
    """Per video_id: its groups, the keeper of the duplicate group, the closest frame distance to it (None: not matched)."""

    duplicate: dict[str, str] = field(default_factory=dict)
    related: dict[str, str] = field(default_factory=dict)
    keeper: dict[str, str] = field(default_factory=dict)
    distance: dict[str, int | None] = field(default_factory=dict)
    chained: tuple[str, ...] = ()  # in a component of duplicates, but too far from its keeper to be dropped for it


def find_matches(
    videos: Sequence[Hashed],
    duplicate: Threshold,
    related: Threshold,
    *,
    kind: str,
    min_quality: int,
    exhaustive: bool = True,
) -> list[Match]:
    """Pairs of videos with any frames within `related.distance`, sorted by ids. `kind` is a hash kind.

    Frames below `min_quality` match nothing, so nor does a video of flat frames. A share is of a video's frames that can
    match, but of at least half of its frames: one picture between flat frames is no match. Raises `MissingDependency`.
    """
    videos = sorted(videos, key=lambda video: video.video_id)
    owners, usable = [], []
    for number, video in enumerate(videos):
        good = [value for value, quality in zip(video.hashes, video.quality, strict=True) if quality >= min_quality]
        usable.append(max(len(good), -(-len(video.hashes) // 2)))
        owners += [(value, number) for value in good]
    if not owners:
        return []
    flat = np.frombuffer(b"".join(value for value, _ in owners), np.uint8).reshape(len(owners), BITS[kind] // 8)
    distinct, which = np.unique(flat, axis=0, return_inverse=True)
    of = np.array([number for _, number in owners], np.int64)
    tally = _Tally(which.reshape(-1), of, len(videos), duplicate.distance)
    same = np.arange(len(distinct), dtype=np.int64)
    tally.add(same, same, np.zeros(len(same), np.int32))
    for left, right, distance in near_pairs(distinct, related.distance, exhaustive=exhaustive):
        tally.add(left, right, distance)
        tally.add(right, left, distance)
    return tally.matches([video.video_id for video in videos], np.array(usable))


class _Tally:
    """For each frame the videos that it has a look-alike in, and how close that is at best."""

    def __init__(self, which: NDArray[np.int64], of: NDArray[np.int64], videos: int, near: int) -> None:
        order = np.lexsort((of, which))
        self._videos, self._near = videos, near
        self._of, self._frames = of, order  # frames in the order of their hash
        self._starts = np.searchsorted(which[order], np.arange(which.max() + 2))
        self._keys: list[NDArray[np.int64]] = []
        self._distances: list[NDArray[np.int32]] = []

    def add(self, left: NDArray[np.int64], right: NDArray[np.int64], distance: NDArray[np.int32]) -> None:
        """Hash `right[i]` lies `distance[i]` from `left[i]`: every frame with the left one meets every owner of the right."""
        for step in range(0, len(left), 1 << 18):
            part = slice(step, step + (1 << 18))
            a, b, d = left[part], right[part], distance[part]
            rows, frames = self._expand(a)
            pairs, others = self._expand(b[rows])
            frames, d = frames[pairs], d[rows][pairs]
            mine, theirs = self._of[frames], self._of[others]
            keep = mine != theirs
            self._store(frames[keep] * self._videos + theirs[keep], d[keep])

    def _expand(self, hashes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each hash its frames: (place in `hashes`, frame)."""
        first, count = self._starts[hashes], self._starts[hashes + 1] - self._starts[hashes]
        places = np.repeat(np.arange(len(hashes)), count)
        inside = np.arange(len(places)) - np.repeat(np.cumsum(count) - count, count)
        return places, self._frames[first[places] + inside]

    def _store(self, keys: NDArray[np.int64], distances: NDArray[np.int32]) -> None:
        if len(keys):
            keys, distances = _closest(keys, distances)
            self._keys.append(keys)
            self._distances.append(distances)
        if sum(map(len, self._keys)) > 1 << 22 and len(self._keys) > 1:
            self._merge()

    def _merge(self) -> None:
        keys, distances = _closest(np.concatenate(self._keys), np.concatenate(self._distances))
        self._keys, self._distances = [keys], [distances]

    def matches(self, ids: Sequence[str], usable: NDArray[np.int64]) -> list[Match]:
        if not self._keys:
            return []
        self._merge()
        keys, distances = self._keys[0], self._distances[0]
        mine, theirs = self._of[keys // self._videos], keys % self._videos
        pair, place = np.unique(mine * self._videos + theirs, return_inverse=True)
        loose = np.bincount(place, minlength=len(pair))
        tight = np.bincount(place, weights=distances <= self._near, minlength=len(pair))
        closest = np.full(len(pair), np.iinfo(np.int32).max)
        np.minimum.at(closest, place, distances)
        found: dict[tuple[int, int], tuple[float, float, int]] = {}
        for key, few, many, distance in zip(pair.tolist(), tight.tolist(), loose.tolist(), closest.tolist(), strict=True):
            a, b = divmod(key, self._videos)
            ends = (min(a, b), max(a, b))
            old = found.get(ends, (0.0, 0.0, distance))
            frames = int(usable[a])
            found[ends] = (max(old[0], few / frames), max(old[1], many / frames), min(old[2], distance))
        return [Match(ids[a], ids[b], *values) for (a, b), values in sorted(found.items())]


def _closest(keys: NDArray[np.int64], distances: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    order = np.lexsort((distances, keys))
    keys, distances = keys[order], distances[order]
    first = np.concatenate([[True], keys[1:] != keys[:-1]])
    return keys[first], distances[first]


def group(videos: Sequence[Hashed], matches: Iterable[Match], duplicate: Threshold, related: Threshold) -> Groups:
    """Duplicate and related groups of all videos; singles are groups of their own. Depends on no order.

    A component of duplicate matches (union-find) is cleared from its best keeper on: those that match the keeper itself, at
    either threshold, are its group; of the rest the best is the next keeper.
    """
    by_id = {video.video_id: video for video in videos}
    links: dict[str, dict[str, int]] = defaultdict(dict)
    tight, loose = _Sets(by_id), _Sets(by_id)
    for match in matches:
        is_duplicate = match.duplicate_share >= duplicate.share
        if is_duplicate or match.related_share >= related.share:
            loose.join(match.left, match.right)
            links[match.left][match.right] = links[match.right][match.left] = match.distance
        if is_duplicate:
            tight.join(match.left, match.right)
    groups, chained = Groups(related={name: f"r{loose.find(name)}" for name in by_id}), []
    for members in tight.components().values():
        left = sorted(members, key=lambda name: by_id[name].rank())
        while left:
            keeper = left[0]
            mine = [name for name in left if name == keeper or name in links[keeper]]
            name_of_group = f"d{min(mine)}"
            for name in mine:
                groups.duplicate[name], groups.keeper[name] = name_of_group, keeper
                groups.distance[name] = links[keeper].get(name)
            left = [name for name in left if name not in set(mine)]
            chained += left[:1]
    return Groups(groups.duplicate, groups.related, groups.keeper, groups.distance, tuple(sorted(chained)))


class _Sets:
    """Union-find over ids; a set is named by its smallest id."""

    def __init__(self, names: Mapping[str, object]) -> None:
        self._parent = {name: name for name in names}

    def find(self, name: str) -> str:
        while self._parent[name] != name:
            self._parent[name] = name = self._parent[self._parent[name]]
        return name

    def join(self, left: str, right: str) -> None:
        a, b = sorted((self.find(left), self.find(right)))
        self._parent[b] = a

    def components(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = defaultdict(list)
        for name in self._parent:
            found[self.find(name)].append(name)
        return found
