"""Read votes of Label Studio's export, JSON or JSON-MIN (the tests read exports that Label Studio 1.23.2 made).

A task's `data` names the video, an annotation is one rater's answer. Predictions and drafts are no answers and are not
looked at; an annotation that was skipped is excluded. JSON-MIN leaves skipped ones out by itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unsafe_video_dataset.errors import Fault

from ..raw import read_text
from .answers import (
    NO_CHOICE,
    SKIPPED,
    Answer,
    Key,
    Reading,
    chosen,
    expected_choices,
    passed,
    submitted_of,
    video_key,
)

_TASKS = "a list of tasks, as Label Studio exports it (JSON or JSON-MIN)"


def read_label_studio(
    file: Path,
    *,
    names: Mapping[str, str],
    checks: Mapping[str, str],
    key: Key = "video_id",
    question: str = "categories",
) -> Reading:
    """Read the file. `question` is the name of the `<Choices>` that hold the categories, `key` the field of `data`.

    `names` gives the category, or `none`, of a choice; `checks` the right choice of another `<Choices>` by its name: an
    answer passed if every check in it is right. An annotation without a choice is excluded, not taken for `none`. A
    fault's `line` is empty; its field says which annotation. Raises `InputError` for no file.
    """
    text, faults = read_text(file)
    reading = Reading(key, faults=faults)
    try:
        tasks = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        reading.faults.append(Fault(file.name, "not JSON", line=line, expected=_TASKS))
        return reading
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        reading.faults.append(Fault(file.name, "no list of tasks", expected=_TASKS))
        return reading
    for number, task in enumerate(tasks):
        place = f"task {task.get('id', f'at position {number}')}"
        data = task.get("data") if "annotations" in task else task
        video = data.get(key) if isinstance(data, dict) else None
        if not isinstance(video, (str, int)) or isinstance(video, bool) or not str(video).strip():
            expected = f"the video, in the task's field {key} (see the setting `key`)"
            reading.faults.append(Fault(file.name, "names no video", field=place, expected=expected))
            continue
        try:
            found = list(_annotations(task))
        except (TypeError, KeyError, AttributeError, ValueError):
            reading.faults.append(Fault(file.name, "annotations of another shape", field=place, expected=_TASKS))
            continue
        for annotation in found:
            answer = _answer(annotation, question, names, checks, file.name, place, reading.faults)
            if answer:
                answer.video = video_key(str(video), key)
                reading.answers.append(answer)
    return reading


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _annotations(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Both formats as {id, rater, choices by name, seconds, skipped, submitted}. A task without an annotation gives none."""
    if "annotations" not in task:  # JSON-MIN: a row an annotation, a choice as text, several as {"choices": [...]}
        if task.get("annotation_id") is not None:
            values = {name: value["choices"] if isinstance(value, dict) and "choices" in value else [value]
                      for name, value in task.items() if isinstance(value, str) or _is_choices(value)}  # fmt: skip
            yield _common(task, task["annotation_id"], task.get("annotator"), values)
        return
    for annotation in task["annotations"]:
        values = {}
        for region in annotation["result"]:
            if region.get("type") == "choices":
                values.setdefault(region["from_name"], []).extend(region["value"]["choices"])
        yield _common(annotation, annotation["id"], annotation.get("completed_by"), values)


def _is_choices(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("choices"), list)


def _common(annotation: dict[str, Any], id_: Any, rater: Any, values: dict[str, list[str]]) -> dict[str, Any]:
    if isinstance(rater, dict):
        rater = rater.get("id", rater.get("email"))
    return {
        "id": int(id_),
        "rater": "" if rater is None else str(rater).strip(),
        "values": values,
        "seconds": annotation.get("lead_time"),
        "skipped": bool(annotation.get("was_cancelled")),
        "submitted": submitted_of(str(annotation.get("created_at") or "")),
    }


def _answer(
    annotation: dict[str, Any],
    question: str,
    names: Mapping[str, str],
    checks: Mapping[str, str],
    file: str,
    place: str,
    faults: list[Fault],
) -> Answer | None:
    before, place = len(faults), f"{place}, annotation {annotation['id']}"
    choices = annotation["values"].get(question, [])
    categories = chosen(choices, names)
    if categories is None:
        found = ", ".join(str(choice)[:40] for choice in choices)
        faults.append(Fault(file, f"chose {found!r}", field=place, expected=expected_choices(names)))
    if not annotation["rater"]:
        faults.append(Fault(file, "no rater", field=place, expected="`completed_by`, the user who answered"))
    seconds = annotation["seconds"]
    if seconds is not None and (
        isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < math.inf
    ):
        faults.append(Fault(file, "lead_time is no time", field=place, expected="seconds from 0"))
    if len(faults) > before or categories is None:
        return None
    check = passed([(", ".join(annotation["values"].get(name, [])), right) for name, right in checks.items()])
    excluded = SKIPPED if annotation["skipped"] else "" if choices else NO_CHOICE
    seconds = None if seconds is None else float(seconds)
    rater = annotation["rater"]
    return Answer(annotation["id"], "", rater, categories, seconds, check, annotation["submitted"], excluded, file)
