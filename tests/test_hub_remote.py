"""Reading a release over ranges: how little is fetched, and that nothing wrong is ever handed out."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gate_support as support
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hub import LoopbackHub, run_client

SIZE = 150_000
SHARD = "data/unsafe/train-00000-of-00001.parquet"
OPEN = (
    support.QUICK
    + """
import hashlib, io, json, pickle, sys
from unsafe_video_dataset.hub.remote import RemoteRelease
connections = []
sys.addaudithook(lambda event, args: connections.append(args[1]) if event == "socket.connect" else None)
release = RemoteRelease.open_remote("org/data", accept_terms=True)
ids = release.metadata("train", columns=["video_id"], is_unsafe=True)["video_id"].to_pylist()
sha = lambda video_id: hashlib.sha256(release.video_bytes(video_id)).hexdigest()
right = dict(zip(*release.metadata(columns=["video_id", "sha256"]).to_pydict().values()))
shard = next(path for path in release.data_files("unsafe", "train"))
"""
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("noise") / "release"
    support.write_noise(out, videos=130, size=SIZE)
    return out


@pytest.fixture
def hub(folder: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        hub.token = support.gated_repo(hub, folder)  # type: ignore[attr-defined]
        yield hub


def token(hub: LoopbackHub) -> str:
    return str(hub.token)  # type: ignore[attr-defined]


def total(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def fetched(hub: LoopbackHub) -> int:
    return hub.log.sent(method="GET")


COLUMNS = (
    OPEN
    + """
rows = []
for split in ("train", "validation", "test"):
    for path in release.data_files("reviewed", split):
        for group in range(len(release.footer(path).row_groups)):
            rows += release.read_group(path, group, json.loads(sys.argv[2])).to_pylist()
result = {"rows": len(rows), "connections": len(connections), "first": list(rows[0])}
"""
)


def measure(hub: LoopbackHub, tmp_path: Path, whole: int) -> dict[str, Any]:
    """Bytes and requests of opening, of reading columns, and of one video."""
    found: dict[str, Any] = {}
    run_client(hub, OPEN, tmp_path, token=token(hub)).ok()
    found["metadata"] = (fetched(hub) / whole, len(hub.log.select()))
    for columns in (["video_id"], ["video_id", "categories"], ["prompt", "generation", "sha256"]):
        hub.log.clear()
        value = run_client(hub, COLUMNS, tmp_path, token=token(hub), argv=[str(columns).replace("'", '"')]).ok()
        assert value["first"] == columns
        found[" ".join(columns)] = (fetched(hub) / whole, len(hub.log.select()))
        found["connections"], found["rows"] = value["connections"], value["rows"]
    return found


def test_little_is_fetched(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    found = measure(hub, tmp_path, total(folder))
    print(found)
    assert found["rows"] == 130
    assert found["metadata"][0] < 0.02
    assert all(found[key][0] < 0.04 for key in ("video_id", "video_id categories", "prompt generation sha256"))
    assert found["connections"] <= 4


@pytest.mark.slow
def test_little_is_fetched_of_200_mb(tmp_path: Path) -> None:
    support.write_noise(tmp_path / "release", videos=670, size=300_000)
    with LoopbackHub() as hub:
        hub.token = support.gated_repo(hub, tmp_path / "release")  # type: ignore[attr-defined]
        found = measure(hub, tmp_path, total(tmp_path / "release"))
    print(found)
    assert found["rows"] == 670
    assert all(found[key][0] < 0.02 for key in ("metadata", "video_id", "video_id categories", "prompt generation sha256"))
    assert found["connections"] <= 4


def test_one_video_takes_a_footer_and_a_row_group(hub: LoopbackHub, tmp_path: Path) -> None:
    run_client(hub, OPEN, tmp_path, token=token(hub)).ok()
    hub.log.clear()
    code = OPEN + "before = len(connections); result = [sha(ids[0]) == right[ids[0]], sha(ids[1]) == right[ids[1]]]"
    assert run_client(hub, code, tmp_path, token=token(hub)).ok() == [True, True]
    bodies = hub.log.select(kind="body", origin="cdn")
    assert [entry.status for entry in bodies] == [206, 206], "the footer, and the row group of both videos"
    assert bodies[0].sent == 65_536
    assert 16 * SIZE < bodies[1].sent < 16 * SIZE + 65_536
    assert hub.log.count(kind="resolve", file=SHARD) == 1, "the signed URL is used again"
    assert hub.log.count(authorized=True, origin="cdn") == 0


READ = (
    OPEN
    + support.STEP
    + """
