"""Read a release's large files over ranges, without downloading them: every answer is checked before its bytes are used.

The manifest, tombstones and metadata are small and are downloaded and verified; only data files are read over ranges. What a
range holds is proved by Parquet's page checksums and by the sha256 of each video's row, which `Release` checks.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import IntegrityError, RevisionError
from ..release import Release
from .access import _status, classify
from .client import Answer, Broken, Client, raise_if_broken, redirect_target
from .download import download
from .listing import RemoteFile, load_listing
from .store import Store

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_REDIRECTS = 5
# Tokens given as an argument, by repository: kept in this process's memory, never in a pickle. A spawned process uses its own.
_TOKENS: dict[str, str | bool | None] = {}


class RangeFile(io.RawIOBase):
    """A file of a commit as a seekable stream; each read is one range request. `requests` and `num_bytes` count them."""

    def __init__(self, client: Client, repo_id: str, commit: str, remote: RemoteFile) -> None:
        super().__init__()
        self._client, self._repo_id, self._commit, self._remote = client, repo_id, commit, remote
        self._signed: str | None = None
        self._position = 0
        self.requests = 0
        self.num_bytes = 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def size(self) -> int:
        """Bytes of the file, as the Hub lists it."""
        return self._remote.size

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; see `io.IOBase.seek`."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._remote.size}[whence]
        self._position = min(max(base + offset, 0), self._remote.size)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes (all that are left for -1), exactly, or a typed error."""
        end = self._remote.size if size is None or size < 0 else min(self._position + size, self._remote.size)
        if end <= self._position:
            return b""
        start = self._position
        data = self._client.patiently(f"{self._remote.path} of {self._repo_id}", lambda number: self._range(start, end))
        self._position = end
        return data

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; see `io.RawIOBase.readinto`."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _range(self, start: int, end: int) -> bytes:
        url = self._signed or self._client.url("datasets", self._repo_id, "resolve", self._commit, self._remote.path)
        for _ in range(_REDIRECTS):
            self.requests += 1
            with self._client.stream(url, headers={"range": f"bytes={start}-{end - 1}"}) as response:
                said = response.headers.get("x-repo-commit")
                if said is not None and said != self._commit:
                    raise RevisionError(f"The Hub answers with commit {said[:40]!r}, not with {self._commit}. Try again.")
                if response.status_code in (301, 302, 303, 307, 308):
                    url = self._signed = redirect_target(url, response.headers)
                    continue
                if response.status_code not in (200, 206):
                    self._refuse(Answer(response.status_code, dict(response.headers), response.read()), url)
                self._check(response, start, end)
                data = bytearray()
                for piece in response.iter_raw():
                    data += piece
                    if len(data) > end - start:
                        raise Broken("a range came with more bytes than were asked for")
                self.num_bytes += len(data)
            if len(data) != end - start:
                raise Broken(f"a range broke off at {len(data)} of {end - start} bytes")
            return bytes(data)
        raise Broken("it redirects in a circle")

    def _refuse(self, answer: Answer, url: str) -> None:
        raise_if_broken(answer)
        if not url.startswith(self._client.endpoint + "/"):
            self._signed = None  # an expired link: ask the Hub for a new one
            raise Broken(f"the file server answers {answer.status}", wait=0)
        state = classify(answer, logged_in=self._client.has_token)
        raise _status(self._repo_id, state if state != "granted" else "hub_down", self._client, answer=answer).error()

    def _check(self, response: Any, start: int, end: int) -> None:
        whole = start == 0 and end == self._remote.size
        if response.status_code == 200 and not whole:
            raise Broken("the server ignores ranges" + (": a web page came" if "html" in _kind(response) else ""))
        if response.status_code == 206:
            match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
            if match is None or match.groups() != (str(start), str(end - 1), str(self._remote.size)):
                raise Broken("the server answers another range than was asked for")
        length = response.headers.get("content-length")
        if length is not None and length != str(end - start):
            raise Broken(f"the server announces {length} bytes where {end - start} are due")


def _kind(response: Any) -> str:
    return str(response.headers.get("content-type", ""))


class RemoteRelease(Release):
    """A release on the Hub whose data files are read over ranges. Everything else is as in `Release`."""

    repo_id: str
    commit: str
    remote_files: dict[str, RemoteFile]

    @classmethod
    def open_remote(
        cls,
        repo_id: str,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        accept_terms: bool = False,
    ) -> RemoteRelease:
        """Download and verify manifest, tombstones and metadata of the revision; read the rest when it is asked for."""
        folder = download(
            repo_id, revision=revision, config="metadata", token=token, cache_dir=cache_dir, accept_terms=accept_terms
        )
        _TOKENS[repo_id] = token
        local = Release.open(folder)
        release = cls(local.path, local.manifest, local.manifest_sha256)
        listing = load_listing(Store(repo_id, cache_dir).listing(folder.name)) or []
        release.repo_id, release.commit = repo_id, folder.name
        release.remote_files = {file.path: file for file in listing}
        for entry in release.manifest["files"]:
            remote = release.remote_files.get(entry["path"])
            if remote is None or remote.size != entry["bytes"] or (remote.sha256 and remote.sha256 != entry["sha256"]):
                raise IntegrityError(f"{entry['path']} of {repo_id} differs from its manifest. Do not use it; tell the owner.")
        return release

    def __getstate__(self) -> dict[str, Any]:
        mine = {"repo_id": self.repo_id, "commit": self.commit, "remote_files": self.remote_files}
        return {**super().__getstate__(), **mine}

    def _file(self, name: str) -> Path:
        local = self.path / name
        return super()._file(name) if local.exists() or name not in self.remote_files else local.resolve()

    def _source(self, path: Path) -> Any:
        if path.exists():
            return path
        name = path.relative_to(self.path.resolve()).as_posix()
        client = Client(token=_TOKENS.get(self.repo_id))
        return pa.PythonFile(RangeFile(client, self.repo_id, self.commit, self.remote_files[name]), mode="r")
