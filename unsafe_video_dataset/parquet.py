"""Reading a release's Parquet files: checksums on, columns checked, and every failure an `IntegrityError` that says the fix."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .errors import ChecksumError, IntegrityError, SchemaError, UnsafeVideoError
from .filters import Where
from .footer import Footer, read_footer
from .pages import check_file, check_group
from .scan import Check, scan


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever goes wrong while the file is read becomes an `IntegrityError` that names the file, the reason and the fix."""
    try:
        yield
    except UnsafeVideoError:
        raise
    except (pa.ArrowException, OSError, KeyError, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise IntegrityError(
            f"{path} can't be read ({reason}). `unsafe-video-build check` lists what is wrong; get the release anew."
        ) from error


def read_columns(
    path: Path,
    schema: pa.Schema,
    where: Where | None = None,
    *,
    footer: Footer | None = None,
    checked: bool = False,
    check: Check = lambda table: None,
) -> pa.Table:
    """The columns of `schema`, rows filtered. Raises `SchemaError` where a column is missing or has another type.

    `schema` holds the columns that `where` looks at. `footer` is the file's, where it is known; `checked` says that what these
    columns take was looked at before; `check` raises for values that may not be (see `scan`).
    """
    with reading(path):
        footer = read_footer(path) if footer is None else footer
        stored = footer.arrow.schema.to_arrow_schema()
        for field in schema:
            found = stored.field(field.name).type if field.name in stored.names else "missing"
            if found != field.type:
                raise SchemaError(f"{path}: column {field.name} is {found}, expected {field.type}. Get the release anew.")
        if not checked:
            check_file(path, footer, schema.names)
        arrow = footer.arrow

        def open_file(dictionaries: list[str]) -> pq.ParquetFile:
            options = {"page_checksum_verification": True, "pre_buffer": False}  # no copy of what is read from a disk
            return pq.ParquetFile(path, metadata=arrow, read_dictionary=dictionaries, **options)

        table = scan(open_file, footer, schema.names, where, check)
    return table.replace_schema_metadata(None)


def read_file(path: Path, *, footer: Footer | None = None) -> pa.Table:
    """All rows and columns of a file, what they take looked at before, their texts and offsets after."""
    with reading(path):
        footer = read_footer(path) if footer is None else footer
        check_file(path, footer)
        table = pq.ParquetFile(path, metadata=footer.arrow, page_checksum_verification=True).read()
        table.validate(full=True)
    return table


def read_group(path: Path, footer: Footer, group: int, columns: Sequence[str] | None = None) -> pa.Table:
    """As `read_file`, for one row group."""
    with reading(path):
        check_group(path, footer, group, columns)
        file = pq.ParquetFile(path, metadata=footer.arrow, page_checksum_verification=True)
        table = file.read_row_group(group, columns=columns)
        table.validate(full=True)
    return table


def groups_with(footer: Footer, video_id: str) -> list[int]:
    """Row groups that can hold the id, by the bounds in the footer."""
    wanted = video_id.encode()
    found = []
    for number, group in enumerate(footer.row_groups):
        for column in group.columns:
            if column.path == "video_id" and (
                column.lowest is None or column.highest is None or column.lowest <= wanted <= column.highest
            ):
                found.append(number)
    return found


def check_videos(rows: pa.Table, place: Path) -> None:
    """Raise `ChecksumError` unless each row's MP4 bytes have the recorded sha256, and the `video_id` that follows from it."""
    for video_id, sha256, video in zip(rows["video_id"], rows["sha256"], rows["video"], strict=True):
        data = video["bytes"].as_buffer() if video.is_valid else None
        found = hashlib.sha256(data).hexdigest() if data is not None else "none"
        if found != sha256.as_py() or not found.startswith(video_id.as_py()):
            raise ChecksumError(f"Video {video_id} of {place} has other bytes than recorded. Get the release anew.")
