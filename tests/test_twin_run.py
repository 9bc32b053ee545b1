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
    assert found["verdict"]["ok"], found["verdict"]["sentences"]
    assert found["release"]["found"] == found["exact"]["wanted"]
    assert found["release"]["groups_across_splits"] == 0
    assert "## Duplicates" in (tmp_path / "page.md").read_text()


@pytest.mark.slow
def test_filters_that_are_switched_off_are_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The counts at the end stay the planned ones: nobody voted on what should have been dropped."""
    raw, page = tmp_path / "twin", tmp_path / "page.md"
    assert main(["twin", str(raw), "--scale", "80", "--workers", "2"]) == 0
    recipe = raw / "recipe.toml"
    measures = ("sharpness", "edge_sharpness", "brightness", "contrast", "motion", "duration", "frames")
    off = [f"min_{name} = 0" for name in measures]
    off += [f"max_{name} = 1.0" for name in ("brightness", "frozen", "freeze", "black", "white", "blank")]
    text = recipe.read_text(encoding="utf-8").replace("max_frames = 32", "\n".join(off))
    recipe.write_text(text.replace("[cluster]", "[dedup]\nphash_duplicate = 0\nphash_related = 0\n\n[cluster]"))
    assert main(["run", str(recipe), "--workers", "2"]) == 0
    capsys.readouterr()
    assert main(["twin", str(raw), "--compare", str(page)]) == 1
    out = capsys.readouterr().out
    assert "The recall of quality is " in out
    assert "left only because nobody voted on them: " in out
    assert "has the planned counts" not in out
    assert "The recall of quality is " in page.read_text(encoding="utf-8")


def test_a_page_that_has_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["twin", str(tmp_path), "--compare", str(tmp_path / "none" / "page.md")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["twin", str(tmp_path / "none"), "--compare", str(tmp_path / "page.md")]) == 2
    assert "holds no truth of a twin" in capsys.readouterr().err
