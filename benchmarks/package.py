"""What this package adds to a decoder, what its cache costs, how it opens a million rows, and whether memory grows.

    python benchmarks/package.py OUT --clips FOLDER [--rows 1000000] [--epochs 20] [--only decode,cache,open,memory]

`FOLDER` holds MP4 files (harmless ones); without it clips are drawn. Each part runs its candidates in turn, round after
round, and reports medians of CPU time (user and system) and their ratios: a busy machine changes seconds, hardly ratios.
OUT/package.json gets the figures. Peers are compared in `unsafe-video bench`. `open` needs duckdb.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import io
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from unsafe_video_dataset import decoders, video
from unsafe_video_dataset.mp4 import inspect_mp4

SIZE, FRAMES, BATCH = 224, 16, 8
PARTS = ("decode", "cache", "open", "memory")


def clips(folder: Path | None) -> list[bytes]:
    """MP4 files of 512x512 and at least 16 frames from a folder, or drawn ones."""
    if folder is not None:
        found = [path.read_bytes() for path in sorted(folder.glob("*.mp4"))]
        return [data for data in found if (inspect_mp4(data).width, inspect_mp4(data).height) == (512, 512)]
    return [_drawn(seed) for seed in range(6)]


def _drawn(seed: int) -> bytes:
    """Grainy moving shapes, some 200 to 900 kB for 16 frames, as generated videos have."""
    import av

    rng, file = np.random.default_rng(seed), io.BytesIO()
    y, x = np.mgrid[:512, :512]
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 512
        stream.pix_fmt, stream.options = "yuv420p", {"crf": "20"}
        for step in range(FRAMES):
            wave = 127 + 80 * np.sin(x / (9 + seed) + step / 3) * np.cos(y / 17 - step / 5)
            pixels = np.clip(wave[..., None] + rng.normal(0, 4 + 2 * seed, (512, 512, 3)), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def in_turn(candidates: dict[str, Callable[[], object]], *, rounds: int, per: int) -> dict[str, float]:
    """CPU milliseconds of each candidate, divided by `per`: the median over rounds in which each runs once."""
    spent: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in tqdm(range(rounds), desc="rounds", leave=False):
        for name, call in candidates.items():
            start = time.process_time()
            call()
            spent[name].append((time.process_time() - start) * 1e3 / per)
    return {name: statistics.median(times) for name, times in spent.items()}


def decode(given: argparse.Namespace) -> dict[str, Any]:
    """Each step and each decoder against libav's decode alone (PyAV, one thread, frames not converted)."""
    videos = clips(given.clips)
    infos = [inspect_mp4(data) for data in videos]
    indices = list(range(FRAMES))
    out = np.empty((FRAMES, 3, SIZE, SIZE), np.uint8)

    def libav(frames: int) -> None:
        for data, info in zip(videos, infos, strict=True):
            with contextlib.closing(decoders.pyav_frames(data, info)) as found:
                for number, _ in enumerate(found, 1):
                    if number == frames:
                        break

    def each(call: Callable[[bytes], object]) -> Callable[[], None]:
        return lambda: [call(data) for data in videos] and None

    candidates: dict[str, Callable[[], object]] = {
        "libav decode alone": functools.partial(libav, FRAMES),
        "open, first frame": functools.partial(libav, 1),
        "inspect_mp4": each(inspect_mp4),
        "sha256": each(lambda data: hashlib.sha256(data).digest()),
    }
    for name, status in video.decoder_status().items():
        if status.startswith("ok"):
            how: dict[str, Any] = {"decoder": name, "size": SIZE, "out": out}
            candidates[f"{name} to {SIZE}"] = each(lambda data, how=how: video.decode_frames(data, indices, **how))
            candidates[f"{name} native"] = each(lambda data, name=name: video.decode_frames(data, indices, decoder=name))
    spent = in_turn(candidates, rounds=given.rounds, per=len(videos))
    limit = spent["libav decode alone"]
    return {name: {"cpu_ms": round(ms, 3), "ratio": round(ms / limit, 3)} for name, ms in spent.items()}


