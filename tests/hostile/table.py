"""`python -m tests.hostile.table`: run all routes and write `docs/hostile.md` from what came of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from . import fuzzing

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "hostile.md"
VIDEO_ROUTES = ["video:decord", "video:pyav", "video:torchcodec", "video:isolated"]
RELEASE_ROUTES = ["release:cells,Parquet", "release:manifest,files"]
REMOTE_ROUTES = ["remote:cells,Parquet", "remote:manifest,files"]
GROUPS = ["cells", "manifest", "files", "Parquet"]
ROUTES = ["control", *VIDEO_ROUTES, "unchecked", *RELEASE_ROUTES, *REMOTE_ROUTES]
REMOTE_STEPS = (
    *("open", "metadata", "annotations", "video_bytes", "load_dataset", "streaming", "dataset", "verify", "verify --decode"),
)
STEPS = (*REMOTE_STEPS[:7], "isolated", *REMOTE_STEPS[7:])
LONGEST = 660  # seconds of a route: one that hangs ends

Outcome = dict[str, Any]

_HEAD = """\
# Hostile content: what was tried and what came of it

Written by `python -m tests.hostile.table` from the cases in `tests/hostile`; `tests/test_hostile.py` tries them all and
holds this page to what it sees. Every case runs in a process that is watched: an audit hook (sockets, programs, files
opened outside the release, Python and its packages), a TCP and a UDP port on loopback that the cases point at, inotify
on a canary file outside the release, and a look at the open sockets every five milliseconds. The decoder's child process
has an audit hook and a look at its sockets of its own, from the moment it may decode to its answer.
"""
_VIDEOS = """\
## Videos

As bytes through `decode_frames` with decord, PyAV and torchcodec, and in a child process (`isolate=True`), and through
`probe_video`. The outcome is the same for each, as the structure is checked before any decoder sees the bytes.

| case | what it tries | outcome | message |
|---|---|---|---|"""
_UNCHECKED = """\
## Videos with the check left out

The same lures given straight to each decoder in the child process: what its limits stop by themselves. While it
decodes, the child can open no file and no socket. *No frames*: the decoder gave up. *Child ended*: it crashed or hung,
and was replaced. ✓: it shows the frames that are in the file.

| case | decord | PyAV | torchcodec |
|---|---|---|---|"""
_RELEASES = """\
## Releases

✓: the right data (`verify`: no fault found). A name: the typed error. —: not tried, as the release did not open.
`dataset` is `UnsafeVideoDataset`, `isolated` the same with `isolate=True` (where videos are hostile); `verify --decode` decodes
every video, always in the child. Checksums fit, as a hostile author's would, except where a case is about them."""
_REMOTE = """\
## Releases on a Hub

The same releases in repositories of a loopback Hub, but those with links and pipes, which a Hub does not hold. `open`,
`metadata`, `annotations`, `video_bytes`, `streaming` and `dataset` read videos over ranges and download the rest;
`load_dataset` and `verify` download everything first. Connections to the Hub's own two ports are all that the watch lets pass.
"""


def run(route: str, folder: Path) -> list[Outcome]:
    """The outcomes of a route, tried in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("session.py")), route, str(folder)],
        capture_output=True,
        text=True,
        timeout=LONGEST,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"route {route} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    outcomes: list[Outcome] = json.loads((folder / "result.json").read_text(encoding="utf-8"))["outcomes"]
    return outcomes


def row(outcome: Outcome) -> str:
    """The outcome's line in the document."""
    case, tries = _cell(outcome["case"]), _cell(outcome["tries"])
    steps: dict[str, str] = outcome["steps"]
    if outcome["group"] in ("lures", "structure"):
        what = set(steps.values())
        told = what.pop() if len(what) == 1 else "; ".join(f"{step}: {value}" for step, value in steps.items())
        return f"| {case} | {tries} | {told.removeprefix('refused: ')} | {_cell(outcome['message'])} |"
    if outcome["group"] == "unchecked":
        return f"| {case} | " + " | ".join(_word(steps.get(name)) for name in ("decord", "pyav", "torchcodec")) + " |"
    if outcome["group"] == "remote":
        return f"| {case} | {tries} | " + " | ".join(_word(steps.get(step)) for step in REMOTE_STEPS) + " |"
    if outcome["group"] == "control":
        return f"| {case} | {'seen' if steps['seen'] == 'right' else 'not seen'} |"
    return f"| {case} | {tries} | " + " | ".join(_word(steps.get(step)) for step in STEPS) + " |"


