"""Remove every copy that this package made of a repository, and say what is left."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from ..cache import FrameCache
from ..errors import InputError, StorageError
from .access import check_repo_id
from .roots import known_roots
from .store import Store, disk_errors, stores_of

_ARROW_FILES = (".arrow", ".json", ".lock", ".incomplete")
_ARROW_LOCKS = ("_checked.lock", "_builder.lock", ".incomplete_info.lock")
_REPORT_FILES = {"": (".html", ".css", ".js"), "data": (".js",), "thumbs": (".jpg",)}


@dataclass
class Purged:
    """What a purge did: `files` and `bytes` removed, and one sentence for each thing that is `left`."""

    repo_id: str
    files: int = 0
    bytes: int = 0
    left: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The outcome as JSON values."""
        return {"repo_id": self.repo_id, "files": self.files, "bytes": self.bytes, "left": self.left}

    def count(self, files: int, size: int) -> None:
        """Add what was removed."""
        self.files, self.bytes = self.files + files, self.bytes + size


def purge(repo_id: str, *, cache_dir: str | os.PathLike[str] | None = None) -> tuple[int, int]:
    """Remove downloads, partial files, kept answers, rows that `datasets` cached, clips in a `FrameCache`, exports, reports:
    (files, bytes).

    In every cache folder that was used on this machine, or in `cache_dir` alone. The accepted terms go too; the access log
    stays, since it holds no data. What is left is warned of, one warning each: a release that you built from the repository
    is yours and stays; so does a recorded folder that holds other things than what was recorded; and records that can't be
    read mean copies that are not known. Copies that you made yourself, and those of other tools (huggingface_hub's own cache),
    are not known here: `hf cache` looks after the latter. Raises `StorageError`.
    """
    done = purge_all(repo_id, cache_dir=cache_dir)
    for sentence in done.left:
        warnings.warn(sentence, stacklevel=2)
    return done.files, done.bytes


def purge_all(repo_id: str, *, cache_dir: str | os.PathLike[str] | None = None) -> Purged:
    """`purge`, with what is left as a value."""
    done = Purged(check_repo_id(repo_id))
    if cache_dir is not None:
        stores = [Store(repo_id, cache_dir)]
    else:
        stores = stores_of(repo_id)
        done.left += known_roots()[1]
    for store in stores:
        _purge_store(store, done)
    return done


def _purge_store(store: Store, done: Purged) -> None:
    """Everything that one store holds and records."""
    records: dict[str, Any] = {}
    lost = store.lost_records
    try:
        records = store.state()
    except StorageError:
        lost = store.folder / "state.json"
    if lost is not None:
        rows = Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets") / "unsafe_video_dataset"
        done.left.append(
            f"The records in {lost} can't be read: copies of {store.repo_id} outside {store.folder} are not known. Look for "
            f"rows in {rows} (remove that folder; rows of other releases are made anew), and for clips, exports and "
            "reports where you had them written."
        )
    removers: dict[str, Callable[[Path, Purged], None]] = {
        "arrow": _purge_arrow,
        "frames": _purge_frames,
        "exports": _purge_export,
        "reports": _purge_report,
    }
    for kind, remove in removers.items():
        for name in records.get(kind, {}):
            remove(Path(name), done)
    builds = {name: commit for name, commit in records.get("builds", {}).items() if (Path(name) / "manifest.json").is_file()}
    for name in builds:
        done.left.append(f"{name} is a release that you built from {store.repo_id}. It holds its videos; remove it yourself.")
    done.count(*store.remove())
    if builds:
        store.update(builds=builds)  # the next purge shall say so too


def _purge_arrow(folder: Path, done: Purged) -> None:
    """A cache folder of `datasets`, and what a killed process left of it."""
    for place in (folder, Path(f"{folder}.incomplete")):
        if place.is_symlink() or not place.is_dir():
            continue
        files = [path for path in place.rglob("*") if not path.is_dir() or path.is_symlink()]
        if any(path.suffix not in _ARROW_FILES or path.is_symlink() for path in files):
            done.left.append(f"{place} holds other files than a cache of datasets and was left as it is.")
            continue
        with disk_errors(place):
            size = sum(path.stat().st_size for path in files)
            shutil.rmtree(place)
        done.count(len(files), size)
    for ending in _ARROW_LOCKS:
        with contextlib.suppress(OSError):
            Path(f"{folder}{ending}").unlink(missing_ok=True)


def _purge_frames(folder: Path, done: Purged) -> None:
    """All clips of a cache, those of other releases in it too: they can be decoded again."""
    if not (folder / "frame-cache.json").is_file():
        return
    try:
        with disk_errors(folder):
            done.count(*FrameCache(folder).purge())
    except InputError as error:
        done.left.append(str(error))


def _purge_export(out: Path, done: Purged) -> None:
    """The files that an export's `export.json` lists, and what a killed export left beside it. Nothing else."""
    with disk_errors(out):
        partial = out.parent / f".{out.name}.export-partial"
        if partial.is_dir() and not partial.is_symlink():
            files = [path for path in partial.rglob("*") if path.is_file()]
            done.count(len(files), sum(path.stat().st_size for path in files))
            shutil.rmtree(partial)
            Path(f"{partial}.lock").unlink(missing_ok=True)
        try:
            listed = json.loads((out / "export.json").read_text(encoding="utf-8"))["files"]
            names = [str(name) for name in listed]
        except (OSError, ValueError, KeyError, TypeError):
            return
        _remove_files(out, [out / name for name in [*names, "export.json"]], done)
    if out.exists():
        done.left.append(f"{out} holds other files than its export; they were left as they are.")


def _purge_report(out: Path, done: Purged) -> None:
    """A report's pages and pictures, and what a stopped run left beside it. Nothing else."""
    beside = [path for name in ("partial", "revealed", "old-*") for path in out.parent.glob(f".{out.name}.{name}")]
    report = [out] if (out / "index.html").is_file() and (out / "data" / "release.js").is_file() else []
    for folder in (*report, *beside):
        if folder.is_symlink():
            continue
        with disk_errors(folder):
            found = [
                path
                for inside, endings in _REPORT_FILES.items()
                for path in (folder / inside).glob("*")
                if path.suffix in endings and not path.is_dir()
            ]
            _remove_files(folder, found, done)
        if folder.exists():
            done.left.append(f"{folder} holds other files than a report; they were left as they are.")


def _remove_files(out: Path, files: Sequence[Path], done: Purged) -> None:
    """Remove files that lie in `out`, and the folders that are empty then."""
    for path in files:
        if path.resolve().is_relative_to(out.resolve()) and path.is_file():
            done.count(1, path.stat().st_size)
            path.unlink()
    for folder in sorted((path for path in out.rglob("*") if path.is_dir()), reverse=True):
        with contextlib.suppress(OSError):  # holds something that is not ours
            folder.rmdir()
    with contextlib.suppress(OSError):
        out.rmdir()
