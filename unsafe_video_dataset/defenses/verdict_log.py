"""`verdicts.jsonl`: one line a video, on the disk before the next video is begun, one line an id when the run is over."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._console import write_text
from ..errors import IntegrityError

FILE = "verdicts.jsonl"


class VerdictLog:
    """The verdicts of a folder, by the id of the video; those of earlier runs stay, a newer one takes the place of an older.

    A line that a crash left half written is dropped when the folder is opened. Raises `IntegrityError` where the file holds
    anything else that is no verdict.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / FILE
        self.rows: dict[str, Mapping[str, Any]] = {}
        data = self.path.read_bytes() if self.path.is_file() else b""
        whole = data[: data.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                row = json.loads(line)
                self.rows[str(row["video"])] = row
            except (ValueError, KeyError, TypeError) as error:
                raise IntegrityError(
                    f"Line {number} of {self.path} is no verdict ({type(error).__name__}). Mend it, or give another folder."
                ) from None
        if len(whole) != len(data):
            self.close()

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep a verdict: when this returns it is on the disk."""
        line = json.dumps(row, allow_nan=False) + "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
        self.rows[str(row["video"])] = row

    def close(self) -> None:
        """Write the file anew with the newest verdict of each video; it is whole at any moment."""
        write_text(self.path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in self.rows.values()))
