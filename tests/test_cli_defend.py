"""`unsafe-video defend`: the verbs one after another on a real pipeline, and what they say when they can't."""

from __future__ import annotations

import json
import pipes
from pathlib import Path
from typing import Any

import pytest
from test_cli import as_json, call
from trace_support import planted

from unsafe_video_dataset.defenses.proxy.shapes import CONCEPTS
from unsafe_video_dataset.defenses.traces import Traces

Capture = pytest.CaptureFixture[str]
ARGUMENTS = json.dumps({**pipes.SIZES["animatediff"], "num_inference_steps": 4})


def red(frames: Any) -> bool:
    """A labeller: every video that is not black in red."""
    return bool(frames[..., 0].any())


def tiny() -> Any:
    """The pipeline that `module:function` names."""
    return pipes.pipeline("animatediff")


def test_the_verbs_one_after_another(tmp_path: Path, capsys: Capture) -> None:
    prompts, traces, detector = tmp_path / "p.txt", tmp_path / "traces", tmp_path / "detector"
    prompts.write_text("a ball\na box\n")
    recording = ("defend", "record", "test_cli_defend:tiny", "--prompts", prompts, "--seeds", "0-1", "--out", traces)
    options = ("--labeller", "test_cli_defend:red", "--arguments", ARGUMENTS, "--batch-size", 2)
    done = as_json(capsys, *recording, *options)
    assert (done["samples"], done["labelled"], done["steps"]) == (4, 4, [1, 2, 3, 4])
    again = as_json(capsys, *recording, *options)
    assert again["sha256"] == done["sha256"]

    planted(tmp_path / "planted", 80, groups=20)
    training = ("defend", "train", tmp_path / "planted", "--out", detector, "--epochs", 2, "--target-fpr", "0.2")
    report = as_json(capsys, *training)
    assert report["categories"] == ["bright", "wide"]
    assert [row["step"] for row in report["steps"]] == [1, 2, 3, 4]
    assert len(report["losses"]) == 2

    made = as_json(capsys, "defend", "calibrate", tmp_path / "planted", "--detector", detector, "--target-fpr", "best")
    assert made["calibrated"]
    assert made["thresholds"] != report["thresholds"]

    votes = tmp_path / "votes.parquet"
    replay = ("defend", "replay", tmp_path / "planted", "--detector", detector, "--split", "test", "--out", votes)
    table = as_json(capsys, *replay, "--etas", "1-2", "--lambdas", "0.5,1")["table"]
    assert [(cell["eta"], cell["lam"]) for cell in table] == [(1, "1/2"), (1, "1"), (2, "1/2"), (2, "1")]
    assert votes.is_file()
    assert call(*replay) == 0
    text = capsys.readouterr().out
    assert "lambda" in text
    assert "log-SNR" in text
    assert call("defend", "replay", tmp_path / "planted", "--detector", detector) == 0
    assert "were trained on" in capsys.readouterr().out
    # the random pipeline's latents are of the same kind, but its label is not among the detector's categories
    assert call("defend", "replay", traces, "--detector", detector) == 2
    assert "unsafe, which are not among bright, wide" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("verb", "options", "message"),
    [
        ("train", ("--target-fpr", "7"), "no share from 0 up to 1"),
        ("train", ("--target-fpr", "x"), "no share from 0 up to 1"),
        ("replay", ("--lambdas", "0"), "lambda='0' is out of range"),
        ("replay", ("--etas", "9"), "eta=9, but 4 steps were recorded"),
        ("replay", ("--etas", "0-2"), "eta=0, but 4 steps were recorded"),
    ],
)
def test_a_flag_that_can_not_be_is_refused_before_anything_is_done(
    verb: str, options: Any, message: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = planted(tmp_path / "planted", 24, groups=8)
    from unsafe_video_dataset.defenses.detectors import score, train, wrap

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("this takes hours")

    monkeypatch.setattr(train, "train", never)
    monkeypatch.setattr(score, "logits_of", never)
    monkeypatch.setattr("unsafe_video_dataset.cli_defend._detector", lambda arguments: wrap(lambda x0: 0.5, kind=traces.kind()))
    assert call("defend", verb, tmp_path / "planted", *options) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("record", "nowhere", "--prompts", "P", "--out", "O"), "is no pipeline"),
        (("record", "no_such_module:make", "--prompts", "P", "--out", "O"), "no module no_such_module"),
        (("record", "test_cli_defend:missing", "--prompts", "P", "--out", "O"), "has no missing"),
        (("record", "test_cli_defend:tiny", "--prompts", "missing.txt", "--out", "O"), "can't be read"),
        (("record", "test_cli_defend:tiny", "--prompts", "P", "--out", "O", "--arguments", "[]"), "must be a JSON object"),
        (("record", "test_cli_defend:tiny", "--prompts", "P", "--out", "O", "--seeds", "a-b"), "whole numbers"),
        (("record", "test_cli_defend:tiny", "--out", "O"), "Give --prompts FILE"),
        (("train", "nowhere"), "no traces"),
        (("replay", "nowhere"), "no traces"),
    ],
)
def test_what_a_person_gets_wrong(arguments: Any, message: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "p.txt").write_text("a private prompt\n")
    places = {"P": tmp_path / "p.txt", "O": tmp_path / "out"}
    assert call("defend", *(places.get(part, part) for part in arguments)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "private" not in error


def test_a_pipeline_from_a_local_folder(tmp_path: Path, capsys: Capture) -> None:
    folder = tmp_path / "pipeline"
    pipes.pipeline("animatediff").save_pretrained(folder)
    (tmp_path / "p.txt").write_text("a ball\n")
    options = (
        "--prompts",
        tmp_path / "p.txt",
        "--out",
        tmp_path / "t",
        "--arguments",
        ARGUMENTS,
        "--stop-early",
        "--steps",
        "1",
    )
    done = as_json(capsys, "defend", "record", folder, *options)
    assert (done["samples"], done["labelled"]) == (1, 0)
    for weights in folder.rglob("*.safetensors"):
        weights.rename(weights.with_suffix(".bin"))
    assert call("defend", "record", folder, *options) == 2
    assert "can't be loaded from local safetensors" in capsys.readouterr().err


def test_the_proxy_brings_its_prompts_and_its_oracle(tmp_path: Path, capsys: Capture) -> None:
    options = ("--limit", 12, "--steps", "1-2", "--batch-size", 6, "--out", tmp_path / "t")
    done = as_json(capsys, "defend", "record", "proxy", *options)
    assert (done["samples"], done["steps"]) == (12, [1, 2])
    assert 0 < done["labelled"] <= 12
    traces = Traces.open(tmp_path / "t")
    rows = traces.samples.to_pylist()
    assert {row["split"] for row in rows} <= {"train", "validation", "test"}
    assert None not in {row["split"] for row in rows} | {row["prompt_kind"] for row in rows}
    assert set(traces.categories) <= set(CONCEPTS)
