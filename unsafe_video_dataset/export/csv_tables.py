"""Two CSV files: `videos.csv`, one row a video, and `votes.csv`, one row a rater and video. Never any bytes.

Lists are joined by `;` (no name holds one), what is not known is empty, structures become columns: `votes_<category>` (how
many raters chose it), `share_<category>` (soft label, 0 to 1), `generation_<setting>`. UTF-8, comma, quotes as in RFC 4180.
Texts are exact: a prompt may begin with `=`, which a spreadsheet would take for a formula; read the file as data.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..taxonomy import CATEGORIES, VOTE_KEYS
from .selection import Record, Selection, answer

_STRUCTURES = {
    "generation": ("generation", ("num_inference_steps", "guidance_scale", "seed", "scheduler")),
    "vote_counts": ("votes", VOTE_KEYS),
    "soft_labels": ("share", CATEGORIES),
}
VOTES = ("video_id", "split", "rater_id", "categories")


def write(selection: Selection, folder: Path) -> None:
    """Write both files."""
    columns = [name for name in selection.table.column_names if name != "votes"]
    with (
        (folder / "videos.csv").open("w", encoding="utf-8", newline="") as videos,
        (folder / "votes.csv").open("w", encoding="utf-8", newline="") as votes,
    ):
        rows, answers = csv.writer(videos, lineterminator="\n"), csv.writer(votes, lineterminator="\n")
        rows.writerow(_header(columns))
        answers.writerow(VOTES)
        for record, _ in selection.videos():
            rows.writerow(_row(record, columns))
            for vote in record["votes"] or ():
                answers.writerow((record["video_id"], record["split"], vote["rater_id"], ";".join(answer(vote))))


def _header(columns: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in columns:
        prefix, keys = _STRUCTURES.get(name, ("", ()))
        found += [f"{prefix}_{key}" for key in keys] or [name]
    return found


def _row(record: Record, columns: Iterable[str]) -> list[object]:
    found: list[object] = []
    for name in columns:
        keys = _STRUCTURES.get(name, ("", ()))[1]
        found += [_cell((record[name] or {}).get(key)) for key in keys] or [_cell(record[name])]
    return found


def _cell(value: Any) -> object:
    if isinstance(value, bool):
        return str(value).lower()
    return ";".join(value) if isinstance(value, list) else value
