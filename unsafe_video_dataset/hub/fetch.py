"""Fetch one file of a commit: resumed, re-resolved when a signed URL expires, named only when its hash is right."""

from __future__ import annotations

import errno
import hashlib
import re
from pathlib import Path
from typing import Any

import httpx2

from ..errors import ChecksumError, RevisionError, StorageError
from .access import _status, classify
from .client import Answer, Broken, Client, raise_if_broken, redirect_target
from .listing import RemoteFile

_PIECE = 1 << 20
_REDIRECTS = 5
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)


def fetch(client: Client, repo_id: str, commit: str, remote: RemoteFile, target: Path, partial: Path, bar: Any) -> None:
    """Bring `remote` to `target`. The bytes grow in `partial`, which a later call goes on with.

    Raises `ChecksumError` if the Hub serves other bytes than it lists (after one fresh try), `HubUnavailable` and
    `AccessError` kinds, `RevisionError` if the answer belongs to another commit, `StorageError` for a full disk.
    """
    fresh_tries = 0

    def attempt(number: int) -> None:
        nonlocal fresh_tries
        _append(client, repo_id, commit, remote, partial, bar)
        wrong = remote.mismatch(partial)
        if wrong is None:
            return
        partial.unlink()
        bar.update(-remote.size)
        fresh_tries += 1
        if fresh_tries > 1:
            raise ChecksumError(
                f"The Hub serves {remote.path} of {repo_id} with {wrong}, twice. Nothing of it was kept. "
                "A proxy or mirror may change files; try another network, or tell the owner."
            )
        raise Broken(f"{remote.path} arrived with {wrong}", wait=0)

    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        if partial.stat().st_size > remote.size:
            partial.unlink()
            partial.touch()
        bar.update(partial.stat().st_size)
        client.patiently(f"{remote.path} of {repo_id}", attempt)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(target)
    except OSError as error:
        if error.errno in _FULL_DISK:
            raise StorageError(
                f"The disk is full at {partial.parent}: {remote.path} is kept in part. Free room, try again."
            ) from None
        raise


def _append(client: Client, repo_id: str, commit: str, remote: RemoteFile, partial: Path, bar: Any) -> None:
    """Bring `partial` to the listed size, from where it stands. Raises `Broken` where another try may help."""
    url = client.url("datasets", repo_id, "resolve", commit, remote.path)
    for _ in range(_REDIRECTS):
        start = partial.stat().st_size
        if start == remote.size:
            return
        headers = {"range": f"bytes={start}-"} if start else {}
        with client.stream(url, headers=headers) as response:
            if response.status_code in (301, 302, 303, 307, 308):
                _check_commit(response, commit, remote)
                url = redirect_target(url, response.headers)
                continue
            _check_answer(client, repo_id, response)
            _check_commit(response, commit, remote)
            if start and response.status_code == 200:  # Range was ignored: what comes is the whole file
                bar.update(-start)
                start = 0
            _check_range(response, start, remote)
            with partial.open("r+b") as file:
                file.truncate(start)
                file.seek(start)
                for piece in response.iter_raw(_PIECE):
                    if start + len(piece) > remote.size:
                        raise Broken(f"{remote.path} is longer than the {remote.size} bytes that are listed")
                    file.write(piece)
                    start += len(piece)
                    bar.update(len(piece))
        if start < remote.size:
            raise Broken(f"{remote.path} broke off at {start} of {remote.size} bytes")
        return
    raise Broken("it redirects in a circle")


def _check_answer(client: Client, repo_id: str, response: httpx2.Response) -> None:
    if response.status_code in (200, 206):
        if "text/html" in response.headers.get("content-type", ""):
            raise Broken("something answered with a web page instead of the file (a network log-in page?)")
        return
    answer = Answer(response.status_code, dict(response.headers), response.read())
    raise_if_broken(answer)
    if not str(response.url).startswith(client.endpoint + "/"):
        raise Broken(f"the file server answers {answer.status} (an expired link, it may be)", wait=0)
    if answer.status == 416:
        raise Broken("it refuses the range")
    if answer.error_code in ("RevisionNotFound", "EntryNotFound"):
        raise RevisionError(f"The Hub lists a file of {repo_id} and then does not know it ({answer.error_code}). Try again.")
    state = classify(answer, logged_in=client.has_token)
    _status(repo_id, state if state != "granted" else "hub_down", client, answer=answer).raise_for_denial()


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
