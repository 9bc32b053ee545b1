"""From a method and a path to the kind of request (what faults and the log go by) and the function that answers it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from . import publishing, reading
from .wire import Reply, Request, error

if TYPE_CHECKING:
    from .server import LoopbackHub

REPO = r"(?P<repo>[^/]+/[^/]+)"
# What faults (`on`) and the log (`kind`) go by. On files: `head` is a HEAD, `resolve` a GET that is answered by a redirect,
# `body` a GET that sends bytes, here or on the CDN.
READS = ("whoami", "auth_check", "repo_info", "tree", "paths_info", "refs", "commits", "head", "resolve", "body")
WRITES = ("create", "delete", "settings", "preupload", "lfs_batch", "lfs_upload", "lfs_verify", "commit", "tag", "branch")
KINDS = (*READS, *WRITES, "validate_yaml", "other")


@dataclass
class Route:
    """What a request is, and how to answer it."""

    kind: str
    answer: Callable[[], Reply]
    repo: str | None = None
    file: str | None = None


def route(hub: LoopbackHub, request: Request) -> Route:
    """Find what a request asks for."""
    if request.origin == "cdn":
        return _cdn(hub, request)
    path, method = request.path, "GET" if request.method == "HEAD" else request.method
    plain: dict[tuple[str, str], tuple[str, Callable[[LoopbackHub, Request], Reply]]] = {
        ("GET", "/api/whoami-v2"): ("whoami", reading.whoami),
        ("POST", "/api/repos/create"): ("create", publishing.create),
        ("DELETE", "/api/repos/delete"): ("delete", publishing.delete),
        ("POST", "/api/validate-yaml"): ("validate_yaml", publishing.validate_yaml),
    }
    if (method, path) in plain:
        kind, function = plain[method, path]
        return Route(kind, lambda: function(hub, request))
    file = re.fullmatch(rf"/datasets/{REPO}/resolve/([^/]+)/(.+)", path)
    cached = re.fullmatch(rf"/api/resolve-cache/datasets/{REPO}/([^/]+)/(.+)", path)
    match = file or cached
    if match and method == "GET":
        return _file(hub, request, match["repo"], unquote(match[2]), unquote(match[3]), cached=bool(cached))
    match = re.fullmatch(rf"/datasets/{REPO}\.git/info/lfs/objects/(batch|verify)", path)
    if match and method == "POST":
        lfs, owner = publishing.lfs_batch if match[2] == "batch" else publishing.lfs_verify, match["repo"]
        return Route(f"lfs_{match[2]}", lambda: lfs(hub, request, owner), owner)
    if match := re.fullmatch(rf"/api/datasets/{REPO}(?:/(.*))?", path):
        found = _api(hub, request, method, match["repo"], [unquote(p) for p in (match[2] or "").split("/")])
        if found:
            return Route(found[0], found[1], match["repo"])
    return Route("other", lambda: error(404, "Sorry, we can't find the page you are looking for."))


def _api(
    hub: LoopbackHub, request: Request, method: str, repo: str, parts: list[str]
) -> tuple[str, Callable[[], Reply]] | None:
    what, args = parts[0], parts[1:]
    match (method, what, args):
        case ("GET", "", []):
            return "repo_info", lambda: reading.repo_info(hub, request, repo, "main")
        case ("GET", "revision", [revision]):
            return "repo_info", lambda: reading.repo_info(hub, request, repo, revision)
        case ("GET", "auth-check", [] | ["write"]):
            return "auth_check", lambda: reading.auth_check(hub, request, repo, bool(args))
        case ("GET", "tree", [revision, *folder]):
            return "tree", lambda: reading.tree(hub, request, repo, revision, "/".join(folder))
        case ("POST", "paths-info", [revision]):
            return "paths_info", lambda: reading.paths_info(hub, request, repo, revision)
        case ("GET", "refs", []):
            return "refs", lambda: reading.refs(hub, request, repo)
        case ("GET", "commits", [revision]):
            return "commits", lambda: reading.commits(hub, request, repo, revision)
        case ("PUT", "settings", []):
            return "settings", lambda: publishing.settings(hub, request, repo)
        case ("POST", "preupload", [revision]):
            return "preupload", lambda: publishing.preupload(hub, request, repo, revision)
        case ("POST", "commit", [revision]):
            return "commit", lambda: publishing.commit(hub, request, repo, revision)
        case ("POST" | "DELETE", "tag" | "branch", [name]):
            return what, lambda: publishing.name_commit(hub, request, repo, what, name)
    return None


def _file(hub: LoopbackHub, request: Request, repo: str, revision: str, path: str, *, cached: bool) -> Route:
    function = reading.resolve_cache if cached else reading.resolve
    kind = "head"
    if request.method == "GET":
        commit = hub.repos[repo].find(revision) if repo in hub.repos else None
        blob = commit.files.get(path) if commit else None
        kind = "resolve" if not cached and (blob is None or blob.lfs or hub.resolve_cache) else "body"
    return Route(kind, lambda: function(hub, request, repo, revision, path), repo, path)


def _cdn(hub: LoopbackHub, request: Request) -> Route:
    signed = hub.signed.get(request.query.get("X-Amz-Signature", [""])[0])
    kind = {"PUT": "lfs_upload", "HEAD": "head", "GET": "body"}.get(request.method, "other")
    return Route(kind, lambda: reading.cdn(hub, request), signed.repo.id if signed else None, signed.file if signed else None)
