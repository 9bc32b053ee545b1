"""Read rater votes in their simplest form: a CSV with one row per rater and video.

Columns: `index` (of `<index>.mp4`) or `video_id`, `rater_id`, `categories` (`1;4`, category names, or `none`), and
optionally `seconds` and `attention_check` (`pass` or `fail`). Answers that failed their check are counted and left out.
Header names may be in any case, with spaces or hyphens for underscores. Every fault is collected, none raised.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unsafe_video_dataset.errors import Fault
from unsafe_video_dataset.mp4 import Mp4Info
from unsafe_video_dataset.records import validate
from unsafe_video_dataset.taxonomy import CATEGORIES, NONE
from unsafe_video_dataset.votes import in_order

from .raw import read_rows, read_text, whole_number

_COLUMNS = ("index", "video_id", "rater_id", "categories", "seconds", "attention_check")

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
    """The kept answers, how many were left out and why, columns that mean nothing here, and what is wrong with the file.

    `key` says what `Answer.video` is: `index` or `video_id`.
    """

    key: str = "index"
    kept: list[Answer] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    raters_left_out: set[str] = field(default_factory=set)
    ignored_columns: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def read_annotations(file: Path, *, mapping: Mapping[str, str]) -> Answers:
    """Read the file; `mapping` gives the category of a column number. Raises `InputError` for no file."""
    answers = Answers()
    text, answers.faults = read_text(file)
    rows, csv_faults = read_rows(text, file=file.name)
    answers.faults += csv_faults
    header = [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in rows[0][1]] if rows else []
    answers.key = "video_id" if "video_id" in header else "index"
    answers.ignored_columns = [name for name in header if name not in _COLUMNS]
    expected = "index (or video_id), rater_id, categories; and seconds, attention_check if there are any"
    missing = [name for name in (answers.key, "rater_id", "categories") if name not in header]
    twice = sorted({name for name in header if name in _COLUMNS and header.count(name) > 1})
    bad = [f"no column {name}" for name in missing] + [f"column {name} stands twice" for name in twice]
    answers.faults += [Fault(file.name, message, line=1, expected=expected) for message in bad]
    if bad:
        return answers
    first_line: dict[tuple[str, str], int] = {}
    for line, row in rows[1:]:
        if not row:
            continue
        if len(row) != len(header):
            answers.faults.append(Fault(file.name, f"{len(row)} cells", line=line, expected=f"{len(header)}, as the header"))
            continue
        cells = {name: cell.strip() for name, cell in zip(header, row, strict=True)}
        answer = _answer(cells, line, file.name, answers.key, mapping, answers.faults)
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
    cell: Mapping[str, str], line: int, file: str, key: str, mapping: Mapping[str, str], faults: list[Fault]
) -> Answer | None:
    before = len(faults)
    index = whole_number(cell[key]) if key == "index" else None
    video = cell[key].lower() if index is None else str(index)
    if not video:
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
    seconds = _seconds(cell["seconds"]) if cell.get("seconds") else None
    if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
        faults.append(Fault(file, f"{cell['seconds'][:40]!r}", line=line, field="seconds", expected="a number from 0"))
    if len(faults) > before or categories is None:
        return None
    return Answer(line, video, cell["rater_id"], categories, seconds, _CHECK[check])


def _seconds(text: str) -> float:
    """The number, or NaN for anything that is not one."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _categories(text: str, mapping: Mapping[str, str]) -> list[str] | None:
    """Names in taxonomy order, empty for `none`; None if the text says neither, or `none` beside a category."""
    parts = [part.strip() for part in text.split(";")]
    if parts == [NONE]:
        return []
    names = [mapping.get(part, part) for part in parts]
    return in_order(names) if all(name in CATEGORIES for name in names) and len(set(names)) == len(names) else None


def join_votes(
    answers: Answers, files: Collection[int], videos: Mapping[int, tuple[str, Mp4Info]], *, file: Path | None
) -> tuple[dict[int, list[dict[str, Any]]], list[Fault]]:
    """Index -> the votes that count. Faults: answers to videos that are not there, records that don't fit the schema.

    `files` are the indices that there are, `videos` those that could be read. Of byte-identical videos a `video_id` means
    the one with the lowest index.
    """
    if file is None:
        return {}, []
    votes: dict[int, list[dict[str, Any]]] = defaultdict(list)
    faults: list[Fault] = []
    if answers.key == "video_id":
        places = {sha256[:16]: index for index, (sha256, _) in sorted(videos.items(), reverse=True)}
    else:
        places = {str(index): index for index in files}
    for answer in answers.kept:
        index = places.get(answer.video)
        if index is None:
            expected = "a video of this folder"
            faults.append(
                Fault(file.name, f"no video {answer.video[:40]}", line=answer.line, field=answers.key, expected=expected)
            )
            continue
        vote = {
            "rater_id": answer.rater_id,
            "categories": answer.categories,
            "seconds": answer.seconds,
            "attention_check": answer.attention_check,
        }
        votes[index].append(vote)
        video_id = videos[index][0][:16] if index in videos else "0" * 16
        faults += validate("annotation", [(answer.line, {"video_id": video_id, **vote})], file=file.name)
    if not answers.kept and not answers.faults:
        faults.append(Fault(file.name, "no answer counts", expected="votes on the videos of this folder"))
    return votes, faults
