"""Labels: what a labeller may say, and tables that are joined by id."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unsafe_video_dataset.defenses.trace_labels import categories_of, join_labels, read_labels
from unsafe_video_dataset.defenses.trace_store import INDEX
from unsafe_video_dataset.errors import FaultsError, InputError
from unsafe_video_dataset.release import Release


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (True, ["unsafe"]),
        (np.bool_(False), []),
        ((), []),
        (["b", "a", "b"], ["a", "b"]),
        ({"a": True, "b": np.bool_(True), "c": False}, ["a", "b"]),
    ],
)
def test_what_a_labeller_may_say(answer: Any, names: list[str]) -> None:
    assert categories_of(answer) == names


@pytest.mark.parametrize("answer", [None, 0.7, "red", {"a": 0.9}, [1, 2]])
def test_what_it_may_not(answer: Any) -> None:
    with pytest.raises(InputError, match="A labeller gave"):
        categories_of(answer)


def index(*video_ids: str | None) -> pa.Table:
    rows = [{**dict.fromkeys(INDEX.names), "sample_id": f"s{i}", "video_id": v} for i, v in enumerate(video_ids)]
    return pa.Table.from_pylist(rows, schema=INDEX)


def test_a_table_is_joined_by_id_not_by_position(tmp_path: Path) -> None:
    table = pa.table({"video_id": ["c", "a", "x"], "categories": [["red"], [], ["blue"]]})
    joined = join_labels(index("a", "b", "c", None), table)
    assert joined["categories"].to_pylist() == [[], None, ["red"], None]
    for name, write in {
        "l.csv": lambda path: path.write_text("video_id,categories\nc,red\na,\n"),
        "l.jsonl": lambda path: path.write_text(
            '{"video_id": "c", "categories": ["red"]}\n{"video_id": "a", "categories": []}\n'
        ),
        "l.parquet": lambda path: pq.write_table(table, path),
    }.items():
        write(tmp_path / name)
        assert join_labels(index("a", "b", "c", None), tmp_path / name).equals(joined), name


def test_a_release_labels_its_own_videos(sample: Release) -> None:
    metadata = sample.metadata("train", columns=["video_id", "categories"])
    key, found = read_labels(metadata)
    assert key == "video_id"
    assert len(found) == metadata.num_rows
    assert {name for names in found.values() for name in names} >= {"terrifying"}


def test_is_unsafe_alone_is_a_category() -> None:
    assert read_labels(pa.table({"sample_id": ["a", "b", "c"], "is_unsafe": [True, False, None]})) == (
        "sample_id",
        {"a": ["unsafe"], "b": []},
    )


def test_faulty_tables(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a column"):
        read_labels(pa.table({"id": ["a"], "categories": [["red"]]}))
    with pytest.raises(FaultsError, match="contradicts itself") as caught:
        read_labels(pa.table({"video_id": ["a", "a", "b", "b"], "categories": [["red"], [], ["x"], ["x"]]}))
    assert [fault.field for fault in caught.value.faults] == ["a"]
    with pytest.raises(InputError, match="None of the 1"):
        join_labels(index("a"), {"unknown": ["red"]})
    (tmp_path / "l.jsonl").write_text("{")
    for name in ("l.jsonl", "l.txt", "missing.parquet"):
        with pytest.raises(InputError, match="label table"):
            read_labels(tmp_path / name)
