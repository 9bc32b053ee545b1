"""Videos with a known answer: a CSV by which raters' attention is checked.

Columns: `video`, as the files of votes name it, and `categories`, the right answer (names joined by `;`, or `none`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unsafe_video_dataset.errors import Fault
from unsafe_video_dataset.taxonomy import NONE

from ..raw import read_rows, read_text
from .answers import chosen, expected_choices


def read_check_videos(file: Path, *, names: Mapping[str, str]) -> tuple[dict[str, list[str]], list[Fault]]:
    """Video -> the right categories, in taxonomy order, and what is wrong with the file. Raises `InputError` for no file."""
    text, faults = read_text(file)
    rows, csv_faults = read_rows(text, file=file.name)
    faults += csv_faults
    header = [cell.strip().lower() for cell in rows[0][1]] if rows else []
    if sorted(header) != ["categories", "video"]:
        return {}, [*faults, Fault(file.name, "another header", line=1, expected="video,categories")]
    answers: dict[str, list[str]] = {}
    for line, row in rows[1:]:
        if not row:
            continue
        cells = dict(zip(header, (cell.strip() for cell in row), strict=False))
        categories = chosen([part.strip() for part in cells.get("categories", "").split(";")], names)
        if len(row) != 2 or not cells["video"] or cells["video"] in answers:
            faults.append(Fault(file.name, "no row of a video", line=line, expected="two cells, and each video once"))
        elif categories is None or NONE in categories:
            found = f"{cells['categories'][:40]!r}"
            faults.append(Fault(file.name, found, line=line, field="categories", expected=expected_choices(names)))
        else:
            answers[cells["video"]] = categories
    return answers, faults
