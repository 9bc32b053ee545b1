"""Withdrawing videos: nothing of them is left, everything else stays as it was."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import releases

from unsafe_video_dataset import Release, load_dataset
from unsafe_video_dataset.builders.cli import main
from unsafe_video_dataset.builders.diff import diff
from unsafe_video_dataset.builders.tombstone import related, tombstone
from unsafe_video_dataset.errors import FaultsError, InputError, TombstonedError

DAY = date(2026, 1, 2)
HOW: dict[str, Any] = {"reason": "withdrawn on request", "release_version": "1.1", "day": DAY, "progress": False}


@pytest.fixture(scope="module")
def old() -> Release:
    return Release.open()


@pytest.fixture(scope="module")
def gone(old: Release) -> list[str]:
    table = old.metadata("train", is_unsafe=True)
    return [str(video_id) for video_id in table["video_id"].to_pylist()[:2]]


@pytest.fixture(scope="module")
def new(old: Release, gone: list[str], tmp_path_factory: pytest.TempPathFactory) -> Release:
    out = tmp_path_factory.mktemp("new") / "release"
    tombstone(old, out, gone, **HOW)
    return Release.open(out)


def test_nothing_of_them_is_left(old: Release, new: Release, gone: list[str]) -> None:
    assert new.verify(decode=True).faults == []
    for video_id in gone:
        row = old.metadata().filter(pq.filters_to_expression([("video_id", "==", video_id)])).to_pylist()[0]
        data = old.video_bytes(video_id)
        only_here = [row["prompt"]] if not related(old, gone) else []
        for path in new.path.rglob("*"):
            if path.is_file():
                found = path.read_bytes()
                assert data[:4000] not in found
                assert all(prompt.encode() not in found for prompt in only_here)
                if path.suffix == ".parquet" and path.name != "tombstones.parquet":
                    assert video_id not in pq.read_table(path)["video_id"].to_pylist()
        with pytest.raises(TombstonedError, match="withdrawn on request"):
            new.video_bytes(video_id)
    assert pq.read_table(new.path / "tombstones.parquet").to_pylist() == [
        {"video_id": video_id, "reason": "withdrawn on request", "date": "2026-01-02"} for video_id in sorted(gone)
    ]


def test_everything_else_stays(old: Release, new: Release, gone: list[str]) -> None:
    found = diff(old, new)
    assert (found.removed, found.withdrawn) == (sorted(gone), sorted(gone))
    assert found.unchanged == 94
    assert [found.added, found.relabelled, found.resplit, found.otherwise] == [[], {}, {}, {}]
    assert new.version == "1.1"
    assert new.manifest["settings"]["withdrawn_from"] == old.manifest_sha256
    for video_id in new.metadata()["video_id"].to_pylist()[:5]:
        assert new.video_bytes(video_id) == old.video_bytes(video_id)
    assert len(load_dataset(str(new.path), split="train")) == 35
    text = (new.path / "DATASHEET.md").read_text(encoding="utf-8")
    assert text.count("94 videos, 62 labelled unsafe") == 1


def test_again_and_the_same_bytes(new: Release, old: Release, gone: list[str], tmp_path: Path) -> None:
    tombstone(old, tmp_path / "same", list(reversed(gone)), **HOW)
    assert (tmp_path / "same" / "manifest.json").read_bytes() == (new.path / "manifest.json").read_bytes()
    third = new.metadata()["video_id"][0].as_py()
    manifest = tombstone(new, tmp_path / "third", [third], **{**HOW, "release_version": "1.2", "reason": "a duplicate"})
    assert set(Release.open(tmp_path / "third").tombstones) == {*gone, third}
    assert manifest["counts"]["videos"] == 93


def test_a_release_with_an_empty_split_can_withdraw_too(tmp_path: Path) -> None:
    small = Release.open(releases.build(tmp_path / "old", 12, fractions=(0.75, 0.0, 0.25)))
    assert small.num_rows("reviewed", "validation") == 0
    gone = releases.ids(small, "test")[:1]
    tombstone(small, tmp_path / "new", gone, **HOW)
    new = Release.open(tmp_path / "new")
    assert (set(new.tombstones), new.verify().faults) == (set(gone), [])
    kept = [row for row in small.annotations().to_pylist() if row["video_id"] not in gone]
    assert new.annotations().to_pylist() == kept


def test_what_can_not_be_done(old: Release, new: Release, gone: list[str], tmp_path: Path) -> None:
    for ids, change, words in (
        (["0" * 16], {}, "is no video of sample"),
        ([], {}, "one video_id at least"),
        (gone, {"reason": "  "}, "Give a reason"),
        (gone, {"release_version": "1.0"}, "must be higher than 1.0, such as 1.1"),
        (gone, {"release_version": "next"}, "must be higher"),
    ):
        with pytest.raises(InputError, match=words):
            tombstone(old, tmp_path / "out", ids, **{**HOW, **change})
        assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="is withdrawn already"):
        tombstone(new, tmp_path / "out", gone[:1], **{**HOW, "release_version": "1.2"})
    with pytest.raises(InputError, match="Give another folder"):
        tombstone(old, old.path / "inside", gone, **HOW)
    damaged = tmp_path / "damaged"
    shutil.copytree(old.path, damaged)
    (damaged / "extra.txt").write_text("x")
    with pytest.raises(FaultsError, match=r"extra\.txt"):
        tombstone(Release.open(damaged), tmp_path / "out", gone, **HOW)


def test_the_command(gone: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    how = ["--reason", "on request", "--release-version", "1.1", "--date", "2026-01-02"]
    assert main(["tombstone", "sample", str(out), gone[0], *how, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["counts"]["videos"] == 95
    assert gone[0] not in report["same_groups"]
    assert len(report["same_groups"]) == 1, "two videos a prompt"
    assert main(["tombstone", "sample", str(out), gone[0], *how]) == 2, "not replaced without --overwrite"
    assert "--overwrite" in capsys.readouterr().err
    again = str(tmp_path / "again")
    assert main(["tombstone", "sample", again, gone[0], *how]) == 0
    said = capsys.readouterr().out
    assert "Withdrew 1 video: 95 are left" in said
    assert f"unsafe-video-build publish {again} org/repo" in said
    assert main(["tombstone", "sample", str(tmp_path / "b"), gone[0], *how[:-1], "soon"]) == 2
    assert "YYYY-MM-DD" in capsys.readouterr().err
