"""The work folder: whole files or none, one run at a time, a table that was touched is not done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from unsafe_video_dataset.builders.pipeline.stage import COMMON
from unsafe_video_dataset.builders.pipeline.work import Work, check_table, table_bytes, write_atomic
from unsafe_video_dataset.errors import InputError, IntegrityError, StorageError

SCHEMA = pa.schema(COMMON)


def table(*rows: tuple[str | None, bool | None, str | None]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in rows], schema=SCHEMA)


GOOD = table(("b", True, None), ("a", False, "why"))


def test_a_finished_stage_comes_back(tmp_path: Path) -> None:
    work = Work(tmp_path / "work")
    with work.lock():
        work.begin("one", forget=False)
        assert work.done("one") is None
        made = work.finish("one", "f" * 64, check_table("one", GOOD), {"n": 1})
        assert (made.rows, made.kept) == (2, 1)
    assert work.done("one") == made
    assert work.table("one")["item"].to_pylist() == ["a", "b"]
    assert work.report("one") == {"n": 1}
    assert not work.files("one").exists()  # nothing was put there
    assert table_bytes(work.table("one")) == table_bytes(check_table("one", GOOD))


@pytest.mark.parametrize("what", ["table.parquet", "done.json"])
def test_a_stage_that_was_touched_is_not_done(what: str, tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.finish("one", "f", check_table("one", GOOD), {})
    path = work.stage("one") / what
    path.write_bytes(path.read_bytes()[:-3])
    assert work.done("one") is None
    path.unlink()
    assert work.done("one") is None
    if what == "table.parquet":
        with pytest.raises(IntegrityError, match="--from one"):
            work.table("one")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (table(("a", True, None), ("a", True, None)), "an item stands twice"),
        (table(("a", True, "why")), "a kept row has a reason"),
        (table(("a", False, None)), "a dropped one has none"),
        (table((None, True, None)), "is null"),
        (table(("a", None, None)), "is null"),
        (GOOD.select(["kept", "item", "reason"]), "first columns"),
        (GOOD.select(["item"]), "first columns"),
        (GOOD.set_column(0, "item", pa.array([1, 2])), "first columns"),
    ],
)
def test_a_table_that_can_not_be_is_refused(bad: pa.Table, why: str) -> None:
    with pytest.raises(IntegrityError, match=why):
        check_table("one", bad)


HOLD = """
import sys, time
from pathlib import Path
from unsafe_video_dataset.builders.pipeline.work import Work
with Work(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_runs_refuse_each_other_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "work")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=r"Another run works in .*work"), Work(tmp_path / "work").lock():
        pass
    holder.kill()
    holder.communicate()
    with Work(tmp_path / "work").lock():
        pass


def test_a_place_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is not a folder"), Work(tmp_path / "file").lock():
        pass
    with pytest.raises(StorageError, match=r"can't be written \(.*\)\. Make room or get permission"):
        write_atomic(tmp_path / "file" / "below", b"x")
    if Path("/sys/kernel").is_dir():  # a file system that refuses root, too
        with pytest.raises(StorageError), Work(Path("/sys/kernel/work")).lock():
            pass


FULL = """
import resource, sys
from pathlib import Path
from unsafe_video_dataset.builders.pipeline.work import write_atomic
from unsafe_video_dataset.errors import StorageError
path = Path(sys.argv[1])
write_atomic(path, b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomic(path, b"x" * 5000)
except StorageError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits of a process")
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path / "f")], capture_output=True, text=True, check=True)
    assert "can't be written" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"
