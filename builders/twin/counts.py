"""How many of what: the paper's totals, the plants that make up the rest, and both at other scales.

arXiv 2407.12581 says that 5,607 generated videos were cut to 2,112 and that 403 people found 937 of them unsafe; the counts
a category are those of the published label file. What the cut consisted of is not known to us: the plants below are our
choice. They add up to the paper's total, and they are not an estimate of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.taxonomy import CATEGORIES, PAPER_COUNTS, PAPER_UNSAFE

PAPER_SCALE = 5607
PAPER_REVIEWED = 2112
PAPER_RATERS = 403
MIN_VIDEOS = 60
MAX_VIDEOS = 1_000_000

StageName = Literal["probe", "quality", "dedup", "cluster", "votes"]
# What is planted, at the paper's scale, under the stage that has to drop it. `blurred_slightly` lies near the threshold of
# blur, `reworked` is a copy that is resized, brightened and trimmed at once: filters may miss them.
PLANTS: dict[StageName, dict[str, int]] = {
    "probe": {"truncated": 60, "corrupt_header": 48, "zero_bytes": 24, "not_mp4": 36},
    "quality": {
        "blurred": 380,
        "blurred_slightly": 40,
        "static": 300,
        "near_static": 180,
        "frozen": 180,
        "black": 150,
        "dark": 60,
        "bright": 60,
        "too_short": 120,
        "too_long": 90,
    },
    "dedup": {"exact": 500, "reencoded": 360, "resized": 300, "brightened": 240, "trimmed": 160, "reworked": 40},
    "cluster": {"off_topic": 155},
    "votes": {"no_valid_vote": 12},
}
# Reviewed videos that look like plants and are none: a person keeps them (decisions.csv).
BORDERLINE: dict[str, int] = {"soft": 40, "slow": 30, "dim": 30}
# Raters at the paper's scale. The honest ones differ in skill; the answers of the others are to be left out.
RATERS: dict[str, int] = {"skilled": 243, "fair": 90, "weak": 45, "spammer": 10, "too_fast": 8, "inattentive": 7}
WRONG_MAJORITY = 0.04  # share of reviewed videos whose planned majority differs from the truth in one category


@dataclass(frozen=True)
class Counts:
    """What a twin holds. `plants` maps a stage to its kinds and numbers; the numbers and `reviewed` add up to `videos`."""

    videos: int
    reviewed: int
    unsafe: int
    categories: Mapping[str, int]
    plants: Mapping[str, Mapping[str, int]]
    borderline: Mapping[str, int]
    wrong_majority: int
    raters: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values, with the number dropped by each stage."""
        plants = {stage: dict(kinds) for stage, kinds in self.plants.items()}
        return {
            "videos": self.videos,
            "reviewed": self.reviewed,
            "unsafe": self.unsafe,
            "categories": dict(self.categories),
            "dropped": {stage: sum(kinds.values()) for stage, kinds in plants.items()},
            "plants": plants,
            "borderline": dict(self.borderline),
            "wrong_majority": self.wrong_majority,
            "raters": dict(self.raters),
        }


def counts_for(videos: int) -> Counts:
    """The paper's counts at 5,607 videos; at another scale all in proportion, every plant and rater kind at least once.

    Raises `InputError` for a number below `MIN_VIDEOS` (there every kind of plant still fits) or above `MAX_VIDEOS`.
    """
    if not MIN_VIDEOS <= videos <= MAX_VIDEOS:
        message = f"A twin of {videos} videos can't be made: every kind of plant needs its place."
        raise InputError(f"{message} Give --scale paper, or a number from {MIN_VIDEOS} to {MAX_VIDEOS:,}.")
    share = videos / PAPER_SCALE
    reviewed = round(PAPER_REVIEWED * share)
    unsafe = round(PAPER_UNSAFE * share)
    flat = {(stage, kind): number for stage, kinds in PLANTS.items() for kind, number in kinds.items()}
    shared = apportion(flat, videos - reviewed)
    plants: dict[str, dict[str, int]] = {
        stage: {kind: shared[stage, kind] for kind in kinds} for stage, kinds in PLANTS.items()
    }
    raters = {kind: max(round(number * share), _FEW_RATERS[kind]) for kind, number in RATERS.items()}
    return Counts(
        videos=videos,
        reviewed=reviewed,
        unsafe=unsafe,
        categories={name: min(unsafe, max(2, round(PAPER_COUNTS[name] * share))) for name in CATEGORIES},
        plants=plants,
        borderline={kind: max(1, round(number * share)) for kind, number in BORDERLINE.items()},
        wrong_majority=max(1, round(WRONG_MAJORITY * reviewed)),
        raters=raters,
    )


_FEW_RATERS = {"skilled": 8, "fair": 4, "weak": 2, "spammer": 1, "too_fast": 1, "inattentive": 1}


def apportion(weights: Mapping[Any, int], total: int) -> dict[Any, int]:
    """Whole numbers that add up to `total`, near proportion to `weights` (largest remainders), each at least 1."""
    spare = total - len(weights)
    whole = sum(weights.values())
    exact = {key: max(0.0, weight * total / whole - 1) for key, weight in weights.items()}
    scale = spare / sum(exact.values()) if any(exact.values()) else 0.0
    floors = {key: int(value * scale + 1e-9) for key, value in exact.items()}
    by_rest = sorted(weights, key=lambda key: (floors[key] - exact[key] * scale, str(key)))
    extra = set(by_rest[: spare - sum(floors.values())])
    return {key: 1 + floors[key] + (key in extra) for key in weights}
