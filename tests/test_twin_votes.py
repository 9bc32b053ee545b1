"""The twin's raters and votes: the planned majority comes out exactly, skills show in the answers."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest

from unsafe_video_dataset.builders.twin.plan import make_plan
from unsafe_video_dataset.builders.twin.raters import make_raters
from unsafe_video_dataset.builders.twin.votes import Vote, make_votes, yes_answers
from unsafe_video_dataset.taxonomy import NONE
from unsafe_video_dataset.votes import label_votes

PLAN = make_plan(600, seed=2)
RATERS = make_raters(PLAN.counts.raters, np.random.default_rng(0))


@pytest.fixture(scope="module")
def votes() -> list[Vote]:
    return make_votes(PLAN, RATERS, np.random.default_rng(1))


def test_the_majority_of_valid_votes_is_the_planned_label(votes: list[Vote]) -> None:
    by_item = defaultdict(list)
    for vote in votes:
        if vote.planted == "valid":
            names = [name for name in vote.categories if name != NONE]
            by_item[vote.item].append({"rater_id": vote.rater, "categories": names})
    shown = {one.item: one.label for one in PLAN.items if one.stage is None}
    assert {item: label_votes(given).categories for item, given in by_item.items()} == shown
    assert {len(given) for given in by_item.values()} == {5, 6, 7}


def test_videos_without_a_valid_vote_have_only_bad_ones(votes: list[Vote]) -> None:
    items = {one.item for one in PLAN.items if one.stage == "votes"}
    planted = {vote.planted for vote in votes if vote.item in items}
    assert items
    assert "valid" not in planted
    assert {vote.item for vote in votes} >= items
    assert not {one.item for one in PLAN.items if one.stage not in (None, "votes")} & {vote.item for vote in votes}


def test_every_rater_votes_and_bad_raters_have_no_valid_vote(votes: list[Vote]) -> None:
    assert {vote.rater for vote in votes} == {rater.name for rater in RATERS}
    bad = {rater.name: rater.kind for rater in RATERS if not rater.honest}
    for vote in votes:
        if vote.rater in bad:
            assert vote.planted == bad[vote.rater]
    fast = [vote.seconds for vote in votes if vote.planted == "too_fast"]
    assert max(fast) <= 1.0
    assert min(vote.seconds for vote in votes if vote.planted == "valid") > 5.0
    load = Counter(vote.rater for vote in votes if vote.planted == "valid")
    assert max(load.values()) - min(load.values()) <= 2


def test_only_duplicates_come_twice_from_a_rater(votes: list[Vote]) -> None:
    pairs = Counter((vote.item, vote.rater) for vote in votes)
    twice = {(vote.item, vote.rater) for vote in votes if vote.planted == "duplicate"}
    assert {pair for pair, number in pairs.items() if number > 1} == twice
    assert all(NONE in vote.categories and len(vote.categories) == 2 for vote in votes if vote.planted == "contradictory")


def test_same_seed_same_votes() -> None:
    first = make_votes(PLAN, RATERS, np.random.default_rng(5))
    assert first == make_votes(PLAN, RATERS, np.random.default_rng(5))
    assert first != make_votes(PLAN, RATERS, np.random.default_rng(6))


def test_answers_given_a_majority_have_the_law_of_drawing_until_it_comes() -> None:
    """Against the chances worked out by listing all 2^4 answers."""
    chances = [0.9, 0.6, 0.3, 0.2]
    weights = {}
    for code in range(16):
        answer = tuple(bool(code >> place & 1) for place in range(4))
        if sum(answer) >= 3:
            weights[answer] = np.prod([p if yes else 1 - p for p, yes in zip(chances, answer, strict=True)])
    total = sum(weights.values())
    rng = np.random.default_rng(0)
    drawn = Counter(tuple(yes_answers(chances, range(3, 5), rng)) for _ in range(4000))
    assert set(drawn) <= set(weights)
    for answer, weight in weights.items():
        expected = weight / total
        assert abs(drawn[answer] / 4000 - expected) < 4 * np.sqrt(expected * (1 - expected) / 4000) + 1e-9
