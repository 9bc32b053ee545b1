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
from unsafe_video_dataset.builders.raters.pseudonyms import key_mark
from unsafe_video_dataset.errors import FaultsError, InputError
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


@pytest.mark.parametrize("setting", ["folds = 0\n", ""], ids=["0", "not given"])
def test_no_folds_no_table_of_folds(setting: str, copy: Path) -> None:
    change(copy, "folds = 5\n", setting)
    report = run_recipe(copy / "recipe.toml", progress=False)
    assert report.stage("split").report["folds"] == {}
    release = Release.open(copy / "release")
    assert "folds.parquet" not in {entry["path"] for entry in release.manifest["files"]}
    assert release.verify().ok


def test_a_withdrawn_video_stays_withdrawn_when_the_recipe_runs_again(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Release.open(copy / "release")
    gone = before.metadata()["video_id"].to_pylist()[0]
    items = pq.read_table(copy / "work" / "ingest" / "table.parquet").to_pylist()
    (path,) = (row["item"] for row in items if row["video_id"] == gone)
    why = ["--reason", "withdrawn on request", "--release-version", "1.1", "--date", "2025-01-31"]
    assert main(["tombstone", str(before.path), str(copy / "release-1.1"), gone, *why]) == 0
    assert 'tombstones = "tombstones.parquet"' in capsys.readouterr().out
    shutil.copy(copy / "release-1.1" / "tombstones.parquet", copy / "tombstones.parquet")
    change(copy, 'out = "release"\n', 'out = "release-1.1"\n')
    with pytest.raises(InputError, match=f"withdrew 1 videos \\({gone}\\) that would return"):
        run_recipe(copy / "recipe.toml", progress=False)
    change(copy, 'out = "release-1.1"\n', 'out = "release-1.1"\ntombstones = "tombstones.parquet"\n')
    report = run_recipe(copy / "recipe.toml", progress=False)
    assert report.stage("ingest").report["withdrawn"] == {"ids": 1, "raw_files": 1, "without_raw_file": 0, "sidecar_rows": 0}
    after = Release.open(copy / "release-1.1")
    assert set(after.metadata()["video_id"].to_pylist()) == set(before.metadata()["video_id"].to_pylist()) - {gone}
    assert after.tombstones == {gone: "withdrawn on request"}
    assert after.verify().ok
    fates = {row["item"]: row for row in pq.read_table(copy / "work" / "candidates.parquet").to_pylist()}
    assert (fates[path]["stage"], fates[path]["reason"]) == ("ingest", "withdrawn on 2025-01-31: withdrawn on request")
    assert path not in pq.read_table(after.path / "candidates.parquet")["item"].to_pylist()
    manifest = (after.path / "manifest.json").read_bytes()

    (copy / "raw" / path).unlink()  # votes, themes and the sidecar still name it
    report = run_recipe(copy / "recipe.toml", progress=False)
    assert report.stage("ingest").report["withdrawn"] == {"ids": 1, "raw_files": 0, "without_raw_file": 1, "sidecar_rows": 1}
    assert (after.path / "manifest.json").read_bytes() == manifest
    assert Release.open(after.path).verify().ok
    other = next(row["item"] for row in items if row["kept"] and row["video_id"] != gone)
    (copy / "raw" / other).unlink()
    with pytest.raises(FaultsError, match="1 withdrawn videos have no raw file, so as many rows"):
        run_recipe(copy / "recipe.toml", progress=False)


def test_tombstones_that_are_not_there_or_lie_in_the_release(copy: Path) -> None:
    change(copy, 'out = "release"\n', 'out = "release"\ntombstones = "none.parquet"\n')
    with pytest.raises(InputError, match=r"no file of tombstones none\.parquet"):
        run_recipe(copy / "recipe.toml", progress=False)
    (copy / "none.parquet").write_bytes(b"no table")
    with pytest.raises(InputError, match="can't be read as a table of tombstones"):
        run_recipe(copy / "recipe.toml", progress=False)
    change(copy, '"none.parquet"', '"release/tombstones.parquet"')
    with pytest.raises(FaultsError, match="a copy beside the recipe"):
        run_recipe(copy / "recipe.toml", progress=False)


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
    fates = pq.read_table(release.path / "candidates.parquet").to_pylist()
    assert len({row["item"] for row in fates}) == len(fates) == SCALE, "file names are often prompts: ids stand in their place"
    assert all(row["video_id"] is None or row["video_id"] in row["item"] for row in fates)
    texts = [f"{row['item']} {row['reason']}" for row in fates]
    names = pq.read_table(copy / "work" / "candidates.parquet")["item"].to_pylist()
    assert not any(name in text for name in names for text in texts)
    text = (release.path / "DATASHEET.md").read_text(encoding="utf-8")
    assert text.startswith("# Mine\n<!-- figures")
    assert text.endswith("<!-- end of figures -->\nMy words.\n")
    assert "old" not in text
    assert release.verify().ok


def test_another_key_gives_other_pseudonyms(copy: Path) -> None:
    before = set(Release.open(copy / "release").annotations()["rater_id"].to_pylist())
    key = copy / "raters.key"
    key.write_text("another key of the makers\n")
    report = run_recipe(copy / "recipe.toml", progress=False)
    assert [one.stage for one in report.stages if one.action == "ran"] == ["ingest", "votes", "split", "write"]
    after = set(Release.open(copy / "release").annotations()["rater_id"].to_pylist())
    assert len(before) == len(after)
    assert not before & after
    mark = key_mark(key.read_bytes().strip()).encode()
    texts = [path.read_bytes() for path in (copy / "work").rglob("*") if path.is_file()]
    assert not any(b"another key" in text or mark in text for text in texts)


def test_a_release_says_what_made_it_and_does_not_cite_the_paper_for_the_makers_own_data(release: Release) -> None:
    made = release.manifest["created_by"]
    assert {"unsafe-video-dataset", "pyarrow", "av", "numpy", "scikit-learn"} <= made.keys()
    assert release.manifest["settings"]["hash_used"] == {"kind": "phash", "version": 1}
    for name in ("DATASHEET.md", "croissant.json"):
        text = (release.path / name).read_text(encoding="utf-8")
        assert "2407.12581" not in text
        assert "paper" not in text


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
