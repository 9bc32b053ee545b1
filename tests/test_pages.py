"""What a Parquet file takes is told before it is read: bombs are refused, what is large and honest is not."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unsafe_video_dataset import Release, pages
from unsafe_video_dataset.errors import IntegrityError, SchemaError
from unsafe_video_dataset.footer import read_footer
from unsafe_video_dataset.parquet import read_file
from unsafe_video_dataset.values import check_values


def write(path: Path, table: pa.Table, **options: object) -> Path:
    pq.write_table(table, path, **{"compression": "zstd", "write_statistics": False, **options})
    return path


def check(path: Path) -> None:
    pages.check_file(path, read_footer(path))


def repeated(size: int, rows: int) -> pa.Table:
    return pa.table({"x": pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([b"a" * size]))})


def test_a_text_that_a_dictionary_repeats(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", repeated(20_000_000, 50), store_schema=False)
    assert path.stat().st_size < 20_000
    assert pq.read_metadata(path).row_group(0).total_byte_size < 30_000_000  # the footer does not say
    with pytest.raises(IntegrityError, match="made to fill the memory"):
        check(path)
    check(write(path, repeated(20_000_000, 5), store_schema=False))


def test_a_text_that_nested_dictionaries_repeat(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="made to fill the memory"):
        check(write(tmp_path / "a.parquet", pa.table({"x": [[{"a": "x" * 1_000_000, "b": 1}] * 300]}), write_statistics=False))


@pytest.mark.parametrize("codec", ["none", "snappy", "gzip", "zstd", "brotli", "lz4"])
def test_ids_in_dictionaries_pass_without_a_look_at_the_rows(
    tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts of one length can't expand to more than that; the worst case of a dictionary of 10,000 would be refused."""
    ids = pa.table({"x": [f"{number * 7919:016x}" for number in range(30_000)]})
    path = write(tmp_path / "a.parquet", ids, row_group_size=10_000, compression=codec)
    if codec == "lz4":  # takes the longer way
        check(path)
        return
    monkeypatch.setattr(pages, "_repeated_text", lambda *_: pytest.fail("the rows were read"))
    check(path)


@pytest.mark.parametrize("value", [bytes(20_000_000), b"\x10\0\0\0" * 5_000_000, b"ab" * 10_000_000])
def test_fixed_bytes_that_look_like_short_texts(tmp_path: Path, value: bytes) -> None:
    """A dictionary of fixed-size values has no lengths in it: zeros there are no texts of no length."""
    kind = pa.binary(len(value))
    table = pa.table({"x": pa.DictionaryArray.from_arrays(pa.array([0] * 50, pa.int32()), pa.array([value], kind))})
    path = write(tmp_path / "a.parquet", table, store_schema=False)
    assert read_footer(path).row_groups[0].columns[0].kind == 7
    with pytest.raises(IntegrityError, match="fill the memory"):
        check(path)


def test_row_groups_add_up_for_a_file_and_not_for_a_group(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", repeated(20_000_000, 50), row_group_size=5, store_schema=False)
    footer = read_footer(path)
    for group in range(10):
        pages.check_group(path, footer, group)
    with pytest.raises(IntegrityError):
        pages.check_file(path, footer)


def test_pages_that_expand(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="made to fill the memory"):
        check(write(tmp_path / "a.parquet", pa.table({"x": [bytes(150_000_000)] * 2}), use_dictionary=False))


def test_nulls_without_end(tmp_path: Path) -> None:
    table = pa.table({"x": pa.nulls(30_000_000, pa.bool_())})
    with pytest.raises(IntegrityError, match="made to fill the memory"):
        check(write(tmp_path / "a.parquet", table, row_group_size=30_000_000))


@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_encodings_that_a_release_has_not(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"x": ["abc"] * 9}), use_dictionary=False, column_encoding={"x": encoding})
    with pytest.raises(IntegrityError, match="has the encoding"):
        check(path)


def test_a_page_header_with_a_field_twice(tmp_path: Path) -> None:
    """Readers differ on which counts: the large one could be for pyarrow, the small one for the check."""
    path = write(tmp_path / "a.parquet", pa.table({"x": pa.array([1, 2, 3])}), use_dictionary=False, compression="none")
    data, footer = bytearray(path.read_bytes()), read_footer(path)
    start = footer.row_groups[0].columns[0].start
    assert data[start : start + 2] == b"\x15\x00"  # field 1, a data page
    assert data[start + 2] == 0x15  # one field on: the size
    size = data[start + 3 : start + 5] if data[start + 3] & 0x80 else data[start + 3 : start + 4]
    data[start + 2 : start + 2] = b"\x15" + bytes(size)  # the size, and then again, by its number
    again = start + 3 + len(size)
    data[again : again + 1] = b"\x05\x04"
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="header can't be read"):
        pages.check_file(path, footer)


