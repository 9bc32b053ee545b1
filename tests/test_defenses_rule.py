"""The eta-lambda rule: exact at every lambda, as early as it is certain, never another outcome than the full count."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unsafe_video_dataset.defenses.rule import EtaLambda, decide_all, exact_lambda, replay, votes_needed
from unsafe_video_dataset.errors import FilterError, InputError

SIX_TENTHS: list[Any] = [
    0.6,
    0.1 * 6,
    1 - 0.4,
    0.1 + 0.2 + 0.3,
    3 / 5,
    sum([0.1] * 6),
    float(np.float32(0.6)),
    np.float32(0.6),
    np.float64(0.6),
    "0.6",
    "3/5",
    Fraction(3, 5),
]


@pytest.mark.parametrize("lam", SIX_TENTHS, ids=repr)
def test_six_tenths_of_twenty_is_twelve_however_it_was_computed(lam: Any) -> None:
    assert votes_needed(20, lam) == 12
    assert exact_lambda(lam) == Fraction(3, 5)
    assert EtaLambda(20, lam) == EtaLambda(20, 0.6)


def test_every_percentage_is_exact() -> None:
    for percent, eta in itertools.product(range(1, 101), range(1, 51)):
        whole = -(-eta * percent // 100)
        assert votes_needed(eta, percent / 100) == votes_needed(eta, percent * 0.01) == whole


def test_a_float_that_is_no_simple_fraction_is_taken_as_written() -> None:
    for value in (0.70710678, np.float64(0.70710678)):
        assert exact_lambda(value) == Fraction(70710678, 10**8)


@pytest.mark.parametrize("lam", [0, -0.1, 1.01, 2, math.nan, math.inf, "x", "1/0", None, [0.5]])
def test_a_lambda_out_of_range_is_refused(lam: Any) -> None:
    with pytest.raises(FilterError, match=r"share in \(0, 1\]"):
        EtaLambda(5, lam)


@pytest.mark.parametrize("eta", [0, -1, 2.0, True, "5"])
def test_an_eta_that_is_no_count_is_refused(eta: Any) -> None:
    with pytest.raises(FilterError, match="whole number"):
        EtaLambda(eta, 0.6)


def first_certain(votes: tuple[bool, ...], rule: EtaLambda) -> int:
    """By brute force: the first prefix all of whose completions agree."""
    for seen in range(1, rule.eta + 1):
        rest = itertools.product([False, True], repeat=rule.eta - seen)
        if len({rule.full([*votes[:seen], *tail]) for tail in rest}) == 1:
            return seen
    raise AssertionError


@pytest.mark.parametrize("eta", range(1, 13))
def test_stopping_early_never_changes_the_outcome(eta: int) -> None:
    """All 2^eta vote strings, for each count that a lambda can ask for."""
    votes = np.array(list(itertools.product([False, True], repeat=eta)))
    for needed in range(1, eta + 1):
        rule = EtaLambda(eta, Fraction(needed, eta))
        assert rule.needed == needed
        full = votes.sum(axis=1) >= needed
        unsafe, step, complete = decide_all(votes, rule)
        assert np.array_equal(unsafe, full)
        assert complete.all()
        # as early as can be: one vote earlier, both outcomes could still come
        rows = np.arange(len(votes))
        before = np.where(step > 1, np.cumsum(votes, axis=1)[rows, np.maximum(step - 2, 0)], 0)
        assert (before < needed).all()
        assert (before + eta - (step - 1) >= needed).all()


@pytest.mark.parametrize("eta", range(1, 7))
def test_the_plain_loop_and_the_step_rule_agree_with_the_table(eta: int) -> None:
    for string in itertools.product([False, True], repeat=eta):
        for needed in range(1, eta + 1):
            rule = EtaLambda(eta, Fraction(needed, eta))
            decision = rule.run(string)
            assert (decision.unsafe, decision.step, decision.complete) == (rule.full(string), first_certain(string, rule), True)
            state, outcome, step = rule.start(eta), None, 0
            while outcome is None:
                state, outcome = rule.update(state, vote=string[step], score=0.0)
                step += 1
            assert (outcome, step) == (decision.unsafe, decision.step)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.booleans(), min_size=13, max_size=60), st.fractions(min_value=Fraction(1, 1000), max_value=1), st.data())
def test_above_twelve_steps_too(votes: list[bool], lam: Fraction, data: st.DataObject) -> None:
    eta = data.draw(st.integers(13, len(votes)))
    rule = EtaLambda(eta, lam)
    decision = rule.run(votes)
    assert decision.complete
    assert decision.unsafe == (sum(votes[:eta]) >= eta * lam) == rule.full(votes)
    unsafe, step, complete = decide_all(np.array([votes]), rule)
    assert (bool(unsafe[0]), int(step[0]), bool(complete[0])) == (decision.unsafe, decision.step, True)


def test_missing_votes_count_as_unsafe() -> None:
    rule = EtaLambda(5, 0.6)
    assert rule.run([False, False]) == rule.run([False, True])
    decision = rule.run([False, False])
    assert (decision.unsafe, decision.step, decision.complete) == (True, 2, False)
    assert not rule.run([False, False, False]).unsafe
    assert rule.finish((0, 2))
    assert not rule.finish((0, 3))
    assert decide_all(np.zeros((1, 2), dtype=bool), rule)[0].tolist() == [True]
    with pytest.raises(InputError, match="record more steps"):
        rule.full([True] * 4)
    with pytest.raises(InputError, match="No votes"):
        rule.run([])


def test_too_few_steps_are_refused_before_sampling() -> None:
    rule = EtaLambda(10, 0.6)
    with pytest.raises(InputError, match="every video would be blocked"):
        rule.start(4)
    assert rule.start(5) == (0, 0)  # five negative votes leave five, and six are needed


def test_the_replay_table() -> None:
    votes = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 0, 1, 1], [0, 1, 0, 0]], dtype=bool)
    labels = np.array([True, False, True, False])
    table = {(cell.eta, cell.lam): cell for cell in replay(votes, labels, etas=[1, 2, 3, 6], lams=[0.5, 1])}
    assert list(table) == [(eta, lam) for eta in (1, 2, 3, 6) for lam in ("1/2", "1")]
    one = table[1, "1/2"]
    assert (one.accuracy, one.tpr, one.tnr, one.mean_step, one.incomplete) == (1.0, 1.0, 1.0, 1.0, 0)
    two = table[2, "1/2"]  # one vote of two: rows 0, 2 (step 1) and 3 (step 2) are called unsafe, row 1 safe at step 2
    assert (two.needed, two.tpr, two.tnr, two.balanced_accuracy) == (1, 1.0, 0.5, 0.75)
    assert (two.mean_step, two.mean_step_blocked, two.mean_step_allowed) == (1.5, pytest.approx(4 / 3), 2.0)
    both = table[2, "1"]  # both votes: row 2 is lost
    assert (both.tpr, both.tnr) == (0.5, 1.0)
    assert table[6, "1/2"].incomplete == 2  # of 4 votes stored; row 1 has four negative ones, row 2 three positive ones
    assert one.to_dict()["lam"] == "1/2"
    for cell in table.values():
        rule = EtaLambda(cell.eta, cell.lam)
        runs = [rule.run(row) for row in votes.tolist()]
        assert cell.accuracy == np.mean([run.unsafe == label for run, label in zip(runs, labels, strict=True)])
        assert cell.mean_step == np.mean([run.step for run in runs])


def test_a_replay_of_one_class_has_no_rate_for_the_other() -> None:
    (cell,) = replay(np.ones((3, 2), dtype=bool), np.ones(3, dtype=bool), etas=[2], lams=[0.6])
    assert (cell.tpr, cell.tnr, cell.balanced_accuracy, cell.mean_step_allowed) == (1.0, None, None, None)


@pytest.mark.parametrize(
    ("votes", "labels"),
    [
        (np.ones((2, 3)), np.ones(2, dtype=bool)),
        (np.ones((2, 3), dtype=bool), np.ones(3, dtype=bool)),
        (np.ones((0, 3), dtype=bool), np.ones(0, dtype=bool)),
        (np.ones(3, dtype=bool), np.ones(3, dtype=bool)),
    ],
)
def test_a_replay_of_anything_else_is_refused(votes: Any, labels: Any) -> None:
    with pytest.raises(InputError, match=r"bool \[N, steps\]"):
        replay(votes, labels, etas=[1], lams=[0.5])


def test_a_replay_of_some_steps_names_them() -> None:
    votes = np.array([[True, True, True], [False, True, False]])
    (cell,) = replay(votes, np.array([True, False]), etas=[2], lams=[1], steps=[1, 5, 10])
    assert (cell.mean_step_blocked, cell.mean_step_allowed) == (5, 1)
