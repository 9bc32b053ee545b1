"""The stages' files, read back: whatever can't be used is an `IntegrityError` that says what to delete, and no traceback."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..._console import write_text
from ...errors import IntegrityError


def read_json(path: Path, *names: str) -> dict[str, Any]:
    """A JSON object with these names. Raises `IntegrityError` where the file holds none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, type(error).__name__) from None
    if not isinstance(found, dict) or not set(names) <= set(found):
        raise damaged(path, "other contents")
    return found


def read_table(path: Path, *columns: str) -> pa.Table:
    """A Parquet table with these columns. Raises `IntegrityError` where the file holds none."""
    try:
        found = pq.read_table(path, page_checksum_verification=True)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(path, type(error).__name__) from None
    if not set(columns) <= set(found.column_names):
        raise damaged(path, "other columns")
    return found


def damaged(path: Path, why: str) -> IntegrityError:
    """The error for a file that can't be used."""
    return IntegrityError(f"{path} is damaged or of another version ({why}). Delete it and run again: it is made anew.")


def stored(path: Path, make: Callable[[], Any], *, of: object = None) -> Any:
    """What the file holds, or what `make` gives, which is then kept there.

    `of`: what it was made from (plain JSON values); what was made from something else is made anew.
    """
    if path.is_file():
        found = read_json(path, "of", "value")
        if found["of"] == of:
            return found["value"]
    made = make()
    write_text(path, json.dumps({"of": of, "value": made}, indent=1, allow_nan=False) + "\n")
    return made


@contextmanager
def clocked(path: Path) -> Iterator[None]:
    """Adds what is done inside to the file: `runs`, `seconds` by the clock, `cpu_seconds` of a processor; also what stops."""
    began = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        new = {"runs": 1, "seconds": time.perf_counter() - began[0], "cpu_seconds": time.process_time() - began[1]}
        before = read_json(path, *new) if path.is_file() else dict.fromkeys(new, 0)
        write_text(path, json.dumps({name: before[name] + value for name, value in new.items()}) + "\n")