def _word(what: str | None) -> str:
    if what is None:
        return "—"
    return "✓" if what == "right" else what.removeprefix("refused: ")


def _cell(text: str) -> str:
    text = " ".join(text.split())
    text = text if len(text) <= 110 else text[:109] + "…"
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")


def totals(outcomes: list[Outcome]) -> list[int]:
    """Cases, outcomes, right ones, typed errors, anything else, events, and cases that failed."""
    steps = [what for outcome in outcomes for what in outcome["steps"].values()]
    right, refused = steps.count("right"), sum(what.startswith("refused: ") for what in steps)
    events, failed = sum(len(one["events"]) for one in outcomes), sum(bool(one["failures"]) for one in outcomes)
    return [len(outcomes), len(steps), right, refused, len(steps) - right - refused, events, failed]


def route_line(route: str, outcomes: list[Outcome]) -> str:
    """The route's line in the table of totals."""
    return f"| `{route}` | " + " | ".join(map(str, totals(outcomes))) + " |"


def summary(lines: dict[str, list[int]]) -> str:
    """The first paragraph, from the totals of the routes."""
    videos = lines["video:isolated"][0]
    releases, remote = (sum(lines[route][0] for route in routes) for routes in (RELEASE_ROUTES, REMOTE_ROUTES))
    _, steps, right, refused, other, events, failed = (sum(column) for column in zip(*lines.values(), strict=True))
    return "\n".join(
        [
            f"**{videos + releases} cases: {videos} videos, each through {len(VIDEO_ROUTES)} ways to decode, and",
            f"{releases} releases, each through {len(STEPS) - 1} or {len(STEPS)} ways to read, {remote} of them from a Hub "
            "too.",
            f"{steps} outcomes: {right} right data, {refused} refused with a typed error, {other} anything else.",
            f"Sockets opened, files read outside, programs started: {events}. Cases that failed: {failed}.**",
        ]
    )


def render(results: dict[str, list[Outcome]], fuzzed: dict[str, dict[str, Any]]) -> str:
    """The document."""
    tried = [route for route in ROUTES if route != "control"]
    lines = [
        _HEAD,
        summary({route: totals(results[route]) for route in tried}),
        "",
        "| route | cases | outcomes | right data | typed error | anything else | opened | failed |",
        "|---|---|---|---|---|---|---|---|",
        *(route_line(route, results[route]) for route in tried),
        "",
        _VIDEOS,
        *(row(outcome) for outcome in results["video:isolated"]),
        "",
        _UNCHECKED,
        *(row(outcome) for outcome in results["unchecked"]),
        "",
        _RELEASES,
        "",
    ]
    releases = [outcome for route in RELEASE_ROUTES for outcome in results[route]]
    for group in GROUPS:
        lines += [f"### {group[0].upper()}{group[1:]}", "", f"| case | what it tries | {' | '.join(STEPS)} |"]
        lines += ["|---|---|" + "---|" * len(STEPS), *(row(one) for one in releases if one["group"] == group), ""]
    lines += [_REMOTE, f"| case | what it tries | {' | '.join(REMOTE_STEPS)} |", "|---|---|" + "---|" * len(REMOTE_STEPS)]
    lines += [*(row(outcome) for route in REMOTE_ROUTES for outcome in results[route]), "", *fuzzing.section(fuzzed)]
    lines += [
        "## The watch itself",
        "",
        "| what is done on purpose | |",
        "|---|---|",
        *(row(one) for one in results["control"]),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write the document; say what failed."""
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for route in ROUTES:
            results[route] = run(route, Path(folder) / route.replace(":", "-"))
            failed = [(outcome["case"], outcome["failures"]) for outcome in results[route] if outcome["failures"]]
            print(f"{route}: {len(results[route])} cases, {len(failed)} failed", *failed, sep="\n  ")
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(render(results, fuzzing.run()), encoding="utf-8")
    print(DOCUMENT.relative_to(ROOT))


if __name__ == "__main__":
    main()
