"""`download`: what a config needs and no more, of one commit, verified; or a typed error and nothing half-written trusted."""

from __future__ import annotations

import hashlib
import json
import sys
import unicodedata
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hub import Account, LoopbackHub, Repo, run_client
from hub.wire import Reply

from unsafe_video_dataset.errors import IntegrityError
from unsafe_video_dataset.hub.listing import safe_path
from unsafe_video_dataset.hub.store import size_text
from unsafe_video_dataset.manifest import MAX_BYTES

RELEASE = Path(__file__).parents[1] / "unsafe_video_dataset" / "sample" / "release"
SPLITS = ("train", "validation", "test")
TRAIN = "data/metadata/train.parquet"
METADATA = {"manifest.json", "tombstones.parquet", *(f"data/metadata/{split}.parquet" for split in SPLITS)}
VIDEOS = {split: f"data/unsafe/{split}-00000-of-00001.parquet" for split in SPLITS}
QUICK = {"UNSAFE_VIDEO_HUB_TRIES": "3", "UNSAFE_VIDEO_HUB_TIMEOUT": "5"}


def manifest_of(folder: Path) -> dict[str, Any]:
    """The folder's manifest, its sizes and hashes taken from the files that are there."""
    manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    for entry in manifest["files"]:
        data = (folder / entry["path"]).read_bytes()
        entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    return manifest


# Steps in a client process: each a dict of arguments of `download`, with `step` (a test's action first) or `what` besides.
CLIENT = """
import json, os, sys, urllib.error, urllib.request, warnings
from unsafe_video_dataset.hub import download, plan_download

def one(job):
    if "action" in job:
        try:
            urllib.request.urlopen(f"{os.environ['HF_ENDPOINT']}/action/{job['action']}")
        except urllib.error.HTTPError:
            return None
    what = plan_download if job.pop("dry", False) else download
    more = {} if what is plan_download else {"progress": False, "accept_terms": True}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answer = attempt(lambda: what(job.pop("repo", "org/data"), **{**more, **job}))
    if answer[0] == "error":
        return {"error": answer[1]["type"], "message": answer[1]["message"]}
    value = answer[1].to_dict() if what is plan_download else str(answer[1])
    return {"value": value, "warnings": [str(one.message) for one in caught]}

result = [one(job) for job in json.loads(sys.argv[2])]
"""


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def repo(hub: LoopbackHub) -> Repo:
    repo = hub.repo("org/data", folder=RELEASE, gated="manual")
    repo.commit({"manifest.json": json.dumps(manifest_of(RELEASE)).encode()})
    repo.tag("v1")
    repo.gate("reader", "granted")
    return repo


@pytest.fixture
def reader(hub: LoopbackHub) -> Account:
    return hub.account("reader", role="read")


def steps(
    hub: LoopbackHub, tmp_path: Path, *jobs: dict[str, Any] | Callable[[], object], token: str | None = None, **env: str
) -> list[dict[str, Any]]:
    """Run downloads in one client process; a function among them is called here, between them. Answers of the downloads."""
    todo = []
    for number, job in enumerate(jobs):
        if callable(job):
            hub.fault("call", on="other", path=f"/action/{number}", run=job)
            todo.append({"action": number})
        else:
            todo.append(job)
    token = token or next(iter(hub.accounts))
    result = run_client(hub, CLIENT, tmp_path, token=token, env={**QUICK, **env}, argv=[json.dumps(todo)])
    assert result.refused == []
    return [answer for answer in result.ok() if answer is not None]


def commits(tmp_path: Path) -> Path:
    """Where the files of commits are kept."""
    return tmp_path / "hf" / "unsafe-video-dataset" / "org--data" / "commits"


def check(folder: str, repo: Repo, sha: str, wanted: set[str]) -> None:
    """The folder is the commit's, holds the wanted files and no others, each byte for byte."""
    found = {path.relative_to(folder).as_posix(): path for path in Path(folder).rglob("*") if path.is_file()}
    assert Path(folder).name == sha
    assert set(found) == wanted
    for name, path in found.items():
        assert path.read_bytes() == repo.commits[sha].files[name].read(), name


