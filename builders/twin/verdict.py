"""Did the run do what the twin is for? Stated floors, and a sentence for everything that is not as it should be.

The counts at the end can't fail by themselves: simulated raters answered only on the videos that are to stay (and on those
planted for the votes), so a video that a filter missed leaves as "no vote that counts". What the filters found is judged
here, stage by stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# (precision, recall) of what a stage drops. The recipe that `twin` writes reaches them: docs/twin.md has the figures at the
# paper's scale. Quality misses some near-static and faint plants there; where each kind has one or two videos, chance
# decides how many, so a small twin has floors of its own.
FLOORS: dict[str, tuple[float, float]] = {"probe": (0.99, 0.99), "quality": (0.95, 0.9), "dedup": (0.98, 0.95)}
SMALL_FLOORS = {**FLOORS, "quality": (0.9, 0.75)}
_SMALL = 100  # plants for quality: fewer make a small twin
_NAMES = {"probe": "decodability", "quality": "quality", "dedup": "dedup"}


def verdict(found: Mapping[str, Any]) -> dict[str, Any]:
    """`{"ok", "floors", "sentences"}` of the figures of `compare`; a sentence for each thing that is wrong."""
    floors = SMALL_FLOORS if dropped(found, "quality")["wanted"] < _SMALL else FLOORS
    sentences = [*_below(found, floors), *_counts(found), *_leaks(found)]
    stated = {stage: {"precision": precision, "recall": recall} for stage, (precision, recall) in floors.items()}
    return {"ok": not sentences, "floors": stated, "sentences": sentences}


def dropped(found: Mapping[str, Any], stage: str) -> Mapping[str, Any]:
    """Precision and recall of what a stage dropped."""
    figures: Mapping[str, Any] = found[stage]["all" if stage == "probe" else "dropped"]
    return figures


def _below(found: Mapping[str, Any], floors: Mapping[str, tuple[float, float]]) -> list[str]:
    sentences = []
    for stage, least in floors.items():
        figures = dropped(found, stage)
        for what, whole, floor in zip(("precision", "recall"), ("found", "wanted"), least, strict=True):
            value = figures[what]  # null where nothing was found: the recall says that
            if value is not None and value < floor:
                of = f"{figures['right']} of {figures[whole]}"
                sentences.append(f"The {what} of {_NAMES[stage]} is {value:.3f} ({of}), below {floor}.")
    merges = found["dedup"]["pairs"]
    if merges["precision"] is not None and merges["precision"] < floors["dedup"][0]:
        sentences.append(f"Of {merges['found']} pairs that dedup put together, {merges['false_merges']} show different scenes.")
    return sentences


def _counts(found: Mapping[str, Any]) -> list[str]:
    sentences = []
    for what, figures in (("The run", found["exact"]), ("The release", found.get("release"))):
        if figures is not None and not figures["same_counts"]:
            sentences.append(f"{what} has other counts than planned: {_said(figures['found'])}.")
    if not found["exact"]["same_videos"]:
        sentences.append("Other videos than planned are left at the end.")
    return sentences


def _said(counts: Mapping[str, Any]) -> str:
    flat = {"reviewed": counts["reviewed"], "unsafe": counts["unsafe"], **counts["categories"]}
    return ", ".join(f"{name} {number}" for name, number in flat.items())


def _leaks(found: Mapping[str, Any]) -> list[str]:
    sentences = []
    for what, figures in found["split"].items():
        for where in ("splits", "folds"):
            number = figures[f"across_{where}"]
            if number:
                sentences.append(f"{number} of {figures['n']} {what} lie in more than one of the {where}.")
    if found.get("release") and found["release"]["groups_across_splits"]:
        sentences.append(f"{found['release']['groups_across_splits']} groups of the release lie in more than one split.")
    return sentences
