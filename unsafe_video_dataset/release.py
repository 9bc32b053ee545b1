"""`Release`: one dataset release on this machine. Tables with filters pushed down, one video's bytes by `video_id`.

Needs pyarrow alone. Opening reads `manifest.json` and nothing else; no file handle is kept, so a `Release` crosses forks
and pickles.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from . import integrity
from .cell import OneVideo
from .columns import all_differ
from .errors import FilterError, InputError, IntegrityError, TombstonedError, one_of
from .filters import Where, checked_filters, checked_names, nothing_passes
from .footer import Footer, read_footer
from .manifest import read_manifest
from .naming import SAMPLE as SAMPLE
from .naming import is_repo_id as is_repo_id
from .naming import locate as locate
from .naming import taken_for_a_repository
from .pages import check_group
from .parquet import check_videos, groups_with, read_columns, reading
from .parts import Part
from .places import Places
from .records import Kind, arrow_schema
from .taxonomy import CONFIGS, SPLITS
from .values import check_values

_FOLDERS = {"unsafe": ("unsafe",), "reviewed": ("unsafe", "not_unsafe")}  # of data/, for a config not named like its folder


class Release:
    """A release folder. Make one with `Release.open`."""

    def __init__(self, path: Path, manifest: dict[str, Any], manifest_sha256: str, part: Part | None = None) -> None:
        self.path = path
        self.part = part  # what was downloaded of it; None: all that there is
        self.manifest = manifest
        self.manifest_sha256 = manifest_sha256

    @classmethod
    def open(cls, path: str | os.PathLike[str] = SAMPLE, **hub: Any) -> Release:
        """Open the embedded `"sample"`, a release folder, or a release on the Hub. Reads the manifest only.

        A repository `"org/repo"` (where there is no such folder) is downloaded and verified first, as far as `config`
        (default `"unsafe"`) needs; `hub` takes the options of `hub.open_release`: `revision`, `token`, `cache_dir`,
        `local_files_only`, `allow_cached`, `accept_terms`, `config`, `split`, `stream`. Raises `InputError` where there is no
        release, `FaultsError` where its manifest does not fit the schema, and what `hub.download` raises.
        """
        if is_repo_id(path):
            from .hub import open_release  # the one arrow that points up: a name on the Hub needs the network

            with taken_for_a_repository(path):
                return open_release(os.fspath(path), **hub)
        if any(value not in (None, False) for key, value in hub.items() if key in ("revision", "local_files_only")):
            raise InputError(
                f"{os.fspath(path)!r} is not a repository on the Hub; a folder has only the revision that is in it."
            )
        root = locate(path)
        return cls(root, *read_manifest(root))

    def __repr__(self) -> str:
        counts = self.manifest["counts"]
        return f"<Release {self.name} {self.version}: {counts['videos']} videos, {counts['unsafe']} unsafe, at {self.path}>"

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("path", "part", "manifest", "manifest_sha256")}

    @property
    def name(self) -> str:
        """Name of the release, from the manifest."""
        return str(self.manifest["name"])

    @property
    def version(self) -> str:
        """Version of the release's data, from the manifest."""
        return str(self.manifest["release_version"])

    def metadata(
        self,
        split: str | None = None,
        *,
        columns: Sequence[str] | None = None,
        categories: Sequence[str] | None = None,
        generators: Sequence[str] | None = None,
        prompt_sources: Sequence[str] | None = None,
        is_unsafe: bool | None = None,
        min_raters: int | None = None,
        min_agreement: float | None = None,
    ) -> pa.Table:
        """Reviewed videos without bytes, one row a video with its `split`, sorted by split and `video_id`.

        Filters combine with 'and'; within one, any of the given values will do (`categories`: the video has any of them).
        `min_agreement` leaves out videos with fewer than two votes. Raises `FilterError` for an unknown name, and for an
        empty result, listing what there is.
        """
        every = arrow_schema("metadata", split=True).names
        wanted = every if columns is None else checked_names(columns, every, "columns")
        filters = checked_filters(
            self.manifest["counts"],
            categories=categories,
            generators=generators,
            prompt_sources=prompt_sources,
            is_unsafe=is_unsafe,
            min_raters=min_raters,
            min_agreement=min_agreement,
        )
        where = Where(filters)
        table = pa.concat_tables([self._read_metadata(name, {*wanted, "video_id"}, where) for name in self._splits(split)])
        if not table.num_rows:
            raise nothing_passes(self.name, self.manifest["counts"], {"split": split, **filters})
        return table.select(wanted)

    def annotations(self, split: str | None = None) -> pa.Table:
        """One row per rater and video (with `split`), sorted by split, `video_id`, rater. `FilterError` without votes."""
        if "annotations" not in self.manifest["configs"]:
            raise FilterError(f"Release {self.name} has no rater votes (its labels come from upstream, without votes).")
        parts = []
        for name in self._splits(split):
            part = self._read(f"data/annotations/{name}.parquet", arrow_schema("annotation"))
            parts.append(part.append_column("split", pa.array([name] * part.num_rows, pa.string())))
        table = pa.concat_tables(parts)
        if not table.num_rows:
            raise nothing_passes(self.name, self.manifest["counts"], {"split": split})
        return table

    def video_bytes(self, video_id: str) -> bytes:
        """The MP4 file of a video, its sha256 checked. Reads it alone, where it is stored as the builders do.

        Raises `FilterError` for an unknown id, `TombstonedError` for a withdrawn one, `ChecksumError` for wrong bytes.
        """
        for path, group in self._asked(video_id):
            data = self._alone.bytes(path, group, video_id)
            if data is not None:
                return data
        return self.group_videos(video_id, (video_id,))[video_id]

    def group_videos(self, video_id: str, wanted: Container[str]) -> dict[str, bytes]:
        """The MP4 files of the `wanted` videos that lie in one row group with this one, as in `video_bytes`; one read."""
        for path, group in self._asked(video_id):
            rows = self.read_group(path, group, ["video_id", "video", "sha256"])
            with reading(path):
                ids = rows["video_id"].to_pylist()
                rows = rows.filter(pa.array([one == video_id or one in wanted for one in ids]))
            if video_id in ids:
                check_videos(rows, self.path)
                return _files(rows)
        raise IntegrityError(f"Video {video_id} is listed, but no data file of {self.path} holds it. Get the release anew.")

    def _asked(self, video_id: str) -> Iterator[tuple[Path, int]]:
        if not isinstance(video_id, str) or not re.fullmatch("[0-9a-f]{16}", video_id):
            raise FilterError(f"{video_id!r} is no video_id: that is 16 hex digits. `Release.metadata()` lists them.")
        self.refuse_withdrawn(video_id)
        return self._row_groups(video_id)

    def refuse_withdrawn(self, video_id: str) -> None:
        """Raise `TombstonedError` for a withdrawn video. Whoever hands out frames without its bytes asks here first."""
        if video_id in self.tombstones:
            raise TombstonedError(f"Video {video_id} was withdrawn: {self.tombstones[video_id]}. Leave it out.")

    def verify(self, *, decode: bool = False) -> integrity.VerifyReport:
        """Check every file and row (of what was downloaded) against the manifest; see `integrity.verify`."""
        return integrity.verify(self, decode=decode)

    def data_files(self, config: str, split: str) -> list[Path]:
        """Parquet files of one config and split, unsafe videos first. Raises `FilterError` for a config that is not there."""
        one_of(split, SPLITS, "split")
        if one_of(config, CONFIGS, "config") not in self.manifest["configs"]:
            raise FilterError(f"Release {self.name} has no config {config!r}; it has {', '.join(self.manifest['configs'])}.")
        return [file for folder in _FOLDERS.get(config, (config,)) for file in self._folder_files(folder, split)]

    def num_rows(self, config: str, split: str) -> int:
        """Rows of one config and split by the manifest, withdrawn videos counted; no file is opened."""
        starts = tuple(f"data/{folder}/{split}{end}" for folder in _FOLDERS.get(config, (config,)) for end in ("-", "."))
        return sum(entry["rows"] for entry in self.manifest["files"] if entry["path"].startswith(starts))

    def footer(self, path: Path) -> Footer:
        """The footer of a data file; kept for the next call."""
        with reading(path):
            facts = path.stat()
            state = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
            if self._footers.get(path, (None,))[0] != state:  # new, or another file than it was
                self._checked = {known for known in self._checked if known[0] != path}
                self._footers[path] = (state, read_footer(self._source(path)))
        return self._footers[path][1]

    def read_group(self, path: Path, group: int, columns: Sequence[str]) -> pa.Table:
        """Columns of one row group of a data file, its size bounded and page checksums verified. Raises `IntegrityError`."""
        with reading(path):
            if (path, group, *columns) not in self._checked:
                check_group(path, self.footer(path), group, columns)
                self._checked.add((path, group, *columns))
            file = pq.ParquetFile(self._source(path), metadata=self.footer(path).arrow, page_checksum_verification=True)
            table = file.read_row_group(group, columns=list(columns))
            table.validate(full=True)  # texts may be none, offsets may lie
            return table

    @cached_property
    def tombstones(self) -> dict[str, str]:
        """Withdrawn videos: `video_id` -> reason."""
        schema = pa.schema([("video_id", pa.string()), ("reason", pa.string())])
        rows = read_columns(self._file("tombstones.parquet"), schema).to_pylist()
        return {row["video_id"]: row["reason"] for row in rows}

    # --- inside ------------------------------------------------------------------------------------------------------

    def _splits(self, split: str | None) -> Sequence[str]:
        return SPLITS if split is None else (one_of(split, SPLITS, "split"),)

    def _folder_files(self, folder: str, split: str) -> list[Path]:
        starts = (f"data/{folder}/{split}-", f"data/{folder}/{split}.")
        names = sorted(entry["path"] for entry in self.manifest["files"])
        return [self._file(name) for name in names if name.startswith(starts)]

    def _file(self, name: str) -> Path:
        try:
            path = (self.path / name).resolve()
        except (OSError, RuntimeError) as error:  # links in a circle
            raise IntegrityError(f"{name} of release {self.path} can't be found ({error}). Get the release anew.") from error
        if not path.is_relative_to(self.path.resolve()):
            raise IntegrityError(f"{name} of release {self.path} leads out of the release. Do not use this release.")
        if not path.is_file() and self.part is not None and not self.part.holds(name):
            raise FilterError(f"{name} of {self.name} was not downloaded (only {self.part}). {self.part.fix(name)}")
        if not path.is_file():
            raise IntegrityError(f"{name} is missing from release {self.path}. Get the release anew.")
        return path

    def keep(self, table: pa.Table) -> pa.Table:
        """The table without withdrawn videos."""
        if not self.tombstones:
            return table
        gone = pa.array(list(self.tombstones), pa.string())
        return table.filter(pc.invert(pc.is_in(table["video_id"], value_set=gone)))

    def _read(self, name: str, schema: pa.Schema, where: Where | None = None) -> pa.Table:
        path = self._file(name)
        footer, read = self.footer(path), (path, None, *schema.names)
        kind: Kind = "annotation" if name.startswith("data/annotations/") else "video"
        check = partial(check_values, kind, place=self.path / name)
        table = read_columns(path, schema, where, footer=footer, checked=read in self._checked, check=check)
        self._checked.add(read)
        if not name.startswith("data/annotations/") and not all_differ(table["video_id"], 16):
            raise IntegrityError(f"{name} of release {self.path} holds a video_id twice. Get the release anew.")
        return self.keep(table)

    def _read_metadata(self, split: str, columns: set[str], where: Where | None) -> pa.Table:
        looked_at = columns | set(where.columns if where is not None else ())
        schema = pa.schema([field for field in arrow_schema("metadata") if field.name in looked_at])
        table = self._read(f"data/metadata/{split}.parquet", schema, where)
        if "split" in columns:
            table = table.append_column("split", pa.array([split] * table.num_rows, pa.string()))
        return table

    @cached_property
    def _places(self) -> Places:
        return Places(lambda split: self._read_metadata(split, {"video_id", "is_unsafe"}, None))

    def _row_groups(self, video_id: str) -> Iterator[tuple[Path, int]]:
        """The row groups that can hold the id, by the statistics in the footers: one, as the files are sorted by id."""
        place = self._places.find(video_id)
        if place is None:
            raise FilterError(f"Release {self.name} has no video {video_id!r}. `Release.metadata()` lists its video_ids.")
        for path in self._folder_files(*place):
            with reading(path):  # statistics are read as text
                groups = groups_with(self.footer(path), video_id)
            yield from ((path, group) for group in groups)

    @cached_property
    def _footers(self) -> dict[Path, tuple[object, Footer]]:
        return {}

    @cached_property
    def _checked(self) -> set[tuple[object, ...]]:
        return set()

    @cached_property
    def _alone(self) -> OneVideo:
        return OneVideo(self.footer, self.read_group, lambda path: self._source(path))

    def _source(self, path: Path) -> Any:
        return path  # a seam: a test puts a counting file here


def _files(rows: pa.Table) -> dict[str, bytes]:
    pairs = zip(rows["video_id"].to_pylist(), rows["video"], strict=True)
    return {video_id: bytes(video["bytes"].as_py()) for video_id, video in pairs}