def _release(folder: Path, videos: list[bytes], copies: int) -> Path:
    """A release of the clips, each several times with other ids (a `free` box at the end)."""
    from unsafe_video_dataset.builders.assemble import Candidate, assemble
    from unsafe_video_dataset.builders.write import ReleaseInfo, write_release

    if folder.exists():
        return folder
    candidates = []
    for index in range(len(videos) * copies):
        data = videos[index % len(videos)] + (16).to_bytes(4, "big") + b"free" + index.to_bytes(8, "big")
        candidates.append(
            Candidate(
                source_index=index,
                sha256=hashlib.sha256(data).hexdigest(),
                info=inspect_mp4(data),
                read=functools.partial(bytes, data),
                generator="magictime",
                categories=["terrifying"],
                prompt=f"a shape number {index} that moves",
                prompt_source="lexica",
                votes=None,
            )
        )
    assembled = assemble(candidates, fractions=(0.8, 0.1, 0.1), seed=0, keep_prompts=True)
    write_release(folder, assembled, ReleaseInfo(name="bench", builder="bench", settings={"tie": "negative"}), progress=False)
    return folder


def cache(given: argparse.Namespace) -> dict[str, Any]:
    """An epoch decoded, an epoch from the cache, and copying as many bytes, in this process."""
    import torch

    from unsafe_video_dataset import FrameCache, UniformFrames, UnsafeVideoDataset, collate

    torch.set_num_threads(1)
    release = _release(given.out / "release", clips(given.clips), 6)
    how: dict[str, Any] = {"clip": UniformFrames(FRAMES), "size": SIZE}
    plain = UnsafeVideoDataset(release, **how)
    cached = UnsafeVideoDataset(release, **how, cache=FrameCache(given.out / "frames"))
    groups = [range(start, min(start + BATCH, len(plain))) for start in range(0, len(plain), BATCH)]
    memory = np.random.default_rng(0).integers(0, 256, (BATCH, FRAMES, 3, SIZE, SIZE), np.uint8)

    def epoch(dataset: UnsafeVideoDataset) -> None:
        for group in groups:
            collate(dataset.__getitems__(list(group)))

    def stacked() -> None:
        for group in groups:
            collate([cached[index] for index in group])

    def copy() -> None:
        for group in groups:
            np.empty(memory.shape, np.uint8)[: len(group)] = memory[: len(group)]

    def no_reuse() -> None:
        data = [plain.release.video_bytes(video_id) for video_id in plain.video_ids]
        assert len(data) == len(plain)

    epoch(cached)  # fills it
    candidates = {"decoded": lambda: epoch(plain), "bytes read and hashed": no_reuse, "memory copy": copy}
    candidates |= {"cached": lambda: epoch(cached), "cached, stacked by collate": stacked}
    spent = in_turn(candidates, rounds=given.rounds, per=len(plain))
    hits = cached.cache.counts if cached.cache is not None else {}
    ratios = {
        "decoded / cached": round(spent["decoded"] / spent["cached"], 2),
        "cached / memory copy": round(spent["cached"] / spent["memory copy"], 2),
    }
    return {"cpu_ms_a_clip": {name: round(ms, 3) for name, ms in spent.items()}, "ratios": ratios, "counts": hits}


OPEN = """
import json, resource, sys, time
import datasets, numpy, pyarrow.compute, pyarrow.dataset, pyarrow.parquet, torch
from unsafe_video_dataset import Release, UnsafeVideoDataset
from unsafe_video_dataset.video import choose_decoder
choose_decoder()
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
def timed(call):
    start, before = (time.process_time(), time.perf_counter()), peak()
    kept.append(call())
    return {"cpu_s": round(time.process_time() - start[0], 3), "wall_s": round(time.perf_counter() - start[1], 3),
            "peak_mb": round((peak() - before) / 1e6, 1)}
kept, found = [], {}
found["Release.open"] = timed(lambda: Release.open(sys.argv[1]))
found["UnsafeVideoDataset"] = timed(lambda: UnsafeVideoDataset(kept[0], config="reviewed", split=None, size=224))
many = kept[1]
def index():
    for number in range(0, len(many), max(1, len(many) // 10_000)):
        many.video_ids[number], many.targets[number]
found["10,000 ids and targets"] = timed(index)
print(json.dumps({"rows": len(many), **found}))
"""


