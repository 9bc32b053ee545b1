"""`check` reads the tables beside the data: folds that leak and candidates that are not the release's are faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from unsafe_video_dataset import Release
from unsafe_video_dataset.builders.assemble import Assembled
from unsafe_video_dataset.builders.write import ReleaseInfo, write_release
from unsafe_video_dataset.records import from_table

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def records() -> Rows:
    sample = Release.open("sample")
    rows = [dict(record) for record in from_table("metadata", sample.metadata())]
    return sorted(rows, key=lambda row: str(row["video_id"]))


def faults(folder: Path, records: Rows, *, folds: Rows | None = None, candidates: Rows | None = None) -> list[str]:
    """What `verify` says of the sample written again with these tables."""
    sample = Release.open("sample")
    videos = [(one, lambda video_id=one["video_id"]: sample.video_bytes(video_id)) for one in records]
    extras = {}
    if folds is not None:
        schema = pa.schema([("video_id", pa.string()), ("fold", pa.int32())])
        extras["folds.parquet"] = pa.Table.from_pylist(folds, schema=schema)
    if candidates is not None:
        schema = pa.schema([(name, pa.string()) for name in ("item", "video_id", "stage", "reason")])
        extras["candidates.parquet"] = pa.Table.from_pylist(candidates, schema=schema)
    info = ReleaseInfo("extras", "run", settings={"harmless": True, "tie": "negative"}, extras=extras)
    write_release(folder / "release", Assembled(videos=videos), info, progress=False)  # type: ignore[arg-type]
    found = Release.open(folder / "release").verify().faults
    return [str(fault) for fault in found if fault.file in ("folds.parquet", "candidates.parquet")]


def good_folds(records: Rows) -> Rows:
    groups = sorted({row["group_id"] for row in records})
    return [{"video_id": row["video_id"], "fold": groups.index(row["group_id"]) % 5} for row in records]


def good_candidates(records: Rows) -> Rows:
    rows = [{"item": f"s/{row['video_id']}.mp4", "video_id": row["video_id"]} for row in records]
    return [*rows, {"item": "s/x.mp4", "video_id": "f" * 16, "stage": "probe", "reason": "broken"}]


def test_good_tables_have_no_fault(records: Rows, tmp_path: Path) -> None:
    assert faults(tmp_path, records, folds=good_folds(records), candidates=good_candidates(records)) == []


def split_group(rows: Rows) -> None:
    rows[0]["fold"] += 1


def twice(rows: Rows) -> None:
    rows.append(dict(rows[0]))


def strange(rows: Rows) -> None:
    rows[0]["video_id"] = "e" * 16


def no_fold(rows: Rows) -> None:
    rows[0]["fold"] = None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (twice, "1 videos stand twice"),
        (strange, "1 videos are not of the release (eeeeeeeeeeeeeeee)"),
        (strange, "1 videos are missing"),
        (no_fold, "has no fold"),
    ],
)
def test_folds_of_other_videos(spoil: Callable[[Rows], None], said: str, records: Rows, tmp_path: Path) -> None:
    rows = good_folds(records)
    spoil(rows)
    assert any(said in fault for fault in faults(tmp_path, records, folds=rows))


@pytest.mark.parametrize("key", ["group_id", "prompt_id"])
def test_a_group_or_prompt_in_two_folds_is_a_leak(key: str, records: Rows, tmp_path: Path) -> None:
    """One row in another fold than the others of its group or prompt; the other key is its own, so that it is no leak."""
    changed = [dict(row) for row in records]
    first = changed[0]
    second = next(row for row in changed[1:] if row[key] == first[key] and row["split"] == first["split"])
    other = "prompt_id" if key == "group_id" else "group_id"
    second[other] = "0" * 16 if key == "group_id" else "g" + "0" * 16
    folds = [{"video_id": row["video_id"], "fold": int(row is second)} for row in changed]
    what = key.removesuffix("_id")
    found = faults(tmp_path, changed, folds=folds)
    assert [fault for fault in found if f"{what} {first[key]} is in 0, 1" in fault] == found
    assert len(found) == 1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [(twice, "stand twice"), (strange, "are not of the release"), (lambda rows: rows.pop(0), "are missing")],
)
def test_candidates_of_other_videos(spoil: Callable[[Rows], Any], said: str, records: Rows, tmp_path: Path) -> None:
    rows = good_candidates(records)
    spoil(rows)
    assert any(said in fault for fault in faults(tmp_path, records, candidates=rows))
