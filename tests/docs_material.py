"""What a reader of a page already has: folders and files that its blocks name, made before they run. All of it harmless."""

from __future__ import annotations

import hashlib
import random
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import builders_support
import releases
from hub import LoopbackHub

from unsafe_video_dataset import write_predictions
from unsafe_video_dataset.builders.checklist import QUESTIONS
from unsafe_video_dataset.builders.tombstone import tombstone
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES

UPSTREAM = "pypy/unsafe_generated_video_dataset"
SAMPLE = Path(str(Release.open().path))


def given(page: str, here: Path) -> dict[str, str]:
    """Make what the page takes for granted in `here`; returns its placeholders and what they stand for."""
    if page in ("README.md", "load.md", "coming-from.md", "report.md"):
        shutil.copytree(SAMPLE, here / "path" / "to" / "release")
    if page == "build.md":
        builders_support.make_raw(here / "UPSTREAM", number=2000, labels=builders_support.paper_labels())
    if page in ("README.md", "build.md", "coming-from.md", "walks.md"):
        builders_support.make_raw(here / "RAW")
        (here / "votes.csv").write_text(builders_support.votes_csv(), encoding="utf-8")
        releases.build(here / "OLD")
        releases.build(here / "NEW", 26)
    if page in ("defenses.md", "walks.md"):
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
    if page == "walks.md":  # of the release that the page makes from RAW
        words["VIDEO_ID"] = hashlib.sha256((here / "RAW" / "0.mp4").read_bytes()).hexdigest()[:16]
    return words


def on_the_hub(page: str, here: Path, hub: LoopbackHub) -> str:
    """Make the Hub that a page asks, and in `here` what is there before the page's first question; returns a token.

    A page on publishing has an account that may write and a release, and no repository of it yet.
    """
    if page in ("build.md", "recipe.md", "walks.md"):
        (here / "release_checklist.toml").write_text(_answers(), encoding="utf-8")
        for name in ("OUT", "release-1.1"):
            releases.build(here / name)
    if page == "walks.md":
        old = Release.open(here / "OUT")
        why: dict[str, Any] = {"reason": "withdrawn on request", "release_version": "1.1", "day": date(2026, 1, 2)}
        tombstone(old, here / "SMALLER", releases.ids(old, "test")[:1], progress=False, **why)
    if page not in ("build.md", "recipe.md"):
        repo = hub.repo("org/repo", folder=SAMPLE, gated="manual")
        repo.card_data = {"extra_gated_prompt": "Use it for research on safety only."}
        repo.tag("v1.0")
    if page == "access.md":
        raw = builders_support.make_raw(here / "raw", number=2000, labels=builders_support.paper_labels())
        hub.repo(UPSTREAM, folder=raw, gated="manual")
    reader = hub.account("reader", role="write", orgs=("org",))
    for name in hub.repos:
        hub.find(name).gate("reader", "granted")
    return reader.token


def _answers() -> str:
    """A checklist with a sentence for every question, and an address where one is asked for."""
    lines = [f'{key} = "An answer in the owner\'s words; withdraw@example.org."' for key in QUESTIONS]
    return "\n".join([*lines, 'reviewers = ["A. Reviewer"]', ""])


def _predictions(path: Path, split: str, seed: int) -> None:
    draw = random.Random(seed)
    ids = releases.ids(Release.open(), split, is_unsafe=True)
    write_predictions(path, [{"video_id": one, "scores": {name: draw.random() for name in CATEGORIES}} for one in ids])
