"""The twin's plan: exact counts at the paper's scale, in proportion at others; nothing is drawn here."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from unsafe_video_dataset.builders.twin.counts import MIN_VIDEOS, PLANTS, apportion, counts_for
from unsafe_video_dataset.builders.twin.labels import label_sets
from unsafe_video_dataset.builders.twin.plan import Plan, make_plan
from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.taxonomy import PAPER_COUNTS


@pytest.fixture(scope="module")
def paper() -> Plan:
    return make_plan(5607)


def test_the_paper_s_numbers_are_exact(paper: Plan) -> None:
    kept = [one for one in paper.items if one.stage is None]
    assert len(paper.items) == 5607
    assert len(kept) == 2112
    assert sum(bool(one.label) for one in kept) == 937
    assert Counter(name for one in kept for name in one.label or []) == PAPER_COUNTS
    assert sum(paper.counts.raters.values()) == 403


def test_every_plant_of_the_table_is_there_and_they_add_up(paper: Plan) -> None:
    found = Counter((one.stage, one.kind) for one in paper.items if one.stage)
    assert found == {(stage, kind): number for stage, kinds in PLANTS.items() for kind, number in kinds.items()}
    assert sum(found.values()) + 2112 == 5607
    wrong = [one for one in paper.items if one.label is not None and one.label != one.truth]
    assert len(wrong) == paper.counts.wrong_majority == 84
    assert all(len(set(one.label or []) ^ set(one.truth)) == 1 for one in wrong)


def test_six_sources_of_three_generators(paper: Plan) -> None:
    assert len({one.source for one in paper.items}) == 6
    by_generator = Counter(one.generator for one in paper.items)
    assert by_generator == {"animatediff": 1869, "magictime": 1869, "videocrafter": 1869}
    assert len({one.item for one in paper.items}) == 5607


def test_a_copy_comes_after_its_original_and_shows_the_same(paper: Plan) -> None:
    by_name = {one.item: one for one in paper.items}
    copies = [one for one in paper.items if one.copy_of]
    assert len(copies) == sum(PLANTS["dedup"].values())
    for one in copies:
        original = by_name[one.copy_of or ""]
        assert original.original
        assert original.item < one.item
        assert (one.scene, one.truth) == (original.scene, original.truth)
        assert original.kind not in ("soft", "slow", "dim")
    elsewhere = sum(by_name[one.copy_of or ""].prompt != one.prompt for one in copies)
    assert elsewhere == 160


def test_prompts_and_copies_make_no_giant_group(paper: Plan) -> None:
    by_name = {one.item: one for one in paper.items}
    parent = list(range(paper.items[-1].prompt + 2000))

    def find(one: int) -> int:
        while parent[one] != one:
            one = parent[one]
        return one

    for one in paper.items:
        if one.copy_of:
            parent[find(one.prompt)] = find(by_name[one.copy_of].prompt)
    sizes = Counter(find(one.prompt) for one in paper.items if one.stage is None)
    assert max(sizes.values()) < 0.01 * 2112


def test_the_same_seed_gives_the_same_plan_and_another_one_another() -> None:
    assert make_plan(120, seed=3) == make_plan(120, seed=3)
    assert make_plan(120, seed=3).items != make_plan(120, seed=4).items
    assert make_plan(120, seed=3).counts == make_plan(120, seed=4).counts


@pytest.mark.parametrize("videos", [MIN_VIDEOS, 61, 62, 101, 333, 1000, 20_000])
def test_other_scales_keep_proportions_and_every_plant(videos: int) -> None:
    counts = counts_for(videos)
    dropped = sum(number for kinds in counts.plants.values() for number in kinds.values())
    assert counts.reviewed + dropped == videos
    assert all(number >= 1 for kinds in counts.plants.values() for number in kinds.values())
    assert all(2 <= number <= counts.unsafe for number in counts.categories.values())
    assert abs(counts.reviewed - videos * 2112 / 5607) <= 0.5
    found: dict[str | None, Counter[str]] = defaultdict(Counter)
    plan = make_plan(videos, seed=1)
    for one in plan.items:
        found[one.stage][one.kind] += 1
    assert {stage: dict(found[stage]) for stage in counts.plants} == counts.plants
    kept = [one.label or [] for one in plan.items if one.stage is None]
    assert len(kept) == counts.reviewed
    assert sum(map(bool, kept)) == counts.unsafe
    assert Counter(name for names in kept for name in names) == counts.categories


@pytest.mark.parametrize("videos", [0, 5, MIN_VIDEOS - 1, 10**9])
def test_a_number_that_is_too_small_or_too_large_is_refused(videos: int) -> None:
    with pytest.raises(InputError, match=f"--scale paper, or a number from {MIN_VIDEOS}"):
        make_plan(videos)


def test_apportion_gives_each_at_least_one_and_the_total() -> None:
    assert apportion({"a": 10, "b": 10}, 20) == {"a": 10, "b": 10}
    assert apportion({"a": 1000, "b": 1, "c": 1}, 5) == {"a": 3, "b": 1, "c": 1}


def test_label_sets_vary_in_size_and_refuse_what_can_t_be() -> None:
    sets = label_sets(PAPER_COUNTS, 937, np.random.default_rng(0))
    assert min(map(len, sets)) == 1
    assert max(map(len, sets)) >= 4
    for counts in ({**PAPER_COUNTS, "political": 938}, dict.fromkeys(PAPER_COUNTS, 3)):
        with pytest.raises(ValueError, match="can't cover"):
            label_sets(counts, 937, np.random.default_rng(0))
