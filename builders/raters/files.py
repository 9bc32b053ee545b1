"""All files of votes of a recipe -> answers to video ids by pseudonyms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from unsafe_video_dataset.errors import Fault, FaultsError
from unsafe_video_dataset.records import validate

from .answers import Answer, Reading, choice_names, video_key
from .check_videos import read_check_videos
from .control import CHECK_VIDEO
from .label_studio import read_label_studio
from .long_csv import read_long
from .places import places_of
from .pseudonyms import pseudonyms, read_key
from .settings import Settings
from .wide_csv import read_wide


def read_votes(settings: Settings, base: Path, ingested: list[dict[str, Any]]) -> list[Answer]:
    """The answers of all files, with `video` a video_id (or a check video's key) and `rater_id` a pseudonym.

    `ingested` are rows of the stage `ingest`. Raises `FaultsError` with every fault of all files, `InputError` for a file
    or a key that is not there.
    """
    names = choice_names(settings.codes)
    places = places_of(ingested, source=settings.source)
    faults: list[Fault] = []
    if settings.source and settings.source not in {row["source"] for row in ingested}:
        known = ", ".join(sorted({row["source"] for row in ingested} - {None}))
        faults.append(Fault("recipe", f"no source {settings.source!r}", field="votes.source", expected=f"one of {known}"))
    checked: dict[str, list[str]] = {}
    if settings.check_videos:
        checked, check_faults = read_check_videos(base / settings.check_videos, names=names)
        faults += check_faults
    answers = []
    for name in settings.files:
        reading = _read_file(base / name, settings, names)
        right_answers = {video_key(text, reading.key): answer for text, answer in checked.items()}
        found, more = places.resolve(reading.answers, reading.key, known=right_answers)
        faults += reading.faults + more
        answers += [_placed(answer, found, right_answers) for answer in reading.answers]
    ids = sorted({answer.rater_id for answer in answers})
    if settings.rater_ids == "given":
        faults += _bad_pseudonyms(answers)
    if faults:
        raise FaultsError("The votes can't be used", faults)
    if settings.rater_ids == "keyed" and ids:
        key = read_key(file=base / settings.key_file if settings.key_file else None, variable=settings.key_variable)
        hashed = pseudonyms(ids, key)
        answers = [replace(answer, rater_id=hashed[answer.rater_id]) for answer in answers]
    return answers


def _read_file(file: Path, settings: Settings, names: Mapping[str, str]) -> Reading:
    if settings.format == "wide":
        prefix, rater = settings.question_prefix, settings.rater_column
        return read_wide(file, names=names, checks=settings.checks, key=settings.key, prefix=prefix, rater_column=rater)
    if settings.format == "label_studio":
        return read_label_studio(file, names=names, checks=settings.checks, key=settings.key, question=settings.question)
    return read_long(file, names=names)


def _placed(answer: Answer, found: Mapping[str, str], checked: Mapping[str, list[str]]) -> Answer:
    """The answer to a video id; to a check video it passes or fails, and is no vote if that video is not in the data."""
    check, excluded = answer.attention_check, answer.excluded
    if answer.video in checked and not excluded:
        check = check is not False and answer.categories == checked[answer.video]
    if answer.video in checked and answer.video not in found:
        excluded = excluded or CHECK_VIDEO
    video = found.get(answer.video, answer.video)
    return replace(answer, video=video, attention_check=check, excluded=excluded)


def _bad_pseudonyms(answers: list[Answer]) -> list[Fault]:
    """Ids that no release may hold; the id itself is not repeated."""
    first = {answer.rater_id: answer for answer in reversed(answers)}
    blank: dict[str, Any] = {"video_id": "0" * 16, "categories": [], "seconds": None, "attention_check": None}
    expected = 'letters, digits and _.:- (1 to 64); or rater_ids = "keyed"'
    return [
        Fault(first[id_].file, "no pseudonym", line=first[id_].line, field="rater_id", expected=expected)
        for id_ in sorted(first)
        if validate("annotation", [(None, {**blank, "rater_id": id_})], file="")
    ]
