"""Dawid-Skene: against the published table, against crowd-kit, and what must hold of any EM."""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unsafe_video_dataset.dawid_skene import DawidSkene, by_category, dawid_skene
from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.taxonomy import CATEGORIES

TABLE = Path(__file__).with_name("anesthetists.txt")


def anesthetists() -> tuple[list[str], list[str], list[int]]:
    rows = [line.split() for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    flat = [
        (row[0], str(observer), int(digit) - 1) for row in rows for observer, cell in enumerate(row[1:], 1) for digit in cell
    ]
    return [one[0] for one in flat], [one[1] for one in flat], [one[2] for one in flat]


def simulated(units: int, raters: int, prevalence: float, seed: int) -> tuple[list[str], list[str], list[int], list[bool]]:
    rng = np.random.default_rng(seed)
    truth = rng.random(units) < prevalence
    sensitivity, specificity = rng.beta(8, 2, raters), rng.beta(30, 2, raters)
    rows = [
        (f"v{unit:04d}", f"r{rater:03d}", int(rng.random() < (sensitivity[rater] if truth[unit] else 1 - specificity[rater])))
        for unit in range(units)
        for rater in rng.choice(raters, min(6, raters), replace=False)
    ]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows], truth.tolist()


@pytest.mark.filterwarnings("ignore")
def test_the_published_table() -> None:
    """The data are the paper's. The figures are those of the maximum, on which crowd-kit agrees."""
    units, raters, answers = anesthetists()
    assert (len(units), len(set(units)), len(set(raters))) == (315, 45, 5)
    fit = dawid_skene(units, raters, answers, num_classes=4)
    assert fit.converged
    assert fit.prevalence.round(2).tolist() == [0.40, 0.42, 0.11, 0.07]
    first = fit.confusion[fit.raters.index("1")]
    assert first.round(2).tolist() == [[0.89, 0.11, 0, 0], [0.07, 0.88, 0.05, 0], [0, 0.34, 0.66, 0], [0, 0, 0.56, 0.44]]
    best = {unit: int(row.argmax()) + 1 for unit, row in zip(fit.units, fit.posterior, strict=True)}
    assert {unit for unit, one in best.items() if one == 4} == {"2", "11", "36"}
    assert {unit for unit, one in best.items() if one == 3} == {"8", "12", "32", "38", "39"}
    unsure = {unit: row.max() for unit, row in zip(fit.units, fit.posterior, strict=True) if row.max() < 0.99}
    assert unsure == pytest.approx({"7": 0.981, "35": 0.948, "38": 0.979}, abs=5e-4)
    oracle = crowdkit_fit(units, raters, answers)
    assert np.abs(oracle.probas_.loc[list(fit.units), list(range(4))].to_numpy() - fit.posterior).max() < 1e-5


def crowdkit_fit(units: list[str], raters: list[str], answers: list[int]) -> Any:
    pandas = pytest.importorskip("pandas")
    crowdkit = pytest.importorskip("crowdkit.aggregation")
    frame = pandas.DataFrame({"task": units, "worker": raters, "label": answers})
    # A negative tolerance: it would stop at the first dip of its bound, long before it stands still.
    return crowdkit.DawidSkene(n_iter=120, tol=-1e9).fit(frame)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("prevalence", "seed"), [(0.3, 0)])
def test_crowdkit_run_long_enough_agrees(prevalence: float, seed: int) -> None:
    units, raters, answers, _ = simulated(150, 12, prevalence, seed)
    oracle = crowdkit_fit(units, raters, answers)
    fit = dawid_skene(units, raters, answers, tolerance=1e-9)
    assert fit.converged
    assert np.abs(oracle.probas_.loc[list(fit.units), [0, 1]].to_numpy() - fit.posterior).max() < 1e-5
    assert np.abs(oracle.priors_[[0, 1]].to_numpy() - fit.prevalence).max() < 1e-5
    for number, rater in enumerate(fit.raters):
        # crowd-kit: rows are answers, columns true classes
        assert np.abs(oracle.errors_.loc[rater].loc[[0, 1], [0, 1]].to_numpy().T - fit.confusion[number]).max() < 1e-5


def bits(fit: DawidSkene) -> tuple[Any, ...]:
    arrays = (fit.posterior, fit.confusion, fit.prevalence)
    return (fit.units, fit.raters, fit.log_likelihood, fit.iterations, fit.converged, *(one.tobytes() for one in arrays))


rows = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=40)


@given(rows, st.sampled_from([0.0, 0.3, 1.0]), st.randoms())
@settings(max_examples=60, deadline=None)
def test_the_order_of_the_answers_changes_no_bit(table: list[tuple[int, int, int]], smoothing: float, shuffle: Any) -> None:
    def fit() -> DawidSkene:
        units, raters = [f"v{row[0]}" for row in table], [f"r{row[1]}" for row in table]
        return dawid_skene(units, raters, [row[2] for row in table], num_classes=3, smoothing=smoothing, max_iterations=200)

    before = fit()
    shuffle.shuffle(table)
    assert bits(fit()) == bits(before)
    assert np.allclose(before.posterior.sum(axis=1), 1)
    assert before.prevalence.sum() == pytest.approx(1)
    known = before.confusion[~np.isnan(before.confusion).any(axis=2)]
    assert np.allclose(known.sum(axis=1), 1)


