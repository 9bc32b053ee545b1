"""Lance: the dataset `videos.lance`, one row a video: the metadata columns and the blob column `video` (the MP4 file).

Blobs are read on demand: `lance.dataset(path).take_blobs("video", indices=[0])[0].read()`. Categories are names. Lance names
its files by chance, so two exports of one selection hold the same rows in other files.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import MissingDependency
from .selection import Record, Selection

NAME = "videos.lance"
_VIDEOS = 64  # in memory at a time


def write(selection: Selection, folder: Path) -> None:
    """Write the dataset. Raises `MissingDependency` without pylance."""
    lance = need_lance()
    fields = [field.with_type(_with_names(field.type)) if field.name in ("categories", "votes") else field
              for field in selection.table.schema]  # fmt: skip
    schema = pa.schema([*fields, lance.blob_field("video")] if selection.media else fields)
    reader = pa.RecordBatchReader.from_batches(schema, _batches(selection, pa.schema(fields), schema, lance))
    lance.write_dataset(reader, str(folder / NAME), data_storage_version="2.2")


def need_lance() -> Any:
    """The module. Raises `MissingDependency`."""
    try:
        import lance
    except ModuleNotFoundError as error:
        raise MissingDependency("The format lance needs pylance: pip install 'unsafe-video-dataset[export]'") from error
    return lance


def _batches(selection: Selection, plain: pa.Schema, schema: pa.Schema, lance: Any) -> Iterator[pa.RecordBatch]:
    videos = selection.videos()
    while part := list(islice(videos, _VIDEOS)):
        rows: list[Record] = [record for record, _ in part]
        columns = pa.RecordBatch.from_pylist(rows, schema=plain).columns
        if selection.media:
            columns = [*columns, lance.blob_array([data for _, data in part])]
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _with_names(kind: pa.DataType) -> pa.DataType:
    """The type with strings in the place of class indices."""
    if pa.types.is_list(kind):
        return pa.list_(_with_names(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_with_names(field.type)) for field in kind])
    return pa.string()