def test_what_is_large_and_honest_passes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = pa.table({"x": [rng.bytes(3_000_000) for _ in range(20)]})
    check(write(tmp_path / "noise.parquet", noise))
    prompts = pa.table({"x": [f"a shape number {index} that moves" * 3 for index in range(50_000)]})
    check(write(tmp_path / "prompts.parquet", prompts))
    votes = pa.table({"x": [[{"rater_id": f"r{k}", "seconds": 1.5} for k in range(6)]] * 5_000})
    check(write(tmp_path / "votes.parquet", votes))
    check(write(tmp_path / "empty.parquet", votes.slice(0, 0)))


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_both_page_versions_and_all_codecs(tmp_path: Path, version: str) -> None:
    table = pa.table({"x": ["a", None, "b"] * 100, "y": [[1, 2], [], None] * 100, "z": [True, None, False] * 100})
    for codec in ("none", "snappy", "gzip", "zstd", "lz4", "brotli"):
        path = write(tmp_path / "a.parquet", table, compression=codec, data_page_version=version, write_page_checksum=True)
        check(path)
        assert read_file(path).equals(table)


def test_the_sum_is_what_pyarrow_reads(tmp_path: Path) -> None:
    """The headers are those of the pages that pyarrow decompresses: sizes agree with an honest footer."""
    release = Release.open()
    for path in sorted(release.path.rglob("*.parquet")):
        known = pq.read_metadata(path)
        for group, row_group in enumerate(read_footer(path).row_groups):
            for number, column in enumerate(row_group.columns):
                if column.num_values:
                    with path.open("rb") as file:
                        chunk = pages._read_chunk(path, file, path.stat().st_size, column)
                    assert chunk.values == column.num_values
                    whole = known.row_group(group).column(number).total_uncompressed_size
                    assert 0 <= whole - chunk.expanded < 4000  # the headers themselves


def test_noise_is_refused_in_time(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", pa.table({"x": ["abc"] * 1000}), compression="none")
    footer = read_footer(path)
    rng = np.random.default_rng(1)
    good = path.read_bytes()
    for _ in range(300):
        data = bytearray(good)
        at = int(rng.integers(4, 40))
        data[at : at + 8] = rng.bytes(8)
        path.write_bytes(bytes(data))
        with contextlib.suppress(IntegrityError):
            pages.check_file(path, footer)


def test_a_text_that_is_none(tmp_path: Path) -> None:
    buffers = [None, pa.py_buffer(struct.pack("<2i", 0, 2)), pa.py_buffer(b"\xff\xfe")]
    table = pa.table({"x": pa.Array.from_buffers(pa.string(), 1, buffers)})
    with pytest.raises(IntegrityError, match="can't be read"):
        read_file(write(tmp_path / "a.parquet", table))


BAD_VALUES = {
    "video_id": ([None], [""], ["0" * 15], ["0" * 16 + "\n"], ["G" * 16]),
    "categories": ([[-1]], [[5]], [[0, None]]),
    "num_frames": ([None], [0], [-1]),
    "agreement": ([float("nan")], [float("inf")], [1.01], [-0.1]),
    "is_unsafe": ([None],),
    "label_method": (["guess"], [None]),
    "fps": ([0.0], [None]),
    "vote_counts": ([dict.fromkeys(("distorted_weird", "terrifying", "pornographic", "violent_bloody", "political"), 1)],),
    "prompt": (["x" * 20_001],),
}


@pytest.mark.parametrize("column", BAD_VALUES)
def test_values_that_the_schema_does_not_allow(column: str) -> None:
    table = Release.open().metadata("test").drop_columns(["split"])
    check_values("video", table, Path("x"))
    check_values("video", table.slice(3, 4), Path("x"))
    index = table.column_names.index(column)
    field = table.schema.field(index)
    for value in BAD_VALUES[column]:
        good = table[column].slice(1).combine_chunks()
        bad = pa.chunked_array([pa.array(value, field.type), good])
        with pytest.raises(SchemaError, match=f"column {column} holds"):
            check_values("video", table.set_column(index, field, bad), Path("x"))
