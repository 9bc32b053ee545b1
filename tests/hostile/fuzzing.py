"""What `tests/test_fuzz.py` tried, as a section of `docs/hostile.md`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
INPUTS = 2000  # of each half
HALVES = ("videos", "releases")

_HEAD = """\
## Fuzzing

`tests/test_fuzz.py` changes good MP4s (headers, tables, coded frames) and the files of a release (data, metadata, votes,
tombstones, manifest, checksums made to fit) at random, from a seed. Videos go through the check and a decoder in a child,
each decoder in turn; releases through `Release`, `load_dataset`, `verify` and the decoder. Anything but right data or a
typed error ends the test. *Child ended*: a decoder crashed or hung in its child, which is one `DecodeError`."""


def run() -> dict[str, dict[str, Any]]:
    """Try the inputs; what came of each half."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "FUZZ_INPUTS": str(INPUTS), "FUZZ_SEED": "0", "FUZZ_REPORT": folder}
        environment.pop("FUZZ_ONLY", None)
        command = [sys.executable, "-m", "pytest", "-q", "-m", "slow", "-p", "no:cacheprovider", "tests/test_fuzz.py"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True)
        return {what: json.loads((Path(folder) / f"{what}.json").read_text(encoding="utf-8")) for what in HALVES}


def section(facts: dict[str, dict[str, Any]]) -> list[str]:
    """The section's lines."""
    lines = [
        _HEAD,
        "",
        "| what | seed | inputs tried | typed errors | read without one | child ended | crashes, hangs, wrong bytes |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for what in HALVES:
        half = facts[what]
        ended = half["outcomes"].get("(child ended)", 0)
        right = half["inputs"] - half["refused"]
        lines.append(f"| {what} | {half['seed']} | {half['inputs']} | {half['refused']} | {right} | {ended} | 0 |")
    used = sorted(name.strip("()") for name in facts["videos"]["outcomes"] if name.startswith("(") and " " not in name)
    return [*lines, "", f"Decoders: {', '.join(used)}.", ""]