def read():
    release = pickle.loads(pickle.dumps(opened))  # nothing is kept of the read before
    data = release.video_bytes(ids[3])
    assert hashlib.sha256(data).hexdigest() == right[ids[3]], "WRONG BYTES"
    rows = release.read_group(shard, 0, ["video_id", "categories"])
    assert rows.to_pylist() == there[: rows.num_rows], "WRONG ROWS"
    return len(data)
opened, there = release, release.metadata("train", columns=["video_id", "categories"], is_unsafe=True).to_pylist()
result = []
for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 1):
    step()
    result.append(attempt(read))
"""
)
RANGES: dict[str, Any] = {"on": "body", "path": SHARD}
# fault -> (options, outcome when it comes once, outcome when it stays). "right": the right bytes came.
FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "range ignored": ("ignore_range", {}, "HubUnavailable"),
    "another range, said so": ("wrong_range", {"shift": 7}, "HubUnavailable"),
    "another range, not said": ("wrong_range", {"shift": 7, "lie": True}, "UnsafeVideoError"),
    "cut short, said so": ("truncate", {"keep": 1000}, "HubUnavailable"),
    "cut short, no length": ("truncate", {"keep": 1000, "length": "absent"}, "HubUnavailable"),
    "empty": ("truncate", {"keep": 0}, "HubUnavailable"),
    "closed mid-body": ("fin", {"after": 5000}, "HubUnavailable"),
    "reset mid-body": ("reset", {"after": 5000}, "HubUnavailable"),
    "reset at once": ("reset", {"after": None}, "HubUnavailable"),
    "one bit range corrupt": ("corrupt", {"flips": 3}, "IntegrityError"),
    "captive portal": ("captive", {}, "HubUnavailable"),
    "expired link": ("expired", {}, "HubUnavailable"),
    "500": ("status", {"status": 500}, "HubUnavailable"),
    "503": ("status", {"status": 503}, "HubUnavailable"),
    "429": ("rate_limit", {"retry_after": 0}, "RateLimited"),
    "429 for a day": ("rate_limit", {"retry_after": 86400}, "RateLimited"),
}


def test_range_faults_give_right_bytes_or_a_typed_error(hub: LoopbackHub, tmp_path: Path) -> None:
    """Each fault once and for ever, on the footer and on the row group."""
    cases = [(name, nth, times) for name in FAULTS for nth in (1, 2) for times in (1, None)]

    def switch_on(name: str, nth: int, times: int | None) -> None:
        fault, options, _ = FAULTS[name]
        hub.fault(fault, nth=nth, times=times, **RANGES, **options)

    support.steps(hub, [lambda case=case: switch_on(*case) for case in cases])  # type: ignore[misc]
    outcomes = run_client(hub, READ, tmp_path, token=token(hub), argv=[str(len(cases))], timeout=120).ok()
    for (name, nth, times), (outcome, value), requests in zip(cases, outcomes, support.requests_by_step(hub), strict=True):
        place = f"{name}, request {nth}, {times} times: {value}"
        if times == 1 and name != "429 for a day":
            assert (outcome, value) == ("ok", SIZE), place
            assert len(requests) <= 12, place
        else:
            assert outcome == "error", place
            assert FAULTS[name][2] in value["mro"], place
            assert {"HubUnavailable", "IntegrityError"} & set(value["mro"]), place
            assert "Signature" not in value["message"], place
            assert token(hub) not in value["message"], place
            assert len(requests) <= 20, place


def test_corrupt_bytes_anywhere_are_found(hub: LoopbackHub, folder: Path, tmp_path: Path) -> None:
    """Bytes that stay wrong, in the footer, the ids, the labels or the videos, are never handed out."""
    size = (folder / SHARD).stat().st_size
    inside = [4, 30, 300, 900, 3000, 200_000, 16 * SIZE, size - 9, size - 5, size - 2]
    offsets = [*inside, *range(size - 50_000, size, 997)]
    support.steps(hub, [lambda o=o: hub.fault("corrupt", offset=o, times=None, **RANGES) for o in offsets])  # type: ignore[misc]
    outcomes = run_client(hub, READ, tmp_path, token=token(hub), argv=[str(len(offsets))], timeout=120).ok()
    for offset, (outcome, value) in zip(offsets, outcomes, strict=True):
        if outcome == "error":
            assert "IntegrityError" in value["mro"], (offset, value)
        else:
            assert value == SIZE, (offset, value)
    errors = [outcome for outcome, _ in outcomes].count("error")
    print(f"{len(offsets)} places, {errors} refused, {len(offsets) - errors} not read or without meaning")
    assert errors >= 4


def test_a_data_file_with_other_rows_is_refused(folder: Path, tmp_path: Path) -> None:
    """A sound Parquet file, well hashed, with its rows in another order than its metadata: by its owner or by a mirror."""
    release = json.loads((folder / "manifest.json").read_text())
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    rows = pq.read_table(other / SHARD)
    swapped = pa.concat_tables([rows.slice(1, 1), rows.slice(0, 1), rows.slice(2)])
    pq.write_table(swapped, other / SHARD, row_group_size=16, write_page_checksum=True, compression="none")
    entry = next(entry for entry in release["files"] if entry["path"] == SHARD)
    data = (other / SHARD).read_bytes()
    entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (other / "manifest.json").write_text(json.dumps(release))
    with LoopbackHub() as hub:
        secret = support.gated_repo(hub, other)
        support.steps(hub, [lambda: None])
        ((outcome, value),) = run_client(hub, READ, tmp_path, token=secret).ok()
    assert (outcome, value["type"]) == ("error", "ChecksumError")
    assert "has other bytes than recorded" in value["message"]


def test_a_data_file_that_would_fill_the_memory_is_refused_before_it_is_read(folder: Path, tmp_path: Path) -> None:
    """One dictionary value, repeated by every row of a group: some hundred kB in the file, gigabytes in memory."""
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    release = json.loads((folder / "manifest.json").read_text())
    rows = pq.read_table(other / SHARD)
    names = pa.array([f"{video_id}.mp4" for video_id in rows["video_id"].to_pylist()])
    zeros = pa.DictionaryArray.from_arrays(pa.array([0] * rows.num_rows, pa.int32()), pa.array([b"\0" * (32 << 20)]))
    video = pa.StructArray.from_arrays([zeros, names], ["bytes", "path"])
    bomb = rows.set_column(rows.schema.get_field_index("video"), "video", video)
    how = {"row_group_size": 200, "compression": "zstd", "write_page_checksum": True, "store_schema": False}
    pq.write_table(bomb, other / SHARD, dictionary_pagesize_limit=1 << 30, **how)
    data = (other / SHARD).read_bytes()
    assert len(data) < 1 << 20, len(data)
    entry = next(entry for entry in release["files"] if entry["path"] == SHARD)
    entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    (other / "manifest.json").write_text(json.dumps(release))
    code = (
        READ
        + """
