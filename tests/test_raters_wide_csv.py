"""Survey exports: one header row or Qualtrics' three, comma-joined choices, timing, checks, previews."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from unsafe_video_dataset.builders.raters.answers import NO_CHOICE, PREVIEW, Reading, choice_names
from unsafe_video_dataset.builders.raters.wide_csv import read_wide
from unsafe_video_dataset.errors import InputError

NAMES = choice_names({"None of these": "none", "5": "political"})
A, B = "00000000000000aa", "00000000000000bb"
HEADER = ["ResponseId", "Status", "EndDate", f"Q_{A}", f"Q_{A}_First Click", f"Q_{A}_Page Submit", f"Q_{B}", "Attention", "Age"]
SECRET = "a prompt that no message may show"


def read(tmp_path: Path, rows: list[list[str]], *, three: bool = False, header: list[str] = HEADER, **changes: Any) -> Reading:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(header)
    if three:
        writer.writerow([SECRET] * len(header))
        writer.writerow([f'{{"ImportId":"QID{number}"}}' for number in range(len(header))])
    writer.writerows(rows)
    file = tmp_path / "survey.csv"
    file.write_bytes(b"\xef\xbb\xbf" + out.getvalue().encode())
    return read_wide(file, names=NAMES, checks={"Attention": "blue"}, **changes)


ROWS = [
    ["R_1", "IP Address", "2024-05-01 10:00:00", "Terrifying,5", "1.0", "12.5", "None of these", "blue", "30"],
    ["R_2", "IP Address", "2024-05-01 11:00:00", "", "", "3.5", "", "red", "31"],
    ["R 3 ü", "IP Address", "", "None of these,Terrifying", "", "", "", "", ""],
    ["R_4", "Survey Preview", "", "Terrifying", "", "", "", "blue", ""],
]


@pytest.mark.parametrize("three", [False, True])
def test_answers_of_one_row_a_rater(tmp_path: Path, three: bool) -> None:
    reading = read(tmp_path, ROWS, three=three)
    assert reading.faults == []
    assert reading.ignored == [f"Q_{A}_First Click", "Age"]
    found = [(a.rater_id, a.video, a.categories, a.seconds, a.attention_check, a.excluded) for a in reading.answers]
    assert found == [
        ("R_1", A, ["terrifying", "political"], 12.5, True, ""),
        ("R_1", B, [], None, True, ""),
        ("R_2", A, [], 3.5, False, NO_CHOICE),
        ("R 3 ü", A, ["terrifying", "none"], None, None, ""),
        ("R_4", A, ["terrifying"], None, True, PREVIEW),
    ]
    assert [a.line for a in reading.answers] == [line + 2 * three for line in (2, 2, 3, 4, 5)]
    assert reading.answers[0].submitted == 1714557600000000


def test_other_names_of_columns(tmp_path: Path) -> None:
    reading = read(tmp_path, [["a", "political", "blue"]], header=["PID", "clip 3", "Attention"],
                   key="index", prefix="clip ", rater_column="PID")  # fmt: skip
    assert [(a.rater_id, a.video, a.categories) for a in reading.answers] == [("a", "3", ["political"])]


def test_all_faults_at_once(tmp_path: Path) -> None:
    rows = [
        ["R_1", "", "", "Gore", "", "soon", "", "", ""],
        ["", "", "", "Terrifying", "", "", "", "", ""],
        ["R_3", "Terrifying"],
    ]
    reading = read(tmp_path, rows, three=True)
    assert [str(fault).partition("; expected")[0] for fault in reading.faults] == [
        f"survey.csv:4 [Q_{A}]: 'Gore'",
        f"survey.csv:4 [Q_{A}_Page Submit]: 'soon'",
        "survey.csv:5 [ResponseId]: empty",
        "survey.csv:6: 2 cells",
    ]
    assert SECRET not in "".join(map(str, reading.faults))


def test_columns_that_are_missing_or_double(tmp_path: Path) -> None:
    text = " ".join(map(str, read(tmp_path, [], header=["Id", "Age"]).faults))
    assert "no column ResponseId" in text
    assert "no column Attention" in text
    assert "no question on a video" in text
    double = read(tmp_path, [], header=["ResponseId", "Attention", f"Q_{A}", f"Q_{A}"])
    assert any(f"column Q_{A} stands twice" in str(fault) for fault in double.faults)
    with pytest.raises(InputError, match="There is no file"):
        read_wide(tmp_path / "nowhere.csv", names=NAMES, checks={})
