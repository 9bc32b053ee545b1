"""Groups and splits as properties: components of shared keys, and a partition by group that no order can change."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unsafe_video_dataset.builders.group import group_ids, prompt_id
from unsafe_video_dataset.builders.split import DEFAULT_FRACTIONS, assign_splits
from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.taxonomy import CATEGORIES, SPLITS

KEYS = st.lists(st.lists(st.integers(0, 12), max_size=3), min_size=1, max_size=25)
LABELS = st.lists(st.sampled_from(CATEGORIES), max_size=3, unique=True)
GROUPS = st.lists(st.lists(LABELS, min_size=1, max_size=5), min_size=1, max_size=40).map(
    lambda groups: {f"g{number:016x}": videos for number, videos in enumerate(groups)}
)
PARTS = st.tuples(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10)).filter(any)
FRACTIONS = PARTS.map(lambda parts: tuple(part / sum(parts) for part in parts))


def ids(number: int) -> list[str]:
    return [f"{index * 7919 % 100_003:016x}" for index in range(number)]


# --- groups ----------------------------------------------------------------------------------------------------------


@given(KEYS)
def test_groups_are_the_connected_components(keys: list[list[int]]) -> None:
    found = group_ids(keys, ids(len(keys)))
    component = list(range(len(keys)))
    for _ in keys:  # spread the smallest number along every shared key until nothing changes
        for one, other in combinations(range(len(keys)), 2):
            if set(keys[one]) & set(keys[other]):
                component[one] = component[other] = min(component[one], component[other])
    for one, other in combinations(range(len(keys)), 2):
        assert (found[one] == found[other]) == (component[one] == component[other])


@given(KEYS, st.randoms())
def test_group_ids_do_not_depend_on_order(keys: list[list[int]], rng: random.Random) -> None:
    pairs = list(zip(ids(len(keys)), keys, strict=True))
    before = dict(zip((video for video, _ in pairs), group_ids([own for _, own in pairs], [v for v, _ in pairs]), strict=True))
    rng.shuffle(pairs)
    for _, own in pairs:
        rng.shuffle(own)
    after = dict(zip((video for video, _ in pairs), group_ids([own for _, own in pairs], [v for v, _ in pairs]), strict=True))
    assert after == before


def test_a_group_is_named_after_its_smallest_video() -> None:
    assert group_ids([["a"], ["a", "b"], ["b"], []], ["0c", "0b", "0a", "0d"]) == ["g0a", "g0a", "g0a", "g0d"]


def test_ten_thousand_in_a_chain() -> None:
    number = 10_000
    found = group_ids([[index, index + 1] for index in range(number)], ids(number))
    assert len(set(found)) == 1


def test_prompt_ids_are_of_the_text_not_of_its_encoding() -> None:
    assert prompt_id("caf\u00e9") == prompt_id("cafe\u0301") == prompt_id("  caf\u00e9 ")
    assert prompt_id("cafe") != prompt_id("Cafe")
    assert len(prompt_id("x")) == 16


# --- splits ----------------------------------------------------------------------------------------------------------


@given(GROUPS, FRACTIONS, st.integers(0, 5), st.randoms())
@settings(deadline=None)
def test_each_group_once_and_no_order_matters(
    groups: dict[str, list[list[str]]], fractions: tuple[float, ...], seed: int, rng: random.Random
) -> None:
    splits = assign_splits(groups, fractions=fractions, seed=seed)
    assert splits.keys() == groups.keys()
    assert set(splits.values()) <= set(SPLITS)
    shuffled = list(groups.items())
    rng.shuffle(shuffled)
    other = {group: rng.sample([rng.sample(video, len(video)) for video in videos], len(videos)) for group, videos in shuffled}
    assert assign_splits(other, fractions=fractions, seed=seed) == splits


@given(GROUPS, FRACTIONS)
@settings(deadline=None)
def test_a_split_of_share_0_is_empty(groups: dict[str, list[list[str]]], fractions: tuple[float, ...]) -> None:
    used = set(assign_splits(groups, fractions=fractions).values())
    assert used <= {split for split, share in zip(SPLITS, fractions, strict=True) if share > 0}


@given(GROUPS)
@settings(deadline=None)
def test_one_split_of_share_1_gets_all(groups: dict[str, list[list[str]]]) -> None:
    assert set(assign_splits(groups, fractions=(0, 0, 1)).values()) == {"test"}


@given(
    st.lists(st.sampled_from([[], *([name] for name in CATEGORIES), ["terrifying", "political"]]), min_size=30, max_size=200),
    st.integers(0, 3),
)
@settings(deadline=None, max_examples=50)
def test_sizes_are_near_the_fractions(videos: list[list[str]], seed: int) -> None:
    """Groups of one video: each of the six labels (the five and none) can be off by about one video a split."""
    groups = {f"g{number:016x}": [video] for number, video in enumerate(videos)}
    sizes = Counter(assign_splits(groups, seed=seed).values())
    for split, share in zip(SPLITS, DEFAULT_FRACTIONS, strict=True):
        assert abs(sizes[split] - share * len(videos)) <= 7


def test_categories_are_stratified() -> None:
    groups = {f"g{number:016x}": [[CATEGORIES[number % 5]], [CATEGORIES[number % 5]]] for number in range(100)}
    splits = assign_splits(groups, fractions=(0.6, 0.2, 0.2))
    for name in CATEGORIES:
        held = Counter(splits[group] for group, videos in groups.items() if name in videos[0])
        assert held == {"train": 12, "validation": 4, "test": 4}


def test_one_video_goes_to_train_and_one_group_stays_whole() -> None:
    assert assign_splits({"g0": [["political"]]}) == {"g0": "train"}
    assert assign_splits({"g0": [["political"], [], ["terrifying"]] * 50}) == {"g0": "train"}
    assert assign_splits({}) == {}


def test_the_seed_changes_the_splits() -> None:
    groups = {f"g{number:016x}": [["political"]] for number in range(50)}
    assert assign_splits(groups, seed=1) != assign_splits(groups, seed=2)


@pytest.mark.parametrize("fractions", [
    (0.5, 0.5), (1,), (), (0.5, 0.5, 0.5), (-0.1, 0.6, 0.5), (float("nan"), 0.5, 0.5), (float("inf"), 0, 0), (0.25,) * 4,
])  # fmt: skip
def test_bad_fractions(fractions: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="must be three numbers from 0 that add up to 1"):
        assign_splits({"g0": [[]]}, fractions=fractions)
