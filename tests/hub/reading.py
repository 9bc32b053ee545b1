"""The endpoints that read: whoami, repo info, tree, paths-info, refs, commits, auth-check, resolve and the CDN."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlencode

from .access import PUBLIC_FILES, authenticate, open_commit, open_repo, pass_gate, sees_hashes
from .repo import DATE, Blob, Commit, Repo
from .wire import MASKED, Reply, Request, answer, error, serve_blob, xml_error

if TYPE_CHECKING:
    from .server import LoopbackHub


def whoami(hub: LoopbackHub, request: Request) -> Reply:
    """The account behind the token, its organisations, and what the token may do."""
    authenticate(request, required=True)
    account = request.account
    assert account is not None
    role = "fineGrained" if account.role == "fine-grained" else account.role
    token: dict[str, Any] = {"displayName": "test", "role": role, "createdAt": DATE}
    if role == "fineGrained":
        token["fineGrained"] = {"canReadGatedRepos": False, "global": [], "scoped": []}
    return answer(
        {
            "type": "user",
            "id": f"{len(account.name):024x}",
            "name": account.name,
            "fullname": account.name,
            "email": f"{account.name}@example.org",
            "isPro": False,
            "orgs": [{"type": "org", "name": org, "roleInOrg": "write"} for org in account.orgs],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


def auth_check(hub: LoopbackHub, request: Request, repo_id: str, write: bool) -> Reply:
    """`OK` for whoever may read (or write)."""
    repo = open_repo(hub, request, repo_id)
    pass_gate(request, repo)
    if write and not repo.writable_by(request.account):
        return error(403, "You don't have the required permissions for this operation")
    return Reply(200, {"Content-Type": "text/plain; charset=utf-8"}, b"OK")


def repo_info(hub: LoopbackHub, request: Request, repo_id: str, revision: str) -> Reply:
    """The repo at a revision. Public on gated repos too; `expand` picks fields, `blobs` adds sizes and hashes."""
    repo = open_repo(hub, request, repo_id)
    commit = open_commit(repo, revision)
    blobs, shown = request.flag("blobs"), sees_hashes(request, repo)
    info: dict[str, Any] = {
        "_id": commit.sha[:24],
        "id": repo.id,
        "author": repo.owner,
        "sha": commit.sha,
        "createdAt": DATE,
        "lastModified": DATE,
        "private": repo.private,
        "gated": repo.gated,
        "disabled": repo.disabled,
        "downloads": 0,
        "likes": 0,
        "tags": ["region:us"],
        "cardData": repo.card_data,
        "usedStorage": sum(blob.size for blob in commit.files.values()),
        "siblings": [_sibling(path, blob, blobs, shown) for path, blob in commit.files.items()],
    }
    wanted = request.query.get("expand", []) + request.query.get("expand[]", [])
    if wanted:
        info = {name: value for name, value in info.items() if name in {"_id", "id", *wanted}}
    return answer(info)


def _sibling(path: str, blob: Blob, blobs: bool, shown: bool) -> dict[str, Any]:
    item: dict[str, Any] = {"rfilename": path}
    if blobs:
        item.update(size=blob.size, blobId=blob.git_oid)
        if blob.lfs:
            sha256 = blob.sha256 if shown else MASKED
            item["lfs"] = {"sha256": sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
    return item


def _node(repo: Repo, commit: Commit, path: str, expand: bool, shown: bool) -> dict[str, Any] | None:
    """A file or folder as `tree` and `paths-info` list it; None where nothing has that path."""
    blob = commit.files.get(path)
    item: dict[str, Any]
    if blob is not None:
        item = {"type": "file", "oid": blob.git_oid, "size": blob.size, "path": path}
        if blob.lfs:
            sha256 = blob.sha256 if shown else MASKED
            item["lfs"] = {"oid": sha256, "size": blob.size, "pointerSize": len(blob.pointer)}
    elif any(name.startswith(path + "/") for name in commit.files):
        item = {"type": "directory", "oid": commit.sha, "size": 0, "path": path}
    else:
        return None
    if expand:
        item["lastCommit"] = {"id": commit.sha, "title": commit.title, "date": DATE}
        if blob is not None:
            item["securityFileStatus"] = {"status": "safe", "avScan": None, "pickleImportScan": None}
    return item


def tree(hub: LoopbackHub, request: Request, repo_id: str, revision: str, folder: str) -> Reply:
    """A folder's entries in pages, the next one named in the Link header."""
    repo = open_repo(hub, request, repo_id)
    commit = open_commit(repo, revision)
    prefix = f"{folder}/" if folder else ""
    names: set[str] = set()
    for path in commit.files:
        if path.startswith(prefix):
            parts = path[len(prefix) :].split("/")
            depth = len(parts) if request.flag("recursive") else 1
            names.update(prefix + "/".join(parts[:n]) for n in range(1, depth + 1))
    if folder and not names:
        return error(404, f'{folder} does not exist on "{revision}"', "EntryNotFound")
    expand, shown = request.flag("expand"), sees_hashes(request, repo)
    first = int(request.query.get("cursor", ["0"])[0])
    size = min(hub.page_size, 50) if expand else hub.page_size
    page = sorted(names)[first : first + size]
    reply = answer([_node(repo, commit, name, expand, shown) for name in page])
    if first + size < len(names):
        query = urlencode({**{k: v[-1] for k, v in request.query.items()}, "cursor": first + size})
        reply.headers["Link"] = f'<{hub.endpoint}{request.path}?{query}>; rel="next"'
    return reply


