"""`unsafe-video`: help with examples, JSON for machines, exit codes, and no traceback for a user's mistake."""

from __future__ import annotations

import importlib
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import releases

from unsafe_video_dataset import _console, write_predictions
from unsafe_video_dataset.cli import main
from unsafe_video_dataset.naming import UPSTREAM
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES, SPLITS

COMMANDS = ["demo", "info", "train", "evaluate", "leaderboard", "report"]
Capture = pytest.CaptureFixture[str]


def call(*arguments: object) -> int:
    """`unsafe-video …` in this process; argparse exits by itself."""
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as error:
        return int(error.code or 0)


def as_json(capsys: Capture, *arguments: object) -> Any:
    assert call(*arguments, "--json") == 0
    captured = capsys.readouterr()
    return json.loads(captured.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def predictions_for(release: Path | Release, path: Path, split: str = "test") -> Path:
    opened = release if isinstance(release, Release) else Release.open(release)
    ids = releases.ids(opened, split, is_unsafe=True)
    scores = [
        {"video_id": video_id, "scores": {name: (number + place) % 7 / 7 for place, name in enumerate(CATEGORIES)}}
        for number, video_id in enumerate(ids)
    ]
    write_predictions(path, scores)
    return path


# -- help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_that_parses(command: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call(command, "--help") == 0
    text = capsys.readouterr().out
    example = text.split("example:\n")[1].strip()
    words = shlex.split(example)
    assert words[:2] == ["unsafe-video", command]
    called: list[Any] = []
    monkeypatch.setattr("unsafe_video_dataset.cli.run", lambda _, arguments: called.append(arguments) or 0)
    assert call(*words[1:]) == 0
    assert called[0].command == command
    assert "--json" in text


def test_the_commands_are_listed(capsys: Capture) -> None:
    assert call("--help") == 0
    text = capsys.readouterr().out
    assert all(command in text for command in COMMANDS)
    assert "Exit codes: 0" in text
    assert call("--version") == 0
    assert capsys.readouterr().out.startswith("unsafe-video 0.")


@pytest.mark.parametrize(
    "arguments", [[], ["nope"], ["info", "--nope"], ["train", "--epochs", "x"], ["evaluate"], ["train", "--nope"]]
)
def test_flags_that_do_not_exist_exit_with_2(arguments: list[str], capsys: Capture) -> None:
    assert call(*arguments) == 2
    captured = capsys.readouterr()
    assert "usage:" in captured.err
    assert captured.out == ""


# -- info


def test_info_as_json(small: Path, capsys: Capture) -> None:
    info = as_json(capsys, "info", small)
    release = Release.open(small)
    assert info["counts"] == release.manifest["counts"]
    assert info["manifest_sha256"] == release.manifest_sha256
    assert info["rows"]["reviewed"] == {split: release.metadata(split).num_rows for split in SPLITS}
    assert info["rows"]["unsafe"] == {split: release.metadata(split, is_unsafe=True).num_rows for split in SPLITS}
    assert info["rows"]["annotations"]["test"] == release.annotations("test").num_rows
    assert set(info["decoders"]) == {"decord", "pyav", "torchcodec"}
    assert info["decoder"]["picked"] in (*info["decoders"], "none")
    assert "first of pyav, decord, torchcodec" in info["decoder"]["why"]
    assert {"pyarrow", "datasets", "torch", "python"} <= set(info["versions"])


def test_info_as_text(sample: Release, capsys: Capture) -> None:
    assert call("info") == 0
    text = capsys.readouterr().out
    assert "decoder='auto' picks " in text
    assert "96 reviewed videos" in text
    for name in ("Distorted/Weird", "Political", "generators", "prompt sources", "pyarrow"):
        assert name in text


def test_info_on_a_release_without_votes_or_a_split(unvoted: Path, tmp_path: Path, capsys: Capture) -> None:
    assert as_json(capsys, "info", unvoted)["counts"]["votes"] == 0
    empty = releases.build(tmp_path / "r", 6, fractions=(1.0, 0.0, 0.0))
    assert call("info", empty) == 0
    assert "not unsafe" in capsys.readouterr().out


# -- evaluate, report


def test_evaluate(small: Path, tmp_path: Path, capsys: Capture) -> None:
    path = predictions_for(small, tmp_path / "p.jsonl")
    arguments = ["evaluate", path, "--release", small, "--bootstrap", 20]
    report = as_json(capsys, *arguments)
    assert report
    assert as_json(capsys, *arguments) == report
    assert call(*arguments) == 0
    assert "terrifying" in capsys.readouterr().out.lower()


def test_plots_that_can_not_be_written_are_refused_before_anything_is_scored(
    small: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("unsafe_video_dataset.evaluate")  # the package's name for it is the function
    monkeypatch.setattr(module, "evaluate", lambda *given, **more: pytest.fail("it scored"))
    file = tmp_path / "file"
    file.write_text("x", encoding="utf-8")
    assert call("evaluate", predictions_for(small, tmp_path / "p.jsonl"), "--release", small, "--plots", file) == 2
    assert "--plots" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == "x"


def test_evaluate_with_validation_a_second_model_and_files(small: Path, tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("matplotlib")
    test, held_out = (predictions_for(small, tmp_path / f"{split}.jsonl", split) for split in ("test", "validation"))
    flags = ["--release", small, "--bootstrap", 10, "--validation", held_out]
    more = ["--baseline", test, "--baseline-validation", held_out, "--markdown", tmp_path / "new" / "report.md"]
    report = as_json(capsys, "evaluate", test, *flags, *more)
    assert report["threshold_source"] == "validation"
    assert report["baseline"]["rows"] == report["rows"]
    assert (tmp_path / "new" / "report.md").read_text().startswith("# unnamed model on small")
    assert call("evaluate", test, *flags, "--target", "multilabel", "--plots", tmp_path / "plots") == 0
    assert "plots to" in capsys.readouterr().out
    assert (tmp_path / "plots" / "pr.svg").is_file()


def test_evaluate_soft(small: Path, tmp_path: Path, capsys: Capture) -> None:
    report = as_json(capsys, "evaluate", predictions_for(small, tmp_path / "p.jsonl"), "--release", small, "--target", "soft")
    assert report["rows"][0]["brier"]["value"] >= 0


def test_leaderboard(small: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "b").mkdir()
    files = [predictions_for(small, tmp_path / name) for name in ("p.jsonl", "q.jsonl")]
    flags = ["--release", small, "--bootstrap", 10]
    board = as_json(capsys, "leaderboard", *files, *flags, "--markdown", tmp_path / "board.md")
    assert [entry["name"] for entry in board["entries"]] == ["p", "q", "majority", "human"]
    assert (tmp_path / "board.md").read_text().startswith("|  | rank |")
    same = predictions_for(small, tmp_path / "b" / "p.jsonl")
    names = [entry["name"] for entry in as_json(capsys, "leaderboard", files[0], same, *flags)["entries"][:2]]
    assert set(names) == {str(files[0]), str(same)}  # two files of one name go by their paths
    assert call("leaderboard", *files, *flags) == 0
    assert "p >= 0.05" in capsys.readouterr().out


# -- train, demo


def test_info_says_why_the_decoders_are_tried_in_that_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    assert "resized before" in json.loads(capsys.readouterr().out)["decoder"]["order"]
    assert main(["info"]) == 0
    assert "PyAV is tried before decord because" in capsys.readouterr().out


def test_train(small: Path, tmp_path: Path, capsys: Capture) -> None:
    flags = ["train", "--release", small, "--out", tmp_path, "--epochs", 1, "--size", 16, "--num-frames", 2]
    trained = as_json(capsys, *flags)
    assert trained["out"] == str(tmp_path)
    assert as_json(capsys, *flags, "--resume") == trained
    assert as_json(capsys, "evaluate", tmp_path / "predictions.jsonl", "--release", small) == trained["report"]
    assert call(*flags) == 0
    captured = capsys.readouterr()
    assert "Written to" in captured.out
    assert "training" in captured.err


def test_demo(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    from unsafe_video_dataset.baseline import Settings

    monkeypatch.setattr(
        "unsafe_video_dataset.baseline.Settings", lambda **_: Settings(epochs=1, size=16, num_frames=4, batch_size=8)
    )
    assert call("demo", "--fast", "--out", tmp_path / "demo") == 0
    captured = capsys.readouterr()
    names = ["checkpoint.pt", "contact_sheet.png", "metrics.json", "predictions.jsonl", "summary.md", "validation.jsonl"]
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == names
    nexts = captured.out.partition("Next:\n")[2].splitlines()
    assert len({line.rindex("  ") for line in nexts}) == 1, "what each is for stands in one column"
    assert any(line.startswith(f"  unsafe-video access {UPSTREAM}  ") for line in nexts)
    assert "Distorted/Weird" in captured.out
    first = (tmp_path / "demo" / "metrics.json").read_bytes()
    result = as_json(capsys, "demo", "--out", tmp_path / "demo")
    assert set(result) == {"release", "report", "out"}
    assert (tmp_path / "demo" / "metrics.json").read_bytes() == first
    summary = (tmp_path / "demo" / "summary.md").read_text()
    assert "Trained on the `unsafe` train split" in summary


# -- mistakes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["info", "missing"], "no release folder 'missing'"),
        (["report", "missing"], "no release folder"),
        (["report", "{small}", "--out", "{tmp}/good.jsonl"], "not a folder"),
        (["train", "--release", "missing", "--out", "{tmp}/t"], "no release folder"),
        (["train", "--release", "{small}", "--out", "{tmp}/t", "--device", "abacus"], "not known to torch"),
        (["train", "--release", "{small}", "--out", "{tmp}/t", "--epochs", "0"], "from 1"),
        (["train", "--release", "{small}", "--out", "{tmp}/t", "--seed", "-1"], "from 0"),
        (["train", "--release", "{small}", "--out", "{tmp}/t", "--learning-rate", "nan"], "learning-rate"),
        (["train", "--release", "{small}", "--out", "{tmp}/t", "--num-workers", "-1"], "at least 0"),
        (["train", "--release", "{small}", "--out", "{tmp}/t", "--device", "meta"], "not supported"),
        (["evaluate", "{tmp}/missing.jsonl"], "no file of predictions"),
        (["evaluate", "{good}", "--release", "{small}", "--split", "train"], "train"),
        (["evaluate", "{good}", "--release", "{small}", "--target", "binary"], "unsafe_score"),
        (["evaluate", "{good}", "--release", "{small}", "--bootstrap", "-1"], "at least 0"),
        (["evaluate", "{good}", "--release", "{small}", "--bootstrap", "100000000000000"], "at most 100,000"),
        (["evaluate", "{good}", "--release", "{small}", "--seed", "-1"], "seed"),
        (["evaluate", "{bad}", "--release", "{small}"], "invalid JSON"),
        (["evaluate", "{good}", "--release", "{small}", "--threshold", "2"], "0 to 1"),
        (["evaluate", "{good}", "--release", "{small}", "--threshold", "0.4", "--validation", "{good}"], "not both"),
        (["leaderboard", "{good}", "--release", "{small}", "--validation", "{good}", "{good}"], "one each"),
        (["leaderboard", "{good}", "{good}", "--release", "{small}"], "the same file twice"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_2(
    small: Path, tmp_path: Path, capsys: Capture, arguments: list[str], words: str
) -> None:
    (tmp_path / "bad.jsonl").write_text("{\n")
    good = predictions_for(small, tmp_path / "good.jsonl")
    places = {"small": small, "tmp": tmp_path, "good": good, "bad": tmp_path / "bad.jsonl"}
    assert call(*[argument.format(**places) for argument in arguments]) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err


def test_damage_is_exit_code_1(copy: Path, tmp_path: Path, capsys: Capture) -> None:
    (copy / "data/metadata/test.parquet").write_bytes(b"cut")
    assert call("report", copy, "--out", tmp_path / "r") == 1
    assert "can't be read" in capsys.readouterr().err
    (copy / "manifest.json").write_text("{")
    assert call("info", copy) == 1
    assert "is not JSON" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_exit_code_1(small: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "file").write_text("x")
    assert call("report", small, "--out", tmp_path / "file" / "r", "--no-thumbnails") == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_as_a_program(small: Path, tmp_path: Path) -> None:
    def program(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "unsafe_video_dataset.cli", *map(str, arguments)]
        env = {**os.environ, "PYTHONIOENCODING": "ascii"}
        return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path, env=env)

    done = program("info", "missing…")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: There is no release folder")
    assert "Traceback" not in done.stderr
    piped = subprocess.run(
        f"{shlex.quote(sys.executable)} -m unsafe_video_dataset.cli info {shlex.quote(str(small))} | head -1",
        shell=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert piped.stderr == ""


# -- the console helpers


def test_interrupts_and_full_disks(capsys: Capture) -> None:
    import argparse

    def stop(_: object) -> int:
        raise KeyboardInterrupt

    def full(_: object) -> int:
        raise OSError(28, "No space left on device", "out/checkpoint.pt")

    assert _console.run(stop, argparse.Namespace()) == 130
    assert _console.run(full, argparse.Namespace()) == 1
    assert "No space left on device: 'out/checkpoint.pt'" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):  # a bug keeps its traceback
        _console.run(lambda _: 1 // 0, argparse.Namespace())


def test_tables_and_json(capsys: Capture) -> None:
    assert _console.text_table(("name", "n"), [("a", 5), ("long name", 12)]) == (
        "name        n\n---------  --\na           5\nlong name  12"
    )
    assert _console.text_table(("a", "b"), []) == "a  b\n-  -"
    with pytest.raises(ValueError, match="JSON compliant"):
        _console.print_json(float("nan"))
    _console.print_json({"é": 1})
    assert json.loads(capsys.readouterr().out) == {"é": 1}
