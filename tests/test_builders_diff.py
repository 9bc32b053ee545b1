"""What changed from one release to the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gate_support as support
import pyarrow.parquet as pq
import pytest

from unsafe_video_dataset import Release
from unsafe_video_dataset.builders.cli import main
from unsafe_video_dataset.builders.diff import diff
from unsafe_video_dataset.records import features, from_table, to_table
from unsafe_video_dataset.taxonomy import CATEGORIES, SPLITS


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("old") / "release"
    support.write_sound(out, videos=12)
    return out


def rewritten(old: Path, out: Path, change: dict[str, Any]) -> Release:
    """The release with fields of the first video changed in its metadata."""
    release = Release.open(old)
    out.mkdir()
    for path in old.rglob("*"):
        target = out / path.relative_to(old)
        target.mkdir(exist_ok=True) if path.is_dir() else target.write_bytes(path.read_bytes())
    rows: dict[str, Any] = {split: from_table("metadata", release.metadata(split)) for split in SPLITS}
    first = rows["train"].pop(0) | change
    rows[first["split"]].insert(0, first)
    for split, records in rows.items():
        table = to_table("metadata", records).cast(features("metadata").arrow_schema)
        pq.write_table(table, out / "data" / "metadata" / f"{split}.parquet")
    return Release.open(out)


def test_the_same_release_is_the_same(old: Path) -> None:
    found = diff(Release.open(old), Release.open(old))
    assert found.same
    assert found.unchanged == 12
    assert main(["diff", str(old), str(old)]) == 0


def test_added_and_removed(old: Path, tmp_path: Path) -> None:
    support.write_sound(tmp_path / "new", videos=10, first=4, version="1.1")
    found = diff(Release.open(old), Release.open(tmp_path / "new"))
    before = set(Release.open(old).metadata()["video_id"].to_pylist())
    after = set(Release.open(tmp_path / "new").metadata()["video_id"].to_pylist())
    assert (found.added, found.removed, found.withdrawn) == (sorted(after - before), sorted(before - after), [])
    assert (len(found.added), len(found.removed)) == (2, 4)
    shown = str(found)
    assert "gate-test 1.0 -> gate-test 1.1" in shown
    assert "shape number" not in shown + json.dumps(found.to_dict()), "prompts are not shown"


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"categories": [CATEGORIES[0], CATEGORIES[1]]}, "relabelled"),
        ({"group_id": "g0000000000000000"}, "regrouped"),
        ({"prompt": "another shape"}, "reprompted"),
        ({"num_raters": 3}, "revoted"),
        ({"generator": "animatediff"}, "otherwise"),
        ({"split": "test"}, "resplit"),
    ],
)
def test_each_kind_of_change(old: Path, tmp_path: Path, change: dict[str, Any], kind: str) -> None:
    new = rewritten(old, tmp_path / "new", change)
    found = diff(Release.open(old), new)
    assert not found.same
    assert found.unchanged == 11
    (video_id,) = getattr(found, kind)
    kinds = ("added", "removed", "relabelled", "resplit", "regrouped", "revoted", "reprompted", "otherwise")
    assert [name for name in kinds if getattr(found, name)] == [kind]
    if kind == "resplit":
        assert found.resplit[video_id] == ["train", "test"]
    if kind == "relabelled":
        assert found.relabelled[video_id][1][:2] == [CATEGORIES[0], CATEGORIES[1]]


def test_the_command(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    support.write_sound(tmp_path / "new", videos=10)
    assert main(["diff", str(old), str(tmp_path / "new"), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["same"], len(report["removed"])) == (False, 2)
    assert main(["diff", str(old), str(tmp_path / "nothing")]) == 2
