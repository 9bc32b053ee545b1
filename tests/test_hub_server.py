"""The loopback Hub against the real clients: every endpoint they call, and every answer the gate can give."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub import LoopbackHub, client_env, run_client, start_client

BIG = hashlib.shake_256(b"big").digest(300_000)
CARD = b"---\nlicense: mit\n---\n# Card\n"


def table(rows: int) -> bytes:
    """A Parquet file with one column."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"n": list(range(rows))}), sink)
    return sink.getvalue()


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


READ = """
import hashlib, os
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download
from datasets import load_dataset

def sha(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()

api, repo = HfApi(), dict(repo_id="org/data", repo_type="dataset")
info = api.dataset_info("org/data", revision="v1", files_metadata=True)
folder = snapshot_download(**repo, revision="v1")
with HfFileSystem().open("datasets/org/data@v1/media/big.mp4", "rb", cache_type="none") as file:
    file.seek(1000)
    part = file.read(500).hex()
result = {
    "whoami": api.whoami()["name"],
    "auth_check": api.auth_check(**repo),
    "sha": info.sha,
    "gated": info.gated,
    "sums": {s.rfilename: s.lfs.sha256 for s in info.siblings if s.lfs},
    "expand": api.dataset_info("org/data", expand=["gated", "sha"]).siblings,
    "tree": [entry.path for entry in api.list_repo_tree(**repo, recursive=True)],
    "folder": [entry.path for entry in api.list_repo_tree(**repo, path_in_repo="media", expand=True)],
    "paths": [entry.path for entry in api.get_paths_info(**repo, paths=["README.md", "media", "absent"])],
    "refs": {ref.name: ref.target_commit for ref in api.list_repo_refs(**repo).tags},
    "commits": [commit.title for commit in api.list_repo_commits(**repo)],
    "download": sha(hf_hub_download(**repo, filename="media/big.mp4")),
    "snapshot": sorted(os.path.relpath(os.path.join(d, f), folder) for d, _, fs in os.walk(folder) for f in fs),
    "part": part,
    "rows": load_dataset("org/data", split="train")["n"][:],
    "streamed": [row["n"] for row in load_dataset("org/data", split="train", streaming=True)],
    "missing": [
        attempt(hf_hub_download, **repo, filename="absent.txt")[1]["type"],
        attempt(hf_hub_download, **repo, filename="README.md", revision="v9")[1]["type"],
        attempt(api.dataset_info, "org/data", revision="v9")[1]["type"],
        attempt(list, api.list_repo_tree(**repo, path_in_repo="absent"))[1]["type"],
    ],
}
"""


@pytest.mark.parametrize("resolve_cache", [False, True])
def test_real_clients_read(tmp_path: Path, resolve_cache: bool) -> None:
    with LoopbackHub(page_size=2, resolve_cache=resolve_cache) as hub:
        owner = hub.account("owner", role="read", orgs=("org",))
        files = {"README.md": CARD, "media/big.mp4": BIG, "data/train.parquet": table(3)}
        repo = hub.repo("org/data", {k: v for k, v in files.items() if not k.startswith("media")}, gated="manual")
        repo.commit({"media/big.mp4": BIG}, title="media")
        repo.tag("v1")
        result = run_client(hub, READ, tmp_path, token=owner.token)
        value = result.ok()
        names = sorted([".gitattributes", *files])
        assert value["whoami"] == "owner"
        assert (value["sha"], value["gated"], value["expand"]) == (repo.head, "manual", None)
        assert value["sums"] == {n: hashlib.sha256(files[n]).hexdigest() for n in ("data/train.parquet", "media/big.mp4")}
        assert value["tree"] == sorted([*names, "data", "media"])
        assert (value["folder"], value["paths"]) == (["media/big.mp4"], ["README.md", "media"])
        assert (value["refs"], value["commits"]) == ({"v1": repo.head}, ["media", "commit", "initial commit"])
        assert value["download"] == hashlib.sha256(BIG).hexdigest()
        assert value["snapshot"] == names
        assert value["part"] == BIG[1000:1500].hex()
        assert value["rows"] == value["streamed"] == [0, 1, 2]
        not_found = ["RemoteEntryNotFoundError", "RevisionNotFoundError", "RevisionNotFoundError", "RemoteEntryNotFoundError"]
        assert value["missing"] == not_found
        assert hub.log.count(kind="tree", origin="hub") > 3, "pages were followed"
        assert hub.log.count(origin="cdn", authorized=True) == 0, "no token goes to the CDN"
        assert hub.log.sent(kind="body", range="bytes=1000-1499", origin="cdn") == 500
        assert not any("Signature" in str(entry) for entry in hub.log.select())
        # What the clients try besides: the log shows that they got nowhere.
        assert set(result.refused) <= {"datasets-server.127.0.0.1", "s3.amazonaws.com"}


