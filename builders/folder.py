"""A folder that appears whole or not at all: written under a temporary name beside its place, then renamed.

The temporary folder `.<name>.partial-…` holds `new` (what is written) and, for a moment, `old` (what is replaced). Its
owner holds a lock on it, which the system releases when the process dies, however it dies; the next build of the same
place removes what has no owner.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.records import validate

try:
    import fcntl
except ImportError:  # Windows has no such lock: leftovers of killed builds stay there until somebody removes them
    fcntl = None  # type: ignore[assignment]


def refuse_existing(out: Path, *, overwrite: bool) -> None:
    """Raise `InputError` if `out` holds something that may not be replaced. Called before any work and again at the end."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out} is not a folder. Give the name of a new folder.")
    if os.path.ismount(out):
        raise InputError(f"{out} is a mount point and can't appear whole or not at all. Give a new folder inside it.")
    if not out.exists() or not any(out.iterdir()):
        return
    if not overwrite:
        raise InputError(f"{out} exists and is not empty. Give a new folder, or --overwrite to replace the release in it.")
    listed = _listed(out)
    if listed is None:
        raise InputError(f"{out} is not a release (no manifest.json of one), so it is not overwritten. Give another folder.")
    found = (path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_symlink() or not path.is_dir())
    more = sorted(set(found) - listed)
    if more:
        shown = ", ".join(more[:3]) + (" …" if len(more) > 3 else "")
        raise InputError(
            f"{out} holds {len(more)} files that are not of its release ({shown}), so it is not overwritten. "
            "Move them away, or give another folder."
        )


def _listed(out: Path) -> set[str] | None:
    """The files of the release in `out` by its manifest; None if there is none."""
    try:
        manifest = json.loads((out / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return None
    if validate("manifest", [(None, manifest)], file="manifest.json"):
        return None
    return {"manifest.json", *(entry["path"] for entry in manifest["files"])}


@contextmanager
def new_folder(out: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder beside `out`; rename it to `out` if the block ends well, remove it if not."""
    out = out.absolute()  # `.` has no name
    out.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(out)
    refuse_existing(out, overwrite=overwrite)
    with _owned_folder(out) as partial:
        new, old = partial / "new", partial / "old"
        new.mkdir()
        yield new
        refuse_existing(out, overwrite=overwrite)
        # Two builds may be here at once: whatever stands at `out` by now is replaced only with `overwrite`.
        with suppress(OSError):
            if overwrite:
                out.rename(old)
            else:
                out.rmdir()
        try:
            new.rename(out)
        except OSError as error:
            if out.exists():
                raise InputError(f"{out} was made by another build in the meantime. Give another folder.") from error
            if old.exists():
                old.rename(out)
            raise


@contextmanager
def _owned_folder(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that is locked while it is used, and removed at the end."""
    while True:
        partial = Path(tempfile.mkdtemp(prefix=_prefix(out), dir=out.parent))
        lock = _lock(partial)
        if lock is not None and partial.is_dir():
            break  # else another build took it for a leftover before it was locked
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if lock >= 0:
            os.close(lock)


def _remove_leftovers(out: Path) -> None:
    """Remove folders of builds that were killed. One that was killed between two renames still holds the old release."""
    for partial in sorted(path for path in out.parent.iterdir() if path.name.startswith(_prefix(out))):
        lock = _lock(partial)
        if lock is None or lock < 0:
            continue
        if not out.exists():
            with suppress(OSError):
                (partial / "old").rename(out)
        shutil.rmtree(partial, ignore_errors=True)
        os.close(lock)


def _prefix(out: Path) -> str:
    return f".{out.name}.partial-"


def _lock(folder: Path) -> int | None:
    """A descriptor that holds the lock on the folder; None if another holds it or it is gone, -1 where locks don't work."""
    if fcntl is None:
        return -1
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        return None if isinstance(error, BlockingIOError) else -1
    return descriptor
