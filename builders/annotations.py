"""Rater votes of an upstream release: a CSV with one row per rater and video (see `raters.long_csv`), joined to its videos.

Columns: `index` (of `<index>.mp4`) or `video_id`, `rater_id`, `categories` (`1;4`, category names, or `none`), and
optionally `seconds` and `attention_check` (`pass` or `fail`) of each answer. A rater who failed a check is left out with all
answers, unless the settings say otherwise (`raters.control` has the rule); what is left out is counted. Every fault is
collected, none raised.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unsafe_video_dataset.errors import Fault
from unsafe_video_dataset.mp4 import Mp4Info
from unsafe_video_dataset.records import validate
from unsafe_video_dataset.taxonomy import CATEGORIES, NONE

from .raters.answers import Answer
from .raters.control import FailedChecks, Rules, control
from .raters.long_csv import read_long

__all__ = ["Answer", "Answers", "join_votes", "read_annotations"]


@dataclass
class Answers:
    """The kept answers, how many were left out and why, columns that mean nothing here, and what is wrong with the file.

    `key` says what `Answer.video` is: `index` or `video_id`. `failed_answers` failed their check, `failed_raters` gave them;
    whether these are left out is what `left_out` says.
    """

    key: str = "index"
    kept: list[Answer] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    failed_answers: int = 0
    failed_raters: int = 0
    ignored_columns: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def read_annotations(file: Path, *, mapping: Mapping[str, str], failed_checks: FailedChecks = "rater") -> Answers:
    """Read the file; `mapping` gives the category of a column number. Raises `InputError` for no file.

    `failed_checks`: who failed an attention check is left out (`rater`), or only the answers that failed it (`answer`), or
    nothing (`keep`).
    """
    names = {name: name for name in (*CATEGORIES, NONE)}
    reading = read_long(file, names={**names, **mapping}, keys=("video_id", "index"), lenient=False)
    found = control(reading.answers, Rules(failed_checks=failed_checks, min_seconds=0))
    records = [record for record in found.raters if record.failed_checks]
    return Answers(
        reading.key,
        kept=sorted(found.kept, key=lambda answer: answer.line),
        left_out=found.counts(),
        failed_answers=sum(record.failed_checks for record in records),
        failed_raters=len(records),
        ignored_columns=reading.ignored,
        faults=reading.faults + _answered_twice(reading.answers, file),
    )


def _answered_twice(answers: Iterable[Answer], file: Path) -> list[Fault]:
    """A second answer of a rater to a video, whether it counts or not."""
    first_line: dict[tuple[str, str], int] = {}
    faults = []
    for answer in answers:
        earlier = first_line.setdefault((answer.video, answer.rater_id), answer.line)
        if earlier != answer.line:
            message = f"rater {answer.rater_id} answers video {answer.video} again (first in line {earlier})"
            faults.append(Fault(file.name, message, line=answer.line, expected="one answer a rater and video"))
    return faults


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
