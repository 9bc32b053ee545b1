"""Remove every copy that this package made of a repository."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import warnings
from pathlib import Path
from typing import Literal

from ..cache import FrameCache
from ..errors import InputError
from .access import check_repo_id
from .store import Store, disk_errors

_ARROW_FILES = (".arrow", ".json", ".lock", ".incomplete")


def purge(repo_id: str, *, cache_dir: str | os.PathLike[str] | None = None) -> tuple[int, int]:
    """Remove downloads, partial files, kept answers, rows that `datasets` cached, clips in a `FrameCache`, exports: (files,
    bytes).

    The accepted terms go too; the access log stays, since it holds no data. Copies that you made yourself, and those of
    other tools (huggingface_hub's own cache), are not known here: `hf cache` looks after the latter. A recorded folder that
    holds other things than a cache of `datasets` is left, with a warning. Raises `StorageError`.
    """
    store = Store(check_repo_id(repo_id), cache_dir)
    count, size = 0, 0
    for name in store.state().get("arrow", {}):
        folder = Path(name)
        if folder.is_symlink() or not folder.is_dir():
            continue
        files = [path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()]
        if any(path.suffix not in _ARROW_FILES or path.is_symlink() for path in files):
            warnings.warn(f"{folder} holds other files than a cache of datasets and was left as it is.", stacklevel=2)
            continue
        size += sum(path.stat().st_size for path in files)
        count += len(files)
        with disk_errors(folder):
            shutil.rmtree(folder)
    for name in store.state().get("frames", {}):
        files_gone, bytes_gone = _purge_frames(Path(name))
        count, size = count + files_gone, size + bytes_gone
    for name in store.state().get("exports", {}):
        files_gone, bytes_gone = _purge_export(Path(name))
        count, size = count + files_gone, size + bytes_gone
    more_files, more_bytes = store.purge()
    return count + more_files, size + more_bytes


def _purge_frames(folder: Path) -> tuple[int, int]:
    """Remove all clips of a cache, those of other releases in it too: they can be decoded again."""
    if not (folder / "frame-cache.json").is_file():
        return 0, 0
    try:
        with disk_errors(folder):
            return FrameCache(folder).purge()
    except InputError as error:
        warnings.warn(str(error), stacklevel=3)
        return 0, 0


def _purge_export(out: Path) -> tuple[int, int]:
    """Remove the files that an export's `export.json` lists, and what a killed export left beside it. Nothing else."""
    count, size = 0, 0
    with disk_errors(out):
        partial = out.parent / f".{out.name}.export-partial"
        if partial.is_dir() and not partial.is_symlink():
            left = [path for path in partial.rglob("*") if path.is_file()]
            count, size = len(left), sum(path.stat().st_size for path in left)
            shutil.rmtree(partial)
            Path(f"{partial}.lock").unlink(missing_ok=True)
        try:
            listed = json.loads((out / "export.json").read_text(encoding="utf-8"))["files"]
            names = [str(name) for name in listed]
        except (OSError, ValueError, KeyError, TypeError):
            return count, size
        for name in [*names, "export.json"]:
            path = out / name
            if not path.resolve().is_relative_to(out.resolve()) or not path.is_file():
                continue
            count, size = count + 1, size + path.stat().st_size
            path.unlink()
        for folder in sorted((path for path in out.rglob("*") if path.is_dir()), reverse=True):
            with contextlib.suppress(OSError):  # holds something that is not ours
                folder.rmdir()
        with contextlib.suppress(OSError):
            out.rmdir()
    if out.exists():
        warnings.warn(f"{out} holds other files than its export; they were left as they are.", stacklevel=3)
    return count, size


def remember_copy(
    release: Path, folder: str | os.PathLike[str], *, kind: Literal["arrow", "frames", "exports"] = "arrow"
) -> None:
    """Record a folder with a copy of a release that was downloaded, so that `purge` finds it; other releases need none.

    `kind` is `arrow` for rows that `datasets` keeps, `frames` for a `FrameCache`, `exports` for a folder of `export`. A cache
    that can choose its place lives in the repository's own folder of the store instead: that goes as a whole.
    """
    owner, _, name = release.parent.parent.name.partition("--")
    if release.parent.name != "commits" or not (name and (release.parent.parent / "state.json").is_file()):
        return
    store = Store(f"{owner}/{name}", release.parent.parent.parent)
    where = str(Path(folder).absolute())
    if where not in store.state().get(kind, {}):
        store.update(**{kind: {where: release.name}})
