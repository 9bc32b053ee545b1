"""Thresholds, what is near one, decisions that overrule, and every fault of decisions.csv at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import vision_support
from hypothesis import given, settings
from hypothesis import strategies as st

from unsafe_video_dataset.builders.pipeline.names import Names
from unsafe_video_dataset.builders.pipeline.settings import read_settings
from unsafe_video_dataset.builders.vision.decisions import Ruling, read_decisions
from unsafe_video_dataset.builders.vision.quality import QualitySettings, decide, describe
from unsafe_video_dataset.errors import Fault, InputError

GOOD: dict[str, Any] = {
    "item": "s/a.mp4", "num_frames": 16, "duration_seconds": 2.0, "width": 128, "height": 128, "sharpness": 700.0,
    "edge_sharpness": 2.0, "brightness": 0.4, "contrast": 0.2, "motion": 0.02, "frozen_fraction": 0.0, "longest_freeze": 0.0,
    "black_fraction": 0.0, "white_fraction": 0.0, "blank_fraction": 0.0,
}  # fmt: skip
KEEP, DROP = Ruling("keep", "ann", ""), Ruling("drop", "ann", "not ours")


def decided(*changes: dict[str, Any], rulings: dict[str, Ruling] | None = None, **given: Any) -> list[dict[str, Any]]:
    rows = [{**GOOD, "item": f"s/{number}.mp4", **change} for number, change in enumerate(changes)]
    return decide(pa.Table.from_pylist(rows), QualitySettings(**given), rulings or {}).to_pylist()


@pytest.mark.parametrize(
    ("change", "flag", "reason"),
    [
        ({"num_frames": 3}, "min_frames", "num_frames 3 is not at least 8"),
        ({"duration_seconds": 0.25}, "min_duration", "duration_seconds 0.25 s is not at least 0.5 s"),
        ({"duration_seconds": 61.0}, "max_duration", "duration_seconds 61 s is not at most 60 s"),
        ({"sharpness": 9.5}, "min_sharpness", "sharpness 9.5 is not at least 20"),
        ({"edge_sharpness": 0.1}, "min_edge_sharpness", "edge_sharpness 0.1 is not at least 0.2"),
        ({"brightness": 0.01}, "min_brightness", "brightness 0.01 is not at least 0.04"),
        ({"brightness": 0.99}, "max_brightness", "brightness 0.99 is not at most 0.97"),
        ({"contrast": 0.001}, "min_contrast", "contrast 0.001 is not at least 0.015"),
        ({"motion": 0.0}, "min_motion", "motion 0 is not at least 0.0004"),
        ({"frozen_fraction": 1.0}, "max_frozen", "frozen_fraction 1 is not at most 0.9"),
        ({"longest_freeze": 0.6}, "max_freeze", "longest_freeze 0.6 is not at most 0.5"),
        ({"black_fraction": 0.5}, "max_black", "black_fraction 0.5 is not at most 0.3"),
        ({"white_fraction": 0.5}, "max_white", "white_fraction 0.5 is not at most 0.3"),
        ({"blank_fraction": 0.5}, "max_blank", "blank_fraction 0.5 is not at most 0.3"),
    ],
)
def test_each_threshold_drops_with_value_and_limit(change: dict[str, Any], flag: str, reason: str) -> None:
    good, bad = decided({}, change)
    assert (good["kept"], good["reason"], good["flags"], good["near"]) == (True, None, [], [])
    assert (bad["kept"], bad["reason"], bad["flags"]) == (False, reason, [flag])


def test_all_failed_thresholds_are_named() -> None:
    (row,) = decided({"num_frames": 1, "motion": 0.0, "black_fraction": 1.0})
    assert row["flags"] == ["min_frames", "min_motion", "max_black"]
    assert row["reason"].count(";") == 2


@pytest.mark.parametrize(
    ("sharpness", "kept", "near"),
    [(16.9, False, False), (17.1, False, True), (20.0, True, True), (22.9, True, True), (23.1, True, False)],
)
def test_near_is_a_relative_margin_on_both_sides(sharpness: float, kept: bool, near: bool) -> None:
    (row,) = decided({"sharpness": sharpness}, margin=0.15)
    assert (row["kept"], row["near"] == ["min_sharpness"]) == (kept, near)


def test_the_margin_of_a_share_is_of_its_nearer_end_and_lengths_are_never_near() -> None:
    stopped, just, short = decided({"frozen_fraction": 1.0}, {"frozen_fraction": 0.89}, {"num_frames": 8})
    assert (stopped["near"], just["near"], short["near"]) == ([], ["max_frozen"], [])


def test_a_decision_overrules_both_ways_and_is_recorded_where_it_agrees() -> None:
    rulings = {"s/0.mp4": KEEP, "s/1.mp4": DROP, "s/2.mp4": KEEP}
    bad, good, fine = decided({"motion": 0.0}, {}, {}, rulings=rulings)
    assert (bad["kept"], bad["reason"], bad["flags"], bad["overruled"]) == (True, None, ["min_motion"], "keep")
    assert (good["kept"], good["reason"], good["overruled"]) == (False, "dropped by ann: not ours", "drop")
    assert (fine["kept"], fine["overruled"]) == (True, "keep")


def test_thresholds_that_make_no_sense_are_all_named() -> None:
    faults: list[Fault] = []
    table = {"min_frames": 20, "max_frames": 10, "max_black": 1.5, "min_motion": -1, "margin": 2, "review": -1}
    assert read_settings(QualitySettings, table, file="recipe.toml", place="quality", faults=faults) is None
    assert {fault.field for fault in faults} == {
        "quality.min_frames", "quality.max_black", "quality.min_motion", "quality.margin", "quality.review",
    }  # fmt: skip


def test_values_of_a_sheet_name_value_and_limit() -> None:
    text = describe({**GOOD, "sharpness": 19.0, "brightness": 0.968}, QualitySettings(), ["min_sharpness", "max_brightness"])
    assert text == "sharpness 19 (min 20), brightness 0.968 (max 0.97)"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 60), min_size=1, max_size=12), st.integers(0, 99))
def test_no_order_matters_and_rows_come_out_sorted(values: list[float], seed: int) -> None:
    rows = pa.Table.from_pylist([{**GOOD, "item": f"s/{n:02d}.mp4", "sharpness": value} for n, value in enumerate(values)])
    expected = decide(rows, QualitySettings(), {})
    assert decide(vision_support.shuffled(rows, seed), QualitySettings(), {}).equals(expected)
    assert [row["kept"] for row in expected.to_pylist()] == [value >= 20 for value in values]


ITEMS = {"s/a.mp4": "a" * 16, "s/b.mp4": "b" * 16, "s/c.mp4": "b" * 16}


def test_decisions_are_read_by_item_and_by_video_id(tmp_path: Path) -> None:
    file = vision_support.write_csv(
        tmp_path / "decisions.csv",
        ["Item,video id,Decision,Reviewer,reason", "s/a.mp4,,KEEP,ann,dark on purpose", "", f",{'B' * 16},drop,bo,"],
    )
    rulings, faults = read_decisions(file, items=ITEMS)
    assert not faults
    assert rulings["s/a.mp4"] == Ruling("keep", "ann", "dark on purpose")
    assert rulings["s/b.mp4"] == rulings["s/c.mp4"] == Ruling("drop", "bo", "")


def test_every_fault_of_the_decisions_is_found_at_once(tmp_path: Path) -> None:
    file = vision_support.write_csv(
        tmp_path / "decisions.csv",
        [
            "item,video_id,decision,reviewer",
            "s/a.mp4,,keep,ann",
            "s/a.mp4,,drop,bo",  # 3: both
            "s/z.mp4,,keep,ann",  # 4: unknown item
            f",{'f' * 16},keep,ann",  # 5: unknown video
            "s/b.mp4,,maybe,ann",  # 6: neither
            "s/b.mp4,,drop,",  # 7: nobody
            f"s/b.mp4,{'b' * 16},drop,ann",  # 8: two targets
            ",,drop,ann",  # 9: no target
            "s/b.mp4,drop,ann",  # 10: too few cells
            "s/a.mp4,,keep,cy",  # the same again is no fault
            f",{'b' * 16},keep,ann",  # 12: against line 7
        ],
    )
    _, faults = read_decisions(file, items=ITEMS)
    assert sorted(fault.line or 0 for fault in faults) == [3, 4, 5, 6, 7, 8, 9, 10, 12]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("item,decision", "no column reviewer"),
        ("decision,reviewer", "no column item or video_id"),
        ("item,decision,reviewer,colour", "column 'colour' is not known"),
        ("item,item,decision,reviewer", "column item stands twice"),
        ("", "no column decision"),
    ],
)
def test_a_header_that_is_wrong_is_a_fault(tmp_path: Path, header: str, message: str) -> None:
    file = vision_support.write_csv(tmp_path / "decisions.csv", [header] if header else [])
    rulings, faults = read_decisions(file, items=ITEMS)
    assert not rulings
    assert any(message in fault.message for fault in faults)


def test_bytes_that_are_no_text_and_a_missing_file(tmp_path: Path) -> None:
    file = tmp_path / "decisions.csv"
    file.write_bytes(b"item,decision,reviewer\ns/a.mp4,keep,\xff\xfe\n")
    assert any("not UTF-8" in fault.message for fault in read_decisions(file, items=ITEMS)[1])
    with pytest.raises(InputError, match="There is no file"):
        read_decisions(tmp_path / "none.csv", items=ITEMS)


def test_a_decision_on_a_video_that_was_dropped_before_is_counted_and_no_fault(tmp_path: Path) -> None:
    names = Names(frozenset({*ITEMS, "s/broken.mp4"}), frozenset({*ITEMS.values(), "f" * 16}))
    header = "item,video_id,decision,reviewer"
    lines = [header, "s/broken.mp4,,keep,ann", f",{'F' * 16},drop,ann"]
    file = vision_support.write_csv(tmp_path / "decisions.csv", lines)
    assert read_decisions(file, items=ITEMS, names=names) == ({}, [])
    assert names.not_reached == 2
