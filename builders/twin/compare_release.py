"""What the run hands over, against the truth: no group, prompt or scene in two splits or folds, and the release's own rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any

from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.records import from_table
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES

from .truth import Truth

Rows = Mapping[str, Mapping[str, Any]]


def compare_split(split: Rows, ingest: Rows, truth: Truth) -> dict[str, Any]:
    """How many groups, prompts and scenes there are, and how many of each lie in more than one split, or fold.

    A scene is an original with its copies, by the truth: a copy that was not found may lie anywhere, and is seen here.
    """
    names: dict[str, Callable[[str], Hashable]] = {
        "groups": lambda item: split[item]["group_id"],
        "prompts": lambda item: ingest[item]["prompt_id"],
        "scenes": truth.original,
    }
    kept = [item for item, row in split.items() if row["kept"]]
    found: dict[str, Any] = {}
    for what, name in names.items():
        splits, folds = defaultdict(set), defaultdict(set)
        for item in kept:
            splits[name(item)].add(split[item]["split"])
            folds[name(item)].add(split[item]["fold"])
        crossing = [sum(len(parts) > 1 for parts in of.values()) for of in (splits, folds)]
        found[what] = {"n": len(splits), "across_splits": crossing[0], "across_folds": crossing[1]}
    return found


def compare_release(folder: Path, truth: Truth) -> dict[str, Any]:
    """The counts of a release after it was written, by its rows, beside the planned ones.

    Raises `InputError` for no release there, and what `Release` raises for one that can't be read.
    """
    if not (folder / "manifest.json").is_file():
        raise InputError(f"{folder} holds no release: the run is not finished. Run the recipe first.")
    table = Release.open(folder.resolve()).metadata(columns=["video_id", "is_unsafe", "categories", "group_id", "split"])
    rows = from_table("metadata", table)
    counted = Counter(label for row in rows for label in row["categories"])
    splits = defaultdict(set)
    for row in rows:
        splits[row["group_id"]].add(row["split"])
    found = {
        "reviewed": len(rows),
        "unsafe": sum(row["is_unsafe"] for row in rows),
        "categories": {name: counted[name] for name in CATEGORIES},
    }
    return {
        "found": found,
        "same_counts": found == {key: truth.targets[key] for key in found},
        "groups_across_splits": sum(len(parts) > 1 for parts in splits.values()),
        "splits": dict(sorted(Counter(row["split"] for row in rows).items())),
    }
