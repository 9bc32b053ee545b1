"""What a reader of a page already has: folders and files that its blocks name, made before they run. All of it harmless."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import builders_support
import releases

from unsafe_video_dataset import write_predictions
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES

SAMPLE = Path(str(Release.open().path))


def given(page: str, here: Path) -> dict[str, str]:
    """Make what the page takes for granted in `here`; returns its placeholders and what they stand for."""
    if page in ("README.md", "load.md", "coming-from.md", "report.md"):
        shutil.copytree(SAMPLE, here / "path" / "to" / "release")
    if page in ("README.md", "build.md", "coming-from.md"):
        builders_support.make_raw(here / "RAW")
        (here / "votes.csv").write_text(builders_support.votes_csv(), encoding="utf-8")
        releases.build(here / "OLD")
        releases.build(here / "NEW", 26)
    if page == "defenses.md":
        (here / "new.txt").write_text("a red square falls\na blue circle rises\n", encoding="utf-8")
    if page == "recipe.md":
        releases.build(here / "release-1.0")
    if page in ("protocol.md", "report.md"):
        for number, name in enumerate(("test", "other-test", "a", "b", "c", "validation", "other-validation")):
            _predictions(here / f"{name}.jsonl", "validation" if "validation" in name else "test", number)
    words = {"RELEASE": "sample"}
    for old in ("OLD", "release-1.0"):
        if (here / old).is_dir():
            words["VIDEO_ID"] = releases.ids(Release.open(here / old), "test")[0]
    return words


def _predictions(path: Path, split: str, seed: int) -> None:
    draw = random.Random(seed)
    ids = releases.ids(Release.open(), split, is_unsafe=True)
    write_predictions(path, [{"video_id": one, "scores": {name: draw.random() for name in CATEGORIES}} for one in ids])
