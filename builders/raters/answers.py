"""One rater's answer to one video, as every reader of votes gives it; and how cells of a file are understood.

A list of `Answer`, in any order, is the table that the readers of this folder share with `control`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Literal

from unsafe_video_dataset.errors import Fault
from unsafe_video_dataset.taxonomy import CATEGORIES, CATEGORY_TITLES, NONE
from unsafe_video_dataset.votes import in_order

from ..raw import whole_number

Key = Literal["item", "video_id", "file", "index"]
NO_CHOICE = "no_choice"  # shown, and nothing chosen: not even 'none'
SKIPPED = "skipped"  # the rater pressed 'skip'
PREVIEW = "preview"  # the maker's own test of a survey
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
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)


@dataclass
class Answer:
    """`categories` is empty for `none`; `none` beside categories is a contradiction, for `control` to judge.

    `video` is the text that names the video in the file, `line` the line (Label Studio: the annotation's id), `submitted`
    a number that says which of two answers came first, `excluded` why the file itself says that this is no vote.
    """

    line: int
    video: str
    rater_id: str
    categories: list[str]
    seconds: float | None
    attention_check: bool | None
    submitted: int | None = None
    excluded: str = ""
    file: str = ""


@dataclass
class Reading:
    """What a file of votes says. `key` is what `Answer.video` means; `ignored` names the columns that mean nothing here."""

    key: Key
    answers: list[Answer] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def choice_names(codes: Mapping[str, str]) -> dict[str, str]:
    """Text of a choice -> category or `none`: the names, the paper's titles, and `codes` (which win)."""
    return {**{name: name for name in (*CATEGORIES, NONE)}, **{title: n for n, title in CATEGORY_TITLES.items()}, **codes}


def chosen(choices: Iterable[str], names: Mapping[str, str]) -> list[str] | None:
    """Categories in taxonomy order, then `none` where it stands beside one; None for a choice not known or made twice."""
    found = [names.get(choice, "") for choice in choices]
    if "" in found or len(set(found)) != len(found):
        return None
    return in_order(found) + ([NONE] if NONE in found and len(found) > 1 else [])


def split_choices(text: str, names: Mapping[str, str]) -> list[str]:
    """The choices of a comma-joined cell, where a choice may hold commas itself: the longest known text first."""
    parts, rest = [], text.strip()
    known = sorted(names, key=len, reverse=True)
    while rest:
        found = next((name for name in known if rest == name or rest.startswith(f"{name},")), rest.partition(",")[0])
        parts.append(found.strip())
        rest = rest[len(found) + 1 :].strip()
    return parts


def expected_choices(names: Mapping[str, str]) -> str:
    """What a fault says about choices."""
    return f"any of {', '.join(names)}; codes of your own go into the setting `codes`"


def video_key(text: str, key: str) -> str:
    """The key as it is compared: `3.0` is index 3, a video_id is lower case."""
    text = text.strip()
    number = whole_number(text) if key == "index" else None
    if number is not None:
        return str(number)
    return text.lower() if key in ("index", "video_id") else text


def seconds_of(text: str) -> float | None:
    """The number in a cell, None for an empty one, NaN for what is not a number of seconds from 0."""
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) and value >= 0 else math.nan


def submitted_of(text: str) -> int | None:
    """A whole number as it is, an ISO 8601 time as microseconds since 1970 (UTC where it names no zone); else None."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        time = datetime.fromisoformat(f"{text[:-1]}+00:00" if text.endswith("Z") else text)
    except ValueError:
        return None
    return ((time if time.tzinfo else time.replace(tzinfo=timezone.utc)) - _EPOCH) // _MICROSECOND


def check_of(text: str) -> bool | None:
    """`pass` or `fail` in the usual spellings, None for an empty cell; raises `KeyError` for anything else."""
    return _CHECK[text.lower()]


def passed(given: Sequence[tuple[str, str]]) -> bool | None:
    """Whether all checks that were answered, as (answer, right answer), are right; None where none was answered."""
    answered = [answer.strip() == right for answer, right in given if answer.strip()]
    return all(answered) if answered else None
