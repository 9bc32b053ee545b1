"""The footer as this package reads it: what pyarrow says of honest files, and no end of the process on others."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unsafe_video_dataset import Release
from unsafe_video_dataset.errors import IntegrityError
from unsafe_video_dataset.footer import BadFooter, read_footer
from unsafe_video_dataset.parquet import groups_with, read_columns, reading


def test_it_says_what_pyarrow_says() -> None:
    columns = 0
    for path in sorted(Release.open().path.rglob("*.parquet")):
        footer, known = read_footer(path), pq.read_metadata(path)
        assert (footer.num_rows, len(footer.row_groups)) == (known.num_rows, known.num_row_groups)
        for number, group in enumerate(footer.row_groups):
            assert group.num_rows == known.row_group(number).num_rows
            for place, column in enumerate(group.columns):
                other = known.row_group(number).column(place)
                assert (column.path, column.num_values) == (other.path_in_schema, other.num_values)
                assert column.stored == other.total_compressed_size
                assert column.is_text == (other.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY"))
                offsets = [other.data_page_offset, other.dictionary_page_offset or other.data_page_offset]
                assert column.start == min(offsets)
                if other.path_in_schema == "video_id" and other.is_stats_set:
                    assert column.lowest == other.statistics.min.encode()
                    assert column.highest == other.statistics.max.encode()
                columns += 1
    assert columns > 100


def test_the_groups_of_an_id() -> None:
    release = Release.open()
    for path in release.data_files("reviewed", "train"):
        footer, file = read_footer(path), pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            for video_id in file.read_row_group(group, columns=["video_id"])["video_id"].to_pylist():
                assert groups_with(footer, video_id) == [group]
        assert groups_with(footer, "ffffffffffffffff") == []


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1PAR1", b"x" * 100, b"PAR1" + b"\xff" * 40 + b"\x20\0\0\0PAR1"])
def test_what_is_no_footer(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    with pytest.raises(BadFooter):
        read_footer(path)
    with pytest.raises(IntegrityError, match=r"a\.parquet can't be read .*get the release anew"), reading(path):
        read_footer(path)


def test_a_long_footer_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({f"column {number}": [1, 2] for number in range(2000)}), path, row_group_size=1)
    assert path.stat().st_size - 200_000 > 1 << 16
    footer = read_footer(path)
    assert [len(group.columns) for group in footer.row_groups] == [2000, 2000]


MUTATE = """
import sys
import numpy as np
from pathlib import Path
from unsafe_video_dataset.errors import UnsafeVideoError
from unsafe_video_dataset.footer import read_footer
from unsafe_video_dataset.parquet import groups_with, read_file, reading
path, seed = Path(sys.argv[1]), int(sys.argv[2])
good, rng, tally = path.read_bytes(), np.random.default_rng(seed), {}
length = int.from_bytes(good[-8:-4], "little")
for number in range(1500):
    data = bytearray(good)
    for _ in range(int(rng.integers(1, 3))):
        data[len(good) - 8 - int(rng.integers(1, length))] = int(rng.integers(256))
    path.write_bytes(bytes(data))
    print(number, file=sys.stderr)
    try:
        with reading(path):
            groups_with(read_footer(path), "0123456789abcdef")
        read_file(path)
        outcome = "read"
    except UnsafeVideoError as error:
        outcome = type(error).__name__
    tally[outcome] = tally.get(outcome, 0) + 1
print(tally)
"""


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_changed_footer_never_ends_the_process(tmp_path: Path, seed: int) -> None:
    """pyarrow's own access to a column's metadata aborts on some of these."""
    rng = np.random.default_rng(seed)
    ids = sorted(rng.bytes(8).hex() for _ in range(6))
    table = pa.table({"video_id": ids, "votes": [[{"rater_id": "r1", "n": 1}]] * 6, "x": [1.5] * 6})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=3, write_page_checksum=True)
    done = subprocess.run([sys.executable, "-c", MUTATE, path, str(seed)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    tally = eval(done.stdout)
    assert set(tally) <= {"read", "IntegrityError", "SchemaError"}
    assert tally["IntegrityError"] > 300
    assert sum(tally.values()) == 1500


def test_columns_that_are_wrong_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"video_id": [1]}), path)
    with pytest.raises(IntegrityError, match="video_id is int64, expected string"):
        read_columns(path, pa.schema([("video_id", pa.string())]))