WRITE = """
import os
from huggingface_hub import HfApi
os.makedirs("up/data")
for name, data in {"README.md": b"---\\nlicense: mit\\n---\\n", "data/a.parquet": b"P" * 5000, "notes.txt": b"n"}.items():
    with open(os.path.join("up", name), "wb") as file:
        file.write(data)
api, repo = HfApi(), dict(repo_id="org/new", repo_type="dataset")
result = {
    "url": str(api.create_repo(**repo)),
    "again": attempt(api.create_repo, **repo)[1]["status"],
    "exist_ok": str(api.create_repo(**repo, exist_ok=True)),
    "settings": api.update_repo_settings(**repo, gated="manual"),
    "upload": api.upload_folder(**repo, folder_path="up").oid,
    "unchanged": api.upload_folder(**repo, folder_path="up").oid,
    "tag": api.create_tag(**repo, tag="v1"),
    "tag again": attempt(api.create_tag, **repo, tag="v1")[1]["status"],
    "file": api.upload_file(**repo, path_or_fileobj=b"more", path_in_repo="more.txt").oid,
    "stale": attempt(api.upload_file, **repo, path_or_fileobj=b"x", path_in_repo="x", parent_commit="0" * 40)[1]["status"],
    "delete": api.delete_file("notes.txt", **repo).oid,
    "folder": api.delete_folder("data", **repo).oid,
    "branch": api.create_branch(**repo, branch="dev", revision="v1"),
    "foreign": attempt(api.create_repo, repo_id="other/new", repo_type="dataset")[1]["status"],
    "denied": attempt(api.update_repo_settings, repo_id="other/data", repo_type="dataset", gated=False)[1]["status"],
    "write": attempt(api.auth_check, **repo, write=True)[0],
    "gone": [api.create_repo("org/tmp", repo_type="dataset") and 1, api.delete_repo("org/tmp", repo_type="dataset")],
    "untag": api.delete_tag(**repo, tag="v1"),
}
"""


def test_real_client_publishes(hub: LoopbackHub, tmp_path: Path) -> None:
    owner = hub.account("owner", orgs=("org",))
    hub.repo("other/data", {"a.txt": b"a"})
    value = run_client(hub, WRITE, tmp_path, token=owner.token).ok()
    repo = hub.find("org/new")
    assert value["url"] == value["exist_ok"] == f"{hub.endpoint}/datasets/org/new"
    assert (value["again"], value["tag again"], value["foreign"], value["denied"]) == (409, 409, 403, 403)
    assert (value["stale"], value["write"]) == (412, "ok")
    assert repo.gated == "manual"
    uploaded = repo.commits[value["upload"]].files
    assert uploaded["data/a.parquet"].lfs
    assert uploaded["data/a.parquet"].read() == b"P" * 5000
    assert value["unchanged"] == value["upload"], "a second upload of the same files makes no commit"
    assert sorted(repo.commits[repo.head].files) == [".gitattributes", "README.md", "more.txt"]
    assert repo.branches["dev"] == value["upload"]
    assert (repo.tags, list(hub.repos)) == ({}, ["other/data", "org/new"])
    assert hub.log.count(kind="lfs_upload", origin="cdn", authorized=False) == hub.log.count(kind="lfs_verify") == 1


