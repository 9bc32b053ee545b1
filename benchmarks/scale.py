"""What a run costs as it grows: twins of several sizes, each stage alone, and from the slopes a plan for more videos.

    python benchmarks/scale.py OUT --scales 250,500,1000 --videos 10000000 --page docs/scale.md

Each stage runs in a process of its own (`run --only STAGE`), so that its peak memory is its own: the summed proportional
share (PSS) of the process and its workers, sampled twenty times a second on Linux. Figures go to OUT/scale.json; `--page`
writes the plan from them. `--from-json FILE` writes the page again without measuring.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

COMMAND = [sys.executable, "-m", "unsafe_video_dataset.builders.cli"]
SPREAD = ("ingest", "probe")  # stages that work video by video, on as many machines as there are
DAY = 86_400.0
MACHINE_CORES = 16
MACHINE_BYTES = 64 * 2**30
EXPLAINED = 0.8  # of the variance: below it a slope is noise, and nothing is extrapolated from it
_FLOOR = 0.05  # seconds: below it a time says nothing about growth


def measure(folder: Path, scales: Sequence[int], *, workers: int) -> list[dict[str, Any]]:
    """One row a scale and stage: seconds of the stage, of the process, peak bytes of memory, bytes on disk, rows in."""
    rows = []
    for videos in tqdm(scales, desc="scales", unit="twin"):
        raw = folder / f"twin-{videos}"
        subprocess.run([*COMMAND, "twin", str(raw), "--scale", str(videos), "--json"], check=True, stdout=subprocess.DEVNULL)
        recipe = _recipe(raw)
        for stage in _stages():
            rows.append({"videos": videos, "stage": stage, **_one(recipe, raw, stage, workers)})
    return rows


def _stages() -> list[str]:
    from unsafe_video_dataset.builders.pipeline.registry import all_stages

    return [stage.name for stage in all_stages()]


def _recipe(raw: Path) -> Path:
    """The twin's recipe without the sections of stages that this installation does not have."""
    from unsafe_video_dataset.builders.pipeline.registry import ORDER

    text = (raw / "recipe.toml").read_text(encoding="utf-8")
    parts = text.split("\n\n")
    gone = [f"[{name}]" for name in ORDER if name not in _stages()]
    path = raw / "scale.toml"
    path.write_text("\n\n".join(part for part in parts if not part.startswith(tuple(gone))) + "\n", encoding="utf-8")
    return path


def _one(recipe: Path, raw: Path, stage: str, workers: int) -> dict[str, Any]:
    command = [*COMMAND, "run", str(recipe), "--only", stage, "--from", stage, "--workers", str(workers), "--json"]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with _Watch(process.pid) as watch:
        out, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"stage {stage} failed: {errors[-2000:]}")
    ran = next(one for one in json.loads(out)["stages"] if one["stage"] == stage)
    folder = raw / "work" / stage
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {
        "seconds": ran["seconds"],
        "process_seconds": time.perf_counter() - start,
        "peak_bytes": watch.peak,
        "disk_bytes": size,
        "rows": ran["rows"],
    }


class _Watch:
    """Samples the memory of a process and its descendants until it is left; `peak` in bytes, 0 where /proc is not there."""

    def __init__(self, pid: int) -> None:
        self._pid, self._stop = pid, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak = 0

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(0.05):
            self.peak = max(self.peak, sum(map(_pss, _family(self._pid))))


