"""Quality control: each rule by hand, the order of the rules, and that every answer comes out once."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from math import comb
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unsafe_video_dataset.builders.raters.answers import NO_CHOICE, SKIPPED, Answer
from unsafe_video_dataset.builders.raters.control import REASONS, Controlled, Rules, control, lower_tail
from unsafe_video_dataset.taxonomy import CATEGORIES


def answer(video: str = "v", rater: str = "r", categories: list[str] | None = None, **changes: Any) -> Answer:
    return replace(Answer(2, video, rater, categories or [], None, None), **changes)


def out(controlled: Controlled) -> list[tuple[str, str, str]]:
    return [(one.video, one.rater_id, reason) for one, reason in controlled.left_out]


def test_by_default_honest_answers_stay() -> None:
    answers = [answer(f"v{v}", f"r{r}", ["political"] if v else [], seconds=4.0) for v in range(3) for r in range(3)]
    found = control(answers, Rules())
    assert len(found.kept) == 9
    assert found.counts() == {}
    assert [(record.rater_id, record.answers, record.kept, record.reason) for record in found.raters] == [
        (f"r{r}", 3, 3, "") for r in range(3)
    ]


@pytest.mark.parametrize(("one", "rules", "reason"), [
    (answer(excluded=SKIPPED), Rules(), SKIPPED),
    (answer(excluded=NO_CHOICE), Rules(), NO_CHOICE),
    (answer(excluded=NO_CHOICE), Rules(empty="none"), ""),
    (answer(categories=["political", "none"]), Rules(), "contradiction"),
    (answer(attention_check=False), Rules(), "attention_check"),
    (answer(attention_check=False), Rules(failed_checks="keep"), ""),
    (answer(attention_check=False), Rules(failed_checks="rater"), "rater_attention"),
    (answer(attention_check=False), Rules(failed_checks="rater", max_failed_checks=1), ""),
    (answer(seconds=0.99), Rules(), "too_fast"),
    (answer(seconds=1.0), Rules(), ""),
    (answer(seconds=0.0), Rules(min_seconds=0), ""),
    (answer(), Rules(min_answers=2), "rater_few_answers"),
    (answer(), Rules(same_answer=1), "rater_same_answer"),
    (answer(categories=["political", "none"], seconds=0.1, attention_check=False), Rules(), "contradiction"),
    (answer(seconds=0.1, attention_check=False), Rules(), "attention_check"),
])  # fmt: skip
def test_each_rule(one: Answer, rules: Rules, reason: str) -> None:
    found = control([one], rules)
    assert [why for _, why in found.left_out] == ([reason] if reason else [])
    assert len(found.kept) + len(found.left_out) == 1


@pytest.mark.parametrize(("believed", "categories"), [("none", []), ("categories", ["political"])])
def test_a_contradiction_may_be_settled(believed: Any, categories: list[str]) -> None:
    (kept,) = control([answer(categories=["political", "none"])], Rules(contradictions=believed)).kept
    assert kept.categories == categories


@pytest.mark.parametrize(("times", "rule", "kept"), [
    ((1, 2), "leave_out", None), ((1, 2), "first", ["political"]), ((1, 2), "last", []),
    ((2, 1), "first", []), ((1, 1), "first", None), ((1, None), "last", None), ((None, None), "first", None),
])  # fmt: skip
def test_a_video_answered_twice(times: tuple[int | None, int | None], rule: Any, kept: list[str] | None) -> None:
    first, second = answer(categories=["political"], submitted=times[0], line=2), answer(submitted=times[1], line=3)
    for answers in ([first, second], [second, first]):
        found = control(answers, Rules(duplicates=rule))
        assert [one.categories for one in found.kept] == ([] if kept is None else [kept])
        assert found.counts() == {"duplicate_differs": 2 - len(found.kept)}


def test_the_same_answer_twice_is_one_vote() -> None:
    found = control([answer(seconds=9.0, line=3), answer(seconds=4.0, line=2), answer(rater="other")], Rules())
    assert [(one.rater_id, one.line) for one in found.kept] == [("other", 2), ("r", 2)]
    assert found.counts() == {"duplicate_same": 1}


def test_a_repeated_answer_that_failed_its_check_leaves_the_other() -> None:
    found = control([answer(attention_check=False), answer(categories=["political"], attention_check=True)], Rules())
    assert [one.categories for one in found.kept] == [["political"]]
    assert found.counts() == {"attention_check": 1}


def test_floors_of_raters_look_at_what_is_left_of_them() -> None:
    answers = [answer(f"v{n}", "fast", seconds=0.1 if n else 5.0) for n in range(3)]
    answers += [answer(f"v{n}", "same") for n in range(3)] + [answer(f"v{n}", "mixed", ["political"][:n]) for n in range(3)]
    found = control(answers, Rules(min_answers=2, same_answer=3))
    assert {one.rater_id for one in found.kept} == {"mixed"}
    assert found.counts() == {"too_fast": 2, "rater_few_answers": 1, "rater_same_answer": 3}
    assert {record.rater_id: record.reason for record in found.raters} == {
        "fast": "rater_few_answers", "same": "rater_same_answer", "mixed": "",
    }  # fmt: skip


def crowd(videos: int = 40) -> list[Answer]:
    """Four raters who agree, a contrarian, and one who guesses among all sets."""
    rng = random.Random(0)
    answers = []
    for number in range(videos):
        truth = ["political"] if number % 2 else ["terrifying"]
        answers += [answer(f"v{number}", f"good{rater}", truth) for rater in range(4)]
        answers.append(answer(f"v{number}", "contrary", [] if number % 2 else ["violent_bloody"]))
        answers.append(answer(f"v{number}", "guess", [name for name in CATEGORIES if rng.random() < 0.5]))
    return answers


def test_raters_who_do_not_agree_with_the_others() -> None:
    found = control(crowd(), Rules(min_agreement=0.5))
    assert {record.rater_id for record in found.raters if record.reason == "rater_agreement"} == {"contrary", "guess"}
    assert found.counts() == {"rater_agreement": 80}
    good = next(record for record in found.raters if record.rater_id == "good0")
    assert (good.compared, good.agreed, good.kept) == (40, 40, 40)


def test_few_answers_do_not_condemn_anybody() -> None:
    """Three answers of three against the others: too few to say that the rate is below one half at the level 0.01."""
    assert control(crowd(3), Rules(min_agreement=0.5)).counts() == {}
    assert lower_tail(0, 3, 0.5) == pytest.approx(0.125)


def test_agreement_needs_two_others() -> None:
    answers = [answer("v", "a", ["political"]), answer("v", "b")]
    found = control(answers, Rules(min_agreement=0.9, agreement_level=0.5))
    assert [(record.compared, record.reason) for record in found.raters] == [(0, ""), (0, "")]


@pytest.mark.parametrize(("k", "n", "p"), [(0, 1, 0.3), (3, 10, 0.5), (10, 10, 0.2), (2, 30, 0.9)])
def test_the_binomial_tail(k: int, n: int, p: float) -> None:
    assert lower_tail(k, n, p) == pytest.approx(sum(comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1)))


def test_a_long_tail_does_not_overflow() -> None:
    assert lower_tail(100_000, 200_000, 0.5) == pytest.approx(0.5, abs=1e-2)
    assert lower_tail(0, 200_000, 0.5) == 0


any_answer = st.builds(
    Answer,
    line=st.integers(2, 5),
    video=st.sampled_from(["v1", "v2", "v3"]),
    rater_id=st.sampled_from(["a", "b", "c d", "ü"]),
    categories=st.sampled_from([[], ["political"], ["terrifying", "political"], ["political", "none"]]),
    seconds=st.sampled_from([None, 0.5, 3.0]),
    attention_check=st.sampled_from([None, True, False]),
    submitted=st.sampled_from([None, 1, 2]),
    excluded=st.sampled_from(["", "", "", NO_CHOICE, SKIPPED]),
    file=st.sampled_from(["one.csv", "two.csv"]),
)
any_rules = st.builds(
    Rules,
    empty=st.sampled_from(["leave_out", "none"]),
    contradictions=st.sampled_from(["leave_out", "none", "categories"]),
    failed_checks=st.sampled_from(["answer", "rater", "keep"]),
    duplicates=st.sampled_from(["leave_out", "first", "last"]),
    min_answers=st.integers(0, 3),
    same_answer=st.integers(0, 3),
    min_agreement=st.sampled_from([0.0, 0.5, 0.9]),
    agreement_level=st.sampled_from([0.05, 0.6]),
)


@given(st.lists(any_answer, max_size=25), any_rules, st.randoms())
@settings(max_examples=200, deadline=None)
def test_nothing_is_lost_and_the_order_means_nothing(answers: list[Answer], rules: Rules, shuffle: random.Random) -> None:
    before = [replace(one) for one in answers]
    found = control(answers, rules)
    assert len(found.kept) + len(found.left_out) == len(answers)
    assert sum(found.counts().values()) == len(found.left_out)
    assert {reason for _, reason in found.left_out} <= set(REASONS)
    assert sum(record.answers for record in found.raters) == len(answers)
    assert sum(record.kept for record in found.raters) == len(found.kept)
    assert max(Counter((one.video, one.rater_id) for one in found.kept).values(), default=1) == 1
    assert all("none" not in one.categories for one in found.kept)
    assert answers == before
    shuffle.shuffle(answers)
    again = control(answers, rules)
    assert (again.kept, again.left_out, again.raters) == (found.kept, found.left_out, found.raters)


@pytest.mark.parametrize(("rules", "field"), [
    (Rules(min_seconds=-1), "min_seconds"), (Rules(min_seconds=float("nan")), "min_seconds"),
    (Rules(min_agreement=1.0), "min_agreement"), (Rules(agreement_level=0.0), "agreement_level"),
    (Rules(same_answer=-1), "same_answer"),
])  # fmt: skip
def test_rules_that_can_not_be(rules: Rules, field: str) -> None:
    assert [name for name, _ in rules.problems()] == [field]