def second_release(repo: Repo, tag: str = "v2") -> str:
    """A commit that changes one data file and its line in the manifest; its id. `main` moves to it."""
    data = (RELEASE / TRAIN).read_bytes() + b"2"
    manifest = manifest_of(RELEASE)
    entry = next(entry for entry in manifest["files"] if entry["path"] == TRAIN)
    entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    sha = repo.commit({TRAIN: data, "manifest.json": json.dumps(manifest).encode()})
    repo.tag(tag)
    return sha


def test_what_a_config_needs_and_no_more(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    wanted = {
        "metadata": METADATA,
        "annotations": METADATA | {f"data/annotations/{split}.parquet" for split in SPLITS},
        "unsafe": METADATA | set(VIDEOS.values()),
        "reviewed": METADATA | {f"data/{kind}/{s}-00000-of-00001.parquet" for kind in ("unsafe", "not_unsafe") for s in SPLITS},
        "all": {path.relative_to(RELEASE).as_posix() for path in RELEASE.rglob("*") if path.is_file()},
    }
    jobs = [{"config": config, "cache_dir": str(tmp_path / config)} for config in wanted]
    split = {"split": "test", "cache_dir": str(tmp_path / "split")}
    answers = steps(hub, tmp_path, *jobs, split)
    for (_, files), answer in zip([*wanted.items(), ("", METADATA | {VIDEOS["test"]})], answers, strict=True):
        assert "error" not in answer, answer
        check(answer["value"], repo, repo.head, files)
    sizes = {name: blob.size for name, blob in repo.commits[repo.head].files.items()}
    every = sum(sum(sizes[name] for name in files) for files in wanted.values()) + sum(
        map(sizes.get, METADATA | {VIDEOS["test"]})
    )  # type: ignore[arg-type]
    assert hub.log.sent(kind="body") == every, "each byte once"
    assert hub.log.count(method="HEAD") == 0
    assert hub.log.count(kind="body", range="*") == 0
    assert hub.log.count(origin="cdn", authorized=True) == 0


def test_a_second_call_fetches_nothing_and_another_config_only_the_rest(
    hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path
) -> None:
    seen: list[tuple[int, int]] = []

    def note() -> None:
        entries = [entry for entry in hub.log._entries if entry.kind == "body"]
        seen.append((len(entries), sum(entry.sent for entry in entries)))

    answers = steps(hub, tmp_path, {"config": "metadata"}, note, {"config": "metadata", "revision": "v1"}, note, {}, note)
    check(answers[2]["value"], repo, repo.head, METADATA | set(VIDEOS.values()))
    sizes = {name: blob.size for name, blob in repo.commits[repo.head].files.items()}
    first = (5, sum(sizes[name] for name in METADATA))
    assert seen == [first, first, (8, first[1] + sum(sizes[name] for name in VIDEOS.values()))]


def test_dry_run_and_a_disk_without_room(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    answers = steps(hub, tmp_path, {"dry": True}, {"dry": True, "config": "metadata", "split": "train"}, {"config": "metadata"},
                    {"dry": True, "revision": "v1"})  # fmt: skip
    sizes = {name: blob.size for name, blob in repo.commits[repo.head].files.items()}
    plan = answers[0]["value"]
    assert {file["path"]: file["bytes"] for file in plan["files"]} == {n: sizes[n] for n in METADATA | set(VIDEOS.values())}
    assert plan["bytes_to_fetch"] == sum(sizes[name] for name in METADATA | set(VIDEOS.values()))
    assert (plan["commit"], answers[1]["value"]["bytes_to_fetch"]) == (repo.head, sum(sizes[name] for name in METADATA))
    assert answers[3]["value"]["bytes_to_fetch"] == sum(sizes[name] for name in VIDEOS.values())
    assert hub.log.count(kind="body") == 5, "only the real download fetched files"
    code = """
import shutil, collections
Usage = collections.namedtuple("Usage", "total used free")
shutil.disk_usage = lambda place: Usage(10**9, 10**9 - 10_300_000, 10_300_000)
from unsafe_video_dataset.hub import download, plan_download
result = [attempt(plan_download, "org/data"), attempt(lambda: download("org/data", accept_terms=True))]
"""
    hub.log.clear()
    for kind, error in run_client(hub, code, tmp_path / "small", token=reader.token).ok():
        assert (kind, error["type"]) == ("error", "StorageError")
        assert f"org/data needs {size_text(plan['bytes_to_fetch'])} more" in error["message"]
        assert "--cache-dir" in error["message"]
    assert hub.log.count(kind="body") == 0


def test_dry_run_writes_nothing(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    steps(hub, tmp_path, {"dry": True})
    assert not commits(tmp_path).parent.exists()


def test_offline_is_exactly_the_pinned_revision_or_says_what_is_missing(
    hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path
) -> None:
    first = repo.head
    second = second_release(repo)
    steps(hub, tmp_path, {"revision": "v1", "config": "metadata"})
    hub.log.clear()
    off = {"config": "metadata", "local_files_only": True}
    jobs = [{**off, "revision": "v1"}, {**off, "revision": first}, {**off, "revision": "v2"}, {**off, "revision": second}, off]
    jobs += [{"revision": "v1", "local_files_only": True}, {**off, "revision": "v1", "repo": "org/other"}]
    for env in ({}, {"HF_HUB_OFFLINE": "1"}):
        todo = [{key: value for key, value in job.items() if not env or key != "local_files_only"} for job in jobs]
        answers = steps(hub, tmp_path, *todo, **env)
        for answer in answers[:2]:
            check(answer["value"], repo, first, METADATA)
            assert answer["warnings"] == []
        assert [answer["error"] for answer in answers[2:]] == ["OfflineError"] * 5
        messages = [answer["message"] for answer in answers[2:]]
        assert f"Revision 'v2' of org/data is not on this machine (here: v1 ({first[:12]}))" in messages[0]
        assert f"Commit {second[:12]} of org/data is not on this machine" in messages[1]
        assert "Revision 'main' of org/data is not on this machine" in messages[2]
        videos = sum(repo.commits[first].files[name].size for name in VIDEOS.values())
        assert f"{size_text(videos)} are missing or damaged here (3 of 8 files)" in messages[3]
        assert VIDEOS["train"] in messages[3]
        assert all("Go online once: unsafe-video download org/" in message for message in messages)
    assert hub.log.count() == 0


def test_a_revision_that_moved_is_resolved_anew_and_shares_what_is_the_same(
    hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path
) -> None:
    first = repo.head
    second = second_release(repo)
    repo.move("main", first)
    answers = steps(hub, tmp_path, {}, lambda: repo.move("main", second), {}, {"revision": "v1"}, {"local_files_only": True})
    for answer, sha in zip(answers, (first, second, first, second), strict=True):
        check(answer["value"], repo, sha, METADATA | set(VIDEOS.values()))
    assert hub.log.count(kind="body", file="data/unsafe/*") == 3, "files that did not change are not fetched again"
    assert hub.log.count(kind="body", file=TRAIN) == 2


def test_access_revoked_closes_the_copy(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    first = repo.head
    here, off = {"config": "metadata"}, {"config": "metadata", "local_files_only": True}
    cached = {"allow_cached": True}
    revoke, grant = partial(repo.gate, "reader", "revoked"), partial(repo.gate, "reader", "granted")
    other = {**here, **cached, "revision": "v9"}
    answers = steps(
        hub, tmp_path, here, revoke, here, off, {**here, **cached}, {**off, **cached}, cached, other,
        grant, here, off,
    )  # fmt: skip
    assert [answer.get("error") for answer in answers] == [
        None, "AccessRejected", "AccessError", None, None, "OfflineError", "OfflineError", None, None,
    ]  # fmt: skip
    assert "unsafe-video purge org/data" in answers[1]["message"]
    assert "allow_cached=True" in answers[1]["message"]
    assert "has been rejected by" in answers[1]["message"], "the server's own words"
    assert "last denied access" in answers[2]["message"]
    for answer in answers[3:5]:
        check(answer["value"], repo, first, METADATA)
        assert len(answer["warnings"]) == 1
        assert "Opening the copy of org/data" in answer["warnings"][0]
    assert all(answer["warnings"] == [] for answer in answers[7:])


def test_allow_cached_opens_the_pinned_revision_while_the_hub_is_down(
    hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path
) -> None:
    def down() -> None:
        hub.fault("status", on="auth_check", times=None)

    job = {"config": "metadata", "revision": "v1"}
    answers = steps(
        hub, tmp_path, job, down, job, {**job, "allow_cached": True}, {**job, "allow_cached": True, "revision": "v2"}
    )
    assert [answer.get("error") for answer in answers] == [None, "HubUnavailable", None, "OfflineError"]
    assert "local_files_only=True" in answers[1]["message"]
    assert "503" in answers[2]["warnings"][0]


def test_resolves_names_and_refuses_what_is_none(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    first = repo.head
    repo.commit({"notes.txt": b"n"}, branch="feature/x")
    names = ["v1", first, "feature/x", "v9", "0" * 40, "", "..", "a/../b", "v\u202e1"]
    answers = steps(hub, tmp_path, *({"revision": name, "config": "metadata"} for name in names))
    assert [answer.get("error") for answer in answers] == [None] * 3 + ["RevisionError"] * 6
    assert Path(answers[2]["value"]).name == repo.branches["feature/x"]
    assert "/datasets/org/data/tree/main lists branches and tags" in answers[3]["message"]
    # A Hub that answers another commit than the one that was asked for.
    lie = lambda reply: Reply(200, reply.headers, reply.body.replace(first.encode(), b"1" * 40))  # noqa: E731
    hub.fault("rewrite", on="repo_info", edit=lie)
    answers = steps(hub, tmp_path, {"revision": first, "config": "metadata"}, {"config": "everything"}, {"split": "dev"})
    assert [answer["error"] for answer in answers] == ["RevisionError", "FilterError", "FilterError"]


def test_what_is_not_a_release(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    hub.repo("org/raw", {"1.mp4": b"1" * 100, "labels.csv": b"1,2\n"})
    answers = steps(hub, tmp_path, {"repo": "org/raw"}, {"repo": "org/raw", "config": "all"})
    assert answers[0]["error"] == "IntegrityError"
    assert "unsafe-video-build upstream org/raw OUT" in answers[0]["message"]
    folder = Path(answers[1]["value"])
    assert sorted(path.name for path in folder.iterdir()) == ["1.mp4", "labels.csv"]


def test_a_manifest_that_disagrees(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    manifest = manifest_of(RELEASE)
    files = {entry["path"]: entry for entry in manifest["files"]}

    def lie(**changes: Any) -> bytes:
        return json.dumps({**manifest, "files": [*({**files, **changes}.values())]}).encode()

    readme = (RELEASE / "README.md").read_bytes()
    lies: dict[str, tuple[bytes, dict[str, bytes | None]]] = {
        "size": (lie(**{TRAIN: {**files[TRAIN], "bytes": 7}}), {}),
        "hash": (lie(**{TRAIN: {**files[TRAIN], "sha256": "0" * 64}}), {}),
        "file that the manifest lacks": (lie(), {"data/unsafe/train-00001-of-00002.parquet": b"more"}),
        "file that the Hub lacks": (lie(), {VIDEOS["test"]: None}),
        "no tombstones": (lie(), {"tombstones.parquet": None}),
        "twice": (json.dumps({**manifest, "files": manifest["files"] * 2}).encode(), {}),
        "no list": (b'{"files": 3}', {}),
        "entry without a size": (lie(**{TRAIN: {"path": TRAIN}}), {}),
        "no JSON": (b"<html>", {}),
        "deep": (b"[" * 100_000, {}),
        "small file, same length": (lie(), {"README.md": readme[:-1] + b"x"}),
        "control": (lie(), {}),
    }
    for number, (data, changes) in enumerate(lies.values()):
        one = hub.repo(f"org/lie-{number}", folder=RELEASE)
        one.commit({"manifest.json": data, **changes})
    answers = steps(hub, tmp_path, *({"repo": f"org/lie-{number}", "config": "all"} for number in range(len(lies))))
    assert "value" in answers.pop(), "without a lie it is a release"
    lies.pop("control")
    for name, answer in zip(lies, answers, strict=True):
        assert answer.get("error") == "IntegrityError", name
        assert "ell the owner" in answer["message"], name
    for number, name in enumerate(lies):
        if not name.startswith("small"):
            assert hub.log.count(kind="body", repo=f"org/lie-{number}", file="data/*") == 0, (
                "found before anything large is fetched"
            )


HOSTILE = ["../x", "/abs", "a/../../x", "a//b", "./a", "a\\b", "..\\x", "C:x", "a\x00b", "a\nb", "gnp\u202eexe.parquet",
           unicodedata.normalize("NFD", "caf\u00e9.txt"), "a/b.", "a ", "", "data/\ud7b0\u200b"]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE)
def test_paths_that_are_not_plain(path: str) -> None:
    with pytest.raises(IntegrityError, match="plain relative path") as caught:
        safe_path(path)
    assert str(caught.value).isascii(), "the message shows what is hidden in the path"


def test_hostile_listings(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    def edit(change: Callable[[list[dict[str, Any]]], Any]) -> Callable[[Reply], Reply]:
        def apply(reply: Reply) -> Reply:
            return Reply(200, reply.headers, json.dumps(change(json.loads(reply.body))).encode())

        return apply

    def with_path(path: str) -> Callable[[list[dict[str, Any]]], Any]:
        return lambda entries: [*entries, {"type": "file", "path": path, "size": 1, "oid": "0" * 40}]

    lists: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
        **{
            f"path {path!a}": with_path(path)
            for path in ("../../../../evil", "/abs/evil", "a\\evil", "a\x07", "\u202egnp", "cafe\u0301")
        },
        "capitals": with_path("MANIFEST.json"),
        "no size": lambda entries: [{**entry, "size": None, "lfs": None} for entry in entries],
        "negative": lambda entries: [{**entry, "size": -1, "lfs": None} for entry in entries],
        "no hash": lambda entries: [{**entry, "oid": "", "lfs": None} for entry in entries],
        "strange hash": lambda entries: [{**entry, "lfs": {"oid": "../evil", "size": 1}} for entry in entries],
        "not entries": lambda entries: [1, 2],
    }
    for number, change in enumerate(lists.values()):
        hub.repo(f"org/tree-{number}", folder=RELEASE)
        hub.fault("rewrite", on="tree", of=f"org/tree-{number}", edit=edit(change), times=None)
    no_list = len(lists)
    hub.repo(f"org/tree-{no_list}", folder=RELEASE)
    hub.fault("rewrite", on="tree", of=f"org/tree-{no_list}", edit=edit(lambda entries: {"error": "no"}), times=None)
    # Listings that never end: the same page over and over, new pages for ever, and one that goes on at another address.
    for name, link in {"loop": "", "elsewhere": "http://127.0.0.1:9"}.items():
        hub.repo(f"org/{name}", folder=RELEASE)
        url = f"{link or hub.endpoint}/api/datasets/org/{name}/tree/main?recursive=true"
        hub.fault("headers", on="tree", of=f"org/{name}", set={"Link": f'<{url}>; rel="next"'}, times=None)
    hub.repo("org/endless", folder=RELEASE)
    pages = iter(range(10**9))

    def another_page(reply: Reply) -> Reply:
        number = next(pages)
        link = f'<{hub.endpoint}/api/datasets/org/endless/tree/main?recursive=true&page={number}>; rel="next"'
        entries = [{"type": "file", "path": f"{number}-{one}", "size": 1, "oid": "0" * 40} for one in range(9000)]
        return Reply(200, {**reply.headers, "Link": link}, json.dumps(entries).encode())

    hub.fault("rewrite", on="tree", of="org/endless", edit=another_page, times=None)
    names = [f"tree-{number}" for number in range(no_list + 1)] + ["loop", "elsewhere", "endless"]
    answers = steps(hub, tmp_path, *({"repo": f"org/{name}", "config": "metadata"} for name in names))
    expected = ["IntegrityError"] * no_list + ["HubUnavailable", "IntegrityError", "HubUnavailable", "IntegrityError"]
    assert [answer.get("error") for answer in answers] == expected
    assert "does not end" in answers[-1]["message"]
    assert hub.log.count(kind="tree", path="*/loop/*") == 2
    assert hub.log.count(kind="tree", path="*/endless/*") < 30
    assert hub.log.count(kind="body") == 0
    assert not any("evil" in path.name for path in tmp_path.rglob("*"))
    assert not Path("/abs").exists()


def test_hostile_etag_writes_nothing_outside(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    hub.fault("etag", etag='"../../../../../evil"', times=None)
    hub.fault("headers", on="body", set={"Content-Disposition": 'attachment; filename="../../evil"'}, times=None)
    before = set(tmp_path.parent.iterdir())
    check(steps(hub, tmp_path, {})[0]["value"], repo, repo.head, METADATA | set(VIDEOS.values()))
    assert not any("evil" in path.name for path in tmp_path.rglob("*"))
    assert set(tmp_path.parent.iterdir()) == before
    store = tmp_path / "hf" / "unsafe-video-dataset"
    assert {path.name for path in store.iterdir()} == {"access-log.jsonl", "org--data"}
    assert {path.name for path in (store / "org--data").iterdir()} == {
        ".lock",
        ".state.lock",
        "commits",
        "listings",
        "partial",
        "state.json",
    }
    assert not any((store / "org--data" / "partial").iterdir())


def test_a_full_disk_is_one_typed_error_and_nothing_is_lost(
    hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path
) -> None:
    code = """
import errno
from unsafe_video_dataset.hub import download, fetch
real, room = fetch.Path.open, [60_000]
class Full:
    def __init__(self, file):
        self.file = file
    def __enter__(self):
        return self
    def __exit__(self, *error):
        self.file.close()
    def __getattr__(self, name):
        return getattr(self.file, name)
    def write(self, data):
        if room[0] < len(data):
            self.file.write(bytes(data)[:room[0]])
            room[0] = 0
            raise OSError(errno.ENOSPC, "No space left on device")
        room[0] -= len(data)
        return self.file.write(data)
def full(self, mode="r", **more):
    return Full(real(self, mode, **more)) if mode == "r+b" else real(self, mode, **more)
call = lambda **more: str(download("org/data", config="metadata", accept_terms=True, progress=False, **more))
fetch.Path.open = full
result = [attempt(call), attempt(call, local_files_only=True)]
fetch.Path.open = real
result.append(attempt(call))
"""
    full, offline, again = run_client(hub, code, tmp_path, token=reader.token, env=QUICK).ok()
    assert (full[1]["type"], offline[1]["type"]) == ("StorageError", "OfflineError")
    assert "The disk is full" in full[1]["message"]
    assert "What is finished is kept" in full[1]["message"]
    check(again[1], repo, repo.head, METADATA)
    sizes = {name: repo.commits[repo.head].files[name].size for name in METADATA}
    ranges = [entry.range for entry in hub.log.select(kind="body", status=206)]
    assert len(ranges) == 1, "one file was under way, and goes on where it stopped"
    assert hub.log.count(kind="body") == len(sizes) + 1


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX")
def test_a_cache_that_cannot_be_written(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    jobs = [{"cache_dir": str(tmp_path / "file")}, {"cache_dir": str(tmp_path / "file" / "below")}]
    for answer in steps(hub, tmp_path, *jobs):
        assert answer["error"] == "StorageError"
        assert str(tmp_path / "file") in answer["message"]
    folder = steps(hub, tmp_path, {"config": "metadata"})[0]["value"]
    modes = {path.stat().st_mode & 0o077 for path in (Path(folder).parents[1], Path(folder).parents[0])}
    assert modes == {0}, "others on this machine can't read it"


def test_masked_hashes_mean_no_access(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    # Access that goes between the check and the listing: the Hub answers 200 and hides the sums.
    hub.fault("gate", on="tree", repo=repo.id, account="reader")
    answer = steps(hub, tmp_path, {"config": "metadata"})[0]
    assert answer["error"] == "AccessError"
    assert hub.log.count(kind="body") == 0


def test_terms_are_asked_for_once(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    repo.card_data = {"extra_gated_prompt": "For research only."}
    no, yes = {"config": "metadata", "accept_terms": False}, {"config": "metadata", "accept_terms": True}

    def change() -> None:
        repo.card_data = {"extra_gated_prompt": "Other terms."}

    answers = steps(hub, tmp_path, no, yes, no, change, no)
    assert [answer.get("error") for answer in answers] == ["TermsNotAccepted", None, None, "TermsNotAccepted"]
    assert "For research only." in answers[0]["message"]


def test_an_answer_without_end(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    endless = lambda reply: Reply(200, reply.headers, b"[" + b" " * (65 << 20))  # noqa: E731
    hub.fault("rewrite", on="tree", edit=endless, times=None)
    answer = steps(hub, tmp_path, {"config": "metadata"})[0]
    assert answer["error"] == "HubUnavailable"
    assert "longer than 64 MB" in answer["message"]
    assert hub.log.count(kind="tree") == 1


DRIP = """
import socket, threading, time
from unsafe_video_dataset.hub.answer import Broken
from unsafe_video_dataset.hub.client import Client, Patience

def drip(listener):
    sink, _ = listener.accept()
    sink.recv(65536)
    sink.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 100000\\r\\n\\r\\n")
    try:
        while True:
            sink.sendall(b"x")
            time.sleep(0.05)
    except OSError:
        pass

listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=drip, args=(listener,), daemon=True).start()
client = Client(token=False, patience=Patience(read=5, answer=0.5, slowest=1000))
got = 0
try:
    with client.stream(f"http://127.0.0.1:{listener.getsockname()[1]}/file") as response:
        for piece in client.pieces(response):
            got += len(piece)
except Broken as error:
    result = [got, error.reason]
"""


def test_a_file_that_drips_counts_as_stuck(tmp_path: Path) -> None:
    """A byte now and then keeps the read timeout quiet; it must not hold a download for ever."""
    with LoopbackHub() as hub:
        got, reason = run_client(hub, DRIP, tmp_path).ok()
    assert 0 < got < 1000
    assert reason.startswith("it drips")


@pytest.mark.parametrize("config", ["metadata", "all"])
def test_a_manifest_that_fills_the_memory_is_never_fetched(
    hub: LoopbackHub, reader: Account, tmp_path: Path, config: str
) -> None:
    hub.repo("org/big", {"manifest.json": b'{"files": [' + b"0," * (MAX_BYTES // 2) + b"0]}", "tombstones.parquet": b"PAR1"})
    (answer,) = steps(hub, tmp_path, {"repo": "org/big", "config": config}, token=reader.token)
    assert answer["error"] == "IntegrityError"
    assert "at most 67,108,864 are read" in answer["message"]
    assert hub.log.count(kind="resolve") == hub.log.count(kind="body") == 0
