"""Remove every copy that this package made of a repository."""

from __future__ import annotations

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
    """Remove downloads, partial files, kept answers, rows that `datasets` cached and clips in a `FrameCache`: (files, bytes).

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


def remember_copy(release: Path, folder: str | os.PathLike[str], *, kind: Literal["arrow", "frames"] = "arrow") -> None:
    """Record a folder with a copy of a release that was downloaded, so that `purge` finds it; other releases need none.

    `kind` is `arrow` for rows that `datasets` keeps, `frames` for a `FrameCache`. A cache that can choose its place lives in
    the repository's own folder of the store instead: that goes as a whole.
    """
    owner, _, name = release.parent.parent.name.partition("--")
    if release.parent.name != "commits" or not (name and (release.parent.parent / "state.json").is_file()):
        return
    store = Store(f"{owner}/{name}", release.parent.parent.parent)
    where = str(Path(folder).absolute())
    if where not in store.state().get(kind, {}):
        store.update(**{kind: {where: release.name}})
