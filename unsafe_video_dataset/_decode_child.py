"""What runs in the child process of `isolate.py`: requests on standard input, frames on standard output.

A request is a length, JSON and the bytes of an MP4 that the parent has checked. The answer is frames, each with its
length, and one last message, "done" or "error". The limits of the request are set before the decoder sees the bytes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from . import decoders
from .isolate import HEAD
from .mp4 import Mp4Info

try:
    import resource
except ModuleNotFoundError:  # Windows: only the parent's clock limits this process
    resource = None  # type: ignore[assignment]

_STATM = Path("/proc/self/statm")


def main() -> None:
    """Answer requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)  # what a codec prints must not land among the frames
    os.close(nothing)
    requests = os.fdopen(os.dup(0), "rb")
    if resource:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash must not leave the video's pixels on the disk
    start = None
    start, loaded = _address_space(), 0
    while head := requests.read(8):
        request = json.loads(requests.read(struct.unpack("<Q", head)[0]))
        data = requests.read(request["bytes"])
        before = _address_space()
        error = _load(request.get("backend", "pyav"))
        loaded += _address_space() - before
        last: dict[str, Any] = {"error": error} if error else {}
        if not error:
            with _limited(request["limits"]):
                last = _answer(request, data, lambda frame: _send(answers, b"f", frame))
        del data
        last["grown"] = _address_space() - start - loaded
        _send(answers, b"e" if "error" in last else b"d", json.dumps(last).encode())


def _load(backend: str) -> str | None:
    """Import all that the decoder needs while files can still be opened. Says why it can't."""
    status = decoders.status(backend)
    if not status.startswith("ok"):
        return status
    decoders.load_parts(backend)
    return None


def _answer(request: dict[str, Any], data: bytes, send: Callable[[memoryview], None]) -> dict[str, Any]:
    info = Mp4Info(**request["info"])
    count = 0
    try:
        if request["op"] == "count":
            with contextlib.closing(decoders.pyav_frames(data, info)) as found:
                for _ in found:
                    count += 1
            return {"count": count}
        wanted, size = request["wanted"], tuple(request["size"])
        with contextlib.closing(decoders.BACKENDS[request["backend"]](data, wanted, size, info)) as frames:
            for frame in frames:
                planes = np.stack(frame)
                if planes.shape != (3, *size):
                    raise ValueError(f"a frame has the shape {planes.shape}, {(3, *size)} was expected")
                send(planes.data.cast("B"))
    except BrokenPipeError:  # nobody is left to answer to
        sys.exit(1)
    except Exception as error:  # whatever a codec raises
        text = str(error).lower()
        out_of_memory = isinstance(error, MemoryError) or "bad_alloc" in text or "allocate memory" in text
        return {"error": decoders.short(error), "count": count, "out_of_memory": out_of_memory}
    return {}


@contextlib.contextmanager
def _limited(limits: dict[str, Any]) -> Any:
    """Hold this process to the limits, and let it open nothing: every new file or socket needs a free number."""
    if resource is None:
        yield
        return
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _soft(resource.RLIMIT_CPU, math.ceil(used + limits["cpu_seconds"]))
    if _STATM.exists():
        _soft(resource.RLIMIT_AS, _address_space() + int(limits["memory_bytes"]))
    _soft(resource.RLIMIT_FSIZE, 0)
    _soft(resource.RLIMIT_NOFILE, 3)
    signal.setitimer(signal.ITIMER_REAL, limits["wall_seconds"] + 5)  # should the parent be gone
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for kind in (resource.RLIMIT_CPU, resource.RLIMIT_AS, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
            _soft(kind, resource.getrlimit(kind)[1])


def _soft(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    if hard != resource.RLIM_INFINITY and (value == resource.RLIM_INFINITY or value > hard):
        value = hard
    resource.setrlimit(kind, (value, hard))


def _address_space() -> int:
    """Bytes of address space that this process has now; 0 where that can't be told."""
    if not _STATM.exists():
        return 0
    return int(_STATM.read_text().split()[0]) * resource.getpagesize()


def _send(file: BinaryIO, kind: bytes, payload: bytes | memoryview) -> None:
    for part in (HEAD.pack(kind, len(payload)), payload):
        view = memoryview(part)
        while view:
            view = view[file.write(view) :]
