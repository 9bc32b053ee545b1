"""Metrics of verdicts, operating points, verdict files: arrays in, numbers out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from unsafe_video_dataset.defenses.bench import measures
from unsafe_video_dataset.defenses.bench import points as rules
from unsafe_video_dataset.defenses.bench.costs import Parts, spent
from unsafe_video_dataset.defenses.bench.thresholds import LIMITS, best_limit
from unsafe_video_dataset.defenses.bench.verdicts import Verdicts, chain
from unsafe_video_dataset.defenses.rule import EtaLambda
from unsafe_video_dataset.defenses.trace_votes import StepVotes
from unsafe_video_dataset.errors import InputError, IntegrityError


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    [(0.5, 10, 0.2366, 0.7634), (1.0, 20, 0.8389, 1.0), (0.0, 20, 0.0, 0.1611), (0.95, 400, 0.9240, 0.9674), (0.3, 0, 0, 1)],
)
def test_wilsons_interval(share: float, n: int, low: float, high: float) -> None:
    assert measures.wilson(share, n) == pytest.approx((low, high), abs=5e-5)


def test_wilsons_interval_refuses_what_is_no_share() -> None:
    with pytest.raises(InputError, match="from 0 to 1"):
        measures.wilson(1.2, 10)


def test_counts_and_ranks_agree_with_scikit_learn_for_each_seed() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(1)
    truth = rng.random(60) < 0.4
    score = np.round(rng.random((2, 60)) + 0.3 * truth, 1)
    blocked = score > 0.6
    weights = measures.weights_of([f"g{i // 3}" for i in range(60)], bootstrap=0, seed=0)
    found = {**measures.counted(truth, blocked, weights), **measures.ranked(truth, score, weights)}
    for seed in range(2):
        assert found["accuracy"][seed, 0] == pytest.approx(metrics.accuracy_score(truth, blocked[seed]))
        assert found["balanced_accuracy"][seed, 0] == pytest.approx(metrics.balanced_accuracy_score(truth, blocked[seed]))
        assert found["tpr"][seed, 0] == pytest.approx(metrics.recall_score(truth, blocked[seed]))
        assert found["auroc"][seed, 0] == pytest.approx(metrics.roc_auc_score(truth, score[seed]))
        assert found["ap"][seed, 0] == pytest.approx(metrics.average_precision_score(truth, score[seed]))


def test_within_a_prompt_a_reader_of_prompts_gets_one_half() -> None:
    groups = ["a"] * 4 + ["b"] * 4 + ["c"] * 2
    truth = np.array([1, 1, 0, 0, 1, 0, 0, 0, 1, 1], dtype=bool)
    weights = measures.weights_of(groups, bootstrap=20, seed=0)
    of_prompt = np.array([[0.9] * 4 + [0.1] * 4 + [1.0] * 2])
    assert measures.within(truth, of_prompt, groups, weights)[0, 0] == 0.5
    assert measures.within(truth, truth[None].astype(float), groups, weights)[0, 0] == 1
    backwards = of_prompt - truth  # right between prompts at best, wrong within each
    found = measures.within(truth, backwards, groups, weights)
    assert found[0, 0] == 0
    assert np.isnan(measures.within(np.ones(10, bool), of_prompt, groups, weights)).all()


def test_an_interval_is_about_groups_seeds_and_never_without_width() -> None:
    groups = [f"g{i // 10}" for i in range(100)]
    truth = np.arange(100) % 2 == 0
    right = np.repeat(np.arange(10) < 8, 10)  # whole prompts are wrong
    blocked = np.stack([truth == right, truth == right])
    weights = measures.weights_of(groups, bootstrap=500, seed=0)
    found = measures.report(truth, blocked, blocked.astype(float), weights)["accuracy"]
    assert found["value"] == pytest.approx(0.8)
    assert found["low"] < measures.wilson(0.8, 100)[0]  # ten prompts say less than a hundred videos
    assert found["seeds"] == pytest.approx([0.8, 0.8])
    sure = measures.report(truth, truth[None], truth[None].astype(float), weights)["accuracy"]
    assert (sure["value"], sure["high"]) == (1, 1)
    assert sure["low"] == pytest.approx(measures.wilson(1, 100)[0])
    nothing = measures.report(truth[truth], truth[None, truth], truth[None, truth].astype(float), weights[:, truth])
    assert nothing["tnr"]["value"] is None


# --- operating points ---------------------------------------------------------------------------------------------------


def _votes(n: int = 200, steps: int = 6, seed: int = 0) -> StepVotes:
    """Votes whose scores part the classes better with every step."""
    rng = np.random.default_rng(seed)
    unsafe = np.arange(n) % 2 == 0
    logits = rng.normal(size=(n, steps, 2)) - 2
    logits[:, :, 0] += np.where(unsafe, 4.0, 0.0)[:, None] * (np.arange(steps) + 1) / steps
    scores = 1 / (1 + np.exp(-logits))
    return StepVotes(
        sample_ids=tuple(f"{i:04d}" for i in range(n)),
        video_ids=(None,) * n,
        group_ids=tuple(f"g{i // 4}" for i in range(n)),
        prompt_kinds=(None,) * n,
        steps=tuple(range(1, steps + 1)),
        categories=("one", "two"),
        labels=np.stack([unsafe, np.zeros(n, bool)], axis=1),
        log_snr=np.zeros((n, steps)),
        scores=scores,
        votes=scores > 0.5,
        facts={},
    )


def test_a_point_decides_as_its_rule_does_one_sample_at_a_time() -> None:
    votes = _votes()
    point = rules.eta_lambda(votes, etas=[4])[0]
    rule = point.step_rule()
    assert isinstance(rule, EtaLambda)
    blocked, step, _ = point.decide(votes)
    limits = np.array([point.thresholds[name] for name in votes.categories])
    for i in range(len(blocked)):
        found = rule.run((votes.scores[i] >= limits).any(axis=1).tolist())
        assert (found.unsafe, found.step) == (bool(blocked[i]), int(step[i]))
    assert point.accuracy == pytest.approx(np.mean(blocked == votes.unsafe))


def test_the_chosen_point_is_the_best_of_all_thresholds_and_lambdas() -> None:
    votes = _votes(60)
    point = rules.eta_lambda(votes, etas=[3])[0]
    best = 0.0
    for limit in LIMITS:
        positives = (votes.scores[:, :3].max(axis=2) >= limit).sum(axis=1)
        best = max(best, *(float(np.mean((positives >= needed) == votes.unsafe)) for needed in (1, 2, 3)))
    assert point.accuracy == pytest.approx(best)


def test_later_steps_are_better_and_the_cheapest_good_one_is_taken() -> None:
    votes = _votes()
    points = rules.single_steps(votes)
    assert points[-1].accuracy > points[0].accuracy + 0.1
    chosen = rules.cheapest(points)
    error = (points[-1].accuracy * (1 - points[-1].accuracy) / 200) ** 0.5
    assert chosen.accuracy >= max(point.accuracy for point in points) - error
    assert all(point.accuracy < max(p.accuracy for p in points) - error for point in points if point.steps < chosen.steps)
    with pytest.raises(InputError, match="every step"):
        chosen.step_rule()


def test_the_sequential_point_stops_and_its_rule_agrees() -> None:
    votes = _votes()
    (point,) = rules.sequential(votes, cuts=[5])
    blocked, step, _ = point.decide(votes)
    rule = point.step_rule()
    for i in range(40):
        found = rule.run(votes.score[i].tolist())
        assert (found.unsafe, found.step) == (bool(blocked[i]), int(step[i]))
    assert step.max() <= 5
    assert "evidence" not in point.to_dict()


def test_the_quick_sequential_point_keeps_to_its_steps_and_gives_the_accuracy_that_they_allow() -> None:
    votes = _votes()
    free = rules.sequential_within(votes, cuts=range(1, 6), most=5.0)
    assert free.accuracy == max(point.accuracy for point in rules.sequential(votes, cuts=range(1, 6)))
    held = rules.sequential_within(votes, cuts=range(1, 6), most=2.0)
    blocked, step, _ = held.decide(votes)
    assert step[blocked].mean() + 2 * step[blocked].std() / blocked.sum() ** 0.5 <= 2.0
    assert held.accuracy < free.accuracy
    assert rules.sequential_within(votes, cuts=range(1, 6), most=0.5).steps == 1.0  # none is so quick: the quickest


def test_the_best_limit_parts_what_can_be_parted() -> None:
    score = np.array([0.1, 0.2, 0.25, 0.7, 0.8])
    limit = best_limit(score, score > 0.5)
    assert 0.25 < limit <= 0.7


# --- verdict files, chains, costs -----------------------------------------------------------------------------------------


def _verdicts(name: str, stage: str, blocked: list[int], *, steps: int = 10, at: int = 3) -> Verdicts:
    mask = np.array(blocked, dtype=bool)
    n = len(mask)
    denoised = {"prompt": np.where(mask, 0, steps), "latent": np.where(mask, at, steps), "output": np.full(n, steps)}[stage]
    return Verdicts(
        name,
        stage,  # type: ignore[arg-type]
        tuple(f"s{i}" for i in range(n)),
        mask,
        mask + 0.5 * np.arange(n) / n,
        denoised,
        np.full(n, at if stage == "latent" else 0),
        ~mask if stage != "output" else np.ones(n, dtype=bool),
    )


def test_verdicts_come_back_from_their_file_and_hold_ids_alone(tmp_path: Path) -> None:
    first = _verdicts("lvd", "latent", [1, 0, 0, 1])
    first.save(tmp_path / "v.parquet")
    again = Verdicts.read(tmp_path / "v.parquet")
    for name in ("blocked", "score", "denoised", "looks", "decoded"):
        assert np.array_equal(getattr(again, name), getattr(first, name))
    assert (again.name, again.stage, again.scores) == ("lvd", "latent", None)
    turned = again.of(["s3", "s1"])
    assert turned.blocked.tolist() == [True, False]
    with pytest.raises(InputError, match="no verdict on 1 of 2"):
        again.of(["s1", "nobody"])
    with pytest.raises(InputError, match="no file"):
        Verdicts.read(tmp_path / "none.parquet")
    (tmp_path / "v.parquet").write_bytes(b"PAR1nothing")
    with pytest.raises(IntegrityError, match="Run the stage anew"):
        Verdicts.read(tmp_path / "v.parquet")


def test_a_chain_blocks_where_any_member_does_and_pays_only_what_ran() -> None:
    prompt = _verdicts("words", "prompt", [1, 0, 0, 0])
    latent = _verdicts("lvd", "latent", [1, 1, 0, 0])
    output = _verdicts("clip", "output", [1, 1, 1, 0])
    found = chain("all", [output, latent, prompt])  # whatever the order given
    assert found.blocked.tolist() == [True, True, True, False]
    assert found.denoised.tolist() == [0, 3, 10, 10]
    assert found.looks.tolist() == [0, 3, 3, 3]
    assert found.decoded.tolist() == [False, False, True, True]
    two = chain("two prompts", [prompt, _verdicts("more words", "prompt", [0, 1, 0, 0])])
    assert two.denoised.tolist() == [0, 0, 10, 10]
    for members in ([], [latent, latent], [found, prompt]):
        with pytest.raises(InputError, match="A chain needs members"):
            chain("bad", members)


def test_the_cost_of_each_sample_is_what_ran() -> None:
    parts = Parts(prompt=5, step=100, decode=40, look=7, steps=10, filters={"clip": 30})
    assert parts.full == 5 + 1000 + 40
    assert spent(_verdicts("words", "prompt", [1, 0]), parts).tolist() == [0, 1045]
    assert spent(_verdicts("lvd", "latent", [1, 0]), parts).tolist() == [5 + 300 + 21, 1045 + 21]
    assert spent(_verdicts("clip", "output", [1, 0]), parts).tolist() == [1075, 1075]
    both = chain("lvd + clip", [_verdicts("lvd", "latent", [1, 0]), _verdicts("clip", "output", [0, 1])])
    assert spent(both, parts).tolist() == [5 + 300 + 21, 1045 + 21 + 30]
