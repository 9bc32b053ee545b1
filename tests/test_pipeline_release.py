"""A small twin from raw files to a release, as its maker runs it: split and write, and what its user then does with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import unsafe_video_dataset as uvd
from unsafe_video_dataset import Release
from unsafe_video_dataset.builders.cli import main
from unsafe_video_dataset.builders.pipeline.journal import _records
from unsafe_video_dataset.builders.pipeline.run import run_recipe
from unsafe_video_dataset.integrity import sha256_file

SCALE = 80


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a twin whose recipe has run."""
    folder = tmp_path_factory.mktemp("pipeline") / "twin"
    assert main(["twin", str(folder), "--scale", str(SCALE), "--json"]) == 0
    run_recipe(folder / "recipe.toml", progress=False)
    return folder


@pytest.fixture(scope="module")
def release(twin: Path) -> Release:
    return Release.open(twin / "release")


def test_it_arrives_at_the_planned_numbers(twin: Path, release: Release) -> None:
    targets = json.loads((twin / "truth" / "targets.json").read_text())
    counts = release.manifest["counts"]
    assert (counts["videos"], counts["unsafe"]) == (targets["reviewed"], targets["unsafe"])
    assert counts["categories"] == targets["categories"]


def test_it_is_sound_and_loads(release: Release) -> None:
    assert release.verify(decode=True).faults == []
    rows = uvd.load_dataset(str(release.path), split="train").num_rows
    assert rows == release.manifest["counts"]["splits"]["train"]["unsafe"]
    row = release.metadata().to_pylist()[0]
    assert row["votes"]
    assert row["label_method"] == "majority"
    table = uvd.aggregate(release.annotations())
    assert dict(zip(table["video_id"].to_pylist(), table["categories"].to_pylist(), strict=True)).keys() == {
        row["video_id"] for row in release.metadata().to_pylist()
    }


def test_every_raw_file_is_accounted_for(twin: Path, release: Release) -> None:
    rows = pq.read_table(release.path / "candidates.parquet").to_pylist()
    assert len(rows) == SCALE
    released = {row["video_id"] for row in rows if row["stage"] is None}
    assert released == set(release.metadata()["video_id"].to_pylist())
    assert all(row["reason"] for row in rows if row["stage"] is not None)
    report = json.loads((twin / "work" / "report.json").read_text())
    assert sum(stage["dropped"] for stage in report["stages"]) + report["left"] == report["input"] == SCALE
    assert "by quality" in (release.path / "DATASHEET.md").read_text(encoding="utf-8")
    assert not any("prompt" in name for name in rows[0])


def test_no_leak_between_splits_and_folds(twin: Path, release: Release) -> None:
    folds = dict(zip(*pq.read_table(release.path / "folds.parquet").to_pydict().values(), strict=True))
    looks = pq.read_table(twin / "work" / "dedup" / "table.parquet").to_pylist()
    look_of = {row["video_id"]: row["related_group"] for row in looks}
    for key in ("group_id", "prompt_id", "look"):
        splits, parts = defaultdict(set), defaultdict(set)
        for row in release.metadata().to_pylist():
            name = look_of[row["video_id"]] if key == "look" else row[key]
            splits[name].add(row["split"])
            parts[name].add(folds[row["video_id"]])
        assert all(len(found) == 1 for found in [*splits.values(), *parts.values()]), key
    assert set(folds.values()) == {0, 1, 2, 3, 4}
    assert set(folds) == set(release.metadata()["video_id"].to_pylist())


def test_again_nothing_changes(twin: Path, release: Release) -> None:
    before = (twin / "release" / "manifest.json").read_bytes()
    report = run_recipe(twin / "recipe.toml", progress=False)
    assert [one.action for one in report.stages] == ["ran", *["skipped"] * 7]
    assert (twin / "release" / "manifest.json").read_bytes() == before


@pytest.fixture
def copy(twin: Path, tmp_path: Path) -> Path:
    shutil.copytree(twin, tmp_path / "twin", ignore=shutil.ignore_patterns("truth", "*.png"))
    return tmp_path / "twin"


def change(folder: Path, old: str, new: str) -> None:
    recipe = folder / "recipe.toml"
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new))


def test_a_setting_that_changes_no_table_still_reaches_the_manifest(copy: Path) -> None:
    change(copy, "[quality]\n", "[quality]\nmargin = 0.05\n")
    run_recipe(copy / "recipe.toml", progress=False)
    release = Release.open(copy / "release")
    assert release.manifest["settings"]["stages"]["quality"]["margin"] == 0.05