def _family(pid: int) -> list[int]:
    """The process and its descendants that are alive."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found, rest = [], [pid]
    while rest:
        found.append(rest.pop())
        rest += children.get(found[-1], [])
    return found


def _pss(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0


# -- from figures to a plan


def fit(sizes: Sequence[float], values: Sequence[float]) -> dict[str, float]:
    """A line `fixed + slope * n` by least squares (slope from 0), and `power`: the growth exponent of the two largest sizes.

    The power is that of what lies above the fixed part; 1 is linear. It is 1 where times are too small to tell. `explained`
    is the share of the values' variance that the line explains (r squared): where it is low, or the slope is 0, the sizes
    say nothing about growth.
    """
    mean_n, mean_v = sum(sizes) / len(sizes), sum(values) / len(values)
    spread = sum((n - mean_n) ** 2 for n in sizes)
    slope = sum((n - mean_n) * (v - mean_v) for n, v in zip(sizes, values, strict=True)) / spread if spread else 0.0
    slope = max(slope, 0.0)
    fixed = max(mean_v - slope * mean_n, 0.0)
    rest = sum((v - mean_v - slope * (n - mean_n)) ** 2 for n, v in zip(sizes, values, strict=True))
    total = sum((v - mean_v) ** 2 for v in values)
    explained = max(0.0, 1 - rest / total) if total else 0.0
    power = 1.0
    if len(sizes) > 2 and explained >= EXPLAINED:
        (n0, v0), (n1, v1), (n2, v2) = sorted(zip(sizes, values, strict=True))[-3:]
        first, second = (v1 - v0) / (n1 - n0), (v2 - v1) / (n2 - n1)
        if first * n1 > _FLOOR and second > 0:
            # the derivative of n^p grows as n^(p - 1) between the middles of the two intervals
            power = 1 + math.log(second / first) / math.log((n2 + n1) / (n1 + n0))
    return {"fixed": fixed, "slope": slope, "power": min(max(power, 1.0), 2.0), "explained": explained}


def extrapolate(found: Mapping[str, float], largest: float, videos: float) -> float:
    """The value at `videos`: linear up to the largest size measured, from there with the fitted power."""
    at_largest = found["slope"] * largest
    return found["fixed"] + at_largest * (videos / largest) ** found["power"]


def plan(rows: Sequence[Mapping[str, Any]], videos: int, *, workers: int) -> list[dict[str, Any]]:
    """For each stage what `videos` videos cost, and how many videos one machine takes before memory or a day ends."""
    found = []
    stages = list(dict.fromkeys(row["stage"] for row in rows))
    for stage in stages:
        mine = sorted((row for row in rows if row["stage"] == stage), key=lambda row: row["videos"])
        sizes = [float(row["videos"]) for row in mine]
        times, peaks, disk = (fit(sizes, [row[key] for row in mine]) for key in ("seconds", "peak_bytes", "disk_bytes"))
        peaks["power"] = disk["power"] = 1.0  # tables grow with their rows; where more is held the text says so
        if times["slope"] <= 0 or times["explained"] < EXPLAINED:
            found.append({**_unknown(times), "stage": stage, **_memory(peaks, disk, videos)})
            continue
        seconds = extrapolate(times, sizes[-1], videos)
        spread = stage in SPREAD
        core_seconds = seconds * workers if spread else seconds
        machines = max(1, math.ceil(core_seconds / (MACHINE_CORES * DAY))) if spread else 1
        wall = core_seconds / (machines * MACHINE_CORES) if spread else seconds
        found.append(
            {
                "stage": stage,
                "fixed_seconds": times["fixed"],
                "milliseconds_a_video": 1000 * times["slope"],
                "power": times["power"],
                "core_hours": core_seconds / 3600,
                "machines": machines,
                "wall_hours": wall / 3600,
                **_memory(peaks, disk, videos),
                "videos_in_a_day": _videos_in_a_day(times, sizes[-1], spread, workers),
            }
        )
    return found


def _unknown(times: Mapping[str, float]) -> dict[str, Any]:
    """A stage whose time did not grow measurably over the sizes: nothing is claimed of it."""
    keys = ("milliseconds_a_video", "power", "core_hours", "machines", "wall_hours", "videos_in_a_day")
    return {**dict.fromkeys(keys), "fixed_seconds": times["fixed"]}


def _memory(peaks: Mapping[str, float], disk: Mapping[str, float], videos: int) -> dict[str, Any]:
    room = MACHINE_BYTES - peaks["fixed"]
    return {
        "kilobytes_of_memory_a_video": peaks["slope"] / 1e3,
        "kilobytes_on_disk_a_video": disk["slope"] / 1e3,
        "memory_bytes": peaks["fixed"] + peaks["slope"] * videos,
        "disk_bytes": disk["fixed"] + disk["slope"] * videos,
        "videos_in_memory": int(room / peaks["slope"]) if peaks["slope"] > 0 else None,
    }


def _videos_in_a_day(times: Mapping[str, float], largest: float, spread: bool, workers: int) -> int | None:
    """How many videos one machine does in a day; None where time does not grow."""
    room = DAY * MACHINE_CORES / workers if spread else DAY
    room -= times["fixed"]
    at_largest = times["slope"] * largest
    return None if at_largest <= 0 or room <= 0 else int(largest * (room / at_largest) ** (1 / times["power"]))


def breaks_first(found: Sequence[Mapping[str, Any]]) -> list[tuple[int, str, str]]:
    """(videos, stage, what) of each limit of one machine, smallest first."""
    limits = [(row["videos_in_memory"], row["stage"], "memory") for row in found if row["videos_in_memory"] is not None]
    limits += [(row["videos_in_a_day"], row["stage"], "a day") for row in found if row["videos_in_a_day"] is not None]
    return sorted(limits)


def page(result: Mapping[str, Any]) -> str:
    """`docs/scale.md` from what `main` wrote. The same figures give the same text."""
    rows, videos = result["rows"], result["target"]
    found = plan(rows, videos, workers=result["workers"])
    sizes = sorted({row["videos"] for row in rows})
    parts = [
        "# What more videos cost",
        "Generated by `python benchmarks/scale.py`; don't edit.",
        f"Measured on twins of {', '.join(f'{size:,}' for size in sizes)} videos (128x128, 16 frames), {result['workers']} "
        f"workers, {result['machine']}, load {result['load'][0]:.1f} at the start and {result['load'][1]:.1f} at the end. "
        "Each stage ran alone. Memory is the peak of a stage with its workers.",
        "## Measured",
        _table(
            ("stage", "videos", "rows in", "seconds", "peak memory, MB", "on disk, MB"),
            [
                (
                    r["stage"],
                    f"{r['videos']:,}",
                    f"{r['rows']:,}",
                    f"{r['seconds']:.2f}",
                    _mb(r["peak_bytes"]),
                    _mb(r["disk_bytes"]),
                )
                for r in rows
            ],
        ),
        "## Slopes",
        "A line through the sizes; the power is the growth of the two largest steps (1 is linear, 2 all pairs). Where the time "
        f"did not grow with the size, or a line explains less than {EXPLAINED:.0%} of it, the slope is not known: "
        "measure larger twins on an idle machine.",
        _table(
            ("stage", "fixed, s", "ms a video", "power", "memory a video, kB", "disk a video, kB"),
            [
                (
                    r["stage"],
                    f"{r['fixed_seconds']:.2f}",
                    _figure(r["milliseconds_a_video"], ".2f"),
                    _figure(r["power"], ".2f"),
                    f"{r['kilobytes_of_memory_a_video']:.1f}",
                    f"{r['kilobytes_on_disk_a_video']:.1f}",
                )
                for r in found
            ],
        ),
        f"## {videos:,} videos",
        f"Extrapolated by {videos / sizes[-1]:,.0f} times from the largest size: an order of magnitude, not a promise. "
        f"Videos of 512x512 have 16 times the pixels of these. A machine here has {MACHINE_CORES} cores and "
        f"{MACHINE_BYTES / 2**30:.0f} GiB. Ingest and probe work video by video and spread over machines "
        "(`--engine ray`), as many as end within a day; the other stages run in one process, whatever they need.",
        _table(
            ("stage", "core hours", "machines", "hours", "memory, GB", "on disk, GB"),
            [
                (
                    r["stage"],
                    _figure(r["core_hours"], ",.1f"),
                    _figure(r["machines"], "d"),
                    _figure(r["wall_hours"], ",.1f"),
                    f"{r['memory_bytes'] / 1e9:,.1f}",
                    f"{r['disk_bytes'] / 1e9:,.1f}",
                )
                for r in found
            ],
        ),
        "## What breaks first",
        "The number of videos at which one machine runs out of memory, or one stage takes a day, smallest first:",
        _table(("videos", "stage", "limit"), [(f"{n:,}", stage, what) for n, stage, what in breaks_first(found)]),
        _NOTES,
    ]
    return "\n\n".join(parts) + "\n"


_NOTES = """What to do about it:

