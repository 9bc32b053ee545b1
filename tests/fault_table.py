"""Runs every case of `fault_cases` through the package's own client, and writes docs/faults.md: `python tests/fault_table.py`.

One hub and one client process run most cases, each with its own account, repo and cache. The cases about processes and disks
have processes of their own. What arrived is compared byte for byte with what the Hub holds, here, in the test's process.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import stock_outcomes
from fault_cases import CASES, CUT, MANIFEST, OK, RELEASE, TRAIN, FaultCase
from fault_rows import LOAD, the_rows
from hub import ClientResult, LoopbackHub, Repo, run_client, start_client

from unsafe_video_dataset.hub.fetch import partial_name
from unsafe_video_dataset.hub.listing import RemoteFile
from unsafe_video_dataset.parts import Part

DOCS = Path(__file__).parents[1] / "docs" / "faults.md"
TRIES = 3
ENV = {"UNSAFE_VIDEO_HUB_TRIES": str(TRIES), "UNSAFE_VIDEO_HUB_TIMEOUT": "3"}
CLEAN_RUN = 13  # requests: account, access, revision, listing, manifest, and two for each of the four files behind links

CLIENT = """
import json, os, sys, traceback, urllib.error, urllib.request
from concurrent.futures import ThreadPoolExecutor
from unsafe_video_dataset.hub import access, download

def switch(number):
    try:
        urllib.request.urlopen(f"{os.environ['HF_ENDPOINT']}/switch/{number}")
    except urllib.error.HTTPError:
        pass

def call(job, step):
    what, _, revision = step.partition(" ")
    if what == "switch":
        return switch(job["number"])
    if what == "asked":
        access(job["repo"], token=job["token"])
        return None
    where = dict(revision=revision or None, config="metadata", token=job["token"], cache_dir=job["cache"], progress=False)
    try:
        return ["ok", str(download(job["repo"], accept_terms=True, local_files_only=what == "offline", **where))]
    except Exception as error:
        return ["error", {**describe(error), "leak": job["token"] in "".join(traceback.format_exception(error))}]

def run(job):
    last = None
    for step in job["steps"]:
        answer = call(job, step)
        last = answer or last
        if answer and answer[0] == "error" and step != job["steps"][-1] and not job["go_on"]:
            break
    after = call(job, "offline") if last[0] == "error" else None
    return [last, after]

jobs = json.loads(open(sys.argv[2]).read())
with ThreadPoolExecutor(24) as pool:
    result = list(pool.map(run, jobs))
"""
ONE = """
import json, sys
from unsafe_video_dataset.hub import download
job = json.loads(sys.argv[2])
if job.get("limit"):
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (job["limit"], job["limit"]))
result = attempt(lambda: str(download(job["repo"], config="metadata", cache_dir=job["cache"], accept_terms=True,
                                      local_files_only=job.get("offline", False), progress=False)))
