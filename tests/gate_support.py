"""What the tests of the gate share: small sound releases, big ones of noise, raw folders, and code for client processes."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import video_files
from hub import ClientResult, Entry, LoopbackHub, run_client

from unsafe_video_dataset.builders.assemble import Candidate, assemble
from unsafe_video_dataset.builders.write import ReleaseInfo, write_release
from unsafe_video_dataset.mp4 import Mp4Info, inspect_mp4
from unsafe_video_dataset.taxonomy import CATEGORIES

# In a client process: the waits between tries take no time; what is tried, and how often, stays as it is.
QUICK = """
import time, types
from unsafe_video_dataset.hub import client as _client
_client.time = types.SimpleNamespace(sleep=lambda seconds: None, time=time.time, monotonic=time.monotonic)
"""
# `step()` in a client process: the test sets up what comes next (see `steps`).
STEP = """
import urllib.error, urllib.request
def step():
    try:
        urllib.request.urlopen(_client.constants.ENDPOINT + "/step")
    except urllib.error.HTTPError:
        pass
"""
LABELS = {"1": [0, 1, 2, 3, 4, 5], "2": [1, 2, 6], "3": [3, 7], "4": [4], "5": [5]}


@lru_cache(maxsize=1)
def _base() -> bytes:
    return video_files.encode(video_files.shapes(2, 16, 16), x264="bframes=0")


def tiny(number: int) -> bytes:
    """A small valid MP4, its bytes unique for a number: the number stands in a `free` box at the end."""
    return _base() + struct.pack(">I4sQ", 16, b"free", number)


def noise(number: int, size: int) -> bytes:
    """Bytes that don't compress, the same for the same number."""
    return np.random.default_rng(number).bytes(size)


def write_sound(out: Path, *, videos: int = 24, first: int = 0, version: str = "1.0") -> dict[str, Any]:
    """A release of small MP4s that passes every check, with a gate in its card; its manifest."""
    return _write(out, [(tiny(number), None) for number in range(first, first + videos)], version)


def write_noise(out: Path, *, videos: int, size: int) -> dict[str, Any]:
    """A release of `videos` times `size` bytes of noise where MP4s should be: for reading, not for decoding."""
    info = Mp4Info(16, 8.0, 512, 512, 2.0, "h264", size)
    return _write(out, [(noise(number, size), info) for number in range(videos)], "1.0")


def _write(out: Path, videos: Sequence[tuple[bytes, Mp4Info | None]], version: str) -> dict[str, Any]:
    candidates = [
        Candidate(
            source_index=index,
            sha256=hashlib.sha256(data).hexdigest(),
            info=info or inspect_mp4(data, name=str(index)),
            read=lambda data=data: data,  # type: ignore[misc]
            generator="magictime",
            categories=[CATEGORIES[index % 5]] if index % 2 else [],
            prompt=f"shape number {index} that moves slowly",
            generation={"num_inference_steps": 50, "guidance_scale": 8.5, "seed": 1, "scheduler": "ddim"},
        )
        for index, (data, info) in enumerate(videos)
    ]
    assembled = assemble(candidates, fractions=[0.7, 0.1, 0.2], seed=0)
    return write_release(out, assembled, ReleaseInfo("gate-test", "upstream", version), progress=False)


def raw_files(number: int = 12, labels: Mapping[str, Sequence[int]] = LABELS) -> dict[str, bytes]:
    """The upstream layout: `<index>.mp4`, `prompts.txt`, `labels.csv`."""
    length = max(map(len, labels.values()))
    rows = [[str(column[row]) if row < len(column) else "" for column in labels.values()] for row in range(length)]
    table = "\r\n".join(",".join(row) for row in [list(labels), *rows]) + "\r\n"
    files = {f"{index}.mp4": tiny(index) for index in range(number)}
    prompts = "".join(f"shape {index} that moves\n" for index in range(number))
    return {**files, "prompts.txt": prompts.encode(), "labels.csv": table.encode()}


def gated_repo(hub: LoopbackHub, folder: Path | None = None, files: Mapping[str, bytes] | None = None) -> str:
    """`org/data`, gated and with the owner's terms, open to `reader`; the reader's token."""
    repo = hub.repo("org/data", files=files, folder=folder, gated="manual")
    repo.card_data = {"extra_gated_prompt": "Use it for research on safety only."}
    repo.tag("v1.0")
    reader = hub.account("reader", role="read")
    repo.gate("reader", "granted")
    return reader.token


def steps(hub: LoopbackHub, actions: Sequence[Callable[[], object]]) -> None:
    """At each `step()` of the client all faults go, and the next action runs. Many cases then share one process."""
    rest = iter(actions)

    def run() -> None:
        hub.clear_faults()
        hub.fault("call", on="other", path="/step", run=run, times=None)
        next(rest)()

    hub.fault("call", on="other", path="/step", run=run, times=None)


def requests_by_step(hub: LoopbackHub) -> list[list[Entry]]:
    """The log, cut at each step: what came after the first, after the second, and so on."""
    parts: list[list[Entry]] = [[]]
    for entry in hub.log.select():
        if entry.path == "/step":
            parts.append([])
        else:
            parts[-1].append(entry)
    return parts[1:]


def run_cli(
    hub: LoopbackHub,
    tmp_path: Path,
    *argv: str,
    token: str | None = None,
    env: Mapping[str, str] | None = None,
    module: str = "cli_hub",
) -> ClientResult:
    """The Hub's commands in a process of their own; the value is the exit code."""
    return run_client(hub, QUICK + CLI[module], tmp_path, token=token, env=env, argv=argv)


CLI = {
    "cli_hub": """
import sys
from unsafe_video_dataset.cli import main
result = main(sys.argv[2:])
""",
    "cli_publish": """
import argparse, sys
from unsafe_video_dataset._console import run
from unsafe_video_dataset.builders.cli_publish import add_publish
parser = argparse.ArgumentParser(prog="unsafe-video-build")
add_publish(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"))
arguments = parser.parse_args(sys.argv[2:])
result = run(arguments.call, arguments)
""",
}
