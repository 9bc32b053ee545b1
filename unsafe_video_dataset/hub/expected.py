"""What the data files of a release must hold, by its manifest and verified metadata: which videos, in which order."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import FilterError, IntegrityError
from ..parquet import read_file
from ..release import Release
from ..taxonomy import SPLITS

_FOLDERS = {"unsafe": True, "not_unsafe": False}


class Expected:
    """The rows that are due in each data file of a release. Raises `IntegrityError` where manifest and metadata disagree."""

    def __init__(self, release: Release) -> None:
        self._release = release

    def count(self, path: Path) -> int:
        """Rows of a data file."""
        return self._slices[path][1]

    def rows(self, path: Path, first: int, count: int) -> pa.Table:
        """`count` rows of a data file from row `first` on: all columns but the video."""
        return self._tables[_key(path)].slice(self._slices[path][0] + first, count)

    def place(self, video_id: str) -> tuple[Path, int]:
        """The data file of a video, and its row there. Raises `FilterError` for a video that the release does not hold."""
        for path, (first, count) in self._slices.items():
            ids = self._tables[_key(path)]["video_id"].slice(first, count)
            row = pc.index(ids, pa.scalar(video_id, pa.string())).as_py() if isinstance(video_id, str) else -1
            if row >= 0:
                return path, row
        name = self._release.name
        raise FilterError(f"Release {name} has no video {video_id!r}. `Release.metadata()` lists its video_ids.")

    @cached_property
    def _tables(self) -> dict[tuple[str, str], pa.Table]:
        """By folder and split: the metadata of its videos, in the order of their files."""
        tables = {}
        for split in SPLITS:
            (path,) = self._release.data_files("metadata", split)
            table = read_file(path).replace_schema_metadata(None).sort_by("video_id")
            for folder, unsafe in _FOLDERS.items():
                tables[folder, split] = table.filter(pc.equal(table["is_unsafe"], unsafe)).combine_chunks()
        return tables

    @cached_property
    def _slices(self) -> dict[Path, tuple[int, int]]:
        """By data file: the first of its rows in its table, and how many they are."""
        base = self._release.path.resolve()
        rows = {entry["path"]: entry["rows"] for entry in self._release.manifest["files"]}
        slices: dict[Path, tuple[int, int]] = {}
        for split in SPLITS:
            ends = dict.fromkeys(_FOLDERS, 0)
            for path in self._release.data_files("reviewed", split):
                first, count = ends[path.parent.name], rows[path.relative_to(base).as_posix()] or 0
                slices[path] = (first, count)
                ends[path.parent.name] = first + count
            for folder, end in ends.items():
                found = self._tables[folder, split].num_rows
                if end != found:
                    raise IntegrityError(
                        f"The manifest of {self._release.name} counts {end} rows in data/{folder}/{split}, its metadata "
                        f"{found}. Do not use it; tell the owner."
                    )
        return slices


def _key(path: Path) -> tuple[str, str]:
    return path.parent.name, path.name.split("-")[0]
