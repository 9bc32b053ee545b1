"""The simulated votes: each rater answers with his or her skill, given that the majority of valid votes is the planned one.

"Given that" is exact. The number of yes answers of independent raters has a Poisson-binomial law; answers are drawn one
rater after another from the law that is left when the majority is fixed. Drawing all answers again and again until the
majority is right would give the same, and take long where the planned majority is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unsafe_video_dataset.taxonomy import CATEGORIES, NONE

from .plan import Item, Plan
from .raters import Rater

_VALID = (5, 6, 7)  # valid votes a video, as often as 6, 2, 2; six can be a tie, which the rule makes negative
_SHARES = (0.6, 0.2, 0.2)
_SPAM_SHARE = 0.95  # answers of a bad rater for each valid answer of a usual one
_REPEATED, _CONTRADICTORY, _FAILED = 0.004, 0.004, 0.008  # more rows of honest raters that are to be left out, a valid vote
_HASTE = 0.9  # seconds: the slowest hasty answer


@dataclass(frozen=True)
class Vote:
    """One row of the vote file. `planted` is `valid`, or why the row is not to count. `categories` may hold `none`."""

    item: str
    rater: str
    categories: tuple[str, ...]
    seconds: float
    attention_check: bool
    planted: str


def yes_answers(chances: Sequence[float], need: range, rng: np.random.Generator) -> list[bool]:
    """Independent yes/no answers with these chances of yes, given that the number of yes lies in `need`."""
    after = [np.array([1.0])]  # after[-1 - i][k]: chance of k yes among the raters after i
    for chance in reversed(chances):
        after.append(np.convolve(after[-1], [1 - chance, chance]))
    answers: list[bool] = []
    so_far = 0
    for index, chance in enumerate(chances):
        rest = after[len(chances) - 1 - index]
        yes = chance * _mass(rest, need, so_far + 1)
        no = (1 - chance) * _mass(rest, need, so_far)
        answers.append(bool(rng.random() * (yes + no) < yes))
        so_far += answers[-1]
    return answers


def _mass(law: NDArray[np.float64], need: range, so_far: int) -> float:
    return float(law[max(need.start - so_far, 0) : max(need.stop - so_far, 0)].sum())


def make_votes(plan: Plan, raters: Sequence[Rater], rng: np.random.Generator) -> list[Vote]:
    """All rows of the vote file, by item and rater; the rows that are to be left out among them."""
    honest = [rater for rater in raters if rater.honest]
    shown = [one for one in plan.items if one.stage is None]
    load: Counter[str] = Counter()
    votes: list[Vote] = []
    for one in shown:
        number = min(int(rng.choice(_VALID, p=_SHARES)), len(honest))
        chosen = _choose(honest, number, load, rng)
        votes += _valid_votes(one, chosen, rng)
    votes += _left_out(votes, honest, rng)
    unvoted = [one for one in plan.items if one.stage == "votes"]
    votes += _bad_votes([*shown, *unvoted], raters, load, rng)
    votes += _spam(shown, votes, raters, load, rng)
    taken = {(vote.item, vote.rater) for vote in votes}
    for one in unvoted:
        failed = [rater for rater in _choose(honest, 3, load, rng) if (one.item, rater.name) not in taken]
        votes += [
            Vote(one.item, rater.name, _answer(one, rater, rng), _seconds(rng), False, "failed_check") for rater in failed
        ]
    return sorted(votes, key=lambda vote: (vote.item, vote.rater, vote.planted, vote.categories))


def _choose(honest: Sequence[Rater], number: int, load: Counter[str], rng: np.random.Generator) -> list[Rater]:
    """Raters who have answered least so far; ties by draw."""
    keys = rng.random(len(honest)) + np.array([load[rater.name] for rater in honest])
    chosen = [honest[place] for place in np.argsort(keys, kind="stable")[:number]]
    load.update(rater.name for rater in chosen)
    return sorted(chosen, key=lambda rater: rater.name)


def _chance(one: Item, rater: Rater, place: int) -> float:
    return rater.sensitivity[place] if CATEGORIES[place] in one.truth else 1 - rater.specificity[place]


def _valid_votes(one: Item, raters: Sequence[Rater], rng: np.random.Generator) -> list[Vote]:
    """Answers whose majority is `one.label`: more than half say yes to its categories, at most half to the others."""
    number = len(raters)
    given: list[list[str]] = [[] for _ in raters]
    for place, name in enumerate(CATEGORIES):
        need = range(number // 2 + 1, number + 1) if name in (one.label or []) else range(number // 2 + 1)
        chances = [_chance(one, rater, place) for rater in raters]
        for names, yes in zip(given, yes_answers(chances, need, rng), strict=True):
            names += [name] * yes
    return [
        Vote(one.item, rater.name, tuple(names) or (NONE,), _seconds(rng), True, "valid")
        for rater, names in zip(raters, given, strict=True)
    ]


def _answer(one: Item, rater: Rater, rng: np.random.Generator) -> tuple[str, ...]:
    draws = rng.random(len(CATEGORIES))
    named = (name for place, name in enumerate(CATEGORIES) if draws[place] < _chance(one, rater, place))
    return tuple(named) or (NONE,)


def _seconds(rng: np.random.Generator) -> float:
    """An honest answer's time: a median of 12 seconds, never below 5."""
    return round(5.0 + float(np.exp(rng.normal(2.0, 0.6))), 1)


