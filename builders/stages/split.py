"""Stage 7: train, validation and test (and k folds) by connected components of prompt, bytes and near duplicates."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from unsafe_video_dataset.taxonomy import CATEGORIES, NONE, SPLITS

from ..group import group_ids
from ..pipeline.stage import COMMON, Context, StageResult
from ..split import DEFAULT_FRACTIONS, assign_parts, check_fractions

SCHEMA = pa.schema(
    [
        *COMMON,
        pa.field("video_id", pa.string()),
        pa.field("group_id", pa.string()),
        pa.field("split", pa.string()),
        pa.field("fold", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Settings:
    """Shares of train, validation and test; the seed; `folds` of about the same size for cross-validation (0: none)."""

    fractions: tuple[float, ...] = DEFAULT_FRACTIONS
    seed: int = 0
    folds: int = 0

    def problems(self) -> list[tuple[str, str]]:
        """What is out of range."""
        found = []
        try:
            check_fractions(self.fractions)
        except ValueError as error:
            found.append(("fractions", str(error)))
        if self.folds < 0 or self.folds == 1:
            found.append(("folds", f"{self.folds}: give 0, or 2 and more"))
        return found


@dataclass(frozen=True)
class SplitStage:
    """Groups are made of all raw videos, so that one that was dropped still ties its prompt to its look."""

    name: ClassVar[str] = "split"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("votes", "dedup", "ingest")
    settings: ClassVar[type[Any]] = Settings

    def files(self, settings: Settings, base: Path) -> list[Path]:
        """None."""
        return []

    def run(self, context: Context) -> StageResult:
        """Group, then deal the groups out; see `split.assign_parts`."""
        settings: Settings = context.settings
        kept = context.kept("votes").select(["item", "video_id", "categories"]).to_pylist()
        group_of = _groups(context.table("ingest"), context.table("dedup"))
        by_group: dict[str, list[list[str]]] = defaultdict(list)
        for row in sorted(kept, key=lambda row: str(row["video_id"])):
            by_group[group_of[row["item"]]].append(row["categories"])
        parts = assign_parts(by_group, settings.fractions, seed=settings.seed)
        folds = _folds(by_group, settings)
        rows = [
            {
                "item": row["item"],
                "kept": True,
                "reason": None,
                "video_id": row["video_id"],
                "group_id": group_of[row["item"]],
                "split": SPLITS[parts[group_of[row["item"]]]],
                "fold": folds.get(group_of[row["item"]]),
            }
            for row in sorted(kept, key=lambda row: str(row["item"]))
        ]
        categories = {row["item"]: row["categories"] for row in kept}
        return StageResult(pa.Table.from_pylist(rows, schema=SCHEMA), _report(rows, categories, by_group))


STAGE = SplitStage()


def _folds(by_group: Mapping[str, list[list[str]]], settings: Settings) -> dict[str, int]:
    """Group -> fold; empty for no folds."""
    if settings.folds == 0:
        return {}
    return assign_parts(by_group, [1 / settings.folds] * settings.folds, seed=settings.seed)


def _groups(ingest: pa.Table, dedup: pa.Table) -> dict[str, str]:
    """Item -> group: connected by the same prompt, the same bytes, or a look that is related."""
    rows = [row for row in ingest.select(["item", "video_id", "sha256", "prompt_id"]).to_pylist() if row["video_id"]]
    looks = dict(zip(dedup["item"].to_pylist(), dedup["related_group"].to_pylist(), strict=True))
    keys = []
    for row in rows:
        own = [("bytes", row["sha256"]), ("prompt", row["prompt_id"]), ("look", looks.get(row["item"]))]
        keys.append([key for key in own if key[1] is not None])
    return dict(zip([row["item"] for row in rows], group_ids(keys, [row["video_id"] for row in rows]), strict=True))


def _report(rows: list[dict[str, Any]], categories: dict[str, list[str]], by_group: dict[str, Any]) -> dict[str, Any]:
    """Videos by part and label: what the shares came to."""

    def tally(key: str, value: Any) -> dict[str, int]:
        chosen = [row for row in rows if row[key] == value]
        counted = Counter(label for row in chosen for label in (categories[row["item"]] or [NONE]))
        return {"videos": len(chosen), **{name: counted[name] for name in (*CATEGORIES, NONE)}}

    numbers = sorted({row["fold"] for row in rows} - {None})
    return {
        "groups": len(by_group),
        "largest_group": max(map(len, by_group.values()), default=0),
        "splits": {split: tally("split", split) for split in SPLITS},
        "folds": {str(number): tally("fold", number) for number in numbers},
    }
