"""Where downloads live: one folder a repository, one folder a commit, and what the last answers of the Hub were.

<root>/<owner>--<name>/commits/<40 hex>/…            the files of a commit, each verified before it got its name
                      /listings/<40 hex>.json        what the Hub said the commit holds
                      /partial/…                     downloads that go on where they stopped
                      /state.json                    revision -> commit; last access; accepted terms; copies made elsewhere
                      /.lock                         one process at a time changes it
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import StorageError, UnsafeVideoError
from .roots import default_root, known_roots, remember_root

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DAMAGED = "state.json.damaged"


@contextmanager
def disk_errors(folder: Path) -> Iterator[None]:
    """What the disk refuses inside the block becomes `StorageError`."""
    try:
        yield
    except OSError as error:
        if isinstance(error, UnsafeVideoError):
            raise  # some of ours are OSErrors too
        if error.errno in _FULL:
            fix = "What is finished is kept. Free some room, or give another cache_dir; then try again."
            raise StorageError(f"The disk is full at {folder}. {fix}") from error
        place = error.filename or folder
        raise StorageError(f"{place} can't be read or written: {error.strerror or type(error).__name__}.") from error


class Store:
    """The copies of one repository on this machine."""

    def __init__(self, repo_id: str, cache_dir: str | os.PathLike[str] | None = None) -> None:
        self.repo_id = repo_id
        self.root = Path(cache_dir).expanduser() if cache_dir is not None else default_root()
        self.folder = self.root / repo_id.replace("/", "--")

    def commit(self, sha: str) -> Path:
        """Folder of a commit's files."""
        return self.folder / "commits" / sha

    def listing(self, sha: str) -> Path:
        """File with the Hub's listing of a commit."""
        return self.folder / "listings" / f"{sha}.json"

    @property
    def partial(self) -> Path:
        """Folder of unfinished downloads."""
        return self.folder / "partial"

    def make_folders(self) -> None:
        """Create the folders, private to the user, and write down where they are. Raises `StorageError`."""
        remember_root(self.root)
        with disk_errors(self.folder):
            for folder in (self.folder, self.folder / "commits", self.folder / "listings", self.partial):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextmanager
    def locked(self, *, timeout: float = 3600) -> Iterator[None]:
        """One process at a time; a process that dies lets go. What the disk refuses inside raises `StorageError`."""
        self.make_folders()
        with disk_errors(self.folder):
            lock = FileLock(self.folder / ".lock")
            try:
                lock.acquire(timeout=timeout)
            except Timeout:
                raise StorageError(
                    f"Another process uses {self.folder} for over {timeout:.0f} s. Wait for it, or end it."
                ) from None
            try:
                yield
            finally:
                lock.release()

    def state(self) -> dict[str, Any]:
        """The kept state; empty if there is none. Raises `StorageError` for one that can't be read: it may hold a denial."""
        path = self.folder / "state.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(found, dict) or not all(isinstance(part, dict) for part in found.values()):
                raise ValueError("not what was written")
            return found
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or "it was cut or changed"
        raise StorageError(f"{path} can't be read ({reason}).")

    def renew_state(self) -> None:
        """Put a state that can't be read aside, now that the Hub answered anew. The records in it are still missed: `purge`
        says so."""
        try:
            self.state()
        except StorageError:
            with disk_errors(self.folder):
                (self.folder / "state.json").replace(self.folder / _DAMAGED)

    @property
    def lost_records(self) -> Path | None:
        """A state that could not be read once, and the records of copies in it; None where there is none."""
        path = self.folder / _DAMAGED
        return path if path.exists() else None

    def update(self, **changes: dict[str, Any]) -> None:
        """Merge into parts of the state; a None removes a key. Raises `StorageError`."""
        self.make_folders()
        with disk_errors(self.folder), FileLock(self.folder / ".state.lock"):
            state = self.state()
            for key, value in changes.items():
                state[key] = {name: one for name, one in {**state.get(key, {}), **value}.items() if one is not None}
            partial = self.folder / "state.json.partial"
            with partial.open("w", encoding="utf-8") as file:
                json.dump(state, file, indent=1)
                file.flush()
                os.fsync(file.fileno())  # else a power cut may leave the name with nothing in it
            partial.replace(self.folder / "state.json")

    def need_room(self, num_bytes: int) -> None:
        """Raise `StorageError` if the disk has no room for that many bytes and a little more."""
        place = self.folder
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        if num_bytes * 1.02 + 10_000_000 > free:
            raise StorageError(
                f"{self.repo_id} needs {size_text(num_bytes)} more, and {self.root} has {size_text(free)} free. "
                "Free some room, or give another cache_dir (--cache-dir, UNSAFE_VIDEO_CACHE)."
            )

    def remove(self) -> tuple[int, int]:
        """Remove the folder with everything in it; returns (files, bytes) removed."""
        if not self.folder.exists():
            return 0, 0
        with self.locked():
            files = [path for path in self.folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
            count, size = len(files), sum(path.stat().st_size for path in files)
            shutil.rmtree(self.folder)
        return count, size


def stores_of(repo_id: str, store: Store | None = None) -> list[Store]:
    """`store`, and the store of the same repository in every other root that was used on this machine."""
    roots = [root for root in known_roots()[0] if store is None or root != store.root.absolute()]
    return [*([store] if store else []), *(Store(repo_id, root) for root in roots)]


def size_text(num_bytes: float) -> str:
    """Bytes for people: `4.2 kB`, `1.3 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"
