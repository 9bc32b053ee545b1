"""The detector: its network, its card, training that learns a planted concept, and the defence that it makes."""

from __future__ import annotations

import json
import pipes
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trace_support import planted

from unsafe_video_dataset.defenses.detectors import Card, Detector, LatentConfig, LatentNet, wrap
from unsafe_video_dataset.defenses.detectors import train as training
from unsafe_video_dataset.defenses.detectors.calibrate import calibrate, fit_temperature, fit_thresholds, part
from unsafe_video_dataset.defenses.detectors.checkpoint import write_checkpoint
from unsafe_video_dataset.defenses.detectors.folds import balanced, folds
from unsafe_video_dataset.defenses.detectors.train import Settings, train
from unsafe_video_dataset.defenses.record import record
from unsafe_video_dataset.defenses.sequential import SequentialTest
from unsafe_video_dataset.defenses.trace_requests import as_requests
from unsafe_video_dataset.defenses.trace_votes import StepVotes, replay
from unsafe_video_dataset.defenses.traces import Traces
from unsafe_video_dataset.errors import (
    ChecksumError,
    DetectorMismatch,
    GenerationBlocked,
    InputError,
    IntegrityError,
)
from unsafe_video_dataset.metrics import auroc

FAST = Settings(epochs=5)


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Traces:
    return planted(tmp_path_factory.mktemp("planted") / "t", 120, groups=40)


@pytest.fixture(scope="module")
def trained(traces: Traces, tmp_path_factory: pytest.TempPathFactory) -> training.Trained:
    return train(traces, out=tmp_path_factory.mktemp("trained"), settings=FAST, progress=False)


@pytest.fixture(scope="module")
def calibrated(trained: training.Trained, traces: Traces) -> Detector:
    return calibrate(trained.detector, traces, progress=False)


# -- the network


@pytest.mark.parametrize("shape", [(4, 1, 8, 8), (4, 5, 7, 9), (4, 3, 32, 24), (4, 8, 8)])
def test_any_size_of_latent_is_read(shape: tuple[int, ...]) -> None:
    net = LatentNet(LatentConfig.for_shape(shape, 3)).eval()
    x0, level = torch.randn(2, *shape), torch.tensor([-4.0, 3.0])
    logits = net(x0, log_snr=level)
    assert logits.shape == (2, 3)
    torch.testing.assert_close(net(x0[1:], log_snr=level[1:]), logits[1:], rtol=1e-4, atol=1e-5)  # samples don't mix
    assert not torch.allclose(net(x0, log_snr=level.flip(0)), logits)  # the step counts


def test_a_net_for_large_latents_is_small_and_cheap() -> None:
    net = LatentNet(LatentConfig.for_shape((4, 16, 64, 64), 5))
    assert net.config.halvings == 3
    assert sum(weight.numel() for weight in net.parameters()) < 100_000


def test_other_channels_are_refused() -> None:
    with pytest.raises(InputError, match="trained on another model"):
        LatentNet(LatentConfig(4, 2))(torch.zeros(1, 16, 2, 8, 8), log_snr=torch.zeros(1))
    with pytest.raises(InputError, match="out of range"):
        LatentConfig(4, 2, width=20)


# -- folds


def test_groups_are_kept_apart_and_row_order_changes_nothing(traces: Traces) -> None:
    made = folds(traces, seed=1)
    group = dict(zip(traces.sample_ids, traces.group_ids, strict=True))
    sets = [{group[sample] for sample in split} for split in (made.train, made.validation, made.test)]
    assert not sets[0] & sets[1]
    assert not sets[0] & sets[2]
    assert not sets[1] & sets[2]
    assert sorted(made.train + made.validation + made.test) == traces.sample_ids
    assert folds(traces.select(traces.sample_ids[::-1]), seed=1) == made
    assert folds(traces, seed=2) != made