@given(rows)
@settings(max_examples=40, deadline=None)
def test_the_likelihood_never_falls(table: list[tuple[int, int, int]]) -> None:
    units, raters, answers = [f"v{row[0]}" for row in table], [f"r{row[1]}" for row in table], [row[2] for row in table]
    found = [dawid_skene(units, raters, answers, num_classes=3, max_iterations=n).log_likelihood for n in (1, 2, 3, 5, 9, 30)]
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(found))


def test_one_rater_is_believed_and_one_video_is_enough() -> None:
    fit = dawid_skene(["a", "b", "c"], ["r"] * 3, [1, 0, 0])
    assert fit.posterior[:, 1].tolist() == [1, 0, 0]
    assert (fit.sensitivity.tolist(), fit.specificity.tolist()) == ([1], [1])
    assert fit.converged
    alone = dawid_skene(["a"], ["r"], [True])
    assert (alone.posterior.tolist(), alone.prevalence.tolist()) == ([[0, 1]], [0, 1])
    assert math.isnan(alone.specificity[0])  # the rater saw no negative
    assert alone.sensitivity[0] == 1


def test_a_perfect_tie_stays_one() -> None:
    fit = dawid_skene(["a", "a"], ["r1", "r2"], [0, 1])
    assert fit.posterior.tolist() == [[0.5, 0.5]]
    assert fit.converged


@pytest.mark.parametrize("smoothing", [0, 1])
def test_a_class_that_nobody_answers_is_not_there(smoothing: float) -> None:
    fit = dawid_skene(["a", "a", "b"], ["r1", "r2", "r1"], [0, 0, 0], smoothing=smoothing)
    assert (fit.converged, fit.posterior[:, 1].tolist(), fit.prevalence.tolist()) == (True, [0, 0], [1, 0])
    assert np.isnan(fit.sensitivity).all()


def test_raters_are_told_apart_where_the_majority_can_not() -> None:
    """Two good raters against three who guess: the posterior follows the good ones."""
    rng = np.random.default_rng(3)
    truth = rng.random(300) < 0.5
    accuracy = {"good1": 0.97, "good2": 0.95, "bad1": 0.55, "bad2": 0.5, "bad3": 0.52}
    table = [
        (f"v{n:03d}", rater, int(truth[n] if rng.random() < share else not truth[n]))
        for n in range(300)
        for rater, share in accuracy.items()
    ]
    fit = dawid_skene([row[0] for row in table], [row[1] for row in table], [row[2] for row in table])
    majority = np.array([sum(row[2] for row in table[5 * n : 5 * n + 5]) > 2 for n in range(300)])
    assert (fit.posterior[:, 1] > 0.5).tolist() != majority.tolist()
    assert ((fit.posterior[:, 1] > 0.5) == truth).mean() > 0.93 > (majority == truth).mean()
    for number, rater in enumerate(fit.raters):
        found = (fit.sensitivity[number] + fit.specificity[number]) / 2
        assert found == pytest.approx(accuracy[rater], abs=0.08)


def test_smoothing_saves_rare_classes() -> None:
    """Why `by_category` smooths: with two positives in a hundred maximum likelihood does worse than the majority."""
    units, raters, answers, truth = simulated(1500, 250, 0.02, 1)
    counts: dict[str, list[int]] = {}
    for unit, answer in zip(units, answers, strict=True):
        counts.setdefault(unit, []).append(answer)
    majority = np.mean([(2 * sum(one) > len(one)) == true for one, true in zip(counts.values(), truth, strict=True)])
    accuracy = {s: ((dawid_skene(units, raters, answers, smoothing=s).posterior[:, 1] > 0.5) == truth).mean() for s in (0, 1)}
    assert accuracy[0] < majority <= accuracy[1]


def test_an_early_stop_is_reported() -> None:
    units, raters, answers, _ = simulated(100, 12, 0.3, 0)
    fit = dawid_skene(units, raters, answers, max_iterations=2)
    assert (fit.converged, fit.iterations) == (False, 2)
    assert dawid_skene(units, raters, answers).converged


def test_by_category_fits_each_as_a_question_of_its_own() -> None:
    rng = random.Random(0)
    votes = {
        f"{video:016x}": [
            {"rater_id": f"r{rater}", "categories": [name for name in CATEGORIES if rng.random() < 0.3]} for rater in range(4)
        ]
        for video in range(30)
    }
    fits = by_category(votes)
    assert list(fits) == list(CATEGORIES)
    for name in CATEGORIES:
        table = [(video, vote["rater_id"], name in vote["categories"]) for video, given_ in votes.items() for vote in given_]
        alone = dawid_skene([t[0] for t in table], [t[1] for t in table], [t[2] for t in table], smoothing=1)
        assert bits(alone) == bits(fits[name])
    assert by_category({}) == {}


@pytest.mark.parametrize(("changes", "message"), [
    ({"answers": [0, 2]}, "from 0 to 1"), ({"answers": [0, -1]}, "from 0 to 1"), ({"answers": [0.0, 1.0]}, "whole numbers"),
    ({"answers": [0]}, "one row an answer"), ({"units": [], "raters": [], "answers": []}, "no answer"),
    ({"smoothing": -1}, "smoothing"), ({"smoothing": math.nan}, "smoothing"), ({"tolerance": 0}, "tolerance"),
    ({"max_iterations": 0}, "max_iterations"), ({"num_classes": 1}, "num_classes"),
])  # fmt: skip
def test_what_is_refused(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"units": ["a", "b"], "raters": ["r", "r"], "answers": [0, 1], **changes}
    with pytest.raises(InputError, match=message):
        dawid_skene(arguments.pop("units"), arguments.pop("raters"), arguments.pop("answers"), **arguments)
