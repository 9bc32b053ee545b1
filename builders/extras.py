"""Tables beside the data of a release that a recipe made: `candidates.parquet` and `folds.parquet`. No media, no prompts.

candidates  every raw file: `item`, `sha256`, `num_bytes`, `video_id`, and the `stage` that dropped it with its `reason` (null:
            it is in the release). A reason names no other file. Where prompts are left out `item` is an id, no file name.
folds       `video_id` and `fold`, for cross-validation; a `group_id` never crosses a fold
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from unsafe_video_dataset.extras import CANDIDATES, FOLDS
from unsafe_video_dataset.parquet import read_file
from unsafe_video_dataset.release import Release

from .pipeline.candidates import general

__all__ = ["CANDIDATES", "FOLDS", "read_extras"]


def read_extras(release: Release, *, without: Collection[str] = ()) -> dict[str, pa.Table]:
    """The tables that a release has, by file name; rows of the videos in `without` are left out of them."""
    names = {entry["path"] for entry in release.manifest["files"]} & {CANDIDATES, FOLDS}
    gone = pa.array(sorted(without), pa.string())
    tables = {}
    for name in sorted(names):
        table = read_file(release.path / name).replace_schema_metadata(None)
        keep = pc.fill_null(pc.invert(pc.is_in(table["video_id"], value_set=gone)), True)
        table = table.filter(keep)
        if without and "reason" in table.column_names:  # a reason may name a file that is withdrawn
            place = table.column_names.index("reason")
            reasons = pa.array(map(general, table["reason"].to_pylist()), pa.string())
            table = table.set_column(place, "reason", reasons)
        tables[name] = table
    return tables
