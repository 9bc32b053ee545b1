"""What a config and split need of a release, and what a release says of files that were not asked for."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from unsafe_video_dataset.errors import FilterError, IntegrityError
from unsafe_video_dataset.parts import Part
from unsafe_video_dataset.release import Release

UNSAFE = "data/unsafe/train-00000-of-00001.parquet"
VOTES = "data/annotations/train.parquet"


def test_a_part_holds_what_its_config_needs() -> None:
    assert Part("unsafe").holds(UNSAFE)
    assert not Part("unsafe", "test").holds(UNSAFE)
    assert not Part("unsafe").holds(VOTES)
    assert Part("annotations", "test").holds("data/metadata/train.parquet"), "a video is found through all metadata"
    assert not Part("reviewed").holds("README.md")
    assert Part("all").holds("README.md")
    assert not Part("all").holds(".gitattributes")


@pytest.mark.parametrize(
    ("part", "path", "fix"),
    [
        (Part("unsafe"), VOTES, "config='annotations'"),
        (Part("unsafe", "train"), VOTES, "config='annotations' and split='train'"),
        (Part("unsafe"), "data/not_unsafe/test-00000-of-00001.parquet", "config='reviewed'"),
        (Part("reviewed", "test"), UNSAFE, "config='reviewed' and no split="),
        (Part("metadata"), UNSAFE, "config='unsafe'"),
        (Part("reviewed"), "folds.parquet", "config='all'"),
    ],
)
def test_it_says_how_to_get_a_file(part: Part, path: str, fix: str) -> None:
    assert part.fix(path) == f"Open it with {fix}."


def test_a_file_that_was_not_asked_for_is_not_missing(copy: Path) -> None:
    whole = len(Release.open(copy).manifest["files"])
    release = Release.open(copy)
    release.part = Part("unsafe")
    gone = [entry["path"] for entry in release.manifest["files"] if not release.part.holds(entry["path"])]
    for name in gone:
        (copy / name).unlink()
    release = pickle.loads(pickle.dumps(release))
    with pytest.raises(FilterError, match=r"was not downloaded \(only config 'unsafe'\)\. Open it with config='annotations'"):
        release.annotations()
    report = release.verify()
    assert [str(fault) for fault in report.faults] == []
    assert (report.files, report.left_out) == (whole - len(gone), len(gone))
    assert report.to_dict()["left_out"] == len(gone)
    assert 0 < report.videos < release.manifest["counts"]["videos"]
    (copy / UNSAFE).unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        release.data_files("unsafe", "train")
    assert [fault.file for fault in release.verify().faults] == [UNSAFE]


def test_of_a_part_what_is_there_is_checked_all_the_same(copy: Path) -> None:
    release = Release.open(copy)
    release.part = Part("metadata")
    (copy / UNSAFE).write_bytes(b"PAR1")
    assert UNSAFE in {fault.file for fault in release.verify().faults}
