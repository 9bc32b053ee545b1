"""What the tests of the report share: reading its chunks back, hostile text, predictions."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import releases

from unsafe_video_dataset.predictions import write_predictions
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES

HOSTILE = "</script><img src=x onerror=alert(1)>'\"`&lt; \u202egnp \u2028 ${{x}} javascript:alert(2) {} {}"
"""A prompt (to be formatted with two values) that would break out of a page that is not careful."""


def calls(path: Path) -> list[tuple[str, list[Any]]]:
    """The calls of a chunk: function and arguments. Fails for anything else in the file."""
    found = []
    for line in path.read_text(encoding="ascii").splitlines():
        match = re.fullmatch(r"UnsafeVideoReport\.(\w+)\((.*)\);", line)
        assert match, line[:80]
        found.append((match[1], json.loads(f"[{match[2]}]")))
    return found


def only(path: Path) -> list[Any]:
    """The arguments of the one call of a chunk."""
    ((_, arguments),) = calls(path)
    return arguments


def unpacked(values: str | list[int]) -> list[int]:
    return [int(digit, 36) for digit in values] if isinstance(values, str) else values


def all_text(folder: Path) -> str:
    """Every text file of a report."""
    return "\n".join(
        path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*")) if path.suffix in (".html", ".js", ".css")
    )


def predict(
    release: Path | Release, path: Path, *, split: str = "test", unsafe_only: bool = True, flip: int = 3, **more: Any
) -> Path:
    """Predictions that know the labels, but for every `flip`-th label, which is wrong."""
    opened = release if isinstance(release, Release) else Release.open(release)
    rows = opened.metadata(split, is_unsafe=True if unsafe_only else None).to_pylist()
    records = []
    for number, row in enumerate(rows):
        true = [place in row["categories"] for place in range(len(CATEGORIES))]
        said = [value != ((number + place) % flip == 0) for place, value in enumerate(true)]
        scores = {
            name: 0.9 - place / 100 if yes else 0.1 + place / 100
            for place, (name, yes) in enumerate(zip(CATEGORIES, said, strict=True))
        }
        records.append({"video_id": row["video_id"], "scores": scores, **more})
    write_predictions(path, records)
    return path


def hostile_release(out: Path) -> Path:
    """A release of 12 videos with hostile prompts; the third does not decode."""
    return releases.build(
        out, 12, prompt=HOSTILE, change=lambda index, data: releases.undecodable(data) if index == 2 else data, name="hostile"
    )
