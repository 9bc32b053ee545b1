"""Ranges of a file on the Hub, each answer checked before its bytes are used."""

from __future__ import annotations

import io
import re
from typing import Any

from ..errors import IntegrityError, RevisionError
from .access import refusal
from .answer import Answer, Broken, raise_if_broken
from .client import Client, redirect_target
from .listing import RemoteFile

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_REDIRECTS = 5


class RangeFile:
    """Ranges of one file of a commit. Each answer is checked: status, `Content-Range`, length, commit, encoding."""

    def __init__(self, client: Client, repo_id: str, commit: str, remote: RemoteFile) -> None:
        self._client, self._repo_id, self._commit, self._remote = client, repo_id, commit, remote
        self._signed: str | None = None

    @property
    def size(self) -> int:
        """Bytes of the file, as the Hub lists it."""
        return self._remote.size

    def read(self, start: int, end: int) -> bytes:
        """The bytes from `start` up to `end`, all of them, or a typed error."""
        if not 0 <= start <= end <= self.size:
            raise IntegrityError(f"{self._remote.path} has no bytes {start} to {end}: its footer is damaged.")
        what = f"a part of {self._remote.path} of {self._repo_id}"
        return self._client.patiently(what, lambda number: self._attempt(start, end)) if start < end else b""

    def _attempt(self, start: int, end: int) -> bytes:
        try:
            return self._range(start, end)
        except Broken:
            self._signed = None  # the next try asks the Hub where the file is
            raise

    def _range(self, start: int, end: int) -> bytes:
        url = self._signed or self._client.url("datasets", self._repo_id, "resolve", self._commit, self._remote.path)
        for _ in range(_REDIRECTS):
            with self._client.stream(url, headers={"range": f"bytes={start}-{end - 1}"}) as response:
                said = response.headers.get("x-repo-commit")
                if said is not None and said != self._commit:
                    raise RevisionError(f"The Hub answers with commit {said[:40]!r}, not with {self._commit}. Try again.")
                if response.status_code in (301, 302, 303, 307, 308):
                    url = self._signed = redirect_target(url, response.headers)
                    self._client.answer(response)  # read to its end, the connection serves the next request
                    continue
                if response.status_code not in (200, 206):
                    self._refuse(self._client.answer(response), url)
                self._check(response, start, end)
                data = bytearray()
                for piece in self._client.pieces(response):
                    data += piece
                    if len(data) > end - start:
                        raise Broken("a range came with more bytes than were asked for")
            if len(data) != end - start:
                raise Broken(f"a range broke off at {len(data)} of {end - start} bytes")
            return bytes(data)
        raise Broken("it redirects in a circle")

    def _refuse(self, answer: Answer, url: str) -> None:
        raise_if_broken(answer)
        if not self._client.is_hub(url):  # an expired link, it may be: the Hub gives a new one
            raise Broken(f"the file server answers {answer.status}", wait=0)
        if answer.error_code in ("RevisionNotFound", "EntryNotFound"):
            raise RevisionError(
                f"{self._remote.path} of {self._repo_id} at {self._commit} is not there any more ({answer.error_code})."
            )
        raise refusal(self._client, self._repo_id, answer)

    def _check(self, response: Any, start: int, end: int) -> None:
        headers = response.headers
        if "html" in headers.get("content-type", ""):
            raise Broken("something answers with a web page instead of the file (a network log-in page?)")
        if headers.get("content-encoding", "identity") != "identity":
            raise Broken("the bytes come encoded")
        if response.status_code == 200 and end - start != self.size:
            raise Broken("the server ignores ranges; download the release instead")
        if response.status_code == 206:
            match = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
            if match is None or match.groups() != (str(start), str(end - 1), str(self.size)):
                raise Broken("the server answers another range than was asked for")
        length = headers.get("content-length")
        if length is not None and length != str(end - start):
            raise Broken(f"the server announces {length} bytes where {end - start} are due")


class Pieces(io.RawIOBase):
    """A file of which only some ranges are here. A read of anything else is a sign of a damaged footer."""

    def __init__(self, size: int, pieces: dict[int, bytes]) -> None:
        super().__init__()
        self._size, self._pieces, self._position = size, pieces, 0

    def readable(self) -> bool:
        """True."""
        return True

    def seekable(self) -> bool:
        """True."""
        return True

    def tell(self) -> int:
        """Where the next read begins."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; see `io.IOBase.seek`."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, or `IntegrityError`."""
        for start, data in self._pieces.items():
            first = self._position - start
            if 0 <= first <= first + size <= len(data):
                self._position += size
                return data[first : first + size]
        raise IntegrityError(f"no bytes {self._position} to {self._position + size}: the footer is damaged")
