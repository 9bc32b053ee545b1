"""The whole pipeline on a twin: the planned counts come out, and no two different scenes are taken for copies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unsafe_video_dataset.builders.cli import main

pytest.importorskip("unsafe_video_dataset.builders.stages.write", reason="needs all stages")
pytest.importorskip("faiss")
pytest.importorskip("sklearn")


@pytest.mark.slow
def test_a_twin_runs_to_the_planned_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tmp_path / "twin"
    assert main(["twin", str(raw), "--scale", "200", "--workers", "2"]) == 0
    assert main(["run", str(raw / "recipe.toml"), "--workers", "2"]) == 0
    capsys.readouterr()
    assert main(["twin", str(raw), "--compare", str(tmp_path / "page.md"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["exact"]["found"] == found["exact"]["wanted"]
    assert found["exact"]["same_videos"]
    assert found["probe"]["all"]["recall"] == found["probe"]["all"]["precision"] == 1
    assert found["dedup"]["pairs"]["false_merges"] == 0
    assert found["dedup"]["pairs"]["recall"] > 0.9
    assert found["dedup"]["original_kept"]["share"] == 1
    assert found["quality"]["dropped"]["precision"] == 1
    assert found["quality"]["dropped"]["recall"] > 0.8
    assert found["votes"]["control"]["precision"] > 0.99
    assert found["votes"]["as_planned"]["right"] == found["votes"]["as_planned"]["n"]
    assert "## Duplicates" in (tmp_path / "page.md").read_text()
