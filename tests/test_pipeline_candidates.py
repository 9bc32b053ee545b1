"""Every item has one fate, and the counts add up or the run stops."""

from __future__ import annotations

import pyarrow as pa
import pytest

from unsafe_video_dataset.builders.pipeline.candidates import candidates, count_check, summary, summary_text
from unsafe_video_dataset.builders.pipeline.stage import COMMON
from unsafe_video_dataset.errors import IntegrityError


def table(kept: dict[str, str | None]) -> pa.Table:
    rows = [{"item": item, "kept": why is None, "reason": why, "video_id": f"v{item}"} for item, why in kept.items()]
    return pa.Table.from_pylist(rows, schema=pa.schema([*COMMON, pa.field("video_id", pa.string())]))


TABLES = {
    "ingest": table({"a": None, "b": None, "c": "unreadable | file", "d": None}),
    "probe": table({"a": None, "b": "broken", "d": None}),
    "quality": table({"a": None, "d": "blurred"}),
}


def test_each_item_has_the_first_stage_that_dropped_it() -> None:
    rows = candidates(TABLES)
    assert rows.to_pylist() == [
        {"item": "a", "video_id": "va", "stage": None, "reason": None},
        {"item": "b", "video_id": "vb", "stage": "probe", "reason": "broken"},
        {"item": "c", "video_id": "vc", "stage": "ingest", "reason": "unreadable | file"},
        {"item": "d", "video_id": "vd", "stage": "quality", "reason": "blurred"},
    ]
    count_check(TABLES, rows)


@pytest.mark.parametrize(
    ("stage", "rows", "why"),
    [
        ("probe", {"a": None, "b": "broken"}, r"1 lost \(d\)"),
        ("probe", {"a": None, "b": "broken", "d": None, "e": None}, r"1 that should not be there \(e\)"),
        ("quality", {"a": None, "b": None, "d": None}, r"Stage quality .* 1 that should not be there \(b\)"),
    ],
)
def test_a_stage_that_loses_or_invents_items_is_an_error(stage: str, rows: dict[str, str | None], why: str) -> None:
    tables = {**TABLES, stage: table(rows)}
    with pytest.raises(IntegrityError, match=why):
        count_check(tables, candidates(tables))


def test_rows_that_are_not_of_the_tables_are_an_error() -> None:
    with pytest.raises(IntegrityError, match="do not add up"):
        count_check(TABLES, candidates(TABLES).slice(1))


def test_the_summary_counts_and_is_plain_markdown() -> None:
    facts = summary(TABLES, candidates(TABLES), {"probe": {"decoded": 3}}, name="n", version="1")
    assert (facts["input"], facts["left"], facts["last_stage"]) == (4, 1, "quality")
    assert [(one["stage"], one["in"], one["kept"], one["dropped"]) for one in facts["stages"]] == [
        ("ingest", 4, 3, 1), ("probe", 3, 2, 1), ("quality", 2, 1, 1),
    ]  # fmt: skip
    assert facts["stages"][1]["report"] == {"decoded": 3}
    text = summary_text(facts)
    assert "4 = 3 dropped + 1 kept by quality." in text
    assert "| probe | 3 | 2 | 1 |" in text
    assert "- 1: unreadable \\| file" in text


def test_reasons_are_counted_by_flag_and_without_names_sizes_and_fixes() -> None:
    dropped = {
        "a": "same bytes as s/x.mp4",
        "b": "near duplicate of s/x.mp4 (closest frames 2 bits apart)",
        "c": "near duplicate of s/y.mp4 (closest frames 0 bits apart)",
        "d": "the box says 14,648 bytes, and 8,534 are there: it is damaged. Get the file again.",
        "e": "the box says 20 bytes, and 3 are there: it is damaged. Get the file again.",
        "f": "longest_freeze 0.6 is not at most 0.5",
        "g": "longest_freeze 0.7 is not at most 0.5",
    }
    made = table(dropped)
    flags = [["max_freeze"] if item in "fg" else [] for item in dropped]
    made = made.append_column("flags", pa.array(flags, pa.list_(pa.string())))
    facts = summary({"ingest": made}, candidates({"ingest": made}), {}, name="n", version="1")
    assert facts["stages"][0]["reasons"] == {
        "max_freeze": 2,
        "near duplicate of another video": 2,
        "the box says N bytes, and N are there: it is damaged": 2,
        "same bytes as another file": 1,
    }


def test_only_the_most_frequent_reasons_are_listed() -> None:
    tables = {"ingest": table({f"{n:03d}": f"reason {n % 20:02d}" for n in range(105)})}
    facts = summary(tables, candidates(tables), {}, name="n", version="1")
    reasons = facts["stages"][0]["reasons"]
    assert len(reasons) == 12
    assert facts["stages"][0]["other_reasons"] == 8
    assert list(reasons)[:6] == [f"reason {n:02d}" for n in (0, 1, 2, 3, 4, 5)]
    assert "and 8 other reasons" in summary_text(facts)
