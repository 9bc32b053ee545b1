"""Fetch one file of a commit: resumed, re-resolved when a signed URL expires, named only when its hash is right."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import httpx2

from ..errors import ChecksumError, RevisionError
from .access import refusal
from .answer import Broken, raise_if_broken
from .client import Client, redirect_target
from .listing import RemoteFile
from .store import disk_errors

_REDIRECTS = 5
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


def fetch(client: Client, repo_id: str, commit: str, remote: RemoteFile, target: Path, partial: Path, bar: Any) -> None:
    """Bring `remote` to `target`. The bytes grow in `partial`, which a later call goes on with.

    Raises `ChecksumError` if the Hub serves other bytes than it lists (after one fresh try), `HubUnavailable` and
    `AccessError` kinds, `RevisionError` if the answer belongs to another commit, `StorageError` for a full disk.
    """
    wrong: list[str] = []

    def attempt(number: int) -> None:
        _append(client, repo_id, commit, remote, partial, bar)
        found = remote.mismatch(partial)
        if found is None:
            return
        partial.unlink()
        bar.update(-remote.size)
        wrong.append(found)
        if len(wrong) > 1:
            raise ChecksumError(
                f"The Hub serves {remote.path} of {repo_id} with {found}, twice. Nothing of it was kept. "
                "A proxy or mirror may change files; try another network, or tell the owner."
            )
        raise Broken(f"{remote.path} arrived with {found}", wait=0)

    with disk_errors(partial.parent):
        partial.parent.mkdir(parents=True, exist_ok=True)
        if partial.exists() and partial.stat().st_size > remote.size:
            partial.unlink()
        partial.touch()
        bar.update(partial.stat().st_size)
        client.patiently(f"{remote.path} of {repo_id}", attempt)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(target)


def _append(client: Client, repo_id: str, commit: str, remote: RemoteFile, partial: Path, bar: Any) -> None:
    """Bring `partial` to the listed size, from where it stands. Raises `Broken` where another try may help."""
    partial.touch()  # a try that went wrong removed it
    start = partial.stat().st_size
    if start == remote.size:
        return
    url = client.url("datasets", repo_id, "resolve", commit, remote.path)
    for _ in range(_REDIRECTS):
        with client.stream(url, headers={"range": f"bytes={start}-"} if start else {}) as response:
            if response.status_code in (301, 302, 303, 307, 308):
                _check_commit(response, commit, remote)
                url = redirect_target(url, response.headers)
                client.answer(response)  # read to its end, the connection serves the next request
                continue
            _check_answer(client, repo_id, response)
            _check_commit(response, commit, remote)
            if start and response.status_code == 200:  # Range was ignored: what comes is the whole file
                bar.update(-start)
                start = 0
            _check_range(response, start, remote)
            start = _write(client, response, start, remote, partial, bar)
        if start < remote.size:
            raise Broken(f"{remote.path} broke off at {start} of {remote.size} bytes")
        return
    raise Broken("it redirects in a circle")


def _write(client: Client, response: httpx2.Response, start: int, remote: RemoteFile, partial: Path, bar: Any) -> int:
    """Write what comes from `start` on; returns where it ended. Never more than the listed size."""
    with partial.open("r+b", buffering=0) as file:  # unbuffered: what came before a fault is on disk
        file.truncate(start)
        file.seek(start)
        for piece in client.pieces(response):
            if start + len(piece) > remote.size:
                raise Broken(f"{remote.path} is longer than the {remote.size} bytes that are listed")
            view = memoryview(piece)
            while view:
                written = file.write(view)
                view = view[written:]
                start += written
                bar.update(written)
    return start


def _check_answer(client: Client, repo_id: str, response: httpx2.Response) -> None:
    if response.status_code in (200, 206):
        if "text/html" in response.headers.get("content-type", ""):
            raise Broken("something answered with a web page instead of the file (a network log-in page?)")
        return
    answer = client.answer(response)
    raise_if_broken(answer)
    if not client.is_hub(str(response.url)):
        raise Broken(f"the file server answers {answer.status} (an expired link, it may be)", wait=0)
    if answer.status == 416:
        raise Broken("it refuses the range")
    if answer.error_code in ("RevisionNotFound", "EntryNotFound"):
        raise RevisionError(f"The Hub lists a file of {repo_id} and then does not know it ({answer.error_code}). Try again.")
    raise refusal(client, repo_id, answer)


def _check_commit(response: httpx2.Response, commit: str, remote: RemoteFile) -> None:
    said = response.headers.get("x-repo-commit")
    if said is not None and said != commit:
        raise RevisionError(f"The Hub answers with commit {said[:40]!r} for {remote.path}, not with {commit}. Try again.")


def _check_range(response: httpx2.Response, start: int, remote: RemoteFile) -> None:
    """A 206 must say exactly the range that was asked for; a length, if it is said, must be the one that is listed."""
    if response.status_code == 206:
        match = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
        expected = (str(start), str(remote.size - 1), str(remote.size))
        if match is None or match.groups() != expected:
            raise Broken(f"it answers another range than bytes {start}- of {remote.path}")
    length = response.headers.get("content-length")
    if length is not None and length != str(remote.size - start):
        raise Broken(f"it announces {length} bytes for {remote.path} where {remote.size - start} are due")


def partial_name(remote: RemoteFile) -> str:
    """File name of an unfinished download: from the listed hash, never from anything a server says on the way."""
    return hashlib.sha256(f"{remote.path}\0{remote.sha256}\0{remote.blob_sha1}".encode()).hexdigest()[:32]
