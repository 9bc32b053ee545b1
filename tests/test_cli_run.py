"""`unsafe-video-build run`: the table, JSON, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pipeline_support as support
import pytest
from builders_support import run_build

from unsafe_video_dataset.builders.pipeline import recipe as module


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "all_stages", lambda: support.REAL)  # the others have their own tests
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    return support.make_recipe(tmp_path / "base", number=3)


def test_a_run_and_its_table(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (recipe.parent / "raw" / "bad.mp4").write_bytes(b"no")
    assert run_build("run", recipe, "--dry-run") == 0
    out = capsys.readouterr().out
    assert out.count("would run") == 2
    assert "candidates" not in out
    assert run_build("run", recipe, "--workers", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["stage", "what", "in", "kept", "dropped", "seconds", "why"]
    assert lines[3].split()[:5] == ["probe", "ran", "4", "3", "1"]
    assert run_build("run", recipe, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [(one["stage"], one["action"]) for one in report["stages"]] == [("ingest", "ran"), ("probe", "skipped")]


def test_exit_codes(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_build("run", recipe.parent / "none.toml") == 2
    assert run_build("run", recipe, "--from", "prob") == 2
    assert "from='prob' is not known. Choose one of: ingest, probe." in capsys.readouterr().err
    assert run_build("run", recipe, "--only", "probe") == 2
    assert "--only ingest" in capsys.readouterr().err
    assert run_build("run", recipe, "--workers", "0") == 2
    assert run_build("run", recipe, "--engine", "dask") == 2
    recipe.write_text("[release]\n")
    capsys.readouterr()
    assert run_build("run", recipe) == 2
    assert "(2 faults)" in capsys.readouterr().err


def test_a_run_with_items_whose_process_died_ends_with_1(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from unsafe_video_dataset.builders.pipeline import run as module

    def died(*_: object, **__: object) -> module.RunReport:
        stage = module.StageRun("probe", "ran", "", rows=3, kept=1, died=2)
        return module.RunReport("recipe.toml", recipe.parent / "work", recipe.parent / "release", [stage])

    monkeypatch.setattr(module, "run_recipe", died)
    assert run_build("run", recipe) == 1
    assert "the process of 2 items died each time" in capsys.readouterr().out
    assert run_build("run", recipe, "--dry-run") == 0
