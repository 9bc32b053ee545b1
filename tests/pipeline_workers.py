"""What worker processes run in tests of the pipeline. Light, as each of them imports it."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

LOG = "PIPELINE_TEST_LOG"  # a file to which workers append a line a call

# -- measures: the double of builders.vision.measure

MEASURES = [pa.field("brightness", pa.float64()), pa.field("hashes", pa.list_(pa.binary()))]


def measure(frames: np.ndarray) -> dict[str, Any]:
    log("measure")
    time.sleep(float(os.environ.get("PIPELINE_TEST_SLEEP", "0")))
    return {"brightness": float(frames.mean()), "hashes": [frames[0].tobytes()[:8]]}


def log(what: str) -> None:
    if path := os.environ.get(LOG):
        with Path(path).open("a") as file:  # one short write: lines of several processes don't mix
            file.write(f"{what}\n")


def calls(path: Path, what: str = "measure") -> int:
    return path.read_text().split().count(what) if path.exists() else 0


# -- functions that workers run


def double(number: int) -> dict[str, Any]:
    log("double")
    return {"twice": 2 * number}


def moody(task: tuple[str, int]) -> dict[str, Any]:
    """Does what it is told: an answer, an exception, or the end of its process."""
    what, number = task
    if what == "raise":
        raise ValueError(f"no answer to {number} in /some/where/secret.txt")
    if what == "exit":
        os._exit(3)
    if what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "sys.exit":
        sys.exit(1)
    if what == "unpicklable":
        return {"answer": lambda: None}
    if what == "sleep":
        time.sleep(60)
    return {"twice": 2 * number}
