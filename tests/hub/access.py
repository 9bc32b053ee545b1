"""Who may see what, in the order in which the real Hub asks: credentials, repo, gate, revision, entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .repo import Commit, Repo
from .wire import BAD_CREDENTIALS, DISABLED, NO_GATED_SCOPE, NO_WRITE, Reply, Request, error, gate_message

if TYPE_CHECKING:
    from .server import LoopbackHub

# Served by `resolve` without access: the page of a gated repo needs them. Exact names, at the root only.
PUBLIC_FILES = frozenset({"README.md", "LICENSE", "LICENSE.md", "LICENSE.txt"})


@dataclass
class Denied(Exception):
    """Carries the answer that says no."""

    reply: Reply


def authenticate(request: Request, *, required: bool = False, text: bool = False) -> None:
    """Refuse an invalid token anywhere, and a missing one where it is required."""
    if request.account is None and (required or request.token is not None):
        raise Denied(error(401, BAD_CREDENTIALS, text=text))


def open_repo(hub: LoopbackHub, request: Request, repo_id: str, *, text: bool = False) -> Repo:
    """The repo, if the account may know that it exists."""
    authenticate(request, text=text)
    repo = hub.repos.get(repo_id)
    if repo is None or (repo.private and not repo.member(request.account)):
        if request.account is not None:
            raise Denied(error(404, "Repository not found", "RepoNotFound", text=text))
        # The real server leaves the code out here and the client infers it from the https:// URL, which a loopback
        # endpoint hasn't: with the code the client raises what it raises on the real Hub.
        raise Denied(error(401, BAD_CREDENTIALS, None if hub.bare_401 else "RepoNotFound", text=text))
    if repo.disabled:
        raise Denied(error(403, DISABLED, text=text))
    return repo


def pass_gate(request: Request, repo: Repo, *, text: bool = False) -> None:
    """Refuse gated content in the words that belong to the state of the account's request."""
    account = request.account
    if not repo.gated:
        return
    if account is None:
        raise Denied(error(401, gate_message(repo.id, None), "GatedRepo", text=text))
    if account.role == "fine-grained":
        raise Denied(error(403, NO_GATED_SCOPE, text=text))
    if not repo.may_read(account):
        state = repo.requests.get(account.name, "none")
        raise Denied(error(403, gate_message(repo.id, state), "GatedRepo", text=text))


def open_commit(repo: Repo, revision: str, *, text: bool = False) -> Commit:
    """The commit behind a revision, or RevisionNotFound."""
    commit = repo.find(revision)
    if commit is None:
        raise Denied(error(404, f"Invalid rev id: {revision}", "RevisionNotFound", text=text))
    return commit


def require_write(hub: LoopbackHub, request: Request, repo_id: str) -> Repo:
    """The repo, if the account's token may change it."""
    authenticate(request, required=True)
    repo = open_repo(hub, request, repo_id)
    if not repo.writable_by(request.account):
        raise Denied(error(403, NO_WRITE))
    return repo


def sees_hashes(request: Request, repo: Repo) -> bool:
    """Whether listings show sha256 sums: the Hub masks them on gated repos for those without access."""
    account = request.account
    return not repo.gated or (account is not None and account.role != "fine-grained" and repo.may_read(account))