def _left_out(votes: Sequence[Vote], honest: Sequence[Rater], rng: np.random.Generator) -> list[Vote]:
    """Single rows of honest raters that are not to count: sent twice, `none` beside a category, a failed check."""
    more: list[Vote] = []
    numbers = {
        "duplicate": max(1, round(_REPEATED * len(votes))),
        "contradictory": max(1, round(_CONTRADICTORY * len(votes))),
        "failed_check": max(1, round(_FAILED * len(votes))),
    }
    by_item: dict[str, set[str]] = {}
    for vote in votes:
        by_item.setdefault(vote.item, set()).add(vote.rater)
    items = sorted(by_item)
    for planted, number in numbers.items():
        for _ in range(number):
            if planted == "duplicate":
                vote = votes[int(rng.integers(len(votes)))]
                more.append(Vote(vote.item, vote.rater, vote.categories, round(vote.seconds + 3.0, 1), True, planted))
                continue
            item = items[int(rng.integers(len(items)))]
            others = [rater.name for rater in honest if rater.name not in by_item[item]]
            if not others:
                continue
            name = others[int(rng.integers(len(others)))]
            by_item[item].add(name)
            wrong = CATEGORIES[int(rng.integers(len(CATEGORIES)))]
            chosen = (wrong, NONE) if planted == "contradictory" else (wrong,)
            more.append(Vote(item, name, chosen, _seconds(rng), planted != "failed_check", planted))
    return more


def _bad_votes(items: Sequence[Item], raters: Sequence[Rater], load: Counter[str], rng: np.random.Generator) -> list[Vote]:
    """All answers of those who hurry and of those who fail the attention checks."""
    bad = [rater for rater in raters if rater.kind in ("too_fast", "inattentive")]
    usual = float(np.mean(list(load.values())))
    number = min(len(items), max(6, round(_SPAM_SHARE * usual)))
    return [vote for rater in bad for vote in _by_one(items, rater, number, rng)]


def _by_one(items: Sequence[Item], rater: Rater, number: int, rng: np.random.Generator) -> Iterable[Vote]:
    for place in rng.choice(len(items), size=number, replace=False):
        one = items[int(place)]
        hasty = rater.kind == "too_fast"
        seconds = round(float(rng.uniform(0.3, _HASTE)), 1) if hasty else _seconds(rng)
        yield Vote(one.item, rater.name, _answer(one, rater, rng), seconds, hasty, rater.kind)


def _spam(
    shown: Sequence[Item], votes: Sequence[Vote], raters: Sequence[Rater], load: Counter[str], rng: np.random.Generator
) -> list[Vote]:
    """Answers at random, half of all boxes, that pass every check.

    Only a rule on raters can find them, and only where a rater has enough answers. So they are put where the majority is
    the same with and without them, at most one a video: the labels don't depend on whether they are found.
    """
    valid: dict[str, list[Vote]] = {}
    for vote in votes:
        if vote.planted == "valid":
            valid.setdefault(vote.item, []).append(vote)
    free = [shown[place] for place in rng.permutation(len(shown))]
    number = max(6, round(_SPAM_SHARE * float(np.mean(list(load.values())))))
    spam: list[Vote] = []
    for rater in (rater for rater in raters if rater.kind == "spammer"):
        for _ in range(number):
            draws = rng.random(len(CATEGORIES)) < 0.5
            answer = tuple(name for name, yes in zip(CATEGORIES, draws, strict=True) if yes)
            place = next((n for n, one in enumerate(free) if _majority(valid[one.item], answer) == (one.label or [])), None)
            if place is not None:
                one = free.pop(place)
                spam.append(Vote(one.item, rater.name, answer or (NONE,), _seconds(rng), True, "spammer"))
    return spam


def _majority(votes: Sequence[Vote], more: Sequence[str]) -> list[str]:
    given = Counter(name for vote in votes for name in vote.categories) + Counter(more)
    return [name for name in CATEGORIES if 2 * given[name] > len(votes) + 1]
