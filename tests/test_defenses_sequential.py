"""The sequential test against Wald's bounds, in seeded simulations, and the evidence that it adds up."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from unsafe_video_dataset.defenses.base import GenerationInfo
from unsafe_video_dataset.defenses.evidence import Evidence, Trail, fit_evidence
from unsafe_video_dataset.defenses.lvd import LatentVariableDefense
from unsafe_video_dataset.defenses.rule import EtaLambda, StepRule
from unsafe_video_dataset.defenses.sequential import SequentialTest
from unsafe_video_dataset.errors import FilterError, InputError

N = 20_000


def independent(steps: int, gap: float) -> Evidence:
    """Unit normals whose means differ by `gap` at each step."""
    return Evidence((0.0,) * steps, (gap,) * steps, tuple(map(tuple, np.eye(steps))), "identity")


def correlated(steps: int, gap: float, rho: float) -> Evidence:
    apart = np.abs(np.subtract.outer(np.arange(steps), np.arange(steps)))
    factor = np.linalg.cholesky(rho**apart)
    return Evidence((0.0,) * steps, (gap,) * steps, tuple(map(tuple, factor)), "identity")


def margin(rate: float) -> float:
    """Four standard errors of a simulated rate."""
    return 4 * math.sqrt(max(rate, 1 / N) / N)


@pytest.mark.parametrize(("alpha", "beta"), [(0.05, 0.05), (0.01, 0.1), (0.2, 0.02)])
@pytest.mark.parametrize("evidence", [independent(60, 0.7), correlated(60, 1.0, 0.5)], ids=["independent", "correlated"])
def test_error_rates_stay_within_walds_bounds(evidence: Evidence, alpha: float, beta: float) -> None:
    test = SequentialTest(evidence, alpha=alpha, beta=beta)
    false_blocks, misses = test.bounds
    rates = test.rates(count=N, seed=1)
    assert rates.false_blocks <= false_blocks + margin(false_blocks)
    assert rates.misses <= misses + margin(misses)
    assert rates.false_blocks + rates.misses <= alpha + beta + margin(alpha + beta)
    assert rates.false_blocks > 0.2 * alpha  # it does use the room: a test that never blocks would pass the bounds


def test_the_mean_number_of_steps_is_walds() -> None:
    """E[steps] is near ((1 - beta) A + beta B) / E[ratio of a step] where a step's ratio is small beside the limits."""
    gap, alpha, beta = 0.3, 0.05, 0.05
    test = SequentialTest(independent(300, gap), alpha=alpha, beta=beta)
    low, high = test.limits
    per_step = gap**2 / 2
    rates = test.rates(count=4000, seed=2)
    unsafe = ((1 - beta) * high + beta * low) / per_step
    safe = -(alpha * high + (1 - alpha) * low) / per_step
    assert unsafe <= rates.mean_steps_unsafe <= unsafe * 1.2  # the overshoot makes it a little longer, never shorter
    assert safe <= rates.mean_steps_safe <= safe * 1.2
    fixed = ((1.6449 + 1.6449) / gap) ** 2  # the fixed number of steps with the same error rates
    assert rates.mean_steps_unsafe < 0.7 * fixed


def test_correlation_that_is_not_modelled_breaks_the_bounds() -> None:
    """Why `Evidence` has a covariance: sums of ratios that take steps for independent are too sure."""
    truth = correlated(60, 0.5, 0.9)
    naive = SequentialTest(independent(60, 0.5), alpha=0.05, beta=0.05)
    modelled = SequentialTest(truth, alpha=0.05, beta=0.05)
    safe = truth.draw(N, unsafe=False, seed=3)
    assert naive.decide_all(safe)[0].mean() > 3 * 0.05
    low, high = modelled.limits
    sums = modelled.evidence.llrs(safe)
    crossed = (sums >= high) & ~(np.cumsum(sums <= low, axis=1) > 0)
    assert crossed.any(axis=1).mean() <= modelled.bounds[0] + margin(0.05)


def test_the_cut_is_paid_in_errors_and_stated() -> None:
    evidence = independent(100, 0.5)
    long, short = (SequentialTest(evidence, truncate=cut).rates(count=N) for cut in (100, 8))
    assert short.misses > long.misses
    assert short.mean_steps_unsafe <= 8
    _, step, complete = SequentialTest(evidence, truncate=8).decide_all(evidence.draw(500, unsafe=True, seed=5))
    assert complete.all()
    assert step.max() == 8


