"""From hashes to groups: exact search, trimmed copies, chains, keepers, flat videos, and no order that matters."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("faiss")

from unsafe_video_dataset.builders.vision.duplicates import Groups, Hashed, Match, Threshold, find_matches, group
from unsafe_video_dataset.builders.vision.neighbours import near_pairs
from unsafe_video_dataset.errors import MissingDependency

TIGHT, LOOSE = Threshold(8, 0.75), Threshold(12, 0.4)


def noise(rng: np.random.Generator, count: int, size: int = 8) -> np.ndarray:
    return rng.integers(0, 256, (count, size), dtype=np.uint8)


def flipped(value: bytes, bits: Sequence[int]) -> bytes:
    array = np.unpackbits(np.frombuffer(value, np.uint8))
    array[list(bits)] ^= 1
    return np.packbits(array).tobytes()


def film(name: str, hashes: Sequence[bytes], *, quality: int = 90, pixels: int = 100, num_bytes: int = 10) -> Hashed:
    return Hashed(name, f"s/{name}.mp4", pixels, len(hashes), num_bytes, list(hashes), [quality] * len(hashes))


def frames_of(seed: int, count: int = 16) -> list[bytes]:
    return [row.tobytes() for row in noise(np.random.default_rng(seed), count)]


def grouped(videos: Sequence[Hashed], tight: Threshold = TIGHT, loose: Threshold = LOOSE) -> Groups:
    matches = find_matches(videos, tight, loose, kind="phash", min_quality=50)
    return group(videos, matches, tight, loose)


@pytest.mark.parametrize("size", [8, 32])
@pytest.mark.parametrize("radius_share", [0.05, 0.12, 0.18])
def test_both_indexes_find_every_pair(size: int, radius_share: float) -> None:
    rng = np.random.default_rng(size)
    base = noise(rng, 300, size)
    radius = int(size * 8 * radius_share)
    near = [flipped(row.tobytes(), rng.choice(size * 8, int(rng.integers(1, radius + 3)), replace=False)) for row in base]
    hashes = np.unique(np.concatenate([base, np.frombuffer(b"".join(near), np.uint8).reshape(-1, size)]), axis=0)
    bits = np.unpackbits(hashes, axis=1).astype(int)
    apart = (bits[:, None] != bits[None]).sum(axis=2)
    expected = {(a, b, int(apart[a, b])) for a, b in zip(*np.nonzero(np.triu(apart <= radius, 1)), strict=True)}
    for exhaustive in (True, False):
        found = {
            (int(a), int(b), int(d))
            for block in near_pairs(hashes, radius, exhaustive=exhaustive)
            for a, b, d in zip(*block, strict=True)
        }
        assert found == expected
    assert len(expected) > 100


def test_without_faiss_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingDependency, match=r"pip install 'unsafe-video-dataset\[build\]'"):
        list(near_pairs(noise(np.random.default_rng(0), 3), 4))


def test_no_video_and_one_video() -> None:
    assert grouped([]) == Groups()
    alone = grouped([film("a", frames_of(1))])
    assert (alone.duplicate, alone.keeper, alone.distance) == ({"a": "da"}, {"a": "a"}, {"a": None})


def test_trimmed_and_noisy_copies_match_and_others_do_not() -> None:
    original = frames_of(1)
    noisy = [flipped(value, [3, 9, 20, 41]) for value in original]
    videos = [film("a", original), film("b", original[8:]), film("c", noisy[:5]), film("d", frames_of(2)), film("e", noisy)]
    found = grouped(videos)
    assert found.duplicate == {"a": "da", "b": "da", "c": "da", "d": "dd", "e": "da"}
    assert found.keeper == {"a": "a", "b": "a", "c": "a", "d": "d", "e": "a"}
    assert found.distance == {"a": None, "b": 0, "c": 4, "d": None, "e": 4}


def test_half_in_common_is_related_and_both_stay() -> None:
    left, right = frames_of(1), frames_of(1)[:8] + frames_of(2)[:8]
    found = grouped([film("a", left), film("b", right)])
    assert found.keeper == {"a": "a", "b": "b"}
    assert found.related == {"a": "ra", "b": "ra"}


def test_frames_of_low_quality_match_nothing() -> None:
    flat = [bytes(8)] * 16
    found = grouped([film("a", flat, quality=0), film("b", flat, quality=10), film("c", flat)])
    assert set(found.duplicate.values()) == {"da", "db", "dc"}


def test_one_good_frame_between_flat_ones_is_no_match() -> None:
    shared = frames_of(3, 1)
    few = [Hashed(name, name, 1, 16, 1, shared + frames_of(seed, 15), [90] + [0] * 15) for name, seed in (("a", 4), ("b", 5))]
    assert set(grouped(few).duplicate.values()) == {"da", "db"}
    assert set(grouped([film("a", shared), film("b", shared)]).duplicate.values()) == {"da"}  # one-frame videos still match


def test_a_chain_drops_nobody_for_a_video_that_it_does_not_look_like() -> None:
    """A is within 8 bits of B and B of C, but C is 16 from A: more than even the looser 12."""
    first = frames_of(1)
    second = [flipped(value, range(8)) for value in first]
    third = [flipped(value, range(16)) for value in first]
    a, b, c = film("a", first, pixels=3), film("b", second, pixels=2), film("c", third, pixels=1)
    found = grouped([a, b, c])
    assert found.keeper == {"a": "a", "b": "a", "c": "c"}
    assert found.duplicate == {"a": "da", "b": "da", "c": "dc"}
    assert set(found.related.values()) == {"ra"}
    assert found.chained == ("c",)
    middle = grouped([a, film("b", second, pixels=9), c])  # the middle one stays: both others match it themselves
    assert middle.keeper == {"a": "b", "b": "b", "c": "b"}
    assert middle.chained == ()
    nearer = [flipped(value, range(12)) for value in first]  # 12 from A: within the looser threshold
    assert grouped([a, b, film("c", nearer, pixels=1)]).keeper == {"a": "a", "b": "a", "c": "a"}


@pytest.mark.parametrize(
    ("change", "keeper"),
    [
        ({"pixels": 200}, "b"),
        ({"num_bytes": 20}, "b"),
        ({}, "a"),
    ],
)
def test_the_keeper_is_the_largest_then_the_smallest_id(change: dict[str, int], keeper: str) -> None:
    hashes = frames_of(1)
    assert grouped([film("b", hashes, **change), film("a", hashes)]).keeper["a"] == keeper
    longer = grouped([film("a", hashes[:12]), film("b", hashes)])
    assert longer.keeper["a"] == "b"


def test_all_duplicates_and_many_of_them_are_one_group() -> None:
    hashes = frames_of(1)
    videos = [film(f"{number:03d}", [flipped(value, [number % 8]) for value in hashes]) for number in range(120)]
    assert set(grouped(videos).duplicate.values()) == {"d000"}


@settings(max_examples=40, deadline=None)
@given(st.randoms(use_true_random=False), st.lists(st.integers(0, 5), min_size=1, max_size=14), st.integers(0, 10))
def test_no_order_of_the_videos_matters(shuffle: object, sources: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    videos = []
    for number, source in enumerate(sources):
        flips = rng.choice(64, int(rng.integers(0, 12)), replace=False)
        hashes = [flipped(value, flips) for value in frames_of(source, 8)][: int(rng.integers(1, 9))]
        videos.append(film(f"{number:02d}", hashes, pixels=int(rng.integers(1, 4))))
    expected = grouped(videos)
    assert set(expected.keeper) == {video.video_id for video in videos}
    for name, keeper in expected.keeper.items():
        assert expected.keeper[keeper] == keeper
        assert expected.duplicate[name] == expected.duplicate[keeper]
        assert expected.related[name] == expected.related[keeper]
    shuffle.shuffle(videos)  # type: ignore[attr-defined]
    assert grouped(videos) == expected


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=14), st.randoms(use_true_random=False))
def test_matches_in_any_order_give_the_same_groups(pairs: list[tuple[int, int]], shuffle: object) -> None:
    videos = [film(f"{number}", frames_of(number, 1)) for number in range(8)]
    ends = sorted({(min(a, b), max(a, b)) for a, b in pairs if a != b})
    matches = [Match(str(a), str(b), 1.0 if (a + b) % 2 else 0.5, 1.0, a + b) for a, b in ends]
    expected = group(videos, matches, TIGHT, LOOSE)
    shuffle.shuffle(matches)  # type: ignore[attr-defined]
    assert group(videos, matches, TIGHT, LOOSE) == expected
    assert all(expected.related[str(a)] == expected.related[str(b)] for a, b in ends)
