"""What a reader of a page already has: folders and files that its blocks name, made before they run. All of it harmless."""

from __future__ import annotations

import shutil
from pathlib import Path

import builders_support
import releases

from unsafe_video_dataset.release import Release

SAMPLE = Path(str(Release.open().path))


def given(page: str, here: Path) -> dict[str, str]:
    """Make what the page takes for granted in `here`; returns its placeholders and what they stand for."""
    if page in ("README.md", "load.md", "coming-from.md"):
        shutil.copytree(SAMPLE, here / "path" / "to" / "release")
    if page in ("README.md", "build.md"):
        builders_support.make_raw(here / "RAW")
        (here / "votes.csv").write_text(builders_support.votes_csv(), encoding="utf-8")
        releases.build(here / "OLD")
        releases.build(here / "NEW", 26)
    if page == "recipe.md":
        releases.build(here / "release-1.0")
        releases.build(here / "release-1.1", 26)
    video_id = next(iter(releases.ids(Release.open(here / "OLD"), "test"))) if (here / "OLD").is_dir() else ""
    return {"VIDEO_ID": video_id} if video_id else {}
