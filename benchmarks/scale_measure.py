"""What each stage of a recipe costs on twins of several sizes: CPU seconds, peak memory, disk, rows in.

Each stage runs alone in a process of its own with its workers, on one thread a process. The sheets, which show so many
videos and no more, are left out: their cost does not grow, and it is measured once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from process_cost import ONE_THREAD, measured
from tqdm import tqdm

COMMAND = (sys.executable, "-m", "unsafe_video_dataset.builders.cli")
STAGES = ("ingest", "probe", "quality", "dedup", "cluster", "votes", "split", "write")
SHEETS = ("quality", "dedup", "cluster")  # stages that draw sheets of at most `review` videos


def stage_rows(folder: Path, scales: Sequence[int], *, workers: int) -> list[dict[str, Any]]:
    """A row a scale and stage. What was measured stands in `folder` and is not measured again."""
    found = []
    for videos in tqdm(scales, desc="scales", unit="twin"):
        raw = folder / f"twin-{videos}"
        words = ("twin", str(raw), "--scale", str(videos), "--workers", str(workers), "--json")
        subprocess.run([*COMMAND, *words], check=True, stdout=subprocess.DEVNULL)
        for stage in STAGES:
            found.append(_kept(raw / f"scale-{stage}.json", raw, stage, workers))
    return found


def sheet_rows(folder: Path, videos: int, *, workers: int) -> list[dict[str, Any]]:
    """The stages that draw sheets, with them, on one twin that `stage_rows` has run."""
    raw = folder / f"twin-{videos}"
    return [_kept(raw / f"scale-{stage}-sheets.json", raw, stage, workers) for stage in SHEETS]


def hashes_a_row(folder: Path, videos: int) -> float:
    """Distinct hashes of frames for each video that comes to dedup, in a twin that `stage_rows` has run."""
    work = folder / f"twin-{videos}" / "work-scale"
    kept = pq.read_table(work / "quality" / "table.parquet", filters=[("kept", "=", True)])["item"].to_pylist()
    table = pq.read_table(work / "probe" / "table.parquet", columns=["item", "hashes"], filters=[("item", "in", kept)])
    return len({value for hashes in table["hashes"].to_pylist() for value in hashes}) / len(kept)


def _kept(path: Path, raw: Path, stage: str, workers: int) -> dict[str, Any]:
    """The row that stands at `path`, else measured and put there."""
    if not path.exists():
        found = {"videos": json.loads((raw / "twin.json").read_bytes())["videos"]} | _one(
            _recipe(raw, sheets="sheets" in path.name), raw, stage, workers
        )
        path.write_text(json.dumps(found) + "\n", encoding="utf-8")
    row: dict[str, Any] = json.loads(path.read_bytes())
    return row


def _recipe(raw: Path, *, sheets: bool) -> Path:
    """The twin's recipe with a work folder of its own, and without sheets unless they are what is measured."""
    text = (raw / "recipe.toml").read_text(encoding="utf-8")
    text = text.replace('out = "release"', 'out = "release-scale"').replace('work = "work"', 'work = "work-scale"')
    if not sheets:
        for stage in SHEETS:
            section = f"[{stage}]\n"
            text = text.replace(section, f"{section}review = 0\n") if section in text else f"{text}\n{section}review = 0\n"
    path = raw / "recipe-scale.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _one(recipe: Path, raw: Path, stage: str, workers: int) -> dict[str, Any]:
    words = ("run", str(recipe), "--only", stage, "--from", stage, "--workers", str(workers), "--json")
    cost = measured([*COMMAND, *words], environment={**os.environ, **ONE_THREAD})
    if cost.returncode:
        raise RuntimeError(f"stage {stage} failed: {cost.errors[-2000:]}")
    ran = next(one for one in json.loads(cost.output)["stages"] if one["stage"] == stage)
    folders = [raw / "work-scale" / stage] + ([raw / "release-scale"] if stage == "write" else [])
    return {
        "stage": stage,
        "rows": ran["rows"],
        "cpu_seconds": round(cost.cpu_seconds, 3),
        "wall_seconds": round(cost.wall_seconds, 3),
        "peak_bytes": cost.peak_bytes,
        "disk_bytes": sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()),
        "load": round(os.getloadavg()[0], 1),
    }
