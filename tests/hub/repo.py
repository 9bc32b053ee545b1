"""What the loopback Hub holds: blobs, commits, repos with branches and tags, accounts, and who may read what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

Gate = Literal["none", "pending", "rejected", "granted", "revoked", "reset"]
GATES: tuple[Gate, ...] = ("none", "pending", "rejected", "granted", "revoked", "reset")
Role = Literal["write", "read", "fine-grained"]
Gated = Literal["auto", "manual", False]

DATE = "2026-01-02T03:04:05.000Z"
GITATTRIBUTES = b"*.parquet filter=lfs diff=lfs merge=lfs -text\n*.mp4 filter=lfs diff=lfs merge=lfs -text\n"


@dataclass(frozen=True)
class Blob:
    """A file's bytes, in memory or on disk. `lfs` says how the Hub stores and serves it."""

    source: bytes | Path
    lfs: bool = False

    @cached_property
    def size(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from `start` up to `stop` (the end, where left out)."""
        stop = self.size if stop is None else min(stop, self.size)
        if isinstance(self.source, bytes):
            return self.source[start:stop]
        with self.source.open("rb") as file:
            file.seek(start)
            return file.read(max(0, stop - start))

    @cached_property
    def sha256(self) -> str:
        return self._hash(hashlib.sha256())

    @cached_property
    def pointer(self) -> bytes:
        """The text that git stores in place of an LFS file."""
        return f"version https://git-lfs.github.com/spec/v1\noid sha256:{self.sha256}\nsize {self.size}\n".encode()

    @cached_property
    def git_oid(self) -> str:
        """The git blob's sha1: of the pointer where the file is in LFS, as in the real tree listing."""
        if self.lfs:
            return hashlib.sha1(b"blob %d\0" % len(self.pointer) + self.pointer).hexdigest()
        return self._hash(hashlib.sha1(b"blob %d\0" % self.size))

    @property
    def etag(self) -> str:
        """The ETag without its quotes: sha256 in LFS, git sha1 elsewhere."""
        return self.sha256 if self.lfs else self.git_oid

    def _hash(self, digest: hashlib._Hash) -> str:
        for start in range(0, self.size, 1 << 20):
            digest.update(self.read(start, start + (1 << 20)))
        return digest.hexdigest()


@dataclass(frozen=True)
class Account:
    """A user with one token. A `fine-grained` token reads public repos but lacks the scope for gated ones."""

    name: str
    token: str = field(repr=False)
    role: Role = "write"
    orgs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Commit:
    """One commit: the whole tree as it then was."""

    sha: str
    parent: str | None
    title: str
    files: Mapping[str, Blob]


class Repo:
    """A dataset repo. Every change is a commit; branches and tags are names for commits.

    Reading is open unless `gated`, `private` or `disabled` says otherwise; the owner and members of the owning
    organisation always read.
    """

    def __init__(
        self,
        repo_id: str,
        *,
        gated: Gated = False,
        private: bool = False,
        disabled: bool = False,
        lfs_over: int = 10 << 20,
        lfs_suffixes: tuple[str, ...] = (".parquet", ".mp4"),
    ) -> None:
        self.id = repo_id
        self.gated: Gated = gated
        self.private = private
        self.disabled = disabled
        self.lfs_over = lfs_over
        self.lfs_suffixes = lfs_suffixes
        self.card_data: dict[str, object] = {}
        self.requests: dict[str, Gate] = {}
        self.objects: dict[str, Blob] = {}
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.commit({".gitattributes": GITATTRIBUTES}, title="initial commit")

    @property
    def owner(self) -> str:
        """The user or organisation in front of the slash."""
        return self.id.split("/")[0]

    @property
    def head(self) -> str:
        """The commit that `main` points to."""
        return self.branches["main"]

    def gate(self, account: str, state: Gate) -> None:
        """Set where the account's request for access stands. `none`: never asked."""
        if state not in GATES:
            raise ValueError(f"state must be one of {GATES}, got {state!r}")
        self.requests[account] = state

    def is_lfs(self, path: str, size: int) -> bool:
        """Whether a file of this name and size goes into LFS."""
        return size > 0 and (size > self.lfs_over or path.endswith(self.lfs_suffixes))

    def blob(self, path: str, source: bytes | Path) -> Blob:
        """A blob stored the way its name and size ask for."""
        size = len(source) if isinstance(source, bytes) else source.stat().st_size
        return Blob(source, self.is_lfs(path, size))

    def commit(self, files: Mapping[str, bytes | Path | Blob | None], *, branch: str = "main", title: str = "commit") -> str:
        """Add, replace or (None) delete files on a branch; the new commit's id."""
        parent = self.branches.get(branch) or self.branches.get("main")
        tree = dict(self.commits[parent].files) if parent else {}
        for path, source in files.items():
            if source is None:
                tree.pop(path, None)
            else:
                tree[path] = source if isinstance(source, Blob) else self.blob(path, source)
        listing = [[path, blob.git_oid] for path, blob in sorted(tree.items())]
        seed = json.dumps([self.id, len(self.commits), parent, title, listing])
        sha = hashlib.sha1(seed.encode()).hexdigest()
        self.commits[sha] = Commit(sha, parent, title, dict(sorted(tree.items())))
        self.branches[branch] = sha
        self.objects.update({blob.sha256: blob for blob in tree.values() if blob.lfs})
        return sha

    def commit_folder(self, folder: Path, *, branch: str = "main", title: str = "upload") -> str:
        """Commit every file under a folder, served from disk: leave the folder alone afterwards."""
        files: dict[str, bytes | Path | Blob | None] = {
            p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()
        }
        return self.commit(files, branch=branch, title=title)

    def tag(self, name: str, revision: str = "main") -> None:
        """Name a commit. An existing tag moves."""
        self.tags[name] = self.require(revision)

    def move(self, branch: str, revision: str) -> None:
        """Point a branch at another commit, as a force push does."""
        self.branches[branch] = self.require(revision)

    def find(self, revision: str) -> Commit | None:
        """The commit behind a branch, tag, ref or full id; None where there is none."""
        name = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        return self.commits.get(self.branches.get(name) or self.tags.get(name) or revision)

    def require(self, revision: str) -> str:
        """The commit id behind a revision; LookupError where there is none."""
        commit = self.find(revision)
        if commit is None:
            raise LookupError(f"{self.id} has no revision {revision}")
        return commit.sha

    def writable_by(self, account: Account | None) -> bool:
        """Owner or member, with a token that may write."""
        return account is not None and account.role == "write" and self.member(account)

    def member(self, account: Account | None) -> bool:
        """Owner of the repo, or in the organisation that owns it."""
        return account is not None and self.owner in (account.name, *account.orgs)

    def may_read(self, account: Account | None) -> bool:
        """Whether gated content is open to the account (the token's own scope aside)."""
        return not self.gated or self.member(account) or (account and self.requests.get(account.name)) == "granted"