def test_one_at_a_time_is_the_same_as_all_at_once() -> None:
    evidence = correlated(12, 0.8, 0.6)
    test: StepRule = SequentialTest(evidence, alpha=0.02, beta=0.1, truncate=9)
    assert isinstance(test, SequentialTest)
    scores = evidence.draw(200, unsafe=True, seed=4)
    unsafe, step, complete = test.decide_all(scores)
    for row, one_unsafe, one_step in zip(scores, unsafe, step, strict=True):
        decision = test.run(row.tolist())
        assert (decision.unsafe, decision.step, decision.complete) == (one_unsafe, one_step, True)
        state, outcome, seen = test.start(12), None, 0
        while outcome is None:
            state, outcome = test.update(state, vote=False, score=float(row[seen]))
            seen += 1
        assert (outcome, seen) == (one_unsafe, one_step)
    assert complete.all()
    assert isinstance(EtaLambda(3), EtaLambda)  # both are StepRules


def test_the_summed_ratio_is_the_joint_densities_ratio() -> None:
    from scipy.stats import multivariate_normal

    evidence = correlated(5, 0.8, 0.6)
    scores = evidence.draw(20, unsafe=True, seed=6)
    factor = np.asarray(evidence.factor)
    covariance = factor @ factor.T
    for steps in (1, 3, 5):
        part = scores[:, :steps]
        unsafe = multivariate_normal(np.asarray(evidence.unsafe)[:steps], covariance[:steps, :steps]).logpdf(part)
        safe = multivariate_normal(np.asarray(evidence.safe)[:steps], covariance[:steps, :steps]).logpdf(part)
        assert evidence.llrs(part)[:, -1] == pytest.approx(unsafe - safe)
    trail = Trail()
    for score in scores[0]:
        trail = evidence.add(trail, float(score))
    assert trail.llr == pytest.approx(evidence.llrs(scores[:1])[0, -1])


def test_fitting_finds_the_model_that_drew_the_scores() -> None:
    truth = correlated(4, 1.5, 0.7)
    scores = np.concatenate([truth.draw(4000, unsafe=False, seed=7), truth.draw(4000, unsafe=True, seed=8)])
    labels = np.repeat([False, True], 4000)
    found = fit_evidence(scores, labels, link="identity", shrinkage=0.0)
    assert found.unsafe == pytest.approx(truth.unsafe, abs=0.08)
    assert np.asarray(found.factor) == pytest.approx(np.asarray(truth.factor), abs=0.08)
    order = np.random.Generator(np.random.Philox(1)).permutation(len(scores))
    shuffled = fit_evidence(scores[order], labels[order], link="identity", shrinkage=0.0)
    assert np.asarray(shuffled.factor) == pytest.approx(np.asarray(found.factor), abs=1e-9)
    apart = fit_evidence(scores, labels, link="identity", shrinkage=1.0)
    assert np.asarray(apart.factor) == pytest.approx(np.diag(np.diag(apart.factor)))


def test_probabilities_go_through_the_logit_and_constant_scores_are_no_evidence() -> None:
    scores = np.array([[0.1, 0.5], [0.2, 0.5], [0.9, 0.5], [0.8, 0.5]])
    evidence = fit_evidence(scores, np.array([False, False, True, True]))
    assert evidence.llrs(np.array([[0.5, 0.5]])) == pytest.approx(0.0, abs=1e-9)
    sums = evidence.llrs(np.array([[0.0, 0.5], [1.0, 0.5]]))
    assert np.isfinite(sums).all()  # 0 and 1 are cut, not infinite
    assert sums[0, 0] < 0 < sums[1, 0]
    assert sums[:, 1] == pytest.approx(sums[:, 0])
    assert Evidence.from_dict(json.loads(json.dumps(evidence.to_dict()))) == evidence


def test_missing_steps_count_as_unsafe() -> None:
    test = SequentialTest(independent(10, 0.1))
    with pytest.raises(InputError, match="samples in 9"):
        test.start(9)
    state, outcome = test.update(test.start(10), vote=False, score=-1.0)
    assert outcome is None
    assert test.finish(state)
    decision = test.run([-1.0, -1.0])
    assert (decision.unsafe, decision.step, decision.complete) == (True, 2, False)
    unsafe, step, complete = test.decide_all(np.full((1, 2), -1.0))
    assert (unsafe[0], step[0], complete[0]) == (True, 2, False)
    with pytest.raises(InputError, match="No scores"):
        test.run([])


@pytest.mark.parametrize("given", [{"alpha": 0}, {"beta": 1}, {"alpha": 0.6, "beta": 0.5}, {"truncate": 0}, {"truncate": 6}])
def test_settings_out_of_range_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(FilterError, match="give"):
        SequentialTest(independent(5, 1.0), **given)


