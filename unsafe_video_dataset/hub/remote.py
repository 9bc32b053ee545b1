"""Read a release's data files over ranges, without downloading them, and hand out nothing that is not proved.

The manifest, tombstones and metadata are small: they are downloaded and verified against the Hub's hashes. They say which
rows each data file holds, in which order, and each video's sha256. So only videos are read over ranges, and what is not
exactly the video that is due is fetched once more, and then refused.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from huggingface_hub import constants

from .. import integrity
from ..errors import (
    AccessError,
    ChecksumError,
    InputError,
    IntegrityError,
    TombstonedError,
    UnsafeVideoError,
)
from ..footer import Footer, RowGroup, read_footer_by
from ..pages import check_group
from ..release import Release
from .client import Client
from .denial import keep_denial
from .download import download
from .expected import Expected
from .listing import RemoteFile, load_listing
from .ranges import Pieces, RangeFile
from .store import Store
from .terms import log_stream

_GAP = 1 << 16  # columns that lie nearer come in one request
_KEEP = 1 << 25  # bytes of row groups that are kept for the next videos of them
# Tokens given as an argument, by Hub and repository: in this process's memory, never in a pickle.
_TOKENS: dict[tuple[str, str], str | bool] = {}


class RemoteRelease(Release):
    """A release on the Hub whose data files are read over ranges. Everything else is as in `Release`.

    It pickles without its token: a process that is started anew (`spawn`) finds one in HF_TOKEN or the login file.
    """

    repo_id: str
    commit: str
    endpoint: str
    remote_files: dict[str, RemoteFile]
    token_given: bool
    _last: tuple[tuple[tuple[Path, int], pa.Table], ...] = ()

    @classmethod
    def open_remote(
        cls,
        repo_id: str,
        *,
        config: str = "unsafe",
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        accept_terms: bool | str = False,
        progress: bool = False,
    ) -> RemoteRelease:
        """Download and verify manifest, tombstones and metadata of the revision; read the rest when it is asked for.

        `config` is what is going to be read; the access log says so.

        Raises the errors of `download`, and `IntegrityError` if the Hub lists other data files than the manifest.
        """
        how: dict[str, Any] = {"token": token, "cache_dir": cache_dir, "accept_terms": accept_terms, "progress": progress}
        folder = download(repo_id, revision=revision, config="metadata", **how)
        store = Store(repo_id, cache_dir)
        log_stream(store, commit=folder.name, config=config)
        local = Release.open(folder)
        release = cls(local.path, local.manifest, local.manifest_sha256)
        listing = load_listing(store.listing(folder.name)) or []
        release.repo_id, release.commit, release.endpoint = repo_id, folder.name, constants.ENDPOINT
        release.remote_files = {file.path: file for file in listing}
        release.token_given = token is not None
        if token is None:
            _TOKENS.pop((release.endpoint, repo_id), None)
        else:
            _TOKENS[release.endpoint, repo_id] = token
        for entry in release.manifest["files"]:
            if not entry["path"].startswith("data/"):
                continue  # a card may be edited on the Hub; what is read is checked when it is downloaded
            remote = release.remote_files.get(entry["path"])
            if remote is None or remote.size != entry["bytes"] or (remote.sha256 and remote.sha256 != entry["sha256"]):
                raise IntegrityError(f"{entry['path']} of {repo_id} differs from its manifest. Do not use it; tell the owner.")
        return release

    def __repr__(self) -> str:
        return f"<RemoteRelease {self.name} {self.version}: {self.repo_id} at {self.commit[:12]}>"

    def __getstate__(self) -> dict[str, Any]:
        mine = ("repo_id", "commit", "endpoint", "remote_files", "token_given")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in mine}}

    def verify(self, *, decode: bool = False) -> integrity.VerifyReport:
        """A stream can't be verified as a whole: raises `InputError`."""
        raise InputError(
            f"{self.repo_id} is read as a stream; to check all of it: unsafe-video verify {self.repo_id} "
            f"--revision {self.commit}"
        )

    def video_bytes(self, video_id: str) -> bytes:
        """The MP4 file of a video, its sha256 checked against the verified metadata. Reads one row group."""
        if video_id in self.tombstones:
            raise TombstonedError(f"Video {video_id} was withdrawn: {self.tombstones[video_id]}. Leave it out.")
        path, group = self._place(video_id)
        rows = self._kept(path, group)
        found = pc.index(rows["video_id"], video_id).as_py()
        return bytes(rows["video"][found]["bytes"].as_py())

    def group_videos(self, video_id: str, wanted: Container[str]) -> dict[str, bytes]:
        """The MP4 files of the `wanted` videos that lie in one row group with this one; see `video_bytes`. One read."""
        if video_id in self.tombstones:
            raise TombstonedError(f"Video {video_id} was withdrawn: {self.tombstones[video_id]}. Leave it out.")
        rows = self.read_group(*self._place(video_id), ["video_id", "video"])
        ids = enumerate(rows["video_id"].to_pylist())
        return {one: bytes(rows["video"][row]["bytes"].as_py()) for row, one in ids if one == video_id or one in wanted}

    def footer(self, path: Path) -> Footer:
        """The footer of a data file: its row groups must hold the rows that the manifest says. Kept for the next call."""
        if path.exists():  # metadata and annotations
            return super().footer(path)
        if path not in self._footers:
            footer: Footer = self._twice(path, lambda: self._read_footer(path))
            self._footers[path] = (None, footer)
        return self._footers[path][1]

    def read_group(self, path: Path, group: int, columns: Sequence[str]) -> pa.Table:
        """Columns of one row group. Videos come over ranges, each proved by its sha256 in the verified metadata; all else is
        the metadata itself.

        Raises `IntegrityError` or `ChecksumError` for what differs from it twice.
        """
        if path.exists():  # metadata and annotations
            return super().read_group(path, group, columns)
        return self._twice(path, lambda: self._read_group(path, group, list(columns)))

    # --- inside ------------------------------------------------------------------------------------------------------

    def _file(self, name: str) -> Path:
        local = self.path / name
        if name.startswith("data/annotations/") and not local.exists() and name in self.remote_files:
            self._download("annotations")
        return super()._file(name) if local.exists() or name not in self.remote_files else local.resolve()

    def _download(self, config: str) -> None:
        """Small tables come whole, when they are first asked for."""
        token, root = _TOKENS.get((self.endpoint, self.repo_id)), self.path.parent.parent.parent
        download(self.repo_id, revision=self.commit, config=config, token=token, cache_dir=root, progress=False)

    def _name(self, path: Path) -> str:
        return path.relative_to(self.path.resolve()).as_posix()

    def _twice(self, path: Path, read: Any) -> Any:
        """Read; once more, with a new footer, if what came is wrong. Errors of the network are not tried again here."""
        try:
            with self._typed(path):
                return read()
        except IntegrityError:
            self._footers.pop(path, None)
        with self._typed(path):
            return read()

    @contextmanager
    def _typed(self, path: Path) -> Iterator[None]:
        place = f"{self._name(path)} of {self.repo_id}"
        try:
            yield
        except AccessError as error:
            if self.token_given and (self.endpoint, self.repo_id) not in _TOKENS:
                hint = (
                    "This process was started anew, and a token given as token= stays in its process: set HF_TOKEN or log in."
                )
                raise type(error)(f"{error} {hint}") from None
            keep_denial(self.repo_id, error, Store(self.repo_id, self.path.parent.parent.parent))
            raise
        except UnsafeVideoError:
            raise
        except (pa.ArrowException, OSError, ValueError, KeyError, IndexError, TypeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise IntegrityError(
                f"{place} can't be read over ranges ({reason}). Download it: load it with no streaming."
            ) from error

    def _ranges(self, path: Path) -> RangeFile:
        if path not in self._opened:
            client = Client(token=_TOKENS.get((self.endpoint, self.repo_id)))
            self._opened[path] = RangeFile(client, self.repo_id, self.commit, self.remote_files[self._name(path)])
        return self._opened[path]

    def _read_footer(self, path: Path) -> Footer:
        file = self._ranges(path)
        footer = read_footer_by(file.read, file.size)
        if footer.num_rows != self._expected.count(path):
            raise IntegrityError(f"it holds {footer.num_rows} rows, not {self._expected.count(path)}")
        return footer

    def _read_group(self, path: Path, group: int, columns: list[str]) -> pa.Table:
        footer, file = self.footer(path), self._ranges(path)
        first = sum(one.num_rows for one in footer.row_groups[:group])
        expected = self._expected.rows(path, first, footer.row_groups[group].num_rows)
        if "video" not in columns:
            return expected.select(columns)
        pieces = {start: file.read(start, end) for start, end in _spans(footer.row_groups[group], ["video"])}
        check_group(path, footer, group, ["video"], file=cast(BinaryIO, Pieces(file.size, pieces)))
        source = pa.PythonFile(Pieces(file.size, pieces), mode="r")
        parquet = pq.ParquetFile(source, metadata=footer.arrow, page_checksum_verification=True)
        videos = parquet.read_row_group(group, columns=["video"], use_threads=False)["video"]
        place = f"row group {group} of {self._name(path)} of {self.repo_id}"
        if len(videos) != expected.num_rows:
            raise IntegrityError(f"{place} holds {len(videos)} videos, not {expected.num_rows}. Tell the owner.")
        for video_id, sha256, video in zip(expected["video_id"], expected["sha256"], videos, strict=True):
            data = video["bytes"].as_buffer() if video.is_valid and video["bytes"].is_valid else None
            if data is None or hashlib.sha256(data).hexdigest() != sha256.as_py():
                raise ChecksumError(f"Video {video_id} in {place} has other bytes than recorded. Tell the owner.")
            if video["path"].as_py() != f"{video_id}.mp4":
                raise IntegrityError(f"Video {video_id} in {place} has another file name. Do not use it; tell the owner.")
        return expected.append_column("video", videos).select(columns)

    def _kept(self, path: Path, group: int) -> pa.Table:
        """The videos of a row group. The last groups are kept, so that reading in order fetches each once."""
        for key, rows in self._last:
            if key == (path, group):
                return rows
        rows = self.read_group(path, group, ["video_id", "video"])
        kept, room = [((path, group), rows)], _KEEP - rows.nbytes
        for key, older in self._last:
            room -= older.nbytes
            if room < 0:
                break
            kept.append((key, older))
        self._last = tuple(kept)  # in one step: threads may read at once
        return rows

    def _place(self, video_id: str) -> tuple[Path, int]:
        path, row = self._expected.place(video_id)
        ends = itertools.accumulate(group.num_rows for group in self.footer(path).row_groups)
        return path, next(group for group, end in enumerate(ends) if row < end)

    @cached_property
    def _expected(self) -> Expected:
        return Expected(self)

    @cached_property
    def _opened(self) -> dict[Path, RangeFile]:
        return {}


def _spans(row_group: RowGroup, columns: Sequence[str]) -> list[tuple[int, int]]:
    """The ranges of the file that hold these columns of a row group; neighbours are joined."""
    chosen = [column for column in row_group.columns if column.path.split(".")[0] in columns and column.num_values]
    spans = [(column.start, column.start + column.stored) for column in chosen]
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start - joined[-1][1] <= _GAP:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
