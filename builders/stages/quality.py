"""Stage 3: drop what is too short, too dark, stopped or blurred, by thresholds and by a person's decisions."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unsafe_video_dataset.errors import FaultsError

from ..pipeline.names import Names
from ..pipeline.stage import Context, StageResult
from ..vision.decisions import Ruling, read_decisions
from ..vision.measure import MEASURES
from ..vision.quality import QualitySettings, decide, describe
from ..vision.sheets import Tile, write_sheets
from .tables import draw_strips, probed

_COLUMNS = ["video_id", "num_frames", "duration_seconds", "width", "height"]
_COLUMNS += [field.name for field in MEASURES if str(field.type) == "double"]


@dataclass(frozen=True)
class QualityStage:
    """See `vision/quality.py` for the rule and the settings."""

    name: str = "quality"
    version: int = 1
    needs: tuple[str, ...] = ("probe", "ingest")
    settings: type[Any] = QualitySettings

    def files(self, settings: QualitySettings, base: Path) -> list[Path]:
        """The decisions."""
        return [base / settings.decisions] if settings.decisions else []

    def run(self, context: Context) -> StageResult:
        """A row for each readable video; blurred sheets of what lies near a threshold. Raises `FaultsError`, `InputError`."""
        settings: QualitySettings = context.settings
        rows = probed(context, "probe", _COLUMNS)
        rulings: dict[str, Ruling] = {}
        names = Names.of(context.table("ingest")) if settings.decisions else Names()
        if settings.decisions:
            items = dict(zip(rows["item"].to_pylist(), rows["video_id"].to_pylist(), strict=True))
            rulings, faults = read_decisions(context.base / settings.decisions, items=items, names=names)
            if faults:
                fix = "Mend the decisions and run again; nothing was written."
                raise FaultsError(f"{settings.decisions} can't be used", faults, fix=fix)
        table = decide(rows, settings, rulings)
        decided = table.to_pylist()
        near = [row for row in decided if row["near"]]
        measures = {row["item"]: row for row in rows.to_pylist()}
        shown = sorted(near, key=lambda row: (row["near"], row["item"]))[: settings.review]
        pictures = draw_strips(context, [row["item"] for row in shown], reveal=settings.reveal)
        sections: dict[str, list[Tile]] = {}
        for row in shown:
            values = describe(measures[row["item"]], settings, row["near"])
            state = "kept" if row["kept"] else "dropped"
            ruled = f" (overruled: {row['overruled']})" if row["overruled"] else ""
            tile = Tile(row["item"], (values, f"{measures[row['item']]['video_id']} {state}{ruled}"), pictures.get(row["item"]))
            sections.setdefault(f"near {', '.join(row['near'])}", []).append(tile)
        headed = [(f"{name}: {len(tiles)} shown", tiles) for name, tiles in sections.items()]
        sheets = write_sheets(context.folder, "near", headed)
        flags = Counter(flag for row in decided for flag in row["flags"])
        report = {
            "videos": len(decided),
            "kept": sum(row["kept"] for row in decided),
            "failed": dict(sorted(flags.items())),
            "near": dict(sorted(Counter(name for row in near for name in row["near"]).items())),
            "overruled": dict(
                sorted(Counter(row["overruled"] for row in decided if row["overruled"] and _against(row)).items())
            ),
            "decisions": len(rulings),
            "decisions_not_reached": names.not_reached,
            "sheets": {"files": sheets, "shown": len(shown), "near": len(near)},
        }
        return StageResult(table, report)


def _against(row: dict[str, Any]) -> bool:
    """True where the decision differs from what the thresholds say."""
    return bool(row["kept"]) == bool(row["flags"])


STAGE = QualityStage()