GATE = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download, dataset_info
from datasets import load_dataset
result = {}
for name, (repo, token) in json.loads(sys.argv[2]).items():
    api = HfApi(token=token or False)
    tree = lambda: api.list_repo_tree(repo, repo_type="dataset", path_in_repo="data")
    load = lambda: load_dataset(repo, token=token or False, split="train", cache_dir=name)["n"][:]
    result[name] = {
        "auth_check": attempt(api.auth_check, repo, repo_type="dataset"),
        "info": attempt(lambda: api.dataset_info(repo).gated),
        "masked": attempt(lambda: [entry.lfs.sha256 == "*" * 64 for entry in tree()]),
        "file": attempt(lambda: api.hf_hub_download(repo, "data/train.parquet", repo_type="dataset", local_dir=name) and 1),
        "whoami": attempt(lambda: api.whoami(token)["name"]) if token else None,
        "load": attempt(load),
    }
"""

GATED, MISSING, PLAIN = "GatedRepoError", "RepositoryNotFoundError", "HfHubHTTPError"
# state: (auth_check's exception, status, a piece of the server's words). Those with access come last: from then on the stock
# clients hand the cached file to tokens without the scope, too.
ANSWERS: dict[str, tuple[str | None, int, str]] = {
    "not logged in": (GATED, 401, "Please log in."),
    "never asked": (GATED, 403, "you are not in the authorized list. Visit https://huggingface.co/datasets/org/data to ask"),
    "pending": (GATED, 403, "Your request to access dataset org/data is awaiting a review from the repo authors."),
    "rejected": (GATED, 403, "Your request to access dataset org/data has been rejected by the repo's authors."),
    "revoked": (GATED, 403, "has been rejected by the repo's authors."),
    "reset": (GATED, 403, "has been reset by the repo's authors. Visit"),
    "fine-grained": (PLAIN, 403, "Please enable access to public gated repositories in your fine-grained token settings"),
    "invalid token": (PLAIN, 401, "Invalid username or password."),
    "missing, logged in": (MISSING, 404, "Repository not found"),
    "missing, not logged in": (MISSING, 401, "Invalid username or password."),
    "private": (MISSING, 404, "Repository not found"),
    "disabled": ("DisabledRepoError", 403, "Access to this resource is disabled."),
    "granted": (None, 200, ""),
    "member": (None, 200, ""),
}


def test_each_state_of_the_gate_has_its_documented_exception(hub: LoopbackHub, tmp_path: Path) -> None:
    files = {"README.md": CARD, "data/train.parquet": table(2)}
    repo = hub.repo("org/data", files, gated="manual")
    hub.repo("org/private", files, private=True)
    hub.repo("org/disabled", files, disabled=True)
    jobs: dict[str, tuple[str, str | None]] = dict.fromkeys(ANSWERS, ("org/data", None))
    for state in ("pending", "rejected", "revoked", "reset", "granted"):
        account = hub.account(state, role="read")
        repo.gate(state, state)
        jobs[state] = (repo.id, account.token)
    reader = hub.account("reader").token
    fine = hub.account("fine", role="fine-grained")
    repo.gate("fine", "granted")
    jobs.update({"never asked": (repo.id, reader), "fine-grained": (repo.id, fine.token), "invalid token": (repo.id, "hf_no")})
    jobs.update({"member": (repo.id, hub.account("owner", orgs=("org",)).token), "private": ("org/private", reader)})
    jobs.update({"missing, logged in": ("org/no", reader), "missing, not logged in": ("org/no", None)})
    jobs["disabled"] = ("org/disabled", reader)
    value = run_client(hub, GATE, tmp_path, argv=[json.dumps(jobs)]).ok()
    for name, (kind, status, words) in ANSWERS.items():
        got: dict[str, Any] = value[name]
        if kind is None:
            assert got["auth_check"] == ["ok", None], name
            assert (got["file"], got["masked"], got["load"]) == (["ok", 1], ["ok", [False]], ["ok", [0, 1]]), name
            continue
        assert got["auth_check"][0] == "error", name
        error = got["auth_check"][1]
        assert (error["type"], error["status"]) == (kind, status), name
        assert words in error["server_message"], name
        assert got["file"][0] == "error", name
        assert got["load"][1]["type"] == "DatasetNotFoundError" if kind in (GATED, MISSING) else got["load"][0] == "error", name
        if kind == GATED or name == "fine-grained":
            assert got["info"] == ["ok", "manual"], "the page of a gated repo is public"
            assert got["masked"] == ["ok", [True]], "sums are masked for those without access"
    assert value["invalid token"]["whoami"][1]["message"].startswith("Invalid user token.")
    assert value["fine-grained"]["whoami"] == ["ok", "fine"]


def test_gate_comes_before_existence_and_cards_stay_public(hub: LoopbackHub) -> None:
    hub.repo("org/data", {"README.md": CARD, "sub/README.md": CARD}, gated="auto")

    def head(path: str) -> tuple[int, str | None]:
        connection = http.client.HTTPConnection(urlsplit(hub.endpoint).netloc, timeout=5)
        connection.request("HEAD", f"/datasets/org/data/resolve/{path}")
        response = connection.getresponse()
        connection.close()
        return response.status, response.headers["X-Error-Code"]

    assert head("main/README.md") == (200, None)
    assert head("main/LICENSE") == (404, "EntryNotFound")
    assert head("v9/README.md") == (404, "RevisionNotFound")
    for path in ("main/sub/README.md", "main/readme.md", "main/absent", "v9/absent"):
        assert head(path) == (401, "GatedRepo")


def test_folder_repos_and_ranges(hub: LoopbackHub, tmp_path: Path) -> None:
    (tmp_path / "release" / "data").mkdir(parents=True)
    (tmp_path / "release" / "data" / "x.bin").write_bytes(BIG)
    repo = hub.repo("org/data", folder=tmp_path / "release", lfs_over=1000)
    blob = repo.commits[repo.head].files["data/x.bin"]
    assert (blob.lfs, blob.sha256, blob.size) == (True, hashlib.sha256(BIG).hexdigest(), len(BIG))
    url = urlsplit(hub.sign(repo, "data/x.bin", blob, None))
    connection = http.client.HTTPConnection(url.netloc, timeout=5)
    wanted = {"0-0": BIG[:1], "299999-": BIG[-1:], "-5": BIG[-5:], "10-999999": BIG[10:]}
    for asked, piece in wanted.items():
        connection.request("GET", f"{url.path}?{url.query}", headers={"Range": f"bytes={asked}"})
        response = connection.getresponse()
        assert (response.status, response.read()) == (206, piece)
    connection.request("GET", f"{url.path}?{url.query}", headers={"Range": "bytes=300000-"})
    response = connection.getresponse()
    response.read()
    assert (response.status, response.headers["Content-Range"]) == (416, "bytes */300000")
    connection.close()
    assert hub.log.sent(status=206) == sum(map(len, wanted.values()))


def test_environment_and_guard(hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_developer")
    env = client_env(hub, tmp_path, env={"HF_HUB_OFFLINE": "1"})
    assert not {"HTTPS_PROXY", "HF_TOKEN"} & set(env)
    assert env["HF_HUB_OFFLINE"] == "1"
    assert all(env[name].startswith(str(tmp_path)) for name in ("HOME", "HF_HOME"))
    code = "import socket\nresult = attempt(socket.create_connection, ('192.0.2.1', 80), 1)"
    result = run_client(hub, code, tmp_path)
    assert (result.ok()[0], result.refused) == ("error", ["192.0.2.1"])
    failed = run_client(hub, "raise KeyError('x')", tmp_path)
    assert failed.error is not None
    assert (failed.error.type, failed.value) == ("KeyError", None)


def test_clients_can_be_killed_and_timed_out(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.repo("org/data", {"a.mp4": BIG})
    arrived = threading.Event()
    hub.fault("call", on="body", times=None, run=arrived.set)
    hub.fault("stall", on="body", times=None, after=1000, seconds=60)
    code = "from huggingface_hub import hf_hub_download\nhf_hub_download('org/data', 'a.mp4', repo_type='dataset')"
    client = start_client(hub, code, tmp_path)
    assert arrived.wait(20)
    client.kill()
    killed = client.wait()
    assert killed.returncode not in (0, None)
    assert (killed.value, killed.timed_out) == (None, False)
    slow = run_client(hub, code, tmp_path, timeout=2)
    assert slow.timed_out
