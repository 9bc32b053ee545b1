"""`Places`: every id of a release is found in its folder and split, and no other id."""

from __future__ import annotations

import pyarrow as pa

from unsafe_video_dataset import Release
from unsafe_video_dataset.places import Places


def table(ids: list[str], unsafe: list[bool]) -> pa.Table:
    return pa.table({"video_id": pa.array(ids, pa.string()), "is_unsafe": pa.array(unsafe, pa.bool_())})


def test_each_video_of_the_sample_is_found_where_it_lies() -> None:
    release = Release.open()
    rows = release.metadata(columns=["video_id", "is_unsafe", "split"]).to_pylist()
    places = Places(lambda split: release.metadata(split, columns=["video_id", "is_unsafe"]))
    for row in rows:
        assert places.find(row["video_id"]) == ("unsafe" if row["is_unsafe"] else "not_unsafe", row["split"])


def test_an_id_that_is_not_there_is_not_found() -> None:
    places = Places(lambda split: table(["8" * 16], [True]) if split == "test" else table([], []))
    assert places.find("8" * 16) == ("unsafe", "test")
    assert [places.find(one) for one in ("0" * 16, "f" * 16, "8" * 15, "")] == [None] * 4


def test_a_release_of_no_video_has_no_place() -> None:
    assert Places(lambda split: table([], [])).find("0" * 16) is None