def test_prompts_left_out_and_a_datasheet_of_ones_own(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(copy, 'prompts = "keep"\n', 'prompts = "leave_out"\ndatasheet = "mine.md"\n')
    assert main(["run", str(copy / "recipe.toml"), "--json"]) != 0
    assert "mine.md" in capsys.readouterr().err
    (copy / "mine.md").write_text("# Mine\n<!-- figures: written by the builder -->\nold\n<!-- end of figures -->\nMy words.\n")
    report = run_recipe(copy / "recipe.toml", progress=False)
    assert [one.stage for one in report.stages if one.action == "ran"] == ["ingest", "write"]
    release = Release.open(copy / "release")
    assert set(release.metadata()["prompt"].to_pylist()) == {None}
    assert None not in release.metadata()["prompt_id"].to_pylist()
    text = (release.path / "DATASHEET.md").read_text(encoding="utf-8")
    assert text.startswith("# Mine\n<!-- figures")
    assert text.endswith("<!-- end of figures -->\nMy words.\n")
    assert "old" not in text
    assert release.verify().ok


def test_a_raw_file_that_changes_meanwhile(copy: Path) -> None:
    shutil.rmtree(copy / "release")
    video = next(path for path in sorted((copy / "raw").rglob("*.mp4")) if path.stat().st_size > 2000)
    video.write_bytes(video.read_bytes() + b"\0\0\0\x08free")
    report = run_recipe(copy / "recipe.toml", progress=False)
    assert report.stage("probe").worked == 1, "only the changed file is decoded again"
    assert Release.open(copy / "release").verify().ok


COMMAND = [sys.executable, "-m", "unsafe_video_dataset.builders.cli"]


def kill_in(folder: Path, stage: str, kept: int) -> None:
    """Run the recipe, and kill -9 it once `stage` is begun and holds so many answers; assert that the stage was not done."""
    journal, done = folder / "work" / stage / "journal", folder / "work" / stage / "done.json"
    process = subprocess.Popen(
        [*COMMAND, "run", str(folder / "recipe.toml"), "--workers", "2", "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while process.poll() is None:
        begun = (folder / "work" / stage / "files").is_dir() and not done.exists()
        if begun and answers(journal) >= kept and (stage != "write" or list(folder.glob(".release.partial-*"))):
            process.kill()
        time.sleep(0.002)
    assert process.returncode == -9, f"{stage} ended before it was killed"
    assert not done.exists(), f"{stage} was done when it was killed"


def answers(journal: Path) -> int:
    return sum(1 for path in journal.glob("*.log") for _ in _records(path))


@pytest.mark.slow
def test_killed_anywhere_it_goes_on_to_the_same_bytes(copy: Path, twin: Path) -> None:
    for folder in ("work", "release"):
        shutil.rmtree(copy / folder)
    for stage, kept in (("probe", 5), ("probe", SCALE // 2), ("dedup", 3), ("cluster", 1), ("write", 0)):
        kill_in(copy, stage, kept)
    run_recipe(copy / "recipe.toml", progress=False)
    assert (copy / "release" / "manifest.json").read_bytes() == (twin / "release" / "manifest.json").read_bytes()
    for stage in ("probe", "dedup", "cluster"):
        assert answers(copy / "work" / stage / "journal") == answers(twin / "work" / stage / "journal"), "worked out twice"


@pytest.mark.slow
def test_ray_makes_the_same_release(copy: Path, twin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    for folder in ("work", "release"):
        shutil.rmtree(copy / folder)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    call = [*COMMAND, "run", str(copy / "recipe.toml"), "--engine", "ray", "--workers", "2", "--json"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    ran = {one["stage"]: one for one in json.loads(done.stdout)["stages"]}
    assert ran["probe"]["worked"] > SCALE // 2
    assert ran["probe"]["failures"] == 0
    assert sha256_file(copy / "release" / "manifest.json") == sha256_file(twin / "release" / "manifest.json")


def test_check_fails_on_a_leak(copy: Path) -> None:
    """A prompt in two splits, written as if nothing were wrong."""
    from unsafe_video_dataset.builders.assemble import Assembled
    from unsafe_video_dataset.builders.write import ReleaseInfo, write_release
    from unsafe_video_dataset.records import from_table

    good = Release.open(copy / "release")
    records = [dict(record) for record in from_table("metadata", good.metadata())]
    by_split = {record["split"]: record for record in records}
    by_split["test"]["prompt_id"] = by_split["train"]["prompt_id"]
    bad = Assembled(videos=[(one, lambda video_id=one["video_id"]: good.video_bytes(video_id)) for one in records])  # type: ignore[misc]
    bad.videos.sort(key=lambda pair: str(pair[0]["video_id"]))
    write_release(copy / "leak", bad, ReleaseInfo("leak", "run"), progress=False)
    faults = [str(fault) for fault in Release.open(copy / "leak").verify().faults]
    assert any("prompt" in fault and "is in test, train" in fault for fault in faults), faults
    assert main(["check", str(copy / "leak"), "--no-decode"]) == 1
