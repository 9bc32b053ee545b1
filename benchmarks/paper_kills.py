"""A run that is killed with signal 9 in the middle of its stages, and goes on each time until it ends."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from process_cost import Cost, measured

# (stage, bytes of answers in its journal a raw video, from which on it is killed). A stage that keeps no journal is killed
# as soon as it is begun; `write` once its release stands half written beside its place.
KILLS = (("probe", 200), ("probe", 700), ("quality", 0.01), ("dedup", 0.01), ("votes", 0), ("write", 0))


def killed_run(
    command: Sequence[str | Path], work: Path, release: Path, *, videos: int, kills: Sequence[tuple[str, float]] = KILLS
) -> tuple[list[dict[str, Any]], Cost]:
    """What each kill met, and the last run, which ends. Raises `RuntimeError` for a kill that met nothing."""
    found = []
    for stage, share in kills:
        size = share * videos
        cost = measured(command, every=0.2, watch=lambda process, s=stage, n=size: _kill(process, work, release, s, n))
        done = (work / stage / "done.json").exists()
        if cost.returncode != -9 or done:
            raise RuntimeError(f"The kill in {stage} came too late: exit code {cost.returncode}. {cost.errors[-1000:]}")
        found.append(
            {
                "stage": stage,
                "returncode": cost.returncode,
                "stage_done": done,
                "journal_bytes": _journal(work, stage),
                "cpu_seconds": round(cost.cpu_seconds, 1),
                "wall_seconds": round(cost.wall_seconds, 1),
            }
        )
    last = measured(command, every=0.2)
    if last.returncode:
        raise RuntimeError(f"The run did not go on: {last.errors[-2000:]}")
    return found, last


def _kill(process: subprocess.Popen[str], work: Path, release: Path, stage: str, size: float) -> None:
    """Kill the run, and nothing but its first process: what it started has to see to itself."""
    while process.poll() is None:
        begun = (work / stage / "files").is_dir() and not (work / stage / "done.json").exists()
        writes = stage != "write" or any(release.parent.glob(f".{release.name}*"))
        if begun and writes and _journal(work, stage) >= size:
            process.kill()
            process.wait()
            return
        time.sleep(0.005)


def _journal(work: Path, stage: str) -> int:
    """Bytes of the answers that a stage has kept."""
    return sum(path.stat().st_size for path in (work / stage / "journal").glob("*.log"))