def opening(given: argparse.Namespace) -> dict[str, Any]:
    """A fresh process each; then filters against duckdb on the same files, both on one thread."""
    import duckdb
    import metadata_twin
    import pyarrow as pa

    from unsafe_video_dataset import Release

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    twin = given.out / f"twin-{given.rows}"
    if not twin.exists():
        metadata_twin.make(twin, rows=given.rows)
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", OPEN, str(twin)], check=True, capture_output=True, text=True).stdout)
        for _ in tqdm(range(3), desc="opens", leave=False)
    ]
    fresh = {
        name: {key: statistics.median(run[name][key] for run in runs) for key in value}
        for name, value in runs[0].items()
        if isinstance(value, dict)
    }
    release, connection = Release.open(twin), duckdb.connect()
    connection.execute("set threads=1")
    files = str(twin / "data" / "metadata" / "*.parquet")
    filters: dict[str, tuple[dict[str, Any], str]] = {
        "generator and raters": ({"generators": ["magictime"], "min_raters": 5}, "generator = 'magictime' and num_raters >= 5"),
        "category": ({"categories": ["terrifying"]}, "list_contains(categories, 1)"),
        "unsafe, agreement": ({"is_unsafe": True, "min_agreement": 0.8}, "is_unsafe and agreement >= 0.8"),
    }
    compared = {}
    for name, (how, where) in filters.items():
        query = f"select video_id, num_frames from '{files}' where {where}"
        mine = release.metadata(columns=["video_id", "num_frames"], **how).num_rows
        assert mine == len(connection.sql(query).to_arrow_table()), name
        candidates: dict[str, Callable[[], object]] = {
            "ours": functools.partial(release.metadata, columns=["video_id", "num_frames"], **how),
            "duckdb": lambda query=query: connection.sql(query).to_arrow_table(),
        }
        spent = in_turn(candidates, rounds=given.rounds, per=1)
        compared[name] = {"rows": mine, **{key: round(ms, 1) for key, ms in spent.items()}}
        compared[name]["ours / duckdb"] = round(spent["ours"] / spent["duckdb"], 2)
    return {"rows": given.rows, "fresh process": fresh, "filters, cpu ms": compared}


def memory(given: argparse.Namespace) -> dict[str, Any]:
    """Proportional memory (PSS) of this process and its two workers at the end of each epoch, and its slope."""
    import torch
    from scale import _family, _pss
    from torch.utils.data import DataLoader

    from unsafe_video_dataset import UniformFrames, UnsafeVideoDataset, collate

    torch.set_num_threads(1)
    release = _release(given.out / "release", clips(given.clips), 6)
    found: dict[str, Any] = {}
    for name, kept in (("decoded", None), ("cached", given.out / "frames")):
        dataset = UnsafeVideoDataset(release, clip=UniformFrames(FRAMES), size=SIZE, cache=kept)
        loader = DataLoader(dataset, 4, collate_fn=collate, num_workers=2, persistent_workers=True)
        sizes = []
        for number in tqdm(range(given.epochs), desc=name, leave=False):
            dataset.set_epoch(number)
            for _ in loader:
                pass
            sizes.append(sum(map(_pss, _family(os.getpid()))) / 1e6)
        half = sizes[len(sizes) // 4 :]  # buffers of the first epochs grow to what they need
        slope = float(np.polyfit(np.arange(len(half)), half, 1)[0])
        found[name] = {"mb": [round(size, 1) for size in sizes], "slope_mb_an_epoch": round(slope, 3)}
        del loader
    return found


def main() -> None:
    """Read the arguments, measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(PARTS))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    parts = dict(zip(PARTS, (decode, cache, opening, memory), strict=True))
    file = given.out / "package.json"
    figures = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for name in given.only.split(","):
        figures[name] = parts[name](given)
        file.write_text(json.dumps(figures, indent=1), encoding="utf-8")
        print(json.dumps({name: figures[name]}, indent=1))


if __name__ == "__main__":
    main()
