"""Label Studio's exports. `label_studio/*.json` were made by Label Studio 1.23.2 (see `label_studio/make_export.py`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from unsafe_video_dataset.builders.raters.answers import NO_CHOICE, SKIPPED, Reading, choice_names
from unsafe_video_dataset.builders.raters.label_studio import read_label_studio

FOLDER = Path(__file__).parent / "label_studio"
NAMES = choice_names({"None of these": "none"})


def video(number: int) -> str:
    return f"{number:016x}"


def answers(reading: Reading) -> dict[int, tuple[Any, ...]]:
    return {a.line: (a.video, a.rater_id, a.categories, a.seconds, a.excluded) for a in reading.answers}


EXPECTED = {
    1: (video(1), "1", ["distorted_weird", "terrifying"], 12.5, ""),
    2: (video(1), "2", ["distorted_weird"], 8.25, ""),
    3: (video(1), "3", [], 6.0, ""),
    4: (video(2), "1", [], 4.0, ""),
    5: (video(2), "2", ["political", "none"], 5.5, ""),
    6: (video(2), "3", [], 3.0, SKIPPED),
    7: (video(3), "1", [], 9.0, NO_CHOICE),
    8: (video(3), "1", ["political"], 7.0, ""),
    9: (video(4), "2", ["terrifying"], 2.0, ""),
}  # the draft and the prediction of video 5 are no answers


def test_the_json_export() -> None:
    reading = read_label_studio(FOLDER / "export.json", names=NAMES, checks={})
    assert reading.faults == []
    assert answers(reading) == EXPECTED
    assert all(answer.attention_check is None for answer in reading.answers)
    times = {answer.line: answer.submitted or 0 for answer in reading.answers}
    assert sorted(times, key=times.__getitem__) == list(range(1, 10))


def test_the_short_export_says_the_same_without_skipped_ones() -> None:
    reading = read_label_studio(FOLDER / "export_min.json", names=NAMES, checks={})
    assert reading.faults == []
    assert answers(reading) == {id_: answer for id_, answer in EXPECTED.items() if answer[-1] != SKIPPED}


@pytest.mark.parametrize(("right", "passed"), [("yes", True), ("no", False)])
@pytest.mark.parametrize("name", ["export.json", "export_min.json"])
def test_another_question_checks_attention(name: str, right: str, passed: bool) -> None:
    reading = read_label_studio(FOLDER / name, names=NAMES, checks={"moves": right})
    assert {a.attention_check for a in reading.answers if a.rater_id == "1"} == {passed}
    assert {a.attention_check for a in reading.answers if a.rater_id != "1"} == {None}


def changed(tmp_path: Path, change: Any) -> Reading:
    tasks = json.loads((FOLDER / "export.json").read_text())
    change(tasks)
    file = tmp_path / "export.json"
    file.write_text(json.dumps(tasks))
    return read_label_studio(file, names=NAMES, checks={})


def test_users_as_objects(tmp_path: Path) -> None:
    reading = changed(tmp_path, lambda tasks: tasks[0]["annotations"][0].update(completed_by={"id": 41, "email": "a@b.c"}))
    assert reading.answers[0].rater_id == "41"


@pytest.mark.parametrize(("change", "message"), [
    (lambda tasks: tasks[0]["data"].pop("video_id"), "[task 1]: names no video"),
    (lambda tasks: tasks[0].update(annotations=[7]), "[task 1]: annotations of another shape"),
    (lambda tasks: tasks[0]["annotations"][1].update(completed_by=None), "[task 1, annotation 2]: no rater"),
    (lambda tasks: tasks[0]["annotations"][1].update(lead_time=-1), "[task 1, annotation 2]: lead_time is no time"),
    (lambda tasks: tasks[0]["annotations"][1].update(lead_time="1"), "[task 1, annotation 2]: lead_time is no time"),
    (lambda tasks: tasks[0]["annotations"][1]["result"][0]["value"].update(choices=["Gore"]), "annotation 2]: chose 'Gore'"),
    (lambda tasks: tasks[0]["annotations"][1]["result"][0].pop("value"), "[task 1]: annotations of another shape"),
])  # fmt: skip
def test_what_is_wrong_with_a_task(tmp_path: Path, change: Any, message: str) -> None:
    (fault,) = changed(tmp_path, change).faults
    assert message in str(fault)


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[NaN]", "[" * 100_000, '{"tasks": []}'])
def test_what_is_no_export(tmp_path: Path, text: str) -> None:
    file = tmp_path / "export.json"
    file.write_text(text)
    (fault,) = read_label_studio(file, names=NAMES, checks={}).faults
    assert "as Label Studio exports it" in str(fault)
