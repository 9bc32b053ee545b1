"""What a command costs: CPU seconds, wall-clock and peak memory of it and everything that it starts (Linux).

CPU seconds are the figure to trust on a machine that others use too: they count the work and not the waiting. They hold
every process below the command, also those that outlive their parent (workers of a fork server): this process adopts
orphans, waits for them, and asks the system what all of its children used together. What a process's children used is
lost where it lets them go without waiting for them; Ray's node does so with workers, so with Ray it is a lower bound.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Threads of numeric libraries wait for one another by spinning: on a machine that others use too that takes minutes, and
# counts as work. So the benchmarks give them one thread a process.
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_ADOPT_ORPHANS = 36  # PR_SET_CHILD_SUBREAPER
_PATIENCE = 30.0  # seconds for orphans to end by themselves


@dataclass(frozen=True)
class Cost:
    """What a command came to; `peak_bytes` is the largest sum of proportional shares (PSS) that was sampled."""

    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    returncode: int
    output: str
    errors: str


def measured(
    command: Sequence[str | Path],
    *,
    every: float = 0.05,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[subprocess.Popen[str]], None] | None = None,
) -> Cost:
    """Run a command to its end; memory is sampled `every` seconds. `watch` is called while it runs, to look or to kill.

    One at a time: the system tells what all children of this process used, not which of them.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_ADOPT_ORPHANS, 1, 0, 0, 0)
    before, start = _children_seconds(), time.perf_counter()
    words = [str(word) for word in command]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(words, text=True, env=environment, **pipes)
    with _Memory(os.getpid(), every) as memory:
        if watch is not None:
            watch(process)
        output, errors = process.communicate()
        wall = time.perf_counter() - start
        _wait_for_orphans()
    return Cost(_children_seconds() - before, wall, memory.peak, process.returncode, output, errors)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _wait_for_orphans() -> None:
    """Wait until no child is left, so that their time is counted. Raises `TimeoutError` for those that stay."""
    end = time.monotonic() + _PATIENCE
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < end:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.05)
        raise TimeoutError("Processes of the command still run after it: their time can't be counted.")


class _Memory:
    """Samples the memory of all descendants of a process until it is left."""

    def __init__(self, pid: int, every: float) -> None:
        self._pid, self._every, self._stop = pid, every, threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.peak = 0

    def __enter__(self) -> _Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(self._every):
            self.peak = max(self.peak, sum(map(_share, _descendants(self._pid))))


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError, ValueError):
            continue
        children.setdefault(parent, []).append(int(path.parent.name))
    found, rest = [], list(children.get(pid, []))
    while rest:
        found.append(rest.pop())
        rest += children.get(found[-1], [])
    return found


def _share(pid: int) -> int:
    """Proportional share of a process's memory: pages that several processes share count once in the sum."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return 0
