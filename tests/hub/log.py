"""The request log: what arrived, what it was answered with, and how many bytes went out. Queries are never kept."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any


@dataclass
class Entry:
    """One request. `file` is the path in the repo where the request is about one file."""

    number: int
    origin: str
    method: str
    path: str
    kind: str
    repo: str | None = None
    file: str | None = None
    range: str | None = None
    account: str | None = None
    authorized: bool = False
    status: int = 0
    sent: int = 0
    faults: list[str] = field(default_factory=list)
    stalled: bool = False
    done: bool = False


class RequestLog:
    """Entries in order of arrival. Queries wait a moment for answers that are still being written."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[Entry] = []

    def start(self, **fields: Any) -> Entry:
        """Open an entry; the server fills in status and bytes as they go out."""
        with self._lock:
            entry = Entry(number=len(self._entries) + 1, **fields)
            self._entries.append(entry)
            return entry

    def settle(self, timeout: float = 2.0) -> None:
        """Wait until no answer is under way, stalled ones aside."""
        limit = time.monotonic() + timeout
        while time.monotonic() < limit:
            with self._lock:
                if all(entry.done or entry.stalled for entry in self._entries):
                    return
            time.sleep(0.005)

    def select(self, **where: Any) -> list[Entry]:
        """Entries whose fields match; text values are globs, e.g. `select(kind="body", file="*.parquet", status=206)`."""
        self.settle()
        with self._lock:
            return [entry for entry in self._entries if all(_matches(getattr(entry, k), v) for k, v in where.items())]

    def count(self, **where: Any) -> int:
        """How many entries match."""
        return len(self.select(**where))

    def sent(self, **where: Any) -> int:
        """Body bytes written for the entries that match."""
        return sum(entry.sent for entry in self.select(**where))

    def kinds(self) -> dict[str, int]:
        """Requests per kind."""
        return dict(Counter(entry.kind for entry in self.select()))

    def clear(self) -> None:
        """Forget all entries."""
        self.settle()
        with self._lock:
            self._entries.clear()


def _matches(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, str) and isinstance(value, str):
        return fnmatchcase(value, wanted)
    return bool(value == wanted)