from pathlib import Path
status = Path("/proc/self/status")  # getrusage would count what the parent had before this process was started
lines = status.read_text().splitlines() if status.exists() else []
result.append(next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0))
"""
    )
    with LoopbackHub() as hub:
        secret = support.gated_repo(hub, other)
        support.steps(hub, [lambda: None])
        (outcome, value), peak = run_client(hub, code, tmp_path, token=secret).ok()
    assert (outcome, value["type"]) == ("error", "IntegrityError"), value
    assert "fill the memory" in value["message"]
    assert peak < rows.num_rows * 32_000, f"{peak} kB: as much as the rows would take"


def test_access_and_commit_that_change_under_the_reader(hub: LoopbackHub, tmp_path: Path) -> None:
    support.steps(
        hub,
        [
            lambda: hub.fault("headers", on="resolve", path=SHARD, set={"X-Repo-Commit": "0" * 40}),
            lambda: hub.fault("gate", on="resolve", path=SHARD, repo="org/data", account="reader"),
        ],
    )
    moved, revoked = run_client(hub, READ, tmp_path, token=token(hub), argv=["2"]).ok()
    assert (moved[0], moved[1]["type"]) == ("error", "RevisionError")
    assert (revoked[0], revoked[1]["type"]) == ("error", "AccessRejected")
    assert "org/data" in revoked[1]["message"]


WORKERS = (
    support.QUICK
    + """
