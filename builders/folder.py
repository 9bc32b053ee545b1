"""A folder that appears whole or not at all: written under a temporary name beside its place, then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unsafe_video_dataset.errors import InputError


def refuse_existing(out: Path, *, overwrite: bool) -> None:
    """Raise `InputError` if `out` holds something that may not be replaced. Called before any work and again at the end."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out} is not a folder. Give the name of a new folder.")
    if not out.exists() or not any(out.iterdir()):
        return
    if not overwrite:
        raise InputError(f"{out} exists and is not empty. Give a new folder, or --overwrite to replace the release in it.")
    if not (out / "manifest.json").is_file():
        raise InputError(f"{out} is not a release (no manifest.json), so it is not overwritten. Give another folder.")


@contextmanager
def new_folder(out: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `out`; rename it to `out` if the block ends well, remove it if not."""
    refuse_existing(out, overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(out)
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    partial.mkdir()
    try:
        yield partial
        refuse_existing(out, overwrite=overwrite)
        old = out.with_name(f".{out.name}.old-{os.getpid()}")
        if out.exists():
            out.rename(old)
        try:
            partial.rename(out)
        except OSError:
            if old.exists():
                old.rename(out)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _remove_leftovers(out: Path) -> None:
    """Partial folders of builds that were killed: their process is gone."""
    for path in out.parent.glob(f".{out.name}.partial-*"):
        with suppress(ValueError):
            pid = int(path.name.rpartition("-")[2])
            if not _alive(pid):
                shutil.rmtree(path, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return pid != os.getpid()
