"""Read votes in their simplest form: a CSV with one row per rater and video.

Columns: one that names the video (`item`, `video_id`, `file` or `index`), `rater_id`, `categories` (`1;4`, category
names, or `none`), and optionally `seconds` and `attention_check` (`pass` or `fail`). Header names may be in any case,
with spaces or hyphens for underscores. Every fault is collected, none raised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from unsafe_video_dataset.errors import Fault
from unsafe_video_dataset.taxonomy import CATEGORIES, NONE

from ..raw import read_rows, read_text
from .answers import NO_CHOICE, Answer, Key, Reading, check_of, chosen, seconds_of, submitted_of, video_key

KEYS: tuple[Key, ...] = ("item", "video_id", "file", "index")


def read_long(file: Path, *, names: Mapping[str, str], keys: Sequence[Key] = KEYS, lenient: bool = True) -> Reading:
    """Read the file; the first column of `keys` that it has names the video. Raises `InputError` for no file.

    `names` gives the category, or `none`, of a choice. `lenient` also takes answers that quality control judges (`none`
    beside a category, no choice at all) and a column `submitted` (a time or a number); else these are faults.
    """
    text, faults = read_text(file)
    rows, csv_faults = read_rows(text, file=file.name)
    header = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in rows[0][1]] if rows else []
    key = next((name for name in keys if name in header), keys[-1])
    columns = [key, "rater_id", "categories", "seconds", "attention_check", *(["submitted"] if lenient else [])]
    reading = Reading(key, ignored=[name for name in header if name not in columns], faults=faults + csv_faults)
    expected = f"{keys[-1]} (or {', '.join(keys[:-1])}), rater_id, categories; and seconds, attention_check if there are any"
    missing = [name for name in columns[:3] if name not in header]
    twice = sorted({name for name in header if name in columns and header.count(name) > 1})
    bad = [f"no column {name}" for name in missing] + [f"column {name} stands twice" for name in twice]
    reading.faults += [Fault(file.name, message, line=1, expected=expected) for message in bad]
    for line, row in rows[1:] if not bad else []:
        if row and len(row) != len(header):
            reading.faults.append(Fault(file.name, f"{len(row)} cells", line=line, expected=f"{len(header)}, as the header"))
        elif row:
            cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
            answer = _answer(cells, line, file.name, key, names, lenient, reading.faults)
            reading.answers += [answer] if answer else []
    return reading


def _answer(
    cell: Mapping[str, str], line: int, file: str, key: Key, names: Mapping[str, str], lenient: bool, faults: list[Fault]
) -> Answer | None:
    before = len(faults)
    video = video_key(cell[key], key)
    if not video:
        faults.append(Fault(file, "empty", line=line, field=key, expected="the video that was rated"))
    if not cell["rater_id"]:
        faults.append(Fault(file, "empty", line=line, field="rater_id", expected="the rater's pseudonym"))
    nothing = lenient and not cell["categories"]
    categories = [] if nothing else chosen([part.strip() for part in cell["categories"].split(";")], names)
    if categories is None or (NONE in categories and not lenient):
        expected = f"'none', or numbers or names joined by ';' ({', '.join(CATEGORIES)})"
        faults.append(Fault(file, f"{cell['categories'][:40]!r}", line=line, field="categories", expected=expected))
    try:
        check = check_of(cell.get("attention_check", ""))
    except KeyError:
        found = f"{cell['attention_check'].lower()[:40]!r}"
        faults.append(Fault(file, found, line=line, field="attention_check", expected="pass, fail or empty"))
    seconds = seconds_of(cell.get("seconds", ""))
    if seconds is not None and math.isnan(seconds):
        faults.append(Fault(file, f"{cell['seconds'][:40]!r}", line=line, field="seconds", expected="a number from 0"))
    time = cell.get("submitted", "") if lenient else ""
    submitted = submitted_of(time) if time else None
    if time and submitted is None:
        faults.append(Fault(file, f"{time[:40]!r}", line=line, field="submitted", expected="a time (ISO 8601) or a number"))
    if len(faults) > before or categories is None:
        return None
    excluded = NO_CHOICE if nothing else ""
    return Answer(line, video, cell["rater_id"], categories, seconds, check, submitted, excluded, file)
