"""Make a twin: plan, draw in a pool of processes, write the files and the truth. A killed run goes on where it stopped.

Every file is written under a temporary name and renamed, so a file under its own name is whole. `twin.json` says of which
plan the folder is; it names the sha256 of the plan, so files of another plan are never mixed in.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from unsafe_video_dataset.errors import InputError

from .files import KEY_FILE, task_of, text_files, truth_files
from .plan import Plan, make_plan
from .raters import make_raters
from .spoil import Task, make_bytes
from .votes import make_votes

TWIN_VERSION = 1  # goes up when the same seed and scale give other files
_STAMP = "twin.json"
_OWN = ("raw", "truth", "recipe.toml", "votes.csv", KEY_FILE, "decisions.csv", "themes.csv", _STAMP)
_BATCH = 16
_PARTIAL = ".partial"


@dataclass(frozen=True)
class TwinReport:
    """What was made: the folder, its recipe, the planned counts, bytes of the videos, and how many were drawn this time."""

    out: Path
    recipe: Path
    counts: dict[str, Any]
    num_bytes: int
    drawn: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {**asdict(self), "out": str(self.out), "recipe": str(self.recipe)}


def make_twin(
    out: Path,
    *,
    videos: int,
    seed: int = 0,
    overwrite: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> TwinReport:
    """Make the twin of `videos` videos in `out`, or finish it. The same seed and number give the same bytes on one machine.

    `workers` processes draw (default: one a CPU; 1 draws here). Raises `InputError` for a number that is too small and for
    an `out` that holds anything else than this very twin; `overwrite` replaces another twin, but nothing else.
    """
    if seed < 0:
        raise InputError(f"A seed of {seed} can't be used. Give a whole number from 0.")
    plan = make_plan(videos, seed=seed)
    stamp = {"twin": TWIN_VERSION, "seed": seed, "videos": videos, "plan": _digest(plan)}
    before = _prepare(out, stamp, overwrite=overwrite)
    drawn, new = _draw(out, plan, before, workers=workers or os.cpu_count() or 1, progress=progress)
    raters = make_raters(plan.counts.raters, np.random.default_rng([seed, 3]))
    votes = make_votes(plan, raters, np.random.default_rng([seed, 4]))
    files = {**text_files(plan, votes, name="twin"), **truth_files(plan, raters, votes, drawn)}
    for path, data in files.items():
        write_atomic(out / path, data, private=path == KEY_FILE)
    size = sum(num_bytes for _, num_bytes in drawn.values())
    return TwinReport(out, out / "recipe.toml", plan.counts.to_dict(), size, new)


def _digest(plan: Plan) -> str:
    rows = [asdict(one) for one in plan.items]
    return hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()


def _prepare(out: Path, stamp: dict[str, Any], *, overwrite: bool) -> dict[str, str]:
    """Refuse a folder that is not ours, or stamp it. Returns the sha256 of items that a finished run has recorded."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out} is not a folder. Give the name of a new folder.")
    if out.is_dir() and any(out.iterdir()):
        found = _read_stamp(out)
        if found is None:
            raise InputError(f"{out} is not empty and holds no twin (no {_STAMP}). Give a new folder.")
        if found != stamp:
            theirs = f"{found.get('videos')} videos, seed {found.get('seed')}"
            if not overwrite:
                raise InputError(f"{out} holds another twin ({theirs}). Give a new folder, or --overwrite to replace it.")
            _remove(out)
    write_atomic(out / _STAMP, (json.dumps(stamp, indent=1) + "\n").encode())
    for partial in out.rglob(f"*{_PARTIAL}"):
        partial.unlink()
    recorded = out / "truth" / "items.parquet"
    if not recorded.is_file():
        return {}
    table = pq.read_table(recorded, columns=["item", "sha256"])
    return dict(zip(table["item"].to_pylist(), table["sha256"].to_pylist(), strict=True))


def _read_stamp(out: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((out / _STAMP).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "twin" in found else None


def _remove(out: Path) -> None:
    """Remove what a twin consists of; other entries (a run's work folder, a release) stay. The stamp goes last."""
    for name in _OWN:
        path = out / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes, *, private: bool = False) -> None:
    """Write a file whole or not at all. `private`: only the owner may read it (0600)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666), "wb") as file:
        file.write(data)
    partial.replace(path)


# -- drawing


def _draw(
    out: Path, plan: Plan, before: dict[str, str], *, workers: int, progress: bool
) -> tuple[dict[str, tuple[str, int]], int]:
    """Item -> (sha256, bytes) of all videos, and how many were drawn now. Copies byte for byte come last."""
    raw = out / "raw"
    drawn: dict[str, tuple[str, int]] = {}
    missing: list[tuple[str, Task]] = []
    for number, one in enumerate(plan.items):
        facts = _facts(raw / one.item)
        if facts is not None and before.get(one.item, facts[0]) == facts[0]:
            drawn[one.item] = facts
        elif one.kind != "exact":
            missing.append((one.item, task_of(plan, number)))
    for source in {one.source for one in plan.items}:
        (raw / source).mkdir(parents=True, exist_ok=True)
    new = len(plan.items) - len(drawn)
    with tqdm(total=len(plan.items), initial=len(drawn), desc="drawing", unit="video", disable=not progress) as bar:
        for done in _in_pool(raw, missing, workers):
            drawn.update(done)
            bar.update(len(done))
        for one in plan.items:
            if one.item not in drawn:
                write_atomic(raw / one.item, (raw / (one.copy_of or "")).read_bytes())
                drawn[one.item] = drawn[one.copy_of or ""]
                bar.update()
    return drawn, new


def _facts(path: Path) -> tuple[str, int] | None:
    """sha256 and bytes of a file that is there."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    return hashlib.sha256(data).hexdigest(), len(data)


def _in_pool(raw: Path, tasks: Sequence[tuple[str, Task]], workers: int) -> Iterator[dict[str, tuple[str, int]]]:
    batches = [(raw, tasks[start : start + _BATCH]) for start in range(0, len(tasks), _BATCH)]
    if workers == 1 or len(batches) <= 1:
        yield from map(_draw_batch, batches)
        return
    # spawn: a forked child would inherit locks of the decoder's threads
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(batches)), mp_context=context) as pool:
        yield from pool.map(_draw_batch, batches)


def _draw_batch(batch: tuple[Path, Sequence[tuple[str, Task]]]) -> dict[str, tuple[str, int]]:
    raw, tasks = batch
    done = {}
    for item, task in tasks:
        data = make_bytes(task)
        write_atomic(raw / item, data)
        done[item] = (hashlib.sha256(data).hexdigest(), len(data))
    return done