def test_given_splits_are_used_and_checked(traces: Traces) -> None:
    def with_splits(split: Any) -> Traces:
        at = traces.index.column_names.index("split")
        rows = traces.index.select(["sample_id", "group_id"]).to_pylist()
        column = [[split(row["sample_id"], row["group_id"]) for row in rows]]
        return Traces(traces.folder, traces.settings, traces.index.set_column(at, "split", column), traces.sha256)

    made = folds(with_splits(lambda _, group: ("train", "validation", "test")[int(group[1:]) % 3]))
    assert {int(s, 16) % 40 % 3 for s in made.validation} == {1}
    with pytest.raises(InputError, match="stands in two splits"):
        folds(with_splits(lambda sample, _: ("train", "validation")[int(sample, 16) // 40 % 2]))
    with pytest.raises(InputError, match="have no split"):
        folds(with_splits(lambda _, group: "train" if group == "g01" else None).with_labels({traces.sample_ids[0]: []}))
    with pytest.raises(InputError, match="validation split has no unsafe sample"):
        folds(with_splits(lambda _, group: "validation" if group == "g00" else "train"))


def test_safe_samples_of_the_same_prompt_come_first(traces: Traces) -> None:
    chosen = set(balanced(traces, traces.sample_ids, ratio=0))
    unsafe = dict(zip(traces.sample_ids, traces.unsafe().tolist(), strict=True))
    group = dict(zip(traces.sample_ids, traces.group_ids, strict=True))
    mixed = {group[sample] for sample in traces.sample_ids if unsafe[sample]}
    assert chosen == {sample for sample in traces.sample_ids if group[sample] in mixed}
    more = set(balanced(traces, traces.sample_ids, ratio=1.1))
    assert chosen < more < set(traces.sample_ids)
    assert sum(not unsafe[s] for s in more) == int(np.ceil(1.1 * sum(unsafe.values())))


# -- training


def test_a_planted_concept_is_learned_on_groups_never_seen(trained: training.Trained, traces: Traces) -> None:
    votes = replay(traces, trained.detector, split="test", progress=False)
    assert not set(votes.group_ids) & set(trained.detector.card.train_groups)
    assert [row["auroc"] > 0.95 for row in votes.by_step()] == [True] * 4
    assert trained.losses[-1] < trained.losses[0] / 2


def test_the_same_settings_give_the_same_detector_stopped_or_not(
    trained: training.Trained, traces: Traces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(traces, out=tmp_path / "whole", settings=FAST, progress=False)
    assert whole.detector.card.weights_sha256 == trained.detector.card.weights_sha256

    def killed(path: Path, identity: str, progress: Any, *rest: Any) -> None:
        write_checkpoint(path, identity, progress, *rest)
        if len(progress.losses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(training, "write_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        train(traces, out=tmp_path / "parts", settings=FAST, progress=False)
    monkeypatch.undo()
    counted: list[int] = []
    monkeypatch.setattr(training, "_epoch", lambda *a, _plain=training._epoch, **k: counted.append(1) or _plain(*a, **k))
    resumed = train(traces, out=tmp_path / "parts", settings=FAST, resume=True, progress=False)
    assert len(counted) == 3
    assert resumed.detector.card == whole.detector.card
    assert resumed.losses == whole.losses
    with pytest.raises(InputError, match="other traces, labels or settings"):
        train(traces, out=tmp_path / "parts", settings=Settings(epochs=5, seed=1), resume=True, progress=False)
    (tmp_path / "parts" / training.CHECKPOINT).write_bytes(b"junk")
    with pytest.raises(InputError, match="damaged"):
        train(traces, out=tmp_path / "parts", settings=FAST, resume=True, progress=False)


def test_training_leaves_the_callers_randomness_alone(traces: Traces, tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    train(traces, out=tmp_path, settings=Settings(epochs=1, steps=(4,)), progress=False)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_what_cannot_be_trained_on(traces: Traces, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="All samples are labelled safe"):
        train(traces.with_labels({sample: [] for sample in traces.sample_ids}), out=tmp_path, progress=False)
    with pytest.raises(InputError, match="not recorded"):
        train(traces, out=tmp_path, settings=Settings(steps=(9,)), progress=False)
    with pytest.raises(InputError, match="epochs from 1"):
        Settings(epochs=0, learning_rate=float("nan"))


# -- the card


def test_saved_and_loaded_scores_are_the_same_and_no_file_is_a_pickle(
    calibrated: Detector, traces: Traces, tmp_path: Path
) -> None:
    calibrated.save(tmp_path)
    loaded = Detector.load(tmp_path)
    x0, level = traces.x0([0], [2]), float(traces.log_snr[0, 1])
    assert loaded(x0[0], step=2, log_snr=level) == calibrated(x0[0], step=2, log_snr=level)
    assert loaded.thresholds == calibrated.thresholds
    card = json.loads((tmp_path / "detector.json").read_text())
    assert card["kind"] == {
        "x0_convention": "scheduler",
        "scheduler": "DDIMScheduler",
        "prediction_type": "epsilon",
        "channels": 4,
    }
    assert len(card["latent_scale"]["mean"]) == 4
    assert card["training"]["traces_sha256"] == traces.sha256
    assert card["training"]["settings"]["seed"] == 0
    assert card["versions"]["torch"] == torch.__version__.split("+")[0] or card["versions"]["torch"] == torch.__version__
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]


def test_damaged_detectors_are_refused(calibrated: Detector, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no detector"):
        Detector.load(tmp_path)
    calibrated.save(tmp_path)
    weights, card = tmp_path / "detector.safetensors", tmp_path / "detector.json"
    good, text = weights.read_bytes(), card.read_text()
    weights.write_bytes(good[:-1] + b"\x01")
    with pytest.raises(ChecksumError):
        Detector.load(tmp_path)
    weights.write_bytes(good)
    for bad in ("{", "[]", text.replace('"width": 24', '"width": 32'), text.replace('"format": 1', '"format": 2')):
        card.write_text(bad)
        with pytest.raises((IntegrityError, InputError)):
            Detector.load(tmp_path)


# -- calibration


def test_thresholds_keep_to_the_target_and_to_validation(trained: training.Trained, traces: Traces) -> None:
    for target in (0.0, 0.05, 0.3):
        detector = calibrate(trained.detector, traces, target_fpr=target, progress=False)
        found = detector.card.calibration
        assert found is not None
        assert found.votes_fpr <= target
        votes = replay(traces, detector, split="validation", progress=False)
        assert votes.votes[~votes.unsafe].mean() == pytest.approx(found.votes_fpr)
    assert set(trained.folds.validation) == set(part(trained.detector, traces, "validation").sample_ids)
    for split in ("train", "all"):
        with pytest.raises(InputError, match="groups were trained on"):
            calibrate(trained.detector, traces, split=split, progress=False)  # type: ignore[arg-type]


def test_fit_temperature_finds_a_known_one() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=20_000) * 2
    truth = rng.random(20_000) < 1 / (1 + np.exp(-z))
    assert fit_temperature(3 * z, truth) == pytest.approx(3, rel=0.05)
    assert fit_temperature(z, np.ones(20_000, dtype=bool)) == 1.0


def test_fit_thresholds_against_every_choice() -> None:
    rng = np.random.default_rng(1)
    unsafe = rng.random(80) < 0.4
    scores = np.clip(rng.random((80, 2)) + unsafe[:, None] * 0.3, 0, 1)
    scores[::3] = scores[::3].round(1)  # ties
    for target in (0.0, 0.1, 0.5):
        limits = fit_thresholds(scores, unsafe[:, None] & np.array([True, True]), target_fpr=target)
        assert (scores[~unsafe] >= limits).any(axis=1).mean() <= target
    best = fit_thresholds(scores[:, :1], unsafe[:, None], target_fpr=None)
    gain = lambda t: (scores[unsafe, 0] >= t).mean() - (scores[~unsafe, 0] >= t).mean()  # noqa: E731
    assert gain(best[0]) == pytest.approx(max(gain(t) for t in scores[:, 0]))


def test_scores_of_one_still_keep_to_the_target() -> None:
    scores, unsafe = np.ones((6, 1)), np.array([True, True, True, False, False, False])
    assert (scores[~unsafe] >= fit_thresholds(scores, unsafe[:, None], target_fpr=0.0)).sum() == 0


def test_a_category_without_errors_takes_no_safe_rows() -> None:
    rng = np.random.default_rng(2)
    targets = np.zeros((60, 2), dtype=bool)
    targets[:10, 0] = targets[10:20, 1] = True
    scores = np.column_stack([0.1 * rng.random(60) + 0.8 * targets[:, 0], 0.6 * rng.random(60) + 0.3 * targets[:, 1]])
    limits = fit_thresholds(scores, targets, target_fpr=0.3)
    assert 0.1 < limits[0] < 0.8
    assert 0 < (scores[20:, 1] >= limits[1]).mean() <= 0.3


# -- replay


def test_stored_votes_come_back_and_make_the_table(calibrated: Detector, traces: Traces, tmp_path: Path) -> None:
    votes = replay(traces, calibrated, split="test", progress=False)
    votes.save(tmp_path / "votes.parquet")
    again = StepVotes.read(tmp_path / "votes.parquet")
    for name in ("scores", "votes", "labels", "log_snr"):
        assert np.array_equal(getattr(again, name), getattr(votes, name))
    assert (again.sample_ids, again.prompt_kinds, again.facts) == (votes.sample_ids, votes.prompt_kinds, votes.facts)
    table = again.table(etas=[3], lams=["2/3"])
    assert (table[0].needed, table[0].n) == (2, len(votes.sample_ids))
    assert table[0].accuracy == np.mean((votes.votes[:, :3].sum(axis=1) >= 2) == votes.unsafe)
    direct = again.select(np.array([kind == "direct" for kind in again.prompt_kinds]))
    assert set(direct.prompt_kinds) == {"direct"}
    assert again.by_step()[3]["auroc"] == auroc(votes.unsafe, votes.score[:, 3])
    with pytest.raises(InputError, match="4 steps were recorded"):
        again.table(etas=[5])
    (tmp_path / "votes.parquet").write_bytes(b"junk")
    with pytest.raises(IntegrityError):
        StepVotes.read(tmp_path / "votes.parquet")
    with pytest.raises(InputError, match="no file"):
        StepVotes.read(tmp_path / "none.parquet")


def test_a_detector_and_traces_of_another_kind(calibrated: Detector, traces: Traces) -> None:
    other = Traces(traces.folder, {**traces.settings, "scheduler": "EulerDiscreteScheduler"}, traces.index, traces.sha256)
    with pytest.raises(DetectorMismatch):
        replay(other, calibrated, progress=False)
    assert replay(other, calibrated, any_scheduler=True, progress=False).votes.shape == (120, 4)


# -- in a pipeline


def test_votes_in_the_pipeline_are_those_of_the_replay(tmp_path: Path) -> None:
    pipe = pipes.pipeline("animatediff")
    call = {**pipes.SIZES["animatediff"], "num_inference_steps": 4}
    traces = record(
        pipe, ["a ball", "a box"], tmp_path / "t", seeds=range(8), precision="fp32", call=call, progress=False,
        labels=lambda frames: bool(frames[..., 0].mean() > frames[..., 1].mean()),
    )  # fmt: skip
    score = lambda x0, log_snr: float(torch.sigmoid(4 * x0[0].mean() + 0.1 * log_snr))  # noqa: E731
    detector = wrap(score, kind=traces.kind())
    votes = replay(traces, detector, progress=False)
    assert 0 < votes.votes.mean() < 1
    defense = detector.defense(eta=3, lam="2/3")
    rows = {row["sample_id"]: row for row in traces.samples.to_pylist()}
    prompts = {request.prompt_sha256: request.prompt for request in as_requests(["a ball", "a box"])}
    for sample, row, unsafe in zip(votes.sample_ids, votes.votes, votes.votes[:, :3].sum(axis=1) >= 2, strict=True):
        prompt, seed = prompts[rows[sample]["prompt_sha256"]], rows[sample]["seed"]
        try:
            with defense.guard(pipe) as guard:
                pipe(prompt, generator=torch.Generator().manual_seed(seed), output_type="latent", **call)
            blocked = False
        except GenerationBlocked as error:
            blocked = error.verdict.blocked
        assert blocked == unsafe
        assert guard.last.verdicts[0].step == defense.rule.run(row.tolist()).step


def test_a_pipeline_of_another_kind_is_refused(calibrated: Detector) -> None:
    pipe = pipes.pipeline("wan")
    with pytest.raises(DetectorMismatch, match="scheduler"), calibrated.defense(eta=2).guard(pipe):
        pipes.generate(pipe, steps=4)


def test_a_sequential_test_from_the_calibration(calibrated: Detector, trained: training.Trained, traces: Traces) -> None:
    test = SequentialTest(calibrated.evidence())
    votes = replay(traces, calibrated, split="test", progress=False)
    assert auroc(votes.unsafe, test.evidence.llrs(votes.score)[:, -1]) > 0.95
    unsafe, steps, _ = test.decide_all(votes.score)
    assert np.mean(unsafe == votes.unsafe) > 0.7  # fitted on 21 videos
    assert 1 <= steps.min() <= steps.max() <= 4
    assert calibrated.defense(rule=test).rule is test
    assert (test.at, test.evidence.num_steps) == (traces.steps, traces.settings["num_steps"])
    with pytest.raises(InputError, match="isn't calibrated"):
        trained.detector.evidence()


# -- anything that can be called


def test_a_callable_is_calibrated_like_a_trained_detector(traces: Traces) -> None:
    def look(x0: torch.Tensor, step: int) -> list[float]:
        assert step in (1, 2, 3, 4)
        return [float(torch.sigmoid(5 * (x0[k].mean(dim=0).amax() - 1))) for k in (0, 1)]

    detector = wrap(look, categories=("bright", "wide"))
    with pytest.raises(InputError, match="wasn't trained here"):
        calibrate(detector, traces, progress=False)
    made = calibrate(detector, traces, split="all", progress=False)
    votes = replay(traces, made, progress=False)
    assert votes.by_step()[3]["auroc"] > 0.9
    assert votes.votes[~votes.unsafe].mean() <= 0.05
    with pytest.raises(InputError, match="can't be saved"):
        made.save(traces.folder / "no")
    assert Card(**{**vars(made.card)}).to_json()


@pytest.mark.parametrize("answer", [[0.1], [0.1, 2.0], {"bright": 0.1}, [0.1, float("nan")]])
def test_a_callable_that_answers_wrongly(answer: Any, traces: Traces) -> None:
    with pytest.raises(InputError, match=r"scores|differ"):
        replay(traces, wrap(lambda x0: answer, categories=("bright", "wide")), progress=False)
