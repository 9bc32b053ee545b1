"""Each example runs on the sample, with light settings, and says something true."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import releases

pytest.importorskip("torch")
pytest.importorskip("sklearn")

from unsafe_video_dataset import read_predictions
from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.release import Release

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_every_example_says_how_to_run_it() -> None:
    for path in EXAMPLES.glob("*.py"):
        assert f"python examples/{path.name}" in path.read_text(encoding="utf-8").split('"""')[1]


def test_linear_probe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert load("linear_probe", monkeypatch).main(["--num-frames", "4", "--bootstrap", "0"]) == 0
    out = capsys.readouterr().out
    macro = re.search(r"^macro\s+\d+\s+-\s+([\d.]+)", out, re.MULTILINE)
    assert macro is not None
    assert float(macro[1]) > 0.6, "the sample's shapes tell its categories apart"
    assert out.splitlines()[-1].startswith("Next:")


def test_soft_labels(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], unvoted: Path) -> None:
    module = load("soft_labels", monkeypatch)
    assert module.main(["--num-frames", "4", "--steps", "60"]) == 0
    out = capsys.readouterr().out
    found = {name: float(value) for name, value in re.findall(r"^(votes|majority)\s+\S+\s+([\d.]+)", out, re.MULTILINE)}
    floor = float(re.search(r"below ([\d.]+)", out)[1])  # type: ignore[index]
    assert floor < found["votes"] < 0.7, "better than a coin for each category (log 2)"
    assert floor < found["majority"]
    with pytest.raises(Exception, match="min_raters"):
        module.main(["--release", str(unvoted)])


@pytest.mark.slow
def test_videomae_trainer(
    sample: Release, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    module = load("videomae_trainer", monkeypatch)
    light = ["--epochs", "1", "--size", "32", "--num-frames", "4", "--bootstrap", "0", "--cpu"]
    assert module.main([*light, "--out", str(tmp_path / "one")]) == 0
    out = capsys.readouterr().out
    assert "a tiny untrained config" in out
    records = read_predictions(tmp_path / "one" / "predictions.jsonl")
    assert [record["video_id"] for record in records] == releases.ids(sample, "test", is_unsafe=True)
    # What it wrote is a checkpoint that it goes on from.
    folder = tmp_path / "one" / "model"
    assert module.main([*light, "--checkpoint", str(folder), "--out", str(tmp_path / "two")]) == 0
    assert "VideoMAE (model)" in capsys.readouterr().out
    with pytest.raises(InputError, match="no checkpoint folder"):
        module.main([*light, "--checkpoint", str(tmp_path)])


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("linear_probe", ["--release", "nowhere"]),
        ("linear_probe", ["--checkpoint", "nowhere"]),
        ("soft_labels", ["--release", "nowhere"]),
        ("videomae_trainer", ["--checkpoint", "nowhere", "--cpu"]),
    ],
)
def test_a_mistake_in_a_flag_is_a_sentence(name: str, flags: list[str], tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / f"{name}.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode in (1, 2), done.stderr
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
