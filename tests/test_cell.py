"""One video's bytes without its row group's: the same bytes, or the way that reads them all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import releases

from unsafe_video_dataset import Release
from unsafe_video_dataset.cell import read_cell
from unsafe_video_dataset.errors import IntegrityError
from unsafe_video_dataset.footer import read_footer

VALUES = [np.random.default_rng(size).bytes(size) for size in (0, 1, 5, 300, 70_000, 400_000, 3, 400_000, 2, 90_000)]
OPTIONS: dict[str, Any] = {"use_dictionary": False, "compression": "none", "write_page_checksum": True}


def write(path: Path, values: list[bytes | None], **options: Any) -> Path:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = pa.array([{"bytes": value, "path": "x"} for value in values], kind)
    pq.write_table(pa.table({"video": column}), path, **{**OPTIONS, **options})
    return path


def cells(path: Path, group: int = 0) -> list[bytes | None]:
    footer = read_footer(path).row_groups[group]
    with path.open("rb") as file:
        return [read_cell(path, file, footer.columns[0], row) for row in range(footer.num_rows)]


@pytest.mark.parametrize("page", [1, 1000, 100_000, 10_000_000])
def test_values_as_a_release_stores_them(tmp_path: Path, page: int) -> None:
    path = write(tmp_path / "a.parquet", VALUES, data_page_size=page, write_batch_size=1)
    assert cells(path) == VALUES
    path = write(tmp_path / "a.parquet", VALUES, data_page_size=page, row_group_size=4)
    assert [cell for group in range(3) for cell in cells(path, group)] == VALUES


def test_more_values_than_a_byte_counts(tmp_path: Path) -> None:
    values = [bytes([number % 256]) for number in range(9000)]
    assert cells(write(tmp_path / "a.parquet", values)) == values


@pytest.mark.parametrize("options", [{"compression": "zstd"}, {"use_dictionary": True}, {"data_page_version": "2.0"}])
def test_what_is_stored_otherwise_is_not_guessed(tmp_path: Path, options: dict[str, Any]) -> None:
    assert cells(write(tmp_path / "a.parquet", VALUES, **options)) == [None] * len(VALUES)


def test_nulls_are_not_guessed(tmp_path: Path) -> None:
    assert cells(write(tmp_path / "a.parquet", [b"abc", None, b"d"])) == [None] * 3


def test_a_row_past_the_end(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", VALUES)
    with path.open("rb") as file:
        assert read_cell(path, file, read_footer(path).row_groups[0].columns[0], len(VALUES)) is None


def test_noise_gives_no_more_than_the_chunk_holds(tmp_path: Path) -> None:
    """Flipped bytes in headers, levels and lengths: a value, nothing, or an error; never a read past the chunk."""
    path = write(tmp_path / "a.parquet", VALUES[:5])
    good, column, rng = path.read_bytes(), read_footer(path).row_groups[0].columns[0], np.random.default_rng(0)
    outcomes = set()
    for _ in range(400):
        data = bytearray(good)
        at = int(rng.integers(column.start, column.start + 60))
        data[at] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(data))
        with path.open("rb") as file:
            try:
                value = read_cell(path, file, column, int(rng.integers(5)))
            except IntegrityError:
                outcomes.add("error")
                continue
        assert value is None or len(value) <= column.stored
        outcomes.add("none" if value is None else "value")
    assert outcomes == {"error", "none", "value"}


# -- in a release


def test_all_bytes_are_those_of_their_sha256(big: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = Release.open(big)
    read = release.read_group
    monkeypatch.setattr(release, "read_group", lambda path, group, columns: read(path, group, _without_video(columns)))
    rows = release.metadata(columns=["video_id", "sha256"]).to_pylist()
    assert len(rows) == 160
    for row in rows:
        assert hashlib.sha256(release.video_bytes(row["video_id"])).hexdigest() == row["sha256"]


def _without_video(columns: Any) -> Any:
    assert "video" not in columns, "a row group was read as a whole"
    return columns


def _forged(rows: releases.Rows) -> None:
    rows[1]["video"]["bytes"] = rows[1]["video"]["bytes"][:-1] + b"x"


def _twice(rows: releases.Rows) -> None:
    rows[2]["video_id"] = rows[1]["video_id"]


@pytest.mark.parametrize("damage", [_forged, _twice])
def test_damage_is_an_error_as_before(copy: Path, damage: Callable[[releases.Rows], None]) -> None:
    name = releases.data_file(copy)
    video_id = pq.read_table(copy / name)["video_id"][1].as_py()
    releases.edit_rows(copy, name, damage)
    with pytest.raises(IntegrityError):
        Release.open(copy).video_bytes(video_id)


def test_another_file_in_its_place_is_seen(copy: Path) -> None:
    """Rows and footers are kept for as long as the file is the one that they are of."""
    release = Release.open(copy)
    name = releases.data_file(copy)
    ids = pq.read_table(copy / name)["video_id"].to_pylist()
    before = {video_id: release.video_bytes(video_id) for video_id in ids}
    releases.edit_rows(copy, name, lambda rows: rows[::-1])
    assert {video_id: release.video_bytes(video_id) for video_id in ids} == before
