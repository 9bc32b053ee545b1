"""The folder in which `datasets` keeps the rows of a release: what was written is recorded, and checked before it is used.

`datasets` opens whatever stands in its cache folder. Here each file's sha256 is written down as the folder is made, beside
the rows and before the folder gets its name, so that a file that was changed, cut or swapped since is found and made anew.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from .hub.store import disk_errors
from .integrity import sha256_file

RECORD = "checksums.json"
INFO = "dataset_info.json"  # how `datasets` reads the rows: column types, shards


def write_record(folder: Path) -> None:
    """Write down the sha256 of every file that `datasets` has just made in `folder`."""
    found = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != RECORD}
    (folder / RECORD).write_text(json.dumps(found, indent=1), encoding="utf-8")


def damage(folder: Path, *, info_only: bool = False) -> str | None:
    """What is wrong with the files that `datasets` made in `folder`, or None. Files that it kept there later are its own.

    `info_only` looks at the small file alone that says how the rows are read.
    """
    try:
        recorded = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        expected = {str(name): str(sha256) for name, sha256 in recorded.items()}
    except (OSError, ValueError, AttributeError):
        return f"{RECORD} is missing or can't be read"
    if INFO not in expected:
        return f"{RECORD} does not list {INFO}"
    for name in [INFO] if info_only else expected:
        try:
            if sha256_file(folder / name) != expected[name]:
                return f"{name} was changed"
        except OSError:
            return f"{name} is missing or can't be read"
    return None


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """No other process checks, removes or makes the folder meanwhile. Raises `StorageError`."""
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}_checked.lock"):
            yield


def drop_if_damaged(folder: Path, *, info_only: bool = False) -> None:
    """Remove the folder if it is not as it was made: the rows are copies, and are made anew from the checked release."""
    if folder.is_dir() and damage(folder, info_only=info_only) is not None:
        shutil.rmtree(folder)
