"""One measurement in a process of its own: `python -m unsafe_video_dataset.bench.child JOB`; the result is written to the
job's `result` file, a temporary name first.

A job is a JSON object with `task` (`epoch`, `agreement`, `prepare`, `stages`, `epochs`, `opening`), `result` and what the task
takes.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..video import choose_decoder
from .clips import Layout
from .peers import PEERS, Load, cache_folder
from .process import tree_cpu_seconds

_LATER_SECONDS = 2.0


def epoch(job: Mapping[str, Any]) -> dict[str, Any]:
    """One epoch of one loader; for loaders of later epochs as many as fill two seconds, after one that isn't counted.

    `seconds` from the first request to the last batch, `cpu_seconds` of this process and its workers over the same time and
    the end of the workers, `first_batch_seconds` from making the dataset to the first batch. Imports are over before.
    """
    peer, layout = PEERS[job["peer"]], Layout.load(Path(job["layout"]))
    _quiet(peer.modules)
    cache = str(cache_folder(layout)) if peer.later else job.get("empty")
    load = Load(
        workers=job["workers"],
        batch_size=job["batch_size"],
        size=job["size"],
        cache=cache if peer.cached else None,
        again=peer.later,
    )
    gc.collect()
    cpu, start = tree_cpu_seconds(), time.perf_counter()
    batches = peer.open(layout, load)
    iterator = iter(batches)
    first = next(iterator)
    until_first = time.perf_counter() - start
    seen, shapes = _rest(first, iterator)
    del iterator, first
    epochs = 1
    if peer.later:
        cpu, start, epochs = tree_cpu_seconds(), time.perf_counter(), 0
        while not epochs or time.perf_counter() - start < _LATER_SECONDS:
            seen, shapes = _rest(None, iter(batches))
            epochs += 1
    seconds = time.perf_counter() - start
    if not peer.later:
        del batches  # workers end, and what they took is in the count
        gc.collect()
    cpu = tree_cpu_seconds() - cpu
    expected = sorted(layout.ids)
    if sorted(seen) != expected:
        raise RuntimeError(f"{len(seen)} clips came, {len(expected)} were expected, each once")
    return {
        "clips": epochs * len(seen),
        "seconds": seconds,
        "cpu_seconds": cpu,
        "first_batch_seconds": until_first,
        "shapes": sorted(shapes),
    }


def _rest(first: Any, iterator: Any) -> tuple[list[str], set[str]]:
    """All ids that came, and what the batches were."""
    seen: list[str] = []
    shapes: set[str] = set()
    for ids, video in [first] if first is not None else []:
        seen += list(ids)
        shapes.add(f"{str(video.dtype).removeprefix('torch.')} {list(video.shape[1:])}")
    del first
    for ids, video in iterator:
        seen += list(ids)
        shapes.add(f"{str(video.dtype).removeprefix('torch.')} {list(video.shape[1:])}")
    return seen, shapes


def agreement(job: Mapping[str, Any]) -> dict[str, Any]:
    """A loader's clips of the small layout against `reference`, ours: largest and mean difference in grey levels."""
    peer, root = PEERS[job["peer"]], Path(job["reference"])
    _quiet(peer.modules)
    layout = Layout.load(root)
    most, total, count, same = 0, 0.0, 0, True
    load = Load(workers=0, batch_size=2, size=job["size"], cache=str(cache_folder(layout)) if peer.cached else None)
    for ids, video in peer.open(layout, load):
        for video_id, clip in zip(ids, video.numpy(), strict=True):
            mine = np.load(root / f"{video_id}.npy")
            same &= clip.dtype == mine.dtype and clip.shape == mine.shape
            if clip.shape == mine.shape:
                difference = np.abs(clip.astype(np.int16) - mine)
                most, total, count = max(most, int(difference.max())), total + float(difference.mean()), count + 1
    return {"clips": count, "same_shape_and_dtype": bool(same), "max": most, "mean": total / count if count else None}


def prepare(job: Mapping[str, Any]) -> dict[str, Any]:
    """Write what a loader needs beside the MP4 files, for each of `layouts`."""
    peer = PEERS[job["peer"]]
    _quiet(peer.modules)
    for root in job["layouts"]:
        if peer.prepare is not None:
            peer.prepare(Layout.load(Path(root)), Load(batch_size=job["batch_size"], size=job["size"]))
    return {}


def _quiet(modules: tuple[str, ...]) -> None:
    """Import what a loader needs, one thread a process."""
    import torch

    torch.set_num_threads(1)
    for module in modules:
        importlib.import_module({"torchcodec": "torchcodec.decoders"}.get(module, module))
    for mine in ("..torch", ".readers", ".others"):
        importlib.import_module(mine, __package__)
    choose_decoder("auto")  # imports the codec that we would import at the first clip
    with contextlib.suppress(ImportError):
        importlib.import_module("pandas")  # pyarrow does so at its first conversion, where it is installed


def _task(name: str) -> Any:
    if name in ("epoch", "agreement", "prepare"):
        return {"epoch": epoch, "agreement": agreement, "prepare": prepare}[name]
    return importlib.import_module(f".{name}", __package__).measure


def main(argv: list[str]) -> int:
    """Run the job given as JSON."""
    job = json.loads(argv[0])
    found = _task(job["task"])(job)
    path = Path(job["result"])
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(found, allow_nan=False), encoding="utf-8")
    partial.replace(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