import hashlib, pickle, sys, threading
from unsafe_video_dataset.hub.remote import RemoteRelease
import torch
class Videos(torch.utils.data.Dataset):
    def __init__(self, release):
        self.release = release
        table = release.metadata("train", columns=["video_id", "sha256"])
        self.rows = list(zip(*table.to_pydict().values()))[:24]
    def __len__(self): return len(self.rows)
    def __getitem__(self, index):
        video_id, sha256 = self.rows[index]
        return int(hashlib.sha256(self.release.video_bytes(video_id)).hexdigest() == sha256)
"""
)


LOADERS = """
import os, sys
sys.path.insert(0, os.getcwd())
os.environ["PYTHONPATH"] = os.getcwd()
from videos_module import *
release = RemoteRelease.open_remote("org/data", token=sys.argv[2], accept_terms=True)
release.video_bytes(release.metadata("train", columns=["video_id"])["video_id"][0].as_py())
def read(start):
    workers = 2 if start == "fork" else 1
    loader = torch.utils.data.DataLoader(Videos(release), batch_size=4, num_workers=workers, multiprocessing_context=start)
    return sum(int(batch.sum()) for batch in loader)
result = {"pickled": sys.argv[2].encode() in pickle.dumps(release), "fork": attempt(read, "fork")}
result["spawn"] = attempt(read, "spawn")
os.environ["HF_TOKEN"] = sys.argv[2]
result["spawn with HF_TOKEN"] = attempt(read, "spawn")
"""


def test_workers(hub: LoopbackHub, tmp_path: Path) -> None:
    """A forked worker has the token; a spawned one finds it in its environment, or says where to put it."""
    (tmp_path / "videos_module.py").write_text(WORKERS, encoding="utf-8")
    value = run_client(hub, LOADERS, tmp_path, argv=[token(hub)], timeout=120).ok()
    assert value["pickled"] is False
    assert value["fork"] == value["spawn with HF_TOKEN"] == ["ok", 24]
    outcome, error = value["spawn"]
    assert (outcome, error["type"]) == ("error", "NotLoggedIn")
    assert "HF_TOKEN" in error["message"]
    assert token(hub) not in error["message"]


def test_the_sample_as_a_stream_is_the_sample(tmp_path: Path) -> None:
    """Every table and every video, from a release with votes and with data files of any size."""
    from unsafe_video_dataset.release import Release

    local = Release.open("sample")
    code = """
import hashlib, json
from unsafe_video_dataset.hub.remote import RemoteRelease
release = RemoteRelease.open_remote("org/data", accept_terms=True)
ids = release.metadata(columns=["video_id"])["video_id"].to_pylist()
before = release.data_files("unsafe", "train")[0].exists()
result = {
    "metadata": release.metadata().to_pylist(),
    "annotations": release.annotations().to_pylist(),
    "videos": {video_id: hashlib.sha256(release.video_bytes(video_id)).hexdigest() for video_id in ids},
    "before": before,
    "tombstones": release.tombstones,
}
"""
    with LoopbackHub() as hub:
        value = run_client(hub, code, tmp_path, token=support.gated_repo(hub, local.path)).ok()
        assert hub.log.count(kind="body", file="data/unsafe/*") <= 6 + 8, "a footer a file; each row group once, in order"
    assert value["metadata"] == json.loads(json.dumps(local.metadata().to_pylist(), default=str))
    assert value["annotations"] == local.annotations().to_pylist()
    assert value["videos"] == dict(zip(*local.metadata(columns=["video_id", "sha256"]).to_pydict().values(), strict=True))
    assert (value["before"], value["tombstones"]) == (False, {})


def test_messages_of_the_stream(hub: LoopbackHub, tmp_path: Path) -> None:
    code = OPEN + "result = [attempt(release.verify), attempt(release.video_bytes, '0' * 16), repr(release), len(ids)]"
    verify, unknown, shown, _ = run_client(hub, code, tmp_path, token=token(hub)).ok()
    assert verify[1]["type"] == "InputError"
    assert "unsafe-video verify org/data" in verify[1]["message"]
    assert unknown[1]["type"] == "FilterError"
    assert shown.startswith("<RemoteRelease gate-test 1.0: org/data at ")