- A stage's table is one Parquet file that is read whole. Hashes and descriptors are its widest columns: read columns by stage
  and row groups by hash range before anything else.
- The search of near duplicates compares all pairs up to a number of hashes and looks into buckets above it (see
  `vision/neighbours.py`); buckets split over machines by key. Its result, pairs, joins by union-find on one machine.
- Clusters: k-means on a sample and one pass to assign the rest; HDBSCAN has no such pass and stays on the sample.
- Votes grow with raters' answers, which people give: at ten million videos they are the cost that matters, and no machine's."""


def _figure(value: float | None, form: str) -> str:
    return "not known" if value is None else format(value, form)


def _mb(size: float) -> str:
    return f"{size / 1e6:.1f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write OUT/scale.json and, with `--page`, the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the twins and scale.json")
    parser.add_argument("--scales", default="250,500,1000", help="numbers of videos, at least three for a power")
    parser.add_argument("--videos", type=int, default=10_000_000, help="what to plan for")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--page", type=Path, help="write the plan as Markdown")
    parser.add_argument("--from-json", type=Path, help="figures of an earlier run instead of measuring")
    arguments = parser.parse_args(argv)
    if arguments.from_json:
        result = json.loads(arguments.from_json.read_bytes())
    else:
        arguments.out.mkdir(parents=True, exist_ok=True)
        before = os.getloadavg()[0]
        rows = measure(arguments.out, [int(one) for one in arguments.scales.split(",")], workers=arguments.workers)
        machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
        load = [before, os.getloadavg()[0]]
        result = {"rows": rows, "target": arguments.videos, "workers": arguments.workers, "machine": machine, "load": load}
        (arguments.out / "scale.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    if arguments.page:
        arguments.page.write_text(page(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
