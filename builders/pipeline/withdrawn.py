"""`[release] tombstones`: videos that were withdrawn from an earlier release and must not come back with the next run.

The file is the `tombstones.parquet` of that release (`unsafe-video-build tombstone` writes it). Ingest drops these videos
by their bytes, whatever their files are called, and the next release carries the table on. The raw file may be gone: then
its row in ingest's table has `WITHOUT_FILE` and the id for an item, so that everything that names the id still finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from unsafe_video_dataset.errors import InputError, IntegrityError
from unsafe_video_dataset.parquet import read_file

WITHOUT_FILE = "(withdrawn)/"  # no source can be called so
_COLUMNS = ("video_id", "reason", "date")


def read_tombstones(file: Path) -> list[dict[str, str]]:
    """The rows, sorted by id. Raises `InputError` for no file, or one that is not a release's table of tombstones."""
    fix = 'Give the tombstones.parquet of the release that the videos were withdrawn from: [release] tombstones = "…"'
    if not file.is_file():
        raise InputError(f"There is no file of tombstones {file.name}. {fix}")
    try:
        table = read_file(file)
        rows: list[dict[str, str]] = table.select(list(_COLUMNS)).to_pylist()
    except (IntegrityError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{file.name} can't be read as a table of tombstones ({type(error).__name__}). {fix}") from error
    if any(not isinstance(value, str) for row in rows for value in row.values()):
        raise InputError(f"{file.name} has a row that is not an id, a reason and a day. {fix}")
    return sorted(rows, key=lambda row: row["video_id"])


def withdrawn_reason(row: Mapping[str, str]) -> str:
    """Why ingest drops the video."""
    return f"withdrawn on {row['date']}: {row['reason']}"


def rows_without_file(tombstones: Sequence[Mapping[str, str]], seen: set[str | None]) -> dict[str, dict[str, Any]]:
    """Item -> row of ingest's table for each withdrawn video of which no raw file is left."""
    gone = [row for row in tombstones if row["video_id"] not in seen]
    return {
        f"{WITHOUT_FILE}{row['video_id']}": {"kept": False, "reason": withdrawn_reason(row), "video_id": row["video_id"]}
        for row in gone
    }


def is_withdrawn(row: Mapping[str, Any]) -> bool:
    """Whether a row of ingest's table is a video that was withdrawn."""
    return not row["kept"] and str(row["reason"]).startswith("withdrawn on ")
