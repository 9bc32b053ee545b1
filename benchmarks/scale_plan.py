"""From measured stages and cores to what a number of videos costs: per stage its parts, machines, and what breaks first."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scale_fit import Line, Power, line, power

from unsafe_video_dataset.builders.stages.cluster import ClusterSettings

SPREAD = ("ingest", "probe")  # stages that work video by video, on as many machines as there are
# What a stage does besides its rows: the cores, each with the number of times it runs.
PARTS = {"dedup": ("search_all", "duplicate_groups"), "cluster": ("kmeans", "hdbscan"), "split": ("split_groups",)}
THREADED = ("search_all",)  # faiss computes on all cores of a machine, the other cores on one
DAY = 86_400.0
HOUR = 3_600.0
MACHINE_CORES = 16
MACHINE_BYTES = 64 * 2**30
LEAST_SECONDS = 0.02  # of a core: below it a time is the clock's


@dataclass(frozen=True)
class Part:
    """One term of a stage's cost: `of` it (rows, hashes) at the size planned for, CPU seconds and bytes there."""

    name: str
    of: float
    power: float
    cpu_seconds: float
    bytes: float


@dataclass(frozen=True)
class Planned:
    """A stage at the size planned for. `hours` is on its `machines`; None of them where it must be one and does not fit."""

    stage: str
    rows: float
    parts: tuple[Part, ...]
    memory: float
    disk: float
    machines: int
    hours: float
    fits: float  # videos until memory is full
    day: float  # videos until a day is full

    @property
    def cpu_seconds(self) -> float:
        """Of all parts."""
        return sum(part.cpu_seconds for part in self.parts)


class Laws:
    """What was fitted: a line a stage for CPU, memory and disk, a power a core for CPU and a line for memory."""

    def __init__(self, result: Mapping[str, Any]) -> None:
        self.hashes = float(result["hashes_a_row"])
        self.cores: dict[str, tuple[Power, Line]] = {}
        for core in dict.fromkeys(row["core"] for row in result["cores"]):
            mine = [row for row in result["cores"] if row["core"] == core]
            sizes = [float(row["n"]) for row in mine]
            cpu = power(sizes, [row["cpu_seconds"] for row in mine], least=LEAST_SECONDS)
            self.cores[core] = (cpu, line(sizes, [row["grown_bytes"] for row in mine]))
        self.stages: dict[str, dict[str, Line]] = {}
        self.shares: dict[str, float] = {}
        for stage in dict.fromkeys(row["stage"] for row in result["stages"]):
            mine = [row for row in result["stages"] if row["stage"] == stage]
            rows, videos = [float(row["rows"]) for row in mine], [float(row["videos"]) for row in mine]
            # What the cores take at these sizes is theirs, and not counted a second time with the rows.
            cores = [sum(part.cpu_seconds for part in self._cores(stage, n)) for n in rows]
            self.stages[stage] = {
                "cpu": line(rows, [row["cpu_seconds"] - core for row, core in zip(mine, cores, strict=True)]),
                # Tables of earlier stages are read whole: memory goes with the raw videos, whatever is left of them.
                "memory": line(videos, [row["peak_bytes"] for row in mine]),
                "disk": line(rows, [row["disk_bytes"] for row in mine]),
            }
            largest = max(mine, key=lambda row: row["videos"])
            self.shares[stage] = largest["rows"] / largest["videos"]

    def parts(self, stage: str, videos: float) -> tuple[Part, ...]:
        """The terms of a stage's cost: its rows, and its cores."""
        rows, lines = videos * self.shares[stage], self.stages[stage]
        return Part("rows", rows, 1.0, lines["cpu"].at(rows), lines["memory"].at(videos)), *self._cores(stage, rows)

    def _cores(self, stage: str, rows: float) -> list[Part]:
        found = []
        for core in PARTS.get(stage, ()):
            of = rows * self.hashes if core == "search_all" else rows
            cpu, memory = self.cores[core]
            found.append(Part(core, of, cpu.power, cpu.at(of) * times(core), memory.at(of)))
        return found

    def seconds(self, stage: str, videos: float) -> float:
        """CPU seconds of a stage."""
        return sum(part.cpu_seconds for part in self.parts(stage, videos))

    def wall(self, stage: str, videos: float, machines: int = 1) -> float:
        """Seconds of a stage on so many machines; only stages that spread make use of more than one."""
        spread = machines * MACHINE_CORES if stage in SPREAD else 1
        parts = self.parts(stage, videos)
        return sum(part.cpu_seconds / (MACHINE_CORES if part.name in THREADED else spread) for part in parts)

    def memory(self, stage: str, videos: float) -> float:
        """Bytes at the peak of a stage: its tables and the largest of its cores, which run one after the other."""
        rows, *cores = self.parts(stage, videos)
        return rows.bytes + max((part.bytes for part in cores), default=0.0)


def times(core: str) -> float:
    """How often a stage does what a core was measured for."""
    if core != "kmeans":
        return 1.0
    settings = ClusterSettings()
    # k-means takes time in proportion to k; each k is fitted once to all vectors and for each resample to half of them
    return sum(settings.k) / max(settings.k) * (1 + settings.resamples / 2)


def plan(result: Mapping[str, Any], videos: float) -> list[Planned]:
    """Each stage at so many raw videos, by the laws that the figures follow."""
    laws = Laws(result)
    found = []
    for stage, lines in laws.stages.items():
        parts, memory = laws.parts(stage, videos), laws.memory(stage, videos)
        seconds = sum(part.cpu_seconds for part in parts)
        spread = stage in SPREAD
        by_time = math.ceil(seconds / (MACHINE_CORES * DAY))
        machines = max(by_time, math.ceil(memory / MACHINE_BYTES)) if spread else 1
        found.append(
            Planned(
                stage=stage,
                rows=videos * laws.shares[stage],
                parts=parts,
                memory=memory,
                disk=lines["disk"].at(videos * laws.shares[stage]),
                machines=machines,
                hours=laws.wall(stage, videos, machines) / HOUR,
                fits=_largest(lambda n, s=stage: laws.memory(s, n), MACHINE_BYTES),
                day=_largest(lambda n, s=stage: laws.wall(s, n), DAY),
            )
        )
    return found


def breaks_first(found: Sequence[Planned]) -> list[tuple[float, str, str]]:
    """(videos, stage, what) of each limit of one machine, smallest first."""
    limits = [(one.fits, one.stage, "memory") for one in found] + [(one.day, one.stage, "a day") for one in found]
    return sorted(limit for limit in limits if math.isfinite(limit[0]))


def _largest(value: Any, limit: float) -> float:
    """The largest number of videos at which a growing value is within a limit; infinite above 10^12."""
    low, high = 1.0, 1e12
    if value(high) <= limit:
        return math.inf
    for _ in range(100):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if value(middle) <= limit else (low, middle)
    return low
