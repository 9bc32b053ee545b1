"""The endpoints that write: create, delete, settings, preupload, LFS batch and verify, commit, tags, branches."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .access import Denied, authenticate, require_write
from .repo import Blob, Repo
from .wire import Reply, Request, answer, error

if TYPE_CHECKING:
    from .server import LoopbackHub


def _named(request: Request) -> tuple[str, dict[str, Any]]:
    """The repo id that a create or delete names; the account's own namespace where it names none."""
    authenticate(request, required=True)
    assert request.account is not None
    data = request.json()
    if data.get("type") != "dataset":
        raise Denied(error(400, "this Hub holds datasets only"))
    return f"{data.get('organization') or request.account.name}/{data['name']}", data


def create(hub: LoopbackHub, request: Request) -> Reply:
    """A new repo with one commit; 409 where it exists."""
    repo_id, data = _named(request)
    url = f"{hub.endpoint}/datasets/{repo_id}"
    repo = Repo(repo_id, lfs_over=hub.lfs_over, lfs_suffixes=hub.lfs_suffixes)
    if not repo.writable_by(request.account):
        return error(403, f'You don\'t have the rights to create a dataset under the namespace "{repo.owner}"')
    if repo_id in hub.repos:
        message = "You already created this dataset repo"
        return answer({"error": message, "url": url}, 409, X_Error_Message=message)
    repo.private = data.get("visibility") == "private" or bool(data.get("private"))
    hub.repos[repo_id] = repo
    return answer({"url": url, "name": repo_id, "id": f"{len(hub.repos):024x}"})


def delete(hub: LoopbackHub, request: Request) -> Reply:
    """The repo goes with all it holds."""
    repo_id, _ = _named(request)
    require_write(hub, request, repo_id)
    del hub.repos[repo_id]
    return answer({})


def settings(hub: LoopbackHub, request: Request, repo_id: str) -> Reply:
    """Gating and visibility; echoes what was set."""
    repo = require_write(hub, request, repo_id)
    data = request.json()
    if "gated" in data and data["gated"] not in ("auto", "manual", False):
        return error(400, "* Invalid input * at gated")
    repo.gated = data.get("gated", repo.gated)
    if "private" in data or "visibility" in data:
        repo.private = data.get("visibility") == "private" or bool(data.get("private"))
    return answer({name: data[name] for name in ("gated", "private", "visibility") if name in data})


def preupload(hub: LoopbackHub, request: Request, repo_id: str, revision: str) -> Reply:
    """How each file is to be sent, and what the repo has under its name."""
    repo = require_write(hub, request, repo_id)
    commit = repo.find(revision)
    files = []
    for file in request.json()["files"]:
        old = commit.files.get(file["path"]) if commit else None
        mode = "lfs" if repo.is_lfs(file["path"], file["size"]) else "regular"
        item = {"path": file["path"], "uploadMode": mode, "shouldIgnore": False}
        files.append({**item, "oid": old.etag} if old else item)
    return answer({"files": files})


def lfs_batch(hub: LoopbackHub, request: Request, repo_id: str) -> Reply:
    """Signed upload URLs for the objects that are not here yet."""
    repo = require_write(hub, request, repo_id)
    objects = []
    for item in request.json()["objects"]:
        entry: dict[str, Any] = {"oid": item["oid"], "size": item["size"], "authenticated": True}
        if item["oid"] not in repo.objects:
            verify = f"{hub.endpoint}/datasets/{repo_id}.git/info/lfs/objects/verify"
            upload = hub.sign(repo, item["oid"], item["oid"], request.account, upload=True)
            entry["actions"] = {"upload": {"href": upload, "header": {}}, "verify": {"href": verify, "header": {}}}
        objects.append(entry)
    return answer({"transfer": "basic", "objects": objects})


def lfs_verify(hub: LoopbackHub, request: Request, repo_id: str) -> Reply:
    """200 where the object arrived whole."""
    repo = require_write(hub, request, repo_id)
    data = request.json()
    blob = repo.objects.get(data["oid"])
    if blob is None or blob.size != data["size"]:
        return error(404, "object not found")
    return answer({})


def commit(hub: LoopbackHub, request: Request, repo_id: str, revision: str) -> Reply:
    """Apply the operations of an NDJSON body as one commit."""
    repo = require_write(hub, request, repo_id)
    if revision not in repo.branches:
        return error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    old = repo.commits[repo.branches[revision]].files
    changes: dict[str, bytes | Path | Blob | None] = {}
    title = ""
    for line in request.body.splitlines():
        item = json.loads(line)
        key, value = item["key"], item["value"]
        if key == "header":
            title = value["summary"]
            if value.get("parentCommit") not in (None, repo.branches[revision]):
                return error(412, "A commit has happened since. Please refresh and try again.")
        elif key == "file":
            changes[value["path"]] = Blob(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            if value["oid"] not in repo.objects:
                return error(400, f"LFS pointer pointed to a file that does not exist: {value['path']}")
            changes[value["path"]] = repo.objects[value["oid"]]
        elif key == "deletedFile":
            if value["path"] not in old:
                return error(404, f'A file with the name "{value["path"]}" does not exist', "EntryNotFound")
            changes[value["path"]] = None
        elif key == "deletedFolder":
            changes.update({path: None for path in old if path.startswith(value["path"].rstrip("/") + "/")})
    sha = repo.commit(changes, branch=revision, title=title)
    url = f"{hub.endpoint}/datasets/{repo_id}/commit/{sha}"
    return answer({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})


def name_commit(hub: LoopbackHub, request: Request, repo_id: str, what: str, name: str) -> Reply:
    """Create or delete a tag or branch. A tag's URL carries the revision, a branch's its own name."""
    repo = require_write(hub, request, repo_id)
    names = repo.tags if what == "tag" else repo.branches
    if request.method == "DELETE":
        return answer({}) if names.pop(name, None) else error(404, f"{what} {name} not found", "RevisionNotFound")
    data = request.json()
    revision = name if what == "tag" else data.get("startingPoint", "main")
    name = data["tag"] if what == "tag" else name
    target = repo.find(revision)
    if target is None:
        return error(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    if name in names:
        return error(409, f"{what.capitalize()} reference exists already")
    names[name] = target.sha
    return answer({})


def validate_yaml(hub: LoopbackHub, request: Request) -> Reply:
    """No errors; the warning of the real server where a card has no YAML block."""
    bare = not request.json()["content"].startswith("---")
    warnings = [{"message": "empty or missing yaml metadata in repo card"}] if bare else []
    return answer({"errors": [], "warnings": warnings})
