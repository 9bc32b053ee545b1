"""Recipes, small stages and functions for tests of the pipeline. Worker processes import this module by its name."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from builders_support import tiny
from pipeline_workers import LOG, calls, double, moody

from unsafe_video_dataset.builders.pipeline import journal
from unsafe_video_dataset.builders.pipeline.run import RunReport, run_recipe
from unsafe_video_dataset.builders.pipeline.source import Sources
from unsafe_video_dataset.builders.pipeline.stage import COMMON, Context, Failure, Stage, StageResult
from unsafe_video_dataset.builders.stages.ingest import Ingest
from unsafe_video_dataset.builders.stages.probe import Probe

__all__ = ["LOG", "calls", "double", "moody"]

RECIPE = """
[release]
name = "small"
[[source]]
name = "shapes"
folder = "raw"
generator = "animatediff"
"""
# -- stages


@dataclass(frozen=True)
class HalfSettings:
    modulo: int = 2
    file: str = "half.txt"
    fail: bool = False


@dataclass(frozen=True)
class Half:
    """Drops every item whose number in the file name is not a multiple of `modulo`."""

    name: str = "half"
    version: int = 1
    needs: tuple[str, ...] = ("ingest",)
    settings: type[HalfSettings] = HalfSettings
    edit: Any = field(default=None, compare=False)

    def files(self, settings: HalfSettings, base: Path) -> list[Path]:
        return [base / settings.file]

    def run(self, context: Context) -> StageResult:
        (context.folder / "sheet.txt").write_text("to look at")
        if context.settings.fail:
            raise RuntimeError("this stage is broken")
        rows = context.kept(self.needs[0])["item"].to_pylist()
        numbers = {item: int("".join(letter for letter in item if letter.isdigit()) or "0") for item in rows}
        answers = context.map(double, list(numbers.items()), what="doubling")
        made = []
        for item in reversed(rows):  # the runner sorts
            answer = answers[item]
            assert not isinstance(answer, Failure)
            kept = answer["twice"] % (2 * context.settings.modulo) == 0
            made.append({"item": item, "kept": kept, "reason": None if kept else "odd", "twice": answer["twice"]})
        schema = pa.schema([*COMMON, pa.field("twice", pa.int64())])
        table = pa.Table.from_pylist(made, schema=schema)
        return StageResult(self.edit(table) if self.edit else table, {"doubled": len(made)})


@dataclass(frozen=True)
class Made:
    """In place of ingest: items by number, without any file."""

    number: int = 10
    name: str = "ingest"
    version: int = 1
    needs: tuple[str, ...] = ()
    settings: type[Sources] = Sources

    def files(self, settings: Sources, base: Path) -> list[Path]:
        return []

    def run(self, context: Context) -> StageResult:
        rows = [
            {"item": f"shapes/{n:05d}.mp4", "kept": True, "reason": None, "video_id": f"{n:016x}"} for n in range(self.number)
        ]
        return StageResult(pa.Table.from_pylist(rows, schema=pa.schema([*COMMON, pa.field("video_id", pa.string())])))


PROBE = Probe(measures="pipeline_workers")
REAL: list[Stage] = [Ingest(), PROBE]
QUICK: list[Stage] = [Made(), Half()]


def make_recipe(folder: Path, *, number: int = 6, text: str = RECIPE) -> Path:
    """`recipe.toml` and `raw/` with tiny videos `0000.mp4` and so on."""
    (folder / "raw").mkdir(parents=True)
    for index in range(number):
        (folder / "raw" / f"{index:04d}.mp4").write_bytes(tiny(index))
    (folder / "recipe.toml").write_text(text, encoding="utf-8")
    return folder / "recipe.toml"


def run(recipe: Path, stages: list[Stage] | None = None, **options: Any) -> RunReport:
    return run_recipe(recipe, stages=REAL if stages is None else stages, **{"workers": 2, "progress": False, **options})


def table_files(recipe: Path) -> dict[str, bytes]:
    """What a run leaves behind that must not differ between runs: tables and reports, by their place in the work folder."""
    work = recipe.parent / "work"
    wanted = ("table.parquet", "report.json", "done.json", "candidates.parquet", "report.md")
    return {path.relative_to(work).as_posix(): path.read_bytes() for path in sorted(work.rglob("*")) if path.name in wanted}


SCRIPT = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
if __name__ == "__main__":
    import pipeline_support
    probe = pipeline_support.run(Path(sys.argv[1]), **{options!r}).stage("probe")
    print(probe.worked, probe.reused)
"""


def start(recipe: Path, log: Path, *, sleep: float = 0.0, **options: Any) -> subprocess.Popen[str]:
    """A run in a process of its own, which a test may kill."""
    script = recipe.parent / "driver.py"
    script.write_text(SCRIPT.format(path=[str(Path(__file__).parent)], options=options))
    environment = {**os.environ, LOG: str(log), "PIPELINE_TEST_SLEEP": str(sleep), "PYTHONPATH": str(Path(__file__).parent)}
    return subprocess.Popen(
        [sys.executable, str(script), str(recipe)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def remembered(recipe: Path) -> int:
    """Whole answers in probe's journal."""
    files = (recipe.parent / "work" / "probe" / "journal").glob("*.log")
    return sum(1 for path in files for _ in journal._records(path))


def kill_after(process: subprocess.Popen[str], recipe: Path, count: int, *, timeout: float = 120) -> int:
    """kill -9 the driver (it alone: its workers must see to themselves) once so many answers are kept; how many are."""
    end = time.monotonic() + timeout
    while remembered(recipe) < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    return remembered(recipe)


def alive_in(session: int) -> list[int]:
    """Processes that still run in a session (Linux)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_for_none_in(session: int, *, timeout: float = 10) -> list[int]:
    """The processes that are left in a session after a while; empty as soon as there are none."""
    end = time.monotonic() + timeout
    while (left := alive_in(session)) and time.monotonic() < end:
        time.sleep(0.05)
    return left
