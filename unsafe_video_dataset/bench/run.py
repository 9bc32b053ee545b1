"""One whole benchmark: make the layouts, measure round by round, profile, memory over epochs, opening, and put it together."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ..clips import UniformFrames
from ..errors import MissingDependency, one_of
from ..mp4 import inspect_mp4
from ..video import decode_frames
from . import opening
from .clips import Layout, copy_of, describe, generate_clips, source_clips, write_layout
from .machine import load_average, machine
from .peers import INSTALL, PEERS, Peer
from .process import ChildFailed, run_job
from .settings import FRAMES, BenchSettings
from .summary import summarize

SCHEMA = 1
_COMPARED = 4


def run(settings: BenchSettings, *, progress: bool = True) -> dict[str, Any]:
    """Measure what `settings` say; the result as plain JSON values.

    `runs` are the single measurements, `summary` medians and ratios (`summary.summarize`), `missing` a sentence for each
    loader that can't run here, `failed` one for each that broke, `agreement` how far each loader's clips are from ours,
    `profile`, `epochs` and `opening` the other measurements, `machine` and `clips` what it ran on. Everything on disk is in a
    temporary folder that is removed, also after an interrupt. Raises `MissingDependency` without torch, psutil or PyAV,
    `FilterError` for an unknown loader, `InputError` for clips that can't be used.
    """
    _need()
    names = tuple(PEERS) if settings.peers is None else settings.peers
    for name in names:
        one_of(name, tuple(PEERS), "peers")
    started, load = time.monotonic(), load_average()
    missing = {name: said for name in names if (said := PEERS[name].missing()) is not None}
    with tempfile.TemporaryDirectory(prefix="unsafe-video-bench-", ignore_cleanup_errors=True) as folder:
        bench = _Bench(settings, Path(folder), progress)
        peers = bench.prepare([peer for name, peer in PEERS.items() if name in names and name not in missing])
        rounds = bench.rounds(peers)
        bench.compare(peers)
        profile = bench.other({"task": "stages", "clips": settings.profile_clips})
        epochs = bench.other({"task": "epochs", "epochs": settings.epochs, "workers": max(settings.workers)}, bench.few)
        opened = bench.opening()
    here = [peer for peer in peers if peer.name not in bench.failed]
    return {
        "schema": SCHEMA,
        "settings": dataclasses.asdict(settings)
        | {"clips": None, "twin": None, "workers": list(settings.workers), "peers": list(names)},
        "machine": machine(),
        "load": [load, load_average()],
        "clips": {"given": settings.clips is not None, **bench.clips, "files": len(bench.layout.ids)},
        "peers": {peer.name: {"title": peer.title, "kind": peer.kind} for peer in here},
        "missing": missing,
        "failed": bench.failed,
        "rounds": rounds,
        "runs": bench.runs,
        "summary": summarize(bench.runs, {peer.name: peer.kind for peer in here}),
        "agreement": bench.agreement,
        "profile": profile,
        "epochs": epochs,
        "opening": opened,
        "seconds": time.monotonic() - started,
    }


def order(names: Sequence[str], workers: Sequence[int], *, seed: int, number: int) -> list[tuple[str, int]]:
    """Every loader with every number of workers, in the order of round `number`: a function of the seed and the round."""
    cells = [(name, count) for name in names for count in workers]
    return [cells[index] for index in np.random.default_rng([seed, number]).permutation(len(cells))]


class _Bench:
    """The state of one run: its layouts, what was measured and what broke."""

    def __init__(self, settings: BenchSettings, folder: Path, progress: bool) -> None:
        self.settings, self.folder, self.progress = settings, folder, progress
        self.runs: list[dict[str, Any]] = []
        self.failed: dict[str, str] = {}
        self.agreement: dict[str, Any] = {}
        found = self._sources()
        self.clips = describe(found)
        every = [copy_of(data, number) for number in range(settings.copies) for data in found]
        self.layout = write_layout(folder / "clips", every)
        self.small = self._part("small", found, _COMPARED)
        self.few = self._part("few", found, settings.epoch_clips) if settings.epoch_clips > _COMPARED else self.small
        for index, video_id in enumerate(self.small.ids):
            data = self.small.file(index).read_bytes()
            indices, _ = UniformFrames(FRAMES).indices(inspect_mp4(data).num_frames)
            np.save(self.small.root / f"{video_id}.npy", decode_frames(data, indices.tolist(), size=settings.size))

    def _part(self, name: str, clips: list[bytes], number: int) -> Layout:
        """The layout of the first clips; the whole one where that is the same."""
        part = clips[:number]
        return self.layout if len(part) == len(self.layout.ids) else write_layout(self.folder / name, part)

    def _sources(self) -> list[bytes]:
        settings = self.settings
        if settings.clips is not None:
            return source_clips(settings.clips)[: settings.most_clips]
        return generate_clips(settings.generated, size=settings.generated_size, seed=settings.seed)[: settings.most_clips]

    def prepare(self, peers: Sequence[Peer]) -> list[Peer]:
        """Write each loader's own format, for the small and the large layout; the loaders that could."""
        for peer in tqdm([peer for peer in peers if peer.prepare], desc="formats", disable=not self.progress):
            layouts = sorted({str(layout.root) for layout in (self.small, self.layout)})
            self._try(peer, {"task": "prepare", "layouts": layouts, **self._common(peer)})
        return [peer for peer in peers if peer.name not in self.failed]

    def rounds(self, peers: Sequence[Peer]) -> int:
        """Measure round by round; the number of rounds done."""
        deadline, longest = time.monotonic() + 60 * self.settings.minutes, 0.0
        for number in range(self.settings.rounds):
            start = time.monotonic()
            if number and start + longest > deadline:
                return number
            cells = order([peer.name for peer in peers], self.settings.workers, seed=self.settings.seed, number=number)
            for name, workers in tqdm(cells, desc=f"round {number + 1} of {self.settings.rounds}", disable=not self.progress):
                if name not in self.failed:
                    self._measure(PEERS[name], workers, number)
            longest = max(longest, time.monotonic() - start)
        return self.settings.rounds

    def _measure(self, peer: Peer, workers: int, number: int) -> None:
        empty = self.folder / "empty-cache"
        job = {"task": "epoch", "workers": workers, "layout": str(self.layout.root), "empty": str(empty), **self._common(peer)}
        found = self._try(peer, job)
        shutil.rmtree(empty, ignore_errors=True)
        if found is not None:
            self.runs.append({"peer": peer.name, "workers": workers, "round": number, **found})

    def compare(self, peers: Sequence[Peer]) -> None:
        """How far each loader's clips are from ours: processes of their own, so that no measured one pays for it."""
        for peer in tqdm([peer for peer in peers if peer.pixels], desc="pixels", disable=not self.progress):
            found = None
            if peer.name not in self.failed:
                found = self._try(peer, {"task": "agreement", "reference": str(self.small.root), **self._common(peer)})
            if found is not None:
                del found["peak_bytes"]
                self.agreement[peer.name] = found

    def _common(self, peer: Peer) -> dict[str, Any]:
        return {"peer": peer.name, "batch_size": self.settings.batch_size, "size": self.settings.size}

    def _try(self, peer: Peer, job: dict[str, Any]) -> dict[str, Any] | None:
        """A measurement; where a loader breaks, its runs go and it is listed as failed: half a loader compares to nothing."""
        try:
            return run_job(job, self.folder, seconds=self.settings.job_seconds)
        except ChildFailed as error:
            self.failed[peer.name] = f"{peer.title} failed: {error}"
            self.runs = [one for one in self.runs if one["peer"] != peer.name]
            return None

    def other(self, job: dict[str, Any], layout: Layout | None = None) -> dict[str, Any] | None:
        """A measurement that compares no loaders; None, and a sentence in `failed`, where it breaks."""
        more = {"layout": str((layout or self.layout).root), "size": self.settings.size, "batch_size": self.settings.batch_size}
        try:
            whole = job | more | {"folder": str(self.folder), "seed": self.settings.seed}
            return run_job(whole, self.folder, seconds=self.settings.job_seconds)
        except ChildFailed as error:
            self.failed[job["task"]] = f"The measurement {job['task']!r} failed: {error}"
            return None

    def opening(self) -> dict[str, Any] | None:
        """Opening and filtering `settings.twin`, each part in a process of its own, round by round; None without a twin."""
        if self.settings.twin is None:
            return None
        rounds: list[dict[Any, Any]] = []
        for number in tqdm(range(self.settings.opening_rounds), desc="opening", disable=not self.progress):
            found = {}
            for part, _ in order(opening.PARTS, (0,), seed=self.settings.seed, number=number):
                if part == "duckdb" and importlib.util.find_spec("duckdb") is None:
                    self.failed["duckdb"] = f"duckdb is left out: it is not installed; {INSTALL}."
                    continue
                one = self.other({"task": "opening", "part": part, "release": str(self.settings.twin)})
                if one is not None:
                    found[part] = one
            if {"open", "dataset", "ours"} <= found.keys():
                rounds.append(found)
        return opening.combine(rounds) if rounds else None


def _need() -> None:
    for module in ("torch", "psutil", "av"):
        try:
            importlib.import_module(module)
        except ImportError as error:
            fix = "pip install 'unsafe-video-dataset[train,bench]'"
            raise MissingDependency(f"`unsafe-video bench` needs {module}: {fix}") from error