def paths_info(hub: LoopbackHub, request: Request, repo_id: str, revision: str) -> Reply:
    """The named files and folders that exist."""
    repo = open_repo(hub, request, repo_id)
    commit = open_commit(repo, revision)
    fields = request.form()
    expand = fields.get("expand", [""])[-1].lower() == "true"
    nodes = [_node(repo, commit, path.strip("/"), expand, sees_hashes(request, repo)) for path in fields.get("paths", [])]
    return answer([node for node in nodes if node])


def refs(hub: LoopbackHub, request: Request, repo_id: str) -> Reply:
    """Branches and tags."""
    repo = open_repo(hub, request, repo_id)

    def listed(names: dict[str, str], where: str) -> list[dict[str, str]]:
        return [{"name": n, "ref": f"refs/{where}/{n}", "targetCommit": sha} for n, sha in names.items()]

    found = {"branches": listed(repo.branches, "heads"), "tags": listed(repo.tags, "tags"), "converts": []}
    return answer({**found, "pullRequests": []} if request.flag("include_prs") else found)


def commits(hub: LoopbackHub, request: Request, repo_id: str, revision: str) -> Reply:
    """The history behind a revision, newest first."""
    repo = open_repo(hub, request, repo_id)
    commit: Commit | None = open_commit(repo, revision)
    history = []
    while commit:
        history.append({"id": commit.sha, "title": commit.title, "message": "", "authors": [], "date": DATE})
        commit = repo.commits.get(commit.parent or "")
    return answer(history)


def resolve(hub: LoopbackHub, request: Request, repo_id: str, revision: str, path: str) -> Reply:
    """A file: regular ones here, LFS ones by a redirect to a signed URL on the other origin."""
    repo = open_repo(hub, request, repo_id, text=True)
    if path not in PUBLIC_FILES:
        pass_gate(request, repo, text=True)
    commit = open_commit(repo, revision, text=True)
    blob = commit.files.get(path)
    if blob is None:
        return error(404, "Entry not found", "EntryNotFound", text=True, X_Repo_Commit=commit.sha)
    headers = {"X-Repo-Commit": commit.sha, "ETag": f'"{blob.etag}"', "Accept-Ranges": "bytes"}
    if blob.lfs or hub.resolve_cache:
        headers.update({"X-Linked-Size": str(blob.size), "X-Linked-ETag": f'"{blob.etag}"'})
        where = f"/api/resolve-cache/datasets/{repo.id}/{commit.sha}/{quote(path)}"
        location = hub.sign(repo, path, blob, request.account) if blob.lfs else where
        text = b"Found. Redirecting to the file"
        content = {"Location": location, "Content-Type": "text/plain; charset=utf-8"}
        return Reply(302 if blob.lfs else 307, {**headers, **content}, text)
    return serve_blob(blob, request.headers.get("range"), headers)


def resolve_cache(hub: LoopbackHub, request: Request, repo_id: str, revision: str, path: str) -> Reply:
    """Where the real Hub sends readers of regular files: same origin, bytes at a commit."""
    repo = open_repo(hub, request, repo_id, text=True)
    if path not in PUBLIC_FILES:
        pass_gate(request, repo, text=True)
    commit = open_commit(repo, revision, text=True)
    blob = commit.files.get(path)
    if blob is None:
        return error(404, "Entry not found", "EntryNotFound", text=True)
    return serve_blob(blob, request.headers.get("range"), {"X-Repo-Commit": commit.sha, "ETag": f'"{blob.etag}"'})


def cdn(hub: LoopbackHub, request: Request) -> Reply:
    """The object store: bytes for whoever holds an unexpired signed URL, and no second way to authenticate."""
    if "authorization" in request.headers:
        return xml_error(400, "InvalidArgument", "Only one auth mechanism allowed")
    signed = hub.signed.get(request.query.get("X-Amz-Signature", [""])[0])
    if signed is None or signed.path != unquote(request.path) or signed.upload != (request.method == "PUT"):
        return xml_error(403, "SignatureDoesNotMatch", "The request signature we calculated does not match")
    if signed.expires <= hub.clock():
        return xml_error(403, "AccessDenied", "Request has expired")
    if signed.upload:
        blob = Blob(request.body, lfs=True)
        if blob.sha256 != signed.oid:
            return xml_error(400, "BadDigest", "The sha256 you specified did not match what we received")
        signed.repo.objects[blob.sha256] = blob
        return Reply(200, {"ETag": f'"{blob.sha256}"'})
    headers = {"ETag": f'"{signed.oid}"', "Content-Disposition": f'inline; filename="{signed.file.rsplit("/", 1)[-1]}"'}
    return serve_blob(signed.repo.objects[signed.oid], request.headers.get("range"), headers)
