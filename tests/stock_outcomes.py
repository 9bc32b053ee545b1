"""What the stock clients make of each fault: the cases, and one subprocess that runs them all and says what came of each.

An outcome is `right` (the right bytes), `WRONG` (other bytes, no word), `mixed` (two revisions in one answer), `stale` (rows
of another revision than the one asked for), `cached` (data after access was revoked), `escaped` (a file outside the cache),
`sleeps` (for as long as the server says) or the exception's name. Requests are counted.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub import LoopbackHub, run_client

SIZE = 200_000
RANGE = (1000, 1100)


@dataclass(frozen=True)
class Case:
    """`how` names the client call (see CLIENT). The fault hits the case's own repo only."""

    how: str
    fault: str
    on: str
    options: dict[str, Any]
    expected: str


def case(how: str, fault: str, on: str, expected: str, **options: Any) -> Case:
    """A case, in one line."""
    return Case(how, fault, on, options, expected)


CASES: dict[str, Case] = {
    "reset mid-body": case("download", "reset", "body", "ReadError", after=1000),
    "FIN mid-body": case("download", "fin", "body", "right", after=1000),
    "stall mid-body": case("download", "stall", "body", "right", after=1000, seconds=20),
    "stall of the HEAD": case("download", "stall", "head", "right", after=None, seconds=20),
    "500 on HEAD": case("download", "status", "head", "right", status=500),
    "503 on HEAD": case("download", "status", "head", "right", status=503),
    "429 on HEAD": case("download", "rate_limit", "head", "right"),
    "500 on body": case("download", "status", "body", "HfHubHTTPError", status=500),
    "503 on body": case("download", "status", "body", "HfHubHTTPError", status=503),
    "429 on body": case("download", "rate_limit", "body", "right"),
    "500 on repo_info": case("snapshot", "status", "repo_info", "LocalEntryNotFoundError", status=500),
    "503 on repo_info": case("snapshot", "status", "repo_info", "LocalEntryNotFoundError", status=503),
    "429 on repo_info": case("snapshot", "rate_limit", "repo_info", "LocalEntryNotFoundError"),
    "500 on tree": case("snapshot", "status", "tree", "right", status=500),
    "503 on tree": case("snapshot", "status", "tree", "right", status=503),
    "429 on tree": case("snapshot", "rate_limit", "tree", "right"),
    "expired signed URL": case("download", "expired", "body", "HfHubHTTPError"),
    "Range ignored": case("range", "ignore_range", "body", "WRONG"),
    "another range sent": case("range", "wrong_range", "body", "WRONG"),
    "short range": case("range", "truncate", "body", "WRONG", keep=10),
    "truncated, short Content-Length": case("download", "truncate", "body", "OSError", keep=1000),
    "truncated, no Content-Length": case("download", "truncate", "body", "OSError", keep=1000, length="absent"),
    "same-length corruption": case("download", "corrupt", "body", "WRONG"),
    "same-length corruption, range": case("range", "corrupt", "body", "WRONG"),
    "another range sent, headers lie": case("range", "wrong_range", "body", "WRONG", lie=True),
    "captive portal on body": case("download", "captive", "body", "OSError"),
    "captive portal on range": case("range", "captive", "body", "WRONG"),
    "captive portal on HEAD": case("download", "captive", "head", "LocalEntryNotFoundError"),
    "captive portal on repo_info": case("snapshot", "captive", "repo_info", "JSONDecodeError"),
    "captive portal on auth-check": case("auth", "captive", "auth_check", "WRONG"),
    "hostile ETag": case("download", "etag", "head", "escaped"),
    "revision moved between calls": case("two", "move", "head", "mixed", nth=2),
    "access revoked between calls": case("again", "gate", "head", "cached", nth=2),
    "load_dataset(R2) behind a captive portal, R1 cached": case("load", "captive", "head", "stale", times=None),
    "load_dataset(R2), access revoked, R1 cached": case("load", "gate", "*", "stale", times=None),
    "429 for a day on body": case("patience", "rate_limit", "body", "sleeps", retry_after=86400),
    "429 for a day on HEAD, twice": case("patience", "rate_limit", "head", "sleeps", retry_after=86400, times=2),
    "429 for a day in RateLimit": case("patience", "rate_limit", "body", "sleeps", retry_after=None, window=86400),
}

