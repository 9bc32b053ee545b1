"""The cores of the stages whose cost is not that of their rows, alone on synthetic input, each size in a process of its own.

    python benchmarks/scale_cores.py NAME N

prints one JSON object: CPU seconds, and the bytes by which the process grew at its peak.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from process_cost import ONE_THREAD
from tqdm import tqdm

from unsafe_video_dataset.builders.group import group_ids
from unsafe_video_dataset.builders.stages.dedup import DedupSettings
from unsafe_video_dataset.builders.vision import clusters
from unsafe_video_dataset.builders.vision.duplicates import Hashed, Match, group
from unsafe_video_dataset.builders.vision.neighbours import near_pairs

K = 24  # the largest number of clusters that a recipe tries by default
_DIMENSIONS = 32


def search_all(n: int) -> Callable[[], object]:
    """Near pairs among n hashes of 64 bits, every pair compared."""
    hashes = _hashes(n)
    return lambda: sum(len(left) for left, _, _ in near_pairs(hashes, _radius(), exhaustive=True))


def search_buckets(n: int) -> Callable[[], object]:
    """Near pairs among n hashes of 64 bits, looked for in buckets."""
    hashes = _hashes(n)
    return lambda: sum(len(left) for left, _, _ in near_pairs(hashes, _radius(), exhaustive=False))


def duplicate_groups(n: int) -> Callable[[], object]:
    """Groups of n videos by union-find, as many matches as videos."""
    rng = np.random.default_rng(0)
    videos = [Hashed(f"{number:016x}", f"{number}.mp4", 1, 1, 1, (), ()) for number in range(n)]
    near = rng.integers(1, 4, n)
    pairs = [(number, number + int(step)) for number, step in enumerate(near) if number % 8 < 4 and number + step < n]
    matches = [Match(f"{a:016x}", f"{b:016x}", 1.0, 1.0, 3) for a, b in pairs]
    duplicate, related = DedupSettings().thresholds("phash")
    return lambda: group(videos, matches, duplicate, related)


def split_groups(n: int) -> Callable[[], object]:
    """Groups of n videos by prompt, bytes and look, as the split makes them."""
    rng = np.random.default_rng(0)
    prompts, looks = rng.integers(0, n // 2 + 1, n).tolist(), rng.integers(0, 2 * n, n).tolist()
    keys = [[("bytes", i), ("prompt", p), ("look", look)] for i, (p, look) in enumerate(zip(prompts, looks, strict=True))]
    ids = [f"{number:016x}" for number in range(n)]
    return lambda: group_ids(keys, ids)


def kmeans(n: int) -> Callable[[], object]:
    """One k-means fit of n vectors."""
    data = _vectors(n)
    return lambda: clusters._fit(data, K, 0)


def hdbscan(n: int) -> Callable[[], object]:
    """HDBSCAN of n vectors."""
    data = _vectors(n)
    return lambda: clusters._hdbscan(data, 10)


def _radius() -> int:
    return DedupSettings().phash_related


def _hashes(n: int) -> NDArray[np.uint8]:
    """Distinct random hashes: evenly spread over the buckets, which is the best case for them."""
    drawn = np.random.default_rng(0).integers(0, 256, (n + n // 100 + 8, 8), dtype=np.uint8)
    return np.unique(drawn, axis=0)[:n]


def _vectors(n: int) -> NDArray[np.float64]:
    """Forty round clouds in as many dimensions as clusters are made in, and a tenth that belongs to none."""
    rng = np.random.default_rng(0)
    middles = rng.normal(0, 4, (40, _DIMENSIONS))
    found = middles[rng.integers(0, 40, n)] + rng.normal(0, 1, (n, _DIMENSIONS))
    found[: n // 10] = rng.normal(0, 4, (n // 10, _DIMENSIONS))
    return found


CORES: dict[str, tuple[Callable[[int], Callable[[], object]], Sequence[int]]] = {
    "search_all": (search_all, (10_000, 30_000, 100_000, 300_000)),
    "search_buckets": (search_buckets, (10_000, 30_000, 100_000, 300_000, 1_000_000)),
    "duplicate_groups": (duplicate_groups, (10_000, 30_000, 100_000, 300_000, 1_000_000)),
    "split_groups": (split_groups, (10_000, 30_000, 100_000, 300_000, 1_000_000)),
    "kmeans": (kmeans, (10_000, 20_000, 50_000, 100_000, 200_000)),
    "hdbscan": (hdbscan, (5_000, 10_000, 20_000, 50_000, 100_000)),
}


def core_rows(folder: Path, *, seconds: float, only: Sequence[str] = tuple(CORES)) -> list[dict[str, Any]]:
    """A row a core and size; of a core no size is begun after one that took more than `seconds` of CPU."""
    found = []
    for name in tqdm(only, desc="cores", unit="core"):
        for n in CORES[name][1]:
            found.append(_kept(folder / f"core-{name}-{n}.json", name, n))
            if found[-1]["cpu_seconds"] > seconds:
                break
    return found


def _kept(path: Path, name: str, n: int) -> dict[str, Any]:
    if not path.exists():
        command = [sys.executable, __file__, name, str(n)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **ONE_THREAD})
        path.write_text(done.stdout, encoding="utf-8")
    row: dict[str, Any] = json.loads(path.read_bytes())
    return row


def _measure(name: str, n: int) -> dict[str, Any]:
    CORES[name][0](50)()  # what is loaded and compiled on first use is no cost of the size
    call = CORES[name][0](n)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of now, not of what made the input
    before, start = _kilobytes("VmHWM"), time.process_time()
    call()
    seconds = time.process_time() - start
    return {"core": name, "n": n, "cpu_seconds": round(seconds, 4), "grown_bytes": (_kilobytes("VmHWM") - before) * 1024}


def _kilobytes(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], int(sys.argv[2]))))
