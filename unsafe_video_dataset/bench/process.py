"""Processes that are measured: start one, wait for it, its memory and its CPU time with its children's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from importlib import import_module
from pathlib import Path
from typing import Any

_INTERVAL = 0.1
_FAILED_LINE = 300


class ChildFailed(RuntimeError):
    """A measuring process ended with an error; the message is its last line."""


def tree_cpu_seconds() -> float:
    """User and system seconds of this process, of its ended children and of those alive. Ended ones count once waited for."""
    psutil: Any = import_module("psutil")
    own = psutil.Process().cpu_times()
    total = time.process_time() + getattr(own, "children_user", 0.0) + getattr(own, "children_system", 0.0)
    for child in psutil.Process().children(recursive=True):
        try:
            times = child.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return float(total)


def tree_bytes(pid: int) -> int:
    """Memory of a process and its descendants: proportional shares (PSS) on Linux, resident sets elsewhere."""
    psutil: Any = import_module("psutil")
    total = 0
    try:
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.Error:
        return 0
    for one in family:
        try:
            total += one.memory_full_info().pss
        except AttributeError:
            total += one.memory_info().rss
        except psutil.Error:
            continue
    return int(total)


def run_job(job: dict[str, Any], folder: Path, *, seconds: float | None = None) -> dict[str, Any]:
    """Run `child` on a job in a new process; its result, with `peak_bytes` sampled ten times a second.

    Raises `ChildFailed` where it ends with an error, or has not ended after so many `seconds`. Then, and at an interrupt, the
    process and its workers are ended.
    """
    result = folder / f"{uuid.uuid4().hex}.json"
    command = [sys.executable, "-m", "unsafe_video_dataset.bench.child", json.dumps(job | {"result": str(result)})]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=_environment(job), start_new_session=True
    )
    peak, stop = [0], threading.Event()

    def sample() -> None:
        while not stop.wait(_INTERVAL):
            peak[0] = max(peak[0], tree_bytes(process.pid))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        _, errors = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired as error:
        end_group(process)
        raise ChildFailed(f"it had not ended after {seconds:.0f} s, and was stopped") from error
    except BaseException:
        end_group(process)
        raise
    finally:
        stop.set()
        thread.join()
    if process.returncode or not result.is_file():
        lines = [line.strip() for line in errors.splitlines() if line.strip()] or [f"exit code {process.returncode}"]
        raise ChildFailed(lines[-1][:_FAILED_LINE])
    found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    result.unlink()
    return found | {"peak_bytes": peak[0]}


def end_group(process: subprocess.Popen[str]) -> None:
    """End a process that leads a session, with all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (OSError, AttributeError):  # it has ended, or there are no process groups here
        process.kill()
    process.wait()


def _environment(job: dict[str, Any]) -> dict[str, str]:
    """No network, no progress bars, and one thread in every library; tables are opened with as many as a library likes."""
    one = {} if job["task"] == "opening" else dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1", "TQDM_DISABLE": "1", "DO_NOT_TRACK": "1"}
    return {**os.environ, **one, **quiet}