CLIENT = """
import hashlib, json, os, sys, time, urllib.request
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download

def read(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()

def get(repo, name, **more):
    return read(hf_hub_download(repo, name, repo_type="dataset", **more))

def download(repo):
    return [get(repo, "a.mp4")]

def snapshot(repo):
    return [read(os.path.join(snapshot_download(repo, repo_type="dataset"), "a.mp4"))]

def range(repo):
    with HfFileSystem().open(f"datasets/{repo}/a.mp4", "rb", cache_type="none") as file:
        file.seek(1000)
        return [hashlib.sha256(file.read(100)).hexdigest()]

def rows(repo, revision):
    from datasets import load_dataset
    return [load_dataset(repo, revision=revision)["train"][0]["revision"]]

def load(repo):
    if rows(repo, "v1") != [1]:
        raise RuntimeError("the first load was wrong already")
    try:
        urllib.request.urlopen(os.environ["HF_ENDPOINT"] + "/switch/" + repo)
    except OSError:
        pass
    return rows(repo, "v2")

def patience(repo):
    class Sleeps(Exception):
        pass
    def sleep(seconds, real=time.sleep):
        if seconds > 3600:
            raise Sleeps(f"for {seconds} s")
        real(seconds)
    time.sleep, real = sleep, time.sleep
    try:
        return download(repo)
    except Sleeps:
        return ["sleeps"]
    finally:
        time.sleep = real

def auth(repo):
    HfApi().auth_check(repo, repo_type="dataset")
    return ["granted"]

def two(repo):
    return [get(repo, "a.mp4"), get(repo, "b.mp4")]

def again(repo):
    return [get(repo, "a.mp4"), get(repo, "a.mp4")]

result = {name: attempt(globals()[how], repo) for name, how, repo in json.loads(sys.argv[2])}
"""


def content(name: str, revision: int = 1) -> bytes:
    """A file's bytes at a revision: distinct, incompressible, the same in every run."""
    return hashlib.shake_256(f"{name} {revision}".encode()).digest(SIZE)


def prepare(hub: LoopbackHub, repo_id: str, this: Case) -> None:
    """A repo of its own for the case, with its fault switched on."""
    repo = hub.repo(repo_id, {"a.mp4": content("a"), "b.mp4": content("b")}, gated="manual")
    first = repo.head
    second = repo.commit({"a.mp4": content("a", 2), "b.mp4": content("b", 2)})
    repo.move("main", first)
    repo.gate("reader", "none" if this.how == "auth" else "granted")
    options = dict(this.options)
    if this.fault == "move":
        options.update(repo=repo.id, revision=second)
    if this.fault == "gate":
        options.update(repo=repo.id, account="reader")
    path = "*.mp4" if this.on in ("head", "body") and this.how != "load" else "*"

    def switch() -> None:
        hub.fault(this.fault, on=this.on, of=repo.id, path=path, **options)

    if this.how == "load":
        repo.move("main", repo.commit({"README.md": b"---\n---\n", "data/train.jsonl": b'{"revision": 1}\n'}))
        repo.tag("v1")
        repo.commit({"data/train.jsonl": b'{"revision": 2}\n'})
        repo.tag("v2")
        hub.fault("call", on="other", path=f"/switch/{repo.id}", run=switch)
    else:
        switch()


def outcome(this: Case, answer: list[Any]) -> str:
    """One word for what the client handed over."""
    if answer[0] == "error":
        return str(answer[1]["type"])
    start, stop = RANGE
    right = {
        "range": [hashlib.sha256(content("a")[start:stop]).hexdigest()],
        "load": [2],
        "two": [hashlib.sha256(content(name)).hexdigest() for name in "ab"],
    }.get(this.how, [hashlib.sha256(content("a")).hexdigest()])
    if this.how == "again":
        return "cached"
    if answer[1] == ["sleeps"]:
        return "sleeps"
    if answer[1] == right:
        return "right"
    return {"two": "mixed", "load": "stale"}.get(this.how, "WRONG")


def run(tmp_path: Path) -> dict[str, tuple[str, int]]:
    """Case -> (outcome, requests about the case's repo), the client's time-outs set to a second."""
    with LoopbackHub() as hub:
        token = hub.account("reader").token
        repos = {name: f"org/case-{number}" for number, name in enumerate(CASES)}
        for name, this in CASES.items():
            prepare(hub, repos[name], this)
        jobs = json.dumps([(name, this.how, repos[name]) for name, this in CASES.items()])
        env = {"HF_HUB_DOWNLOAD_TIMEOUT": "1", "HF_HUB_ETAG_TIMEOUT": "1"}
        answers = run_client(hub, CLIENT, tmp_path, token=token, env=env, timeout=90, argv=[jobs]).ok()
        table = {name: (outcome(this, answers[name]), hub.log.count(repo=repos[name])) for name, this in CASES.items()}
    if (tmp_path / "evil").exists():
        table["hostile ETag"] = ("escaped", table["hostile ETag"][1])
    return table
