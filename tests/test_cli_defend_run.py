"""`unsafe-video defend run`: what it keeps, what it refuses, and detectors of every kind on the pipeline that they are for."""

from __future__ import annotations

import json
import pipes
from pathlib import Path
from typing import Any

import pytest
import torch
from test_cli import as_json, call

from unsafe_video_dataset.cli_defend_run import _line
from unsafe_video_dataset.defenses.detectors import Detector
from unsafe_video_dataset.defenses.detectors.card import Card
from unsafe_video_dataset.defenses.detectors.latent import LatentConfig, LatentNet
from unsafe_video_dataset.defenses.lock import alone
from unsafe_video_dataset.defenses.verdict_log import FILE, VerdictLog
from unsafe_video_dataset.errors import InputError, IntegrityError, StorageError

Capture = pytest.CaptureFixture[str]
ROW = {"video": "v", "step": 5, "categories": ["red"], "decided_by": "lvd", "seconds": 0.5, "note": ""}
STEPS = 4
ARGUMENTS = json.dumps({**pipes.SIZES["animatediff"], "num_inference_steps": STEPS})


def tiny() -> Any:
    """The pipeline that `module:function` names."""
    return pipes.pipeline("animatediff")


class Failing:
    """A pipeline that fails on its second call, and has the prompt in its error."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, prompt: str, generator: Any = None, output_type: str = "np") -> Any:
        self.calls += 1
        if self.calls == 2:
            raise RuntimeError(f"out of memory with {prompt}")
        return type("Output", (), {"frames": torch.zeros(1, 2, 8, 8, 3).numpy()})()


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("a secret ball\na secret box\n", encoding="utf-8")
    return path


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.json"
    path.write_text(json.dumps({"red": [["red"]]}), encoding="utf-8")
    return path


def detector_of(convention: str, folder: Path) -> Path:
    """A detector with random weights, saved, of the tiny pipeline's kind."""
    config = LatentConfig.for_shape((4, 4, 8, 8), 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = LatentNet(config)
    kind = {"x0_convention": convention, "scheduler": "DDIMScheduler", "prediction_type": "epsilon", "channels": 4}
    Detector(net, Card("latent", ("x",), kind, config.to_dict(), (1, 2, 3, 4))).save(folder)
    return folder


@pytest.mark.parametrize("convention", ["scheduler", "uvd"])
def test_a_detector_is_run_in_its_own_convention(convention: str, prompts: Path, tmp_path: Path, capsys: Capture) -> None:
    detector = detector_of(convention, tmp_path / "detector")
    options = ("--arguments", ARGUMENTS, "--detector", detector, "--eta", 2, "--lambda", "1/2")
    done = as_json(capsys, "defend", "run", "test_cli_defend_run:tiny", "--prompts", prompts, *options)
    assert [(row["decided_by"], row["note"]) for row in done["verdicts"]] == [("lvd", "")] * 2
    assert {row["step"] for row in done["verdicts"]} <= {1, 2}


def test_what_is_printed_names_categories_of_blocked_videos_only_and_where_it_lies(
    prompts: Path, words: Path, tmp_path: Path, capsys: Capture
) -> None:
    words.write_text(json.dumps({"ball": [["ball"]]}), encoding="utf-8")
    base = ("defend", "run", "test_cli_defend_run:tiny", "--arguments", ARGUMENTS, "--prompts", prompts)
    assert call(*base, "--keywords", words, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "block (ball) by" in said
    assert said.rstrip().endswith("out: verdicts.jsonl, videos/ (frames of the allowed ones)")
    assert _line({**ROW, "action": "allow"}).text == "v  allow at step 5 by lvd, 0.50 s"
    assert _line({**ROW, "action": "block"}).text == "v  block at step 5 (red) by lvd, 0.50 s"
    assert call(*base[:-1], tmp_path / "none.txt", "--keywords", words) == 2
    assert "there is no such file" in capsys.readouterr().err


def test_each_verdict_is_kept_before_the_next_video_is_begun(
    prompts: Path, words: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    command = ("defend", "run", "test_cli_defend_run:Failing", "--prompts", prompts, "--keywords", words, "--out", out)
    assert call(*command) == 1
    said = capsys.readouterr()
    assert "failed on video" in said.err
    assert "with RuntimeError" in said.err
    assert "secret" not in said.out + said.err
    assert [json.loads(line)["action"] for line in (out / FILE).read_text().splitlines()] == ["allow"]


def test_a_second_run_adds_to_the_first_and_a_block_takes_the_video_away(
    prompts: Path, words: Path, tmp_path: Path, capsys: Capture
) -> None:
    out = tmp_path / "out"
    base = ("defend", "run", "test_cli_defend_run:tiny", "--arguments", ARGUMENTS, "--out", out)
    first = as_json(capsys, *base, "--prompts", prompts, "--keywords", words, "--seeds", "0-1")
    assert len(first["verdicts"]) == 4
    names = {row["video"] for row in first["verdicts"]}
    assert {file.stem for file in (out / "videos").iterdir()} == names
    words.write_text(json.dumps({"ball": [["ball"]]}), encoding="utf-8")
    one = tmp_path / "one.txt"
    one.write_text("a secret ball\n", encoding="utf-8")
    again = as_json(capsys, *base, "--prompts", one, "--keywords", words)
    kept = {row["video"]: row for row in map(json.loads, (out / FILE).read_text().splitlines())}
    assert kept.keys() == names
    blocked = again["verdicts"][0]["video"]
    assert {name for name, row in kept.items() if row["action"] == "block"} == {blocked}
    assert {file.stem for file in (out / "videos").iterdir()} == names - {blocked}


def test_the_log_survives_half_a_line_and_nothing_else(tmp_path: Path) -> None:
    log = VerdictLog(tmp_path)
    log.add({"video": "a", "action": "allow"})
    log.add({"video": "a", "action": "block"})
    assert len(log.path.read_text().splitlines()) == 2, "each is written at once"
    with log.path.open("a") as file:
        file.write('{"video": "b", "act')
    again = VerdictLog(tmp_path)
    assert again.rows == {"a": {"video": "a", "action": "block"}}
    assert again.path.read_text() == '{"video": "a", "action": "block"}\n'
    log.path.write_text('{"video": "a"}\n[]\n')
    with pytest.raises(IntegrityError, match="Line 2"):
        VerdictLog(tmp_path)


def test_one_process_at_a_time(tmp_path: Path, prompts: Path, words: Path, capsys: Capture) -> None:
    with alone(tmp_path / "out"):
        with pytest.raises(InputError, match="Another process writes"), alone(tmp_path / "out"):
            pass
        where = ("--prompts", prompts, "--arguments", ARGUMENTS, "--out", tmp_path / "out")
        for verb in (("run", "test_cli_defend_run:tiny", "--keywords", words), ("record", "test_cli_defend_run:tiny")):
            assert call("defend", *verb, *where) == 2
            assert "Another process writes" in capsys.readouterr().err
    with alone(tmp_path / "out"):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--arguments", '{"num_videos_per_prompt": 3}'), "may not hold num_videos_per_prompt"),
        (("--arguments", '{"prompt": "x"}'), "may not hold prompt"),
        (("--arguments", '{"num_inference_steps": 0}'), "num_inference_steps=0 must be"),
        (("--arguments", "[]"), "must be a JSON object"),
        (("--device", "cuda"), "torch sees no GPU"),
        (("--device", "toaster"), "not known to torch"),
        (("--prompts", "EMPTY"), "No prompt: give at least one"),
        (("--rule", "sequential", "--steps", "1-2"), "leave out --steps"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "record"])
def test_what_is_refused(
    verb: str, options: Any, message: str, prompts: Path, words: Path, tmp_path: Path, capsys: Capture
) -> None:
    if torch.cuda.is_available() and "cuda" in options:
        pytest.skip("there is a GPU")
    if verb == "record" and "--rule" in options:
        pytest.skip("record has no rules")
    (tmp_path / "empty.txt").write_text("\n")
    more = [tmp_path / "empty.txt" if word == "EMPTY" else word for word in options]
    own = ("--keywords", words) if verb == "run" else ("--out", tmp_path / "out")
    assert call("defend", verb, "test_cli_defend_run:tiny", "--prompts", prompts, *own, *more) == 2
    assert message in capsys.readouterr().err


def test_an_argument_that_the_pipeline_has_not(prompts: Path, words: Path, capsys: Capture) -> None:
    command = ("defend", "run", "test_cli_defend_run:Failing", "--prompts", prompts, "--keywords", words)
    assert call(*command, "--arguments", '{"nonsense": 1}') == 2
    assert "Failing takes no nonsense" in capsys.readouterr().err


# -- the paper's layout


def test_the_papers_layout_from_traces_to_a_guarded_pipeline(prompts: Path, tmp_path: Path, capsys: Capture) -> None:
    import transformers
    from test_defenses_videomae import TINY

    videomae = transformers.VideoMAEModel(transformers.VideoMAEConfig(**TINY))
    videomae.save_pretrained(tmp_path / "videomae")
    pipeline, traces, detector = "test_cli_defend_run:tiny", tmp_path / "traces", tmp_path / "detector"
    many = tmp_path / "many.jsonl"
    many.write_text("".join(json.dumps({"prompt": f"ball {i}", "seeds": [0, 1]}) + "\n" for i in range(16)))
    how = ("--arguments", ARGUMENTS, "--labeller", "test_cli_defend_run:odd", "--steps", "1,3", "--batch-size", 8)
    recorded = as_json(capsys, "defend", "record", pipeline, "--prompts", many, *how, "--out", traces)
    assert recorded["steps"] == [1, 3]
    train = ("defend", "train", traces, "--out", detector, "--epochs", 1, "--architecture", "videomae")
    assert call(*train) == 2
    assert "--checkpoint" in capsys.readouterr().err
    made = as_json(capsys, *train, "--checkpoint", tmp_path / "videomae", "--pipeline", pipeline)
    assert [row["step"] for row in made["steps"]] == [1, 3]
    replay = ("defend", "replay", traces, "--detector", detector, "--split", "test", "--pipeline", pipeline)
    assert call(*replay) == 0
    said = capsys.readouterr().out
    assert "--steps 1,3" in said
    assert "Sequential test" in said
    assert call(*replay[:-2]) == 2
    assert "--pipeline" in capsys.readouterr().err
    base = ("defend", "run", pipeline, "--prompts", prompts, "--detector", detector, "--arguments", ARGUMENTS)
    for rule in (("--eta", 2), ("--eta", 2, "--steps", "1,3"), ("--rule", "sequential", "--alpha", "0.000001")):
        done = as_json(capsys, *base, *rule)
        assert {row["note"] for row in done["verdicts"]} == {""}, "no vote failed"
        assert {row["step"] for row in done["verdicts"]} <= {1, 3}
    other = json.dumps({**json.loads(ARGUMENTS), "num_inference_steps": 6})
    assert call(*base[:-1], other, "--rule", "sequential") == 2
    assert "fitted on generations of 4 steps, but the pipeline samples in 6" in capsys.readouterr().err
    assert call(*base, "--steps", "2-3", "--eta", 2) == 0
    assert "No classifier for steps [2]" in capsys.readouterr().out


def odd(frames: Any) -> bool:
    """A labeller that calls about half of the tiny pipeline's noise unsafe."""
    return bool(int(frames.sum()) % 2)


def test_a_full_disk_is_no_lost_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = VerdictLog(tmp_path)
    log.add({"video": "a"})
    monkeypatch.setattr("os.fsync", _full)
    with pytest.raises(OSError, match="no space"):
        log.add({"video": "b"})
    monkeypatch.undo()
    assert "a" in VerdictLog(tmp_path).rows


def _full(*_: Any) -> None:
    raise StorageError("no space")
