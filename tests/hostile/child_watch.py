"""Watch the decoder's child process: what its Python opens, and sockets among its open files, while it decodes.

`start(pipe)` is what `isolate` starts in place of `_decode_child.main()`. Events go into a named pipe that was opened before
the limits were set: nothing can be opened after.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hostile.watch import EVENTS, installation

_MOST_FILES = 64  # numbers that are looked at: a list of the open ones can't be read with no free number
_on = False


def command(pipe: Path, act: str = "", canary: Path | None = None) -> str:
    """Python code that starts a watched child. With `act` its decoder does what must be seen (see `_acts`)."""
    return (
        "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from hostile import child_watch;"
        f" child_watch.start({str(pipe)!r}, {act!r}, {str(canary)!r})"
    )


def start(pipe: str, act: str, canary: str) -> None:
    """Answer requests as `_decode_child` does, watched."""
    from unsafe_video_dataset import _decode_child, decoders

    out = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    roots = installation()

    def tell(event: str) -> None:
        with contextlib.suppress(OSError):
            os.write(out, f"child: {event[:120]}\n".encode("utf-8", "backslashreplace"))

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if not _on or not (event == "open" or event.startswith(EVENTS)):
            return
        name = os.fsdecode(args[0]) if event == "open" and isinstance(args[0], str | bytes) else ""
        if event != "open" or not any(name.startswith(root + os.sep) for root in roots):
            tell(f"{event} {name or args}")

    def look() -> None:
        while True:
            if _on and any(_link(number).startswith("socket:") for number in range(_MOST_FILES)):
                tell("a socket is open")
            time.sleep(0.005)

    limited = _decode_child._limited

    @contextlib.contextmanager
    def watched(limits: dict[str, Any]) -> Iterator[None]:
        global _on
        with limited(limits):
            _on = True
            try:
                yield
            finally:
                _on = False

    _decode_child._limited = watched
    if act:
        decoders.BACKENDS["pyav"] = _acting(_acts(canary)[act])
    sys.addaudithook(hook)
    threading.Thread(target=look, daemon=True).start()
    _decode_child.main()


def _link(number: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
    except OSError:
        return ""


def _acting(act: Callable[[], object]) -> Any:
    def decode(*_: Any) -> Iterator[Any]:
        act()
        yield from ()

    return decode


ACTS = ("Python in the child opens the canary", "Python in the child makes a socket", "native code in the child holds a socket")


def _acts(canary: str) -> dict[str, Callable[[], object]]:
    """What a watched child does on purpose; the last as code that runs in it could: it raises the limits first."""

    def hold() -> None:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        made = ctypes.CDLL(None).socket(2, 2, 0)
        time.sleep(0.1)
        os.close(made)

    return dict(zip(ACTS, (lambda: Path(canary).read_bytes(), socket.socket, hold), strict=True))
