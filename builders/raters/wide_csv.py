"""Read votes of a survey's export (Qualtrics and alike): a CSV with one row a rater and one column a video.

A question on a video is named `<prefix><key>`, by default `Q_<video_id>`; its cell holds the choices, comma-joined. A
column `<question>_Page Submit` holds the seconds on its page; other timing columns are ignored. An empty cell means that
the video was not shown, unless its page was submitted: then nothing was chosen. The export has one header row, or
Qualtrics' three (names, question texts, `{"ImportId": …}`). Texts of questions are never repeated in a message.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from unsafe_video_dataset.errors import Fault

from ..raw import read_rows, read_text
from .answers import (
    NO_CHOICE,
    PREVIEW,
    Answer,
    Key,
    Reading,
    chosen,
    expected_choices,
    passed,
    seconds_of,
    split_choices,
    submitted_of,
    video_key,
)

_SECONDS = "_Page Submit"
_TIMING = (_SECONDS, "_First Click", "_Last Click", "_Click Count")
_TESTS = ("survey preview", "survey test", "1", "2")  # Qualtrics' Status, as label and as code


def read_wide(
    file: Path,
    *,
    names: Mapping[str, str],
    checks: Mapping[str, str],
    key: Key = "video_id",
    prefix: str = "Q_",
    rater_column: str = "ResponseId",
) -> Reading:
    """Read the file. `names` gives the category, or `none`, of a choice; `checks` the right answer of a check's column.

    An answer passed if its rater answered every check that he saw rightly. Answers of a previewed survey are excluded.
    `RecordedDate` or `EndDate`, where there is one, says which of two answers came first. Raises `InputError` for no file.
    """
    text, faults = read_text(file)
    rows, csv_faults = read_rows(text, file=file.name)
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    questions = [name for name in header if name.startswith(prefix) and name not in checks and not name.endswith(_TIMING)]
    reading = Reading(key, faults=faults + csv_faults)
    missing = [name for name in (rater_column, *checks) if name not in header]
    reading.faults += [Fault(file.name, f"no column {name}", line=1, expected="as the settings say") for name in missing]
    used = {rater_column, *checks, *questions, *(f"{name}{_SECONDS}" for name in questions), "Status", *_times(header)}
    reading.ignored = [name for name in header if name not in used]
    twice = sorted({name for name in header if name in used and header.count(name) > 1})
    reading.faults += [Fault(file.name, f"column {name} stands twice", line=1, expected="each column once") for name in twice]
    if not questions:
        expected = f"columns named {prefix}<{key}> (see the settings `question_prefix` and `key`)"
        reading.faults.append(Fault(file.name, "no question on a video", line=1, expected=expected))
    if missing or twice or not questions:
        return reading
    for line, row in rows[_header_rows(rows) :]:
        if row and len(row) != len(header):
            reading.faults.append(Fault(file.name, f"{len(row)} cells", line=line, expected=f"{len(header)}, as the header"))
        elif row:
            cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
            if not cells[rater_column]:
                reading.faults.append(Fault(file.name, "empty", line=line, field=rater_column, expected="the rater's id"))
                continue
            check = passed([(cells[name], right) for name, right in checks.items()])
            for question in questions:
                answer = _answer(cells, question, line, file.name, names, reading.faults)
                if answer:
                    answer.video = video_key(question.removeprefix(prefix), key)
                    answer.rater_id, answer.attention_check = cells[rater_column], check
                    answer.submitted = next((submitted_of(cells[name]) for name in _times(header)), None)
                    reading.answers.append(answer)
    return reading


def _header_rows(rows: list[tuple[int, list[str]]]) -> int:
    third = rows[2][1] if len(rows) > 2 else []
    return 3 if any(cell.replace(" ", "").startswith('{"ImportId"') for cell in third) else 1


def _times(header: list[str]) -> list[str]:
    found: list[str] = [name for name in ("RecordedDate", "EndDate") if name in header]
    return found[:1]


def _answer(
    cells: Mapping[str, str], question: str, line: int, file: str, names: Mapping[str, str], faults: list[Fault]
) -> Answer | None:
    """The answer to a question, still without its rater; None where the video was not shown or the cells are bad."""
    cell, shown = cells[question], cells.get(f"{question}{_SECONDS}", "")
    if not cell and not shown:
        return None
    categories = chosen(split_choices(cell, names), names) if cell else []
    if categories is None:
        faults.append(Fault(file, f"{cell[:40]!r}", line=line, field=question, expected=expected_choices(names)))
    seconds = seconds_of(shown)
    if seconds is not None and math.isnan(seconds):
        field = f"{question}{_SECONDS}"
        faults.append(Fault(file, f"{shown[:40]!r}", line=line, field=field, expected="a number from 0"))
        return None
    if categories is None:
        return None
    excluded = PREVIEW if cells.get("Status", "").lower() in _TESTS else "" if cell else NO_CHOICE
    return Answer(line, "", "", categories, seconds, None, excluded=excluded, file=file)
