"""What the Hub says a commit holds: its files, with sizes and hashes."""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

from ..errors import AccessError, HubUnavailable, IntegrityError, RevisionError
from .access import refusal
from .answer import Answer
from .client import Client

_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NEXT_PAGE = re.compile(r'<([^>]+)>\s*;\s*rel="next"')
_MAX_PAGES = 1000
_MAX_FILES = 200_000


@dataclass(frozen=True)
class RemoteFile:
    """One file of a commit. `sha256` for large files; small ones have only git's blob hash, `blob_sha1`."""

    path: str
    size: int
    sha256: str | None
    blob_sha1: str | None

    def mismatch(self, file: Path) -> str | None:
        """What differs between this entry and a file on disk, or None. Reads the whole file."""
        size = file.stat().st_size
        if size != self.size:
            return f"{size} bytes instead of {self.size}"
        digest = hashlib.sha256() if self.sha256 else hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
        with file.open("rb") as data:
            while piece := data.read(1 << 20):
                digest.update(piece)
        expected = self.sha256 or self.blob_sha1
        if digest.hexdigest() != expected:
            return f"hash {digest.hexdigest()[:16]}… instead of {str(expected)[:16]}…"
        return None


@dataclass(frozen=True)
class Commit:
    """A revision, resolved: 40 hex digits, whether the repository is gated, and the text of its gate."""

    sha: str
    gated: bool
    gate_text: str


def check_revision(revision: str | None) -> str:
    """The name of a revision, `main` for None. Raises `RevisionError` for one that would change the address it stands in."""
    name = "main" if revision is None else revision
    if not name or not name.isprintable() or any(part in ("", ".", "..") for part in name.split("/")):
        raise RevisionError(f"{name!r} is not the name of a branch, tag or commit.")
    return name


def resolve(client: Client, repo_id: str, revision: str | None) -> Commit:
    """The commit that a branch, tag or commit id (None: `main`) means now. One request.

    Raises `RevisionError` for an unknown one, and the errors of `AccessStatus.error`.
    """
    name = check_revision(revision)
    answer = client.get(f"{client.url('api/datasets', repo_id, 'revision')}/{quote(name, safe='')}")
    if answer.error_code == "RevisionNotFound":
        raise RevisionError(f"{repo_id} has no revision {name!r}. {client.page(repo_id)}/tree/main lists branches and tags.")
    _refuse(client, repo_id, answer)
    data = answer.json()
    sha = str(data.get("sha", "")) if isinstance(data, dict) else ""
    if not _COMMIT.fullmatch(sha):
        raise HubUnavailable(f"The Hub names no commit for {repo_id} at {name!r}. Try again.")
    if _COMMIT.fullmatch(name) and sha != name:
        raise RevisionError(f"The Hub answers commit {sha} when asked for {name} of {repo_id}. Do not use it; try again.")
    card = data.get("cardData") or {}
    gate = card.get("extra_gated_prompt") if isinstance(card, dict) else None
    return Commit(sha, bool(data.get("gated")), str(gate or ""))


def list_files(client: Client, repo_id: str, commit: str) -> list[RemoteFile]:
    """Every file of a commit, all pages of the listing. Raises `IntegrityError` for a path that leads out of a folder."""
    url = client.url("api/datasets", repo_id, "tree", commit) + "?recursive=true"
    files: dict[str, RemoteFile] = {}
    seen: set[str] = set()
    for _ in range(_MAX_PAGES):
        answer = client.get(url)
        _refuse(client, repo_id, answer)
        entries = answer.json()
        if not isinstance(entries, list):
            raise HubUnavailable(f"The Hub's listing of {repo_id} is not a list. Try again.")
        before = len(seen)
        for entry in entries:
            kind, file = _read_entry(repo_id, entry)
            seen.add(f"{kind} {file.path}")
            if kind == "file":
                files[file.path] = file
        following = _NEXT_PAGE.search(answer.headers.get("link", ""))
        if not following:
            return _without_twins(repo_id, files)
        if len(seen) == before or len(seen) > _MAX_FILES:
            break
        url = urljoin(url, following[1])
        if not client.is_hub(url):
            raise HubUnavailable(f"The Hub's listing of {repo_id} goes on at another address. Try again.")
    raise IntegrityError(f"The listing of {repo_id} does not end. Do not use this repository.")


def _read_entry(repo_id: str, entry: Any) -> tuple[str, RemoteFile]:
    """Kind and content of one entry. Raises `IntegrityError` for one that makes no sense."""
    try:
        kind, path, lfs = str(entry["type"]), safe_path(str(entry["path"])), entry.get("lfs") or {}
        size, sha256, oid = int(lfs.get("size", entry["size"])), lfs.get("oid") or lfs.get("sha256"), str(entry.get("oid"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, IntegrityError):
            raise
        raise IntegrityError(f"The Hub lists an entry of {repo_id} that can't be read. Try again; tell the owner.") from None
    if kind == "file" and sha256 is not None and set(str(sha256)) == {"*"}:  # so it lists files to those who may not read them
        raise AccessError(f"The Hub hides the hash of {path!r}: this account may not read it. Check `unsafe-video access`.")
    usable = _SHA256.fullmatch(str(sha256)) if sha256 else _COMMIT.fullmatch(oid)
    if kind == "file" and (size < 0 or not usable):
        raise IntegrityError(f"The Hub lists no usable size or hash for {path!r} of {repo_id}. Try again; tell the owner.")
    return kind, RemoteFile(path, size, str(sha256) if sha256 else None, oid)


def _without_twins(repo_id: str, files: dict[str, RemoteFile]) -> list[RemoteFile]:
    """The files by path. Raises `IntegrityError` for two that are one file where capitals do not count."""
    folded: dict[str, str] = {}
    for path in sorted(files):
        twin = folded.setdefault(path.casefold(), path)
        if twin != path:
            raise IntegrityError(f"{repo_id} lists {twin!r} and {path!r}, which are one file on some disks. Do not use it.")
    return [files[path] for path in sorted(files)]


def safe_path(path: str) -> str:
    """A relative path of plain parts, as it is; else `IntegrityError`. Twins in other Unicode forms are refused."""
    parts = path.split("/")
    plain = all(part and part == part.rstrip(". ") for part in parts)  # no '..', no empty part, no end that Windows drops
    if not plain or set(path) & set('\\:*?"<>|') or not path.isprintable() or unicodedata.normalize("NFC", path) != path:
        raise IntegrityError(f"The repository lists the path {path!a}, which is not a plain relative path. Do not use it.")
    return path


def save_listing(file: Path, files: Iterable[RemoteFile]) -> None:
    """Keep a listing beside the files, so that they can be checked offline."""
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    partial.write_text(json.dumps([asdict(one) for one in files]), encoding="utf-8")
    partial.replace(file)


def load_listing(file: Path) -> list[RemoteFile] | None:
    """A kept listing, or None if there is none that can be read."""
    try:
        return [RemoteFile(**{**one, "path": safe_path(one["path"])}) for one in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _refuse(client: Client, repo_id: str, answer: Answer) -> None:
    if answer.status != 200:
        raise refusal(client, repo_id, answer)