def test_scores_that_are_none_are_refused() -> None:
    evidence = fit_evidence(np.array([[0.1], [0.2], [0.8], [0.9]]), np.array([False, False, True, True]))
    with pytest.raises(InputError, match="no finite number"):
        evidence.add(Trail(), math.nan)
    with pytest.raises(InputError, match="link='identity'"):
        evidence.add(Trail(), 2.0)
    with pytest.raises(InputError, match="step 2"):
        evidence.add(evidence.add(Trail(), 0.5), 0.5)
    with pytest.raises(InputError, match="at least 2 of each"):
        fit_evidence(np.array([[0.1], [0.2]]), np.array([False, True]))
    with pytest.raises(InputError, match=r"bool \[N\]"):
        fit_evidence(np.array([[0.1], [0.2]]), np.array([0, 1]))
    with pytest.raises(FilterError, match="shrinkage"):
        fit_evidence(np.array([[0.1], [0.2]]), np.array([False, True]), shrinkage=2)
    with pytest.raises(InputError, match="square factor"):
        Evidence((0.0,), (1.0,), ((0.0,),))
    with pytest.raises(InputError, match="fit it again"):
        Evidence.from_dict({"safe": [0.0]})


# -- the steps that evidence is about


def apart(steps: tuple[int, ...], num_steps: int | None) -> Evidence:
    """Evidence of these steps: the first says little, the others more and more."""
    means = tuple(1.0 + i for i in range(len(steps)))
    return Evidence((0.0,) * len(steps), means, tuple(map(tuple, np.eye(len(steps)))), "identity", steps, num_steps)


def test_evidence_is_used_at_its_own_steps_and_at_no_others() -> None:
    asked: list[int] = []

    def detector(x0: float, *, step: int) -> float:
        asked.append(step)
        return 0.1 * step

    test = SequentialTest(apart((1, 5, 10), 20), alpha=1e-6, beta=1e-6)
    assert test.at == (1, 5, 10)
    lvd = LatentVariableDefense(detector, rule=test, threshold=9)
    state, verdict, step = lvd.start(info(20)), None, 0
    while verdict is None:
        step += 1
        state, verdict = lvd.observe(state, step=step, timestep=0.0, x0=0.0, log_snr=0.0)
    assert asked == [1, 5, 10]
    assert (verdict.step, verdict.blocked) == (10, test.run([0.1, 0.5, 1.0]).unsafe)
    with pytest.raises(InputError, match="fitted on generations of 20 steps, but the pipeline samples in 25"):
        lvd.start(info(25))
    with pytest.raises(InputError, match=r"up to step 10, but the pipeline samples in 7.*truncate <= 2"):
        SequentialTest(apart((1, 5, 10), None)).start(7)


def test_the_papers_rule_over_chosen_steps() -> None:
    asked: list[int] = []

    def detector(x0: float, *, step: int) -> bool:
        asked.append(step)
        return step >= 5

    lvd = LatentVariableDefense(detector, eta=3, lam="2/3", steps=[1, 5, 10, 15])
    state, verdict, step = lvd.start(info(20)), None, 0
    while verdict is None:
        step += 1
        state, verdict = lvd.observe(state, step=step, timestep=0.0, x0=0.0, log_snr=0.0)
    assert (asked, verdict.step, verdict.blocked) == ([1, 5, 10], 10, True)
    with pytest.raises(InputError, match="samples in 4 steps, 1 of which vote"):
        lvd.start(info(4))
    with pytest.raises(FilterError, match="only 2 steps vote"):
        EtaLambda(3, at=(1, 2))
    with pytest.raises(FilterError, match="each larger than the one before"):
        EtaLambda(1, at=(2, 1))
    with pytest.raises(FilterError, match="not both"):
        LatentVariableDefense(detector, rule=EtaLambda(1), steps=[1])


def test_evidence_keeps_its_steps() -> None:
    evidence = fit_evidence(
        np.array([[0.1, 0.2], [0.2, 0.1], [0.8, 0.7], [0.9, 0.9]]),
        np.array([False, False, True, True]),
        steps=(2, 6),
        num_steps=8,
    )
    assert (evidence.at, evidence.num_steps) == ((2, 6), 8)
    assert Evidence.from_dict(json.loads(json.dumps(evidence.to_dict()))) == evidence
    old = {name: value for name, value in evidence.to_dict().items() if name not in ("at", "num_steps")}
    with pytest.raises(InputError, match="No at, num_steps in the stored evidence"):
        Evidence.from_dict(old)
    with pytest.raises(InputError, match="can't be that of steps"):
        apart((1, 30), 20)


def info(num_steps: int) -> GenerationInfo:
    return GenerationInfo("P", "DDIMScheduler", "epsilon", num_steps, (1, 1, 1, 1), "CTHW", "scheduler", 0)
