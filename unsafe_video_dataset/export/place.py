"""Where an export may stand: a folder that appears whole, is private to the user, and never lands in a git repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import InputError, StorageError
from ..hub.store import disk_errors, size_text
from .report import EXPORT


def refuse_existing(out: Path, *, overwrite: bool) -> None:
    """Raise `InputError` where `out` holds something that an export may not replace: only a whole export, and with leave."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out} is not a folder. Give the name of a new folder.")
    if not out.exists() or not any(out.iterdir()):
        return
    if not overwrite:
        raise InputError(f"{out} exists and is not empty. Give a new folder, or --overwrite to replace the export in it.")
    listed = files_of(out)
    if listed is None:
        raise InputError(f"{out} is not an export (no {EXPORT} of one), so it is not overwritten. Give another folder.")
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_symlink() or not path.is_dir()}
    if more := sorted(found - listed):
        shown = ", ".join(more[:3]) + (" …" if len(more) > 3 else "")
        raise InputError(f"{out} holds files that are not of its export ({shown}). Move them away, or give another folder.")


def files_of(out: Path) -> set[str] | None:
    """The files of the export in `out`; None where there is none."""
    try:
        listed = json.loads((out / EXPORT).read_text(encoding="utf-8"))["files"]
        return {EXPORT, *map(str, listed)}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def refuse_git(out: Path) -> None:
    """Raise `InputError` where `out` would lie in a git work tree that does not ignore it: one `git add` publishes it."""
    place = _existing(out.absolute())
    tree = next((folder for folder in (place, *place.parents) if (folder / ".git").exists()), None)
    if tree is None:
        return
    try:  # a path that ends in a slash is taken for a folder, as it will be one
        done = subprocess.run(["git", "-C", str(tree), "check-ignore", "-q", f"{out.absolute()}/"], capture_output=True)
        ignored = done.returncode == 0
    except OSError:
        ignored = False
    if not ignored:
        raise InputError(
            f"{out} lies in the git repository {tree}, which does not ignore it: media or prompts could be committed. Give a "
            "folder outside, or one that .gitignore names."
        )


def need_room(out: Path, num_bytes: int) -> None:
    """Raise `StorageError` if the disk has no room for that many bytes and a little more."""
    free = shutil.disk_usage(_existing(out.absolute())).free
    if num_bytes * 1.02 + 10_000_000 > free:
        raise StorageError(
            f"The export needs {size_text(num_bytes)}, and {out} has {size_text(free)} free. Free some room, give another "
            "folder, or leave the media out (--no-media)."
        )


@contextmanager
def appearing(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder to write into, private to the user; it gets the name `out` when the block ends well, and goes if it doesn't.

    It stands beside `out` as `.<name>.export-partial`; what a killed export left there is removed by the next one and by
    `purge`. Raises `InputError` where another export writes to the same place, `StorageError` for what the disk refuses.
    """
    partial = out.parent / partial_name(out)
    with disk_errors(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        with alone(Path(f"{partial}.lock"), f"Another export writes to {out}."):
            try:
                shutil.rmtree(partial, ignore_errors=True)
                (partial / "new").mkdir(parents=True)
                partial.chmod(0o700)
                (partial / "new").chmod(0o700)
                yield partial / "new"
                refuse_existing(out, overwrite=overwrite)
                if out.exists():
                    out.rename(partial / "old")
                (partial / "new").rename(out)
            finally:
                shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def alone(path: Path, why: str) -> Iterator[None]:
    """One process at a time is in the block, by a lock file that goes with it. Raises `InputError`, which begins with `why`."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{why} Wait for it, or give another folder.") from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.release()


def partial_name(out: Path) -> str:
    """Name of the unfinished folder beside `out`."""
    return f".{out.name}.export-partial"


def write_list(folder: Path, facts: dict[str, Any]) -> None:
    """Write `export.json`: the facts, and every file of the folder with its bytes."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    listed = {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}
    text = json.dumps({**facts, "files": listed}, indent=1, ensure_ascii=False)
    (folder / EXPORT).write_text(text + "\n", encoding="utf-8")


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return Path(os.path.realpath(path))
