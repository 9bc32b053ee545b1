"""The work folder of a recipe: a folder a stage with its table, report, journal and `done.json`; one run at a time.

    work/<stage>/table.parquet  report.json  done.json   written under a temporary name, then renamed; done.json is last
    work/<stage>/journal/       answers of items that are done, also those of a run that was killed (`journal.py`)
    work/<stage>/files/         sheets and other files to look at

A stage is done when `done.json` is there and names the sha256 of the table that is there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from unsafe_video_dataset.errors import InputError, IntegrityError, StorageError
from unsafe_video_dataset.integrity import sha256_file

from .journal import Journal
from .stage import COMMON

_ROW_GROUP = 10_000


@dataclass(frozen=True)
class Done:
    """What a finished stage says of itself: the fingerprint of all that decided it, and its table's sha256 and counts.

    `died` items have no answer because their process died: the next run tries them again.
    """

    stage: str
    fingerprint: str
    table: str
    rows: int
    kept: int
    died: int = 0


class Work:
    """A work folder. Hold `lock()` while anything is written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Make the folder and hold it. The system frees the lock when the process dies, however it dies.

        Raises `InputError` while another run holds it or where it is no folder, `StorageError` where it can't be written.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f'The work folder {self.folder} is not a folder. Give another name: work = "…" in [release].')
        with storing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            held = FileLock(self.folder / ".lock")
            try:
                held.acquire(timeout=0)
            except Timeout:
                message = f"Another run works in {self.folder}. Wait until it ends, or give another `work` in [release]."
                raise InputError(message) from None
        try:
            yield
        finally:
            held.release()

    def stage(self, name: str) -> Path:
        """The folder of a stage."""
        return self.folder / name

    def files(self, name: str) -> Path:
        """The folder for a stage's sheets."""
        return self.stage(name) / "files"

    def journal(self, name: str) -> Journal:
        """A stage's journal."""
        return Journal(self.stage(name) / "journal")

    def begin(self, name: str, *, forget: bool) -> None:
        """A stage starts: it is no longer done, its files are gone, and with `forget` its journal too."""
        with storing(self.stage(name)):
            (self.stage(name) / "done.json").unlink(missing_ok=True)
            for folder in [self.files(name)] + ([self.stage(name) / "journal"] if forget else []):
                if folder.exists():
                    shutil.rmtree(folder)
            self.files(name).mkdir(parents=True)

    def finish(self, name: str, fingerprint: str, table: pa.Table, report: dict[str, Any], *, died: int = 0) -> Done:
        """Write a stage's table (sorted by item) and report; then it is done."""
        folder = self.stage(name)
        data = table_bytes(table)
        done = Done(name, fingerprint, hashlib.sha256(data).hexdigest(), table.num_rows, kept_rows(table).num_rows, died)
        write_atomic(folder / "table.parquet", data)
        write_atomic(folder / "report.json", json_bytes(report))
        write_atomic(folder / "done.json", json_bytes(asdict(done)))
        with suppress(OSError):
            self.files(name).rmdir()  # nothing to look at
        return done

    def done(self, name: str) -> Done | None:
        """What a stage said when it was done; None if it is not, or its table is gone or another one."""
        try:
            done = Done(**json.loads((self.stage(name) / "done.json").read_bytes()))
            return done if sha256_file(self.stage(name) / "table.parquet") == done.table else None
        except (OSError, ValueError, TypeError):
            return None

    def table(self, name: str) -> pa.Table:
        """A stage's table. Raises `IntegrityError` where there is none that can be read."""
        try:
            with pq.ParquetFile(self.stage(name) / "table.parquet", page_checksum_verification=True) as file:
                return file.read()
        except (OSError, pa.ArrowException) as error:
            fix = f"Run it again: --from {name}"
            raise IntegrityError(f"The table of stage {name} can't be read ({type(error).__name__}). {fix}") from error

    def report(self, name: str) -> dict[str, Any]:
        """A stage's report; empty if there is none."""
        try:
            loaded: dict[str, Any] = json.loads((self.stage(name) / "report.json").read_bytes())
            return loaded
        except (OSError, ValueError):
            return {}


def kept_rows(table: pa.Table) -> pa.Table:
    """The rows with `kept` true."""
    return table.filter(table["kept"])


def table_bytes(table: pa.Table) -> bytes:
    """A table as Parquet: the same rows and the same pyarrow give the same bytes."""
    sink = pa.BufferOutputStream()
    rows = table.replace_schema_metadata(None).combine_chunks()
    with pq.ParquetWriter(sink, rows.schema, compression="zstd", write_page_checksum=True) as writer:
        if rows.num_rows:
            writer.write_table(rows, row_group_size=_ROW_GROUP)
    return bytes(sink.getvalue())


def check_table(stage: str, table: pa.Table) -> pa.Table:
    """The table sorted by item. Raises `IntegrityError` unless it is as `stage.py` says: that is a fault of the stage."""
    problem = None
    if [field.name for field in table.schema][: len(COMMON)] != [field.name for field in COMMON] or any(
        table.schema.field(field.name).type != field.type for field in COMMON
    ):
        problem = f"its first columns are not {', '.join(f'{field.name} {field.type}' for field in COMMON)}"
    elif table["item"].null_count or table["kept"].null_count:
        problem = "an item or `kept` is null"
    elif len(table["item"].unique()) != table.num_rows:
        problem = "an item stands twice"
    else:
        for kept, reason in zip(table["kept"].to_pylist(), table["reason"].to_pylist(), strict=True):
            if kept is (reason is not None):
                problem = "a kept row has a reason, or a dropped one has none"
                break
    if problem:
        raise IntegrityError(f"Stage {stage} made a table that can't be: {problem}. Please report this.")
    return table.sort_by("item")


def json_bytes(value: Any) -> bytes:
    """JSON with sorted keys; refuses NaN."""
    return (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file whole or not at all. Raises `StorageError` where that is not possible."""
    partial = path.with_name(f".{path.name}.partial")
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data)
            partial.replace(path)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            raise


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn `OSError` into `StorageError` with the place and the fix."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        fix = "Make room or get permission, then run again: what is done stays done."
        raise StorageError(f"{path} can't be written ({error.strerror or type(error).__name__}). {fix}") from error
