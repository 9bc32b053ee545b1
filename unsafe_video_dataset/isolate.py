"""Run a decoder in a child process with limits on memory, CPU and time: a file that kills it costs one `DecodeError`.

The child (`_decode_child.py`) is a fresh Python process, fed MP4 bytes over a pipe, and kept for the next video. It gets
no secrets (a short list of environment variables), writes no file, and while it decodes it can open no file and no
socket. `video.py` checks an MP4 here, in the parent, before the child sees it.

Nothing is owned across a fork: a forked process drops its parent's children and starts its own. Children end with the
process that started them, also when that is killed: their standard input ends.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .mp4 import Mp4Info

HEAD = struct.Struct("<cQ")  # kind and length of a message from the child: b"f" a frame, b"d" done, b"e" error
_LONGEST_TEXT = 65_536  # of a message that is not a frame
_MOST_GROWTH = 512 * 2**20  # a child whose address space has grown by more (leaks of decoders) is replaced
_ENVIRONMENT = (
    "PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH", "SYSTEMROOT", "SYSTEMDRIVE",
    "WINDIR", "TEMP", "TMP", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE",
)  # fmt: skip
# -I: neither the working folder nor PYTHON* variables decide what is imported. The parent's own path is handed on.
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]);"
    " from unsafe_video_dataset import _decode_child; _decode_child.main()"
)


@dataclass(frozen=True)
class ChildLimits:
    """What one video may cost a child: memory above what the idle child has, CPU time, and time on the clock.

    Memory and CPU are limited on Linux; elsewhere see `limits_here`.
    """

    memory_bytes: int = 2 * 2**30
    cpu_seconds: float = 120.0
    wall_seconds: float = 300.0


DEFAULT_CHILD_LIMITS = ChildLimits()


class ChildError(RuntimeError):
    """Why a child gave no (more) frames, in words for a person. `video.py` makes it a `DecodeError` with a name."""


def limits_here() -> tuple[str, ...]:
    """The limits of `ChildLimits` that this platform can hold a child to: "memory", "cpu", "wall" on Linux."""
    found = []
    if importlib.util.find_spec("resource"):
        if Path("/proc/self/statm").exists():  # memory is limited relative to what the process has
            found.append("memory")
        found.append("cpu")
    return (*found, "wall")


def frames(
    data: bytes,
    wanted: Sequence[int],
    size: tuple[int, int],
    info: Mp4Info,
    backend: str,
    *,
    limits: ChildLimits = DEFAULT_CHILD_LIMITS,
) -> Generator[npt.NDArray[np.uint8], None, None]:
    """Yield the frames `wanted` (as a backend of `decoders` does) as uint8 [3, H, W], decoded in a child.

    Each is a new array. Raises `ChildError` where the child crashes, hangs, passes a limit or says that it can't.
    """
    shape = (3, *size)
    request = {"op": "frames", "backend": backend, "wanted": list(wanted), "size": list(size)}
    with _child_for(request, data, info, limits) as child:
        while True:
            kind, length = child.head()
            if kind != b"f":
                child.finish(kind, length)
                return
            frame = np.empty(shape, np.uint8)
            if length != frame.nbytes:
                raise ChildError(f"a frame has {length:,} bytes, and {frame.nbytes:,} were expected")
            child.read_into(frame.data.cast("B"))
            yield frame


def count_frames(data: bytes, info: Mp4Info, *, limits: ChildLimits = DEFAULT_CHILD_LIMITS) -> int:
    """Decode all frames with PyAV in a child and return their number; each must have the size in `info`.

    Raises `ChildError` as `frames` does.
    """
    with _child_for({"op": "count"}, data, info, limits) as child:
        count = child.finish(*child.head()).get("count")
        if not isinstance(count, int):
            raise ChildError("it gave no count")
        return count


def close_children() -> None:
    """End the idle children of this process. The next video starts a new one."""
    while _idle:
        _idle.pop().close()


# -- inside


class _Child:
    """One child process. Used by one thread at a time."""

    def __init__(self) -> None:
        _register()
        path = [entry for entry in sys.path if Path(entry).is_absolute()]
        path.append(str(Path(__file__).resolve().parents[1]))
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", _START, json.dumps(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=environment | threads,
            )
        except OSError as error:
            raise ChildError(f"the decoder's process does not start ({error})") from error
        _widen(self.process.stdout)
        self.limits = DEFAULT_CHILD_LIMITS
        self.timed_out = False
        self.done = False
        _live.add(self)

    def send(self, request: dict[str, Any], data: bytes, info: Mp4Info, limits: ChildLimits) -> None:
        self.limits, self.done = limits, False
        head = json.dumps({**request, "info": asdict(info), "limits": asdict(limits), "bytes": len(data)}).encode()
        self._write(struct.pack("<Q", len(head)) + head)
        self._write(data)

    def head(self) -> tuple[bytes, int]:
        buffer = bytearray(HEAD.size)
        self.read_into(memoryview(buffer))
        kind, length = HEAD.unpack(buffer)
        return kind, length

    def finish(self, kind: bytes, length: int) -> dict[str, Any]:
        """The last message of an answer: its fields. Raises `ChildError` where it is an error."""
        if kind not in (b"d", b"e") or length > _LONGEST_TEXT:
            raise ChildError("the decoder's process answers nonsense")
        buffer = bytearray(length)
        self.read_into(memoryview(buffer))
        try:
            message = json.loads(buffer)
            text, lasting = message.get("error", ""), message.get("grown", 0) < _MOST_GROWTH
        except (ValueError, AttributeError, TypeError, RecursionError) as error:
            raise ChildError("the decoder's process answers nonsense") from error
        self.done = lasting and not message.get("out_of_memory")
        if message.get("out_of_memory"):
            raise ChildError(f"it needs more than {self.limits.memory_bytes:,} bytes of memory")
        if kind == b"e":
            raise ChildError(str(text)[:300])
        return dict(message)

    def read_into(self, target: memoryview) -> None:
        assert self.process.stdout is not None
        while target:
            count = self.process.stdout.readinto(target)  # type: ignore[attr-defined]
            if not count:
                raise ChildError(self._reason())
            target = target[count:]

    def _write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        view = memoryview(data)
        try:
            while view:
                view = view[self.process.stdin.write(view) :]
        except OSError as error:
            raise ChildError(self._reason()) from error

    def _reason(self) -> str:
        """Why the child is gone. It has closed its pipes, so it ends now; a child that does not is killed."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        if self.timed_out:
            return f"it gave no answer within {self.limits.wall_seconds:g} seconds"
        if code >= 0:
            return f"the decoder's process ended with code {code}"
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        if name == "SIGXCPU":
            return f"it took more than {self.limits.cpu_seconds:g} seconds of CPU time"
        if name == "SIGALRM":
            return f"it gave no answer within {self.limits.wall_seconds:g} seconds"
        if name == "SIGKILL":
            return "the decoder's process was killed (SIGKILL), most likely because memory ran out"
        return f"the decoder crashed ({name})"

    def time_out(self) -> None:
        self.timed_out = True
        self.process.kill()

    def close(self) -> None:
        """Kill the child and wait for its end, so that no zombie is left."""
        _live.discard(self)
        self.process.kill()
        self.drop_pipes()
        self.process.wait()

    def drop_pipes(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


_idle: list[_Child] = []
_live: weakref.WeakSet[_Child] = weakref.WeakSet()
_registered = 0  # the process in which the end of children is seen to


@contextlib.contextmanager
def _child_for(request: dict[str, Any], data: bytes, info: Mp4Info, limits: ChildLimits) -> Iterator[_Child]:
    """A child that has been sent a request. It goes back to the idle ones only after a complete answer in time."""
    child = _take()
    timer = threading.Timer(limits.wall_seconds, child.time_out)
    timer.daemon = True
    timer.start()
    try:
        child.send(request, data, info, limits)
        yield child
    finally:
        timer.cancel()
        timer.join()
        if child.done and not child.timed_out and len(_idle) < (os.cpu_count() or 1):
            _idle.append(child)
        else:
            child.close()


def _take() -> _Child:
    with contextlib.suppress(IndexError):  # another thread may take the last one
        while True:
            child = _idle.pop()
            if child.process.poll() is None:
                return child
            child.close()
    return _Child()


def _register() -> None:
    """Once a process: children end when it ends; and say what can't be limited here."""
    global _registered
    if _registered == os.getpid():
        return
    _registered = os.getpid()
    Finalize(None, close_children, exitpriority=0)  # processes of multiprocessing (DataLoader workers) skip atexit
    atexit.register(close_children)
    missing = {"memory", "cpu"} - set(limits_here())
    if missing:
        text = f"isolate=True: this platform can't limit {' and '.join(sorted(missing))} of a child; the other limits hold."
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def _forget_children() -> None:
    """In a forked process: the children are the parent's. Only our copies of the pipes are closed."""
    _idle.clear()
    for child in list(_live):
        child.process.returncode = 0  # not ours to wait for
        child.drop_pipes()
    _live.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_children)


def _widen(pipe: Any) -> None:
    """Room for a frame in the pipe, so that child and parent wait less for each other. Linux only, and only a wish."""
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 2**20)
