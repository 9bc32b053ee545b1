"""Read rater votes in their simplest form: a CSV with one row per rater and video.

Columns: `index` (of `<index>.mp4`) or `video_id`, `rater_id`, `categories` (`1;4`, category names, or `none`), and
optionally `seconds` and `attention_check` (`pass` or `fail`). Answers that failed their check are counted and left out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from unsafe_video_dataset.errors import Fault, InputError
from unsafe_video_dataset.taxonomy import CATEGORIES, NONE
from unsafe_video_dataset.votes import in_order

_CHECK = {
    "pass": True,
    "passed": True,
    "true": True,
    "1": True,
    "": None,
    "fail": False,
    "failed": False,
    "false": False,
    "0": False,
}


@dataclass
class Answer:
    """One row of the file. `categories` is empty for `none`."""

    line: int
    video: str
    rater_id: str
    categories: list[str]
    seconds: float | None
    attention_check: bool | None


@dataclass
class Answers:
    """The kept answers, how many were left out and why, and what is wrong with the file."""

    kept: list[Answer] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    raters_left_out: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)


def read_annotations(file: Path, *, mapping: Mapping[str, str]) -> Answers:
    """Read the file; `mapping` gives the category of a column number. Raises `InputError` for a missing file or header."""
    if not file.is_file():
        raise InputError(f"There is no file {file}.")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    header = [name.strip() for name in reader.fieldnames or []]
    reader.fieldnames = header
    key = "video_id" if "video_id" in header else "index"
    missing = [name for name in (key, "rater_id", "categories") if name not in header]
    if missing:
        raise InputError(f"{file} has no column {', '.join(missing)}. It needs index (or video_id), rater_id, categories.")
    answers = Answers()
    first_line: dict[tuple[str, str], int] = {}
    for row in reader:
        answer = _answer(row, reader.line_num, file.name, key, mapping, answers.faults)
        if answer is None:
            continue
        earlier = first_line.setdefault((answer.video, answer.rater_id), answer.line)
        if earlier != answer.line:
            message = f"rater {answer.rater_id} answers video {answer.video} again (first in line {earlier})"
            answers.faults.append(Fault(file.name, message, line=answer.line, expected="one answer a rater and video"))
        elif answer.attention_check is False:
            answers.left_out["attention_check"] = answers.left_out.get("attention_check", 0) + 1
            answers.raters_left_out.add(answer.rater_id)
        else:
            answers.kept.append(answer)
    return answers


def _answer(
    row: Mapping[str, str | None], line: int, file: str, key: str, mapping: Mapping[str, str], faults: list[Fault]
) -> Answer | None:
    cell = {name: (value or "").strip() for name, value in row.items() if isinstance(name, str) and not isinstance(value, list)}
    before = len(faults)
    if not cell[key]:
        faults.append(Fault(file, "empty", line=line, field=key, expected="the video that was rated"))
    if not cell["rater_id"]:
        faults.append(Fault(file, "empty", line=line, field="rater_id", expected="the rater's pseudonym"))
    categories = _categories(cell["categories"], mapping)
    if categories is None:
        expected = f"'none', or numbers or names joined by ';' ({', '.join(CATEGORIES)})"
        faults.append(Fault(file, f"{cell['categories'][:40]!r}", line=line, field="categories", expected=expected))
    check = cell.get("attention_check", "").lower()
    if check not in _CHECK:
        faults.append(Fault(file, f"{check[:40]!r}", line=line, field="attention_check", expected="pass, fail or empty"))
    seconds = None
    if cell.get("seconds"):
        try:
            seconds = float(cell["seconds"])
        except ValueError:
            faults.append(Fault(file, f"{cell['seconds'][:40]!r}", line=line, field="seconds", expected="a number"))
    if len(faults) > before or categories is None:
        return None
    return Answer(line, cell[key], cell["rater_id"], categories, seconds, _CHECK[check])


def _categories(text: str, mapping: Mapping[str, str]) -> list[str] | None:
    """Names in taxonomy order, empty for `none`; None if the text says neither, or `none` beside a category."""
    parts = [part.strip() for part in text.split(";")]
    if parts == [NONE]:
        return []
    names = [mapping.get(part, part) for part in parts]
    return in_order(names) if all(name in CATEGORIES for name in names) and len(set(names)) == len(names) else None
