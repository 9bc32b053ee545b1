"""`python -m tests.hostile.table`: run all routes and write `docs/hostile.md` from what came of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "hostile.md"
VIDEO_ROUTES = ["video:decord", "video:pyav", "video:torchcodec", "video:isolated"]
RELEASE_ROUTES = ["release:cells,Parquet", "release:manifest,files"]
GROUPS = ["cells", "manifest", "files", "Parquet"]
ROUTES = ["control", *VIDEO_ROUTES, "unchecked", *RELEASE_ROUTES]
STEPS = ("open", "metadata", "annotations", "video_bytes", "load_dataset", "streaming", "dataset", "isolated", "verify")
LONGEST = 240  # seconds of a route

Outcome = dict[str, Any]

_HEAD = """\
# Hostile content: what was tried and what came of it

Written by `python -m tests.hostile.table` from the cases in `tests/hostile`; `tests/test_hostile.py` tries them all and
holds this page to what it sees. Every case runs in a process that is watched: an audit hook (sockets, programs, files
opened outside the release, Python and its packages), a TCP and a UDP port on loopback that the cases point at, inotify
on a canary file outside the release, and a look at the open sockets every five milliseconds.
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
`dataset` is `UnsafeVideoDataset`, `isolated` the same with `isolate=True` (where videos are hostile). Checksums fit, as a
hostile author's would, except where a case is about them."""


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


def render(results: dict[str, list[Outcome]]) -> str:
    """The document."""
    videos = results["video:isolated"]
    tried = [(route, outcome) for route in ROUTES if route != "control" for outcome in results[route]]
    steps = [what for _, outcome in tried for what in outcome["steps"].values()]
    right, refused = steps.count("right"), sum(what.startswith("refused: ") for what in steps)
    cases = len(videos) + sum(len(results[route]) for route in RELEASE_ROUTES)
    failures = sum(bool(outcome["failures"]) for _, outcome in tried)
    events = sum(len(outcome["events"]) for _, outcome in tried)
    lines = [
        _HEAD,
        f"**{cases} cases: {len(videos)} videos, each through {len(VIDEO_ROUTES)} ways to decode, and {cases - len(videos)}",
        f"releases, each through {len(STEPS) - 1} or {len(STEPS)} ways to read. {len(steps)} outcomes: {right} right data,",
        f"{refused} refused with a typed error, {len(steps) - right - refused} anything else.",
        f"Sockets opened, files read outside, programs started: {events}.",
        f"Cases that failed: {failures}.**",
        "",
        _VIDEOS,
        *(row(outcome) for outcome in videos),
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
    DOCUMENT.write_text(render(results), encoding="utf-8")
    print(DOCUMENT.relative_to(ROOT))


if __name__ == "__main__":
    main()