"""
STEPS = {
    "download": ["online"],
    "moved": ["online", "switch", "online"],
    "moved_offline": ["online", "switch", "online", "offline"],
    "moved_within": ["online"],
    "other_revision": ["online v1", "offline v2"],
    "revoked": ["online", "switch", "online"],
    "revoked_offline": ["online", "switch", "online", "offline"],
    "revoked_asked_offline": ["online", "switch", "asked", "offline"],
    "revoked_other": ["online v1", "switch", "online v2"],
    "partial": ["switch", "online"],
    **{name: ["online", "switch", "online"] for name in ("corrupted", "truncated", "edited", "linked", "state")},
    **{f"{name}_offline": ["online", "switch", "offline"] for name in ("corrupted", "truncated", "edited", "listing", "state")},
}
SECOND = ("moved", "moved_offline")  # the cases whose right answer is the second commit


@dataclass
class Outcome:
    """What came of one case. `problems` are what must never be: wrong bytes, stray files, a leaked token."""

    id: str
    outcome: str
    message: str
    requests: int
    heads: int
    calls: int
    problems: list[str]


class Bench:
    """One case on its own account, repo and cache."""

    def __init__(self, hub: LoopbackHub, number: int, case: FaultCase, root: Path) -> None:
        self.hub, self.number, self.case = hub, number, case
        self.account = hub.account(f"reader-{number}", role="read")
        self.repo: Repo = hub.repo(f"org/case-{number}", folder=RELEASE, gated="manual")
        self.repo.gate(self.account.name, "granted")
        self.first = self.repo.head
        self.repo.tag("v1")
        self.second = self.repo.commit(second_release())
        self.repo.tag("v2")
        self.repo.move("main", self.first)
        self.cache = root / f"cache-{number}"
        self.store = self.cache / self.repo.id.replace("/", "--")
        self.calls = STEPS.get(case.how, ["online"] * 2)
        for fault in case.faults:
            self._switch_on(dict(fault))
        if "switch" in self.calls or case.how.startswith("rows"):
            hub.fault("call", on="other", path=f"/switch/{number}", run=self.change)

    def _switch_on(self, fault: dict[str, Any]) -> None:
        where = {"by": self.account.name} if fault["on"] == "whoami" else {"of": self.repo.id}
        if fault["name"] == "move":
            where.update(repo=self.repo.id, revision=self.second)
        if fault["name"] == "gate":
            where.update(repo=self.repo.id, account=self.account.name)
        self.hub.fault(fault.pop("name"), **where, **fault)

    def change(self) -> None:
        """What happens between two calls."""
        how = self.case.how.removesuffix("_offline")
        file = self.store / "commits" / self.first / TRAIN
        if how.startswith("rows"):
            file = next(self.cache.rglob("unsafe_video_dataset-test.arrow"))
        if how.startswith("moved"):
            self.repo.move("main", self.second)
        elif how.startswith("revoked"):
            self.repo.gate(self.account.name, "revoked")
        elif how.endswith(("corrupted", "edited")):
            times = file.stat()
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 0xFF
            file.write_bytes(data)
            if how.endswith("edited"):
                os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        elif how.endswith("truncated"):
            os.truncate(file, 1000)
        elif how == "state":
            (self.store / "state.json").write_text('{"access": {"gran')
        elif how == "linked":
            data, other = file.read_bytes(), self.cache / "elsewhere"
            other.write_bytes(data)
            file.unlink()
            file.symlink_to(other)
        elif how == "listing":
            (self.store / "listings" / f"{self.first}.json").write_text("[{}]")
        elif how == "partial":
            blob = self.repo.commits[self.first].files[TRAIN]
            partial = self.store / "partial" / partial_name(RemoteFile(TRAIN, blob.size, blob.sha256, blob.git_oid))
            partial.parent.mkdir(parents=True)
            partial.write_bytes(b"\xff" * CUT)
        else:
            raise ValueError(how)

    def job(self) -> dict[str, Any]:
        """What the client process is told."""
        return {
            "number": self.number,
            "steps": self.calls,
            "repo": self.repo.id,
            "token": self.account.token,
            "cache": str(self.cache),
            "go_on": self.case.how == "revoked_offline",
        }

    def judge(self, answer: list[Any], after: list[Any] | None = None) -> Outcome:
        """Compare what came with what the Hub holds, and look for what must not be there."""
        problems: list[str] = []
        kind, value = answer
        outcome, message = OK, ""
        if kind == "error":
            outcome, message = value["type"], value["message"]
            if "UnsafeVideoError" not in value["mro"]:
                problems.append(f"not a typed error: {outcome}: {message}")
            if value.get("leak") or self.account.token in message:
                problems.append("the token is in the error")
        for what, said in (("answer", answer), ("offline answer after the error", after)):
            if said and said[0] == "ok":
                expected = self.second if self.case.how in SECOND else self.first
                problems += [f"{what}: {wrong}" for wrong in self._wrong(Path(said[1]), expected)]
        edited = self.case.how.endswith("_offline") and "switch" in self.calls
        if not edited:
            problems += [f"half-written file trusted: {path}" for path in self._untrue()]
        for path in self.cache.rglob("*"):
            if path.is_file() and self.account.token.encode() in path.read_bytes():
                problems.append(f"the token is in {path.name}")
            if path.is_file() and "partial" not in path.parts and b"X-Amz" in path.read_bytes():
                problems.append(f"a signed URL is in {path.name}")
        requests = self.hub.log.count(account=self.account.name) + self.hub.log.count(origin="cdn", repo=self.repo.id)
        heads = self.hub.log.count(method="HEAD", repo=self.repo.id)
        calls = sum(step.startswith("online") for step in self.calls)
        return Outcome(self.case.id, outcome, message, requests, heads, calls, problems)

    def _wrong(self, folder: Path, expected: str) -> list[str]:
        if folder != self.store / "commits" / expected:
            return [f"another commit: {folder.name}"]
        files = {path: blob for path, blob in self.repo.commits[expected].files.items() if Part("metadata").holds(path)}
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        wrong = [
            f"{path} has other bytes" for path in files if path in found and (folder / path).read_bytes() != files[path].read()
        ]
        return wrong + [f"{path} is missing or too much" for path in found ^ set(files)]

    def _untrue(self) -> list[str]:
        """Files under a commit's name that are not the commit's, whatever the answer was."""
        untrue = []
        for path in (self.store / "commits").rglob("*"):
            sha, _, name = path.relative_to(self.store / "commits").as_posix().partition("/")
            if path.is_file() and path.read_bytes() != self.repo.commits[sha].files[name].read():
                untrue.append(name)
        return untrue


def second_release() -> dict[str, bytes | Path | None]:
    """What another release of the sample changes: one data file, and its line in the manifest."""
    data = (RELEASE / TRAIN).read_bytes() + b"2"
    manifest = json.loads((RELEASE / MANIFEST).read_bytes())
    for entry in manifest["files"]:
        if entry["path"] == TRAIN:
            entry.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    return {TRAIN: data, MANIFEST: json.dumps(manifest).encode()}


def special(bench: Bench, tmp_path: Path) -> Outcome:
    """The cases that need processes of their own."""
    hub, how, token = bench.hub, bench.case.how, bench.account.token

    def client(run: Callable[..., Any], **more: Any) -> Any:
        job = json.dumps({"repo": bench.repo.id, "cache": str(bench.cache), **more})
        return run(hub, ONE, tmp_path, token=token, env=ENV, argv=[job])

    def done(result: ClientResult) -> list[Any]:
        value: list[Any] = result.ok()
        return value

    if how == "two_processes":
        both = [client(start_client) for _ in range(2)]
        answers = [done(one.wait()) for one in both]
        outcome = bench.judge(next((one for one in answers if one[0] == "error"), answers[0]))
        fetched = [entry.file for entry in hub.log.select(kind="body", repo=bench.repo.id)]
        if len(fetched) != len(set(fetched)):
            outcome.problems.append(f"a file was fetched twice: {sorted(str(file) for file in fetched)}")
        return outcome
    if how.startswith("killed"):
        arrived = threading.Event()
        hub.fault("call", on="body", of=bench.repo.id, path=TRAIN, run=arrived.set)
        hub.fault("stall", on="body", of=bench.repo.id, path=TRAIN, after=CUT, seconds=60)
        victim = client(start_client)
        partial = bench.store / "partial"
        if not arrived.wait(30):
            raise AssertionError("the client did not come so far")
        limit = time.monotonic() + 10
        while not any(path.stat().st_size >= CUT for path in partial.iterdir()) and time.monotonic() < limit:
            time.sleep(0.01)
        victim.kill()
        victim.wait()
        finished = {entry.file for entry in hub.log.select(kind="body", repo=bench.repo.id)} - {TRAIN}
        outcome = bench.judge(done(client(run_client, offline=how == "killed_offline")))
        again = hub.log.select(kind="body", repo=bench.repo.id)[len(finished) + 1 :]
        if any(entry.file in finished for entry in again):
            outcome.problems.append("a finished file was fetched again")
        if how == "killed" and [e.range for e in again if e.file == TRAIN] != [f"bytes={CUT}-"]:
            outcome.problems.append(f"not resumed: {again}")
        return outcome
    if how.startswith("rows"):
        switch = f"{hub.endpoint}/switch/{bench.number}"
        job = {"repo": bench.repo.id, "cache": str(bench.cache), "switch": switch, "offline": how.endswith("_offline")}
        kind, value = done(run_client(hub, LOAD, tmp_path, token=token, env=ENV, argv=[json.dumps(job)]))
        outcome = bench.judge(["rows", None] if kind == "ok" else [kind, value])
        if kind == "ok" and value != the_rows():
            outcome.problems.append("other rows than the release's")
        return outcome
    answer = done(client(run_client, limit=CUT * 2))
    if how == "full":
        return bench.judge(answer, done(client(run_client, offline=True)))
    refused = bench.judge(answer)
    outcome = bench.judge(done(client(run_client)))
    if refused.outcome != "StorageError":
        outcome.problems.append(f"a full disk gave {refused.outcome}")
    outcome.problems += refused.problems
    return outcome


def run_all(tmp_path: Path) -> dict[str, Outcome]:
    """Every case. Takes about half a minute, most of it waiting."""
    with LoopbackHub() as hub, ThreadPoolExecutor(3) as pool:
        benches = [Bench(hub, number, case, tmp_path) for number, case in enumerate(CASES)]
        alone = [bench for bench in benches if bench.case.how not in STEPS]
        together = [bench for bench in benches if bench.case.how in STEPS]
        # Those that wait longest begin first.
        together.sort(key=lambda bench: not (bench.case.times == "always" and "stall" in bench.case.name))
        jobs = tmp_path / "jobs.json"
        jobs.write_text(json.dumps([bench.job() for bench in together]))
        batch = start_client(hub, CLIENT, tmp_path, env=ENV, argv=[str(jobs)])
        found = [*pool.map(lambda bench: special(bench, tmp_path), alone)]
        answers = batch.wait(timeout=240).ok()
        found += [bench.judge(*answer) for bench, answer in zip(together, answers, strict=True)]
        evil = [path.name for path in tmp_path.rglob("*evil*")]
    outcomes = {outcome.id: outcome for outcome in found}
    outcomes["hostile ETag with ../, once"].problems += evil
    return {case.id: outcomes[case.id] for case in CASES}


SAID = {
    "right": "right bytes",
    "WRONG": "**wrong bytes, no error**",
    "portal": "**counts as access**",
    "mixed": "**two revisions in one answer**",
    "stale": "**rows of another revision**",
    "cached": "**cached data, no error**",
    "escaped": "**a file outside the cache**",
    "sleeps": "sleeps for as long as it is told",
}


def document(outcomes: dict[str, Outcome]) -> str:
    """docs/faults.md."""
    recovered = sum(found.outcome == OK for found in outcomes.values())
    silent = sum(bool(found.problems) for found in outcomes.values())
    lines = [
        "# Faults",
        "",
        "Written by `python tests/fault_table.py`; `tests/test_hub_fault_table.py` runs the same cases and compares.",
        "",
        "Each line is a fault of the Hub, the network, the disk or another process, met once or always by `download` (by",
        "`load_dataset` where the line says so: its videos are compared by their sha256). *Stock client* is",
        "what huggingface_hub 2.4 and datasets 5.2 do under the same fault (`tests/stock_outcomes.py`; `-`: not measured).",
        "*This package* either hands over the right bytes, each file compared byte for byte, or raises the typed error named.",
        f"*Requests*: all that were sent; {CLEAN_RUN} is a call without a fault, and {TRIES} tries were allowed (default: 5).",
        "",
        "| faults tried | recovered | refused with a typed error | silent |",
        "|---|---|---|---|",
        f"| {len(outcomes)} | {recovered} | {len(outcomes) - recovered} | {silent} |",
        "",
        "| fault | met | stock client | this package | requests |",
        "|---|---|---|---|---|",
    ]
    for case in CASES:
        found = outcomes[case.id]
        stock = stock_outcomes.CASES[case.stock].expected if case.stock in stock_outcomes.CASES else "-"
        ours = "right bytes" if found.outcome == OK else f"refused: `{found.outcome}`"
        ours = "**" + "; ".join(found.problems) + "**" if found.problems else ours
        stock = "portal" if stock == "WRONG" and "auth" in case.name else stock
        stock = SAID.get(stock, stock if stock == "-" else f"`{stock}`")
        lines.append(f"| {case.name} | {case.times} | {stock} | {ours} | {found.requests} |")
    heads = sum(found.heads for found in outcomes.values())
    lines += ["", f"HEAD requests that the package sent in all of these: {heads}. Faults on HEAD can't reach it.", ""]
    return "\n".join(lines)


def to_json(outcomes: dict[str, Outcome]) -> str:
    """Outcomes as text, for the other workers of a test run."""
    return json.dumps([asdict(one) for one in outcomes.values()])


def from_json(text: str) -> dict[str, Outcome]:
    """What `to_json` wrote."""
    return {one["id"]: Outcome(**one) for one in json.loads(text)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        table = document(run_all(Path(folder)))
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    target.parent.mkdir(exist_ok=True)
    target.write_text(table, encoding="utf-8")
    print(table)
