"""Where downloads live: one folder a repository, one folder a commit, and what the last answers of the Hub were.

<root>/<owner>--<name>/commits/<40 hex>/…            the files of a commit, each verified before it got its name
                      /listings/<40 hex>.json        what the Hub said the commit holds
                      /partial/…                     downloads that go on where they stopped
                      /state.json                    revision -> commit; last access; accepted terms
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
from huggingface_hub import constants

from ..errors import StorageError, UnsafeVideoError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def default_root() -> Path:
    """`$UNSAFE_VIDEO_CACHE`, or `unsafe-video-dataset` in huggingface_hub's home folder."""
    return Path(os.environ.get("UNSAFE_VIDEO_CACHE") or Path(constants.HF_HOME) / "unsafe-video-dataset").expanduser()


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
        """Create the folders, private to the user. Raises `StorageError`."""
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
        """The kept state; empty if there is none or it can't be read."""
        try:
            found = json.loads((self.folder / "state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        # A part that is not what `update` writes counts as not there.
        return {key: value for key, value in found.items() if isinstance(value, dict)} if isinstance(found, dict) else {}

    def update(self, **changes: dict[str, Any]) -> None:
        """Merge into parts of the state; a None removes a key. Raises `StorageError`."""
        self.make_folders()
        with disk_errors(self.folder), FileLock(self.folder / ".state.lock"):
            state = self.state()
            for key, value in changes.items():
                state[key] = {name: one for name, one in {**state.get(key, {}), **value}.items() if one is not None}
            partial = self.folder / "state.json.partial"
            partial.write_text(json.dumps(state, indent=1), encoding="utf-8")
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

    def purge(self) -> tuple[int, int]:
        """Remove every copy of the repository that this package made here; returns (files, bytes) removed."""
        if not self.folder.exists():
            return 0, 0
        with self.locked():
            files = [path for path in self.folder.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
            count, size = len(files), sum(path.stat().st_size for path in files)
            shutil.rmtree(self.folder)
        return count, size


def size_text(num_bytes: float) -> str:
    """Bytes for people: `4.2 kB`, `1.3 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"
