"""One writer a folder: two processes that record or generate into the same one would remove each other's files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import InputError

LOCK = ".lock"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made; it is free again when the process ends, however that is.

    Raises `InputError` where another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"Another process writes into {folder} now. Wait until it is done, or give another folder.") from None
    try:
        yield
    finally:
        lock.release()
