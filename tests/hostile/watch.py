"""Watch this process for sockets, subprocesses and files opened where none should be.

Python code is seen by an audit hook. Native code is seen by what it touches: a TCP and a UDP port on loopback that nobody
should speak to, inotify on a canary file, and a thread that looks for sockets among the open files. The decoder's child process
has a hook and a look of its own (`child_watch.py`). `control()` shows that each of them sees what it is there for.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import sys
import sysconfig
import threading
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

_OPENED, _ACCESSED = 0x20, 0x01
EVENTS = ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "urllib.", "ftplib.")
_QUIET_SOCKETS = ("socket.gethostname",)
_CHILD = "child_watch"


class Watch:
    """`events` grows with everything that a case must not do. Make one at the start of a process: hooks can't be removed."""

    def __init__(self, folder: Path, *, allowed_ports: Collection[int] = ()) -> None:
        """`allowed_ports` on loopback may be connected to: those of a test's Hub."""
        self.folder = folder
        self._ports = set(allowed_ports)
        self.canary = folder / "canary" / "secret.mp4"
        self.canary.parent.mkdir(parents=True)
        self.canary.write_bytes(b"canary")
        self._tcp, self._udp = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
        self._tcp.bind(("127.0.0.1", 0))
        self._tcp.listen(64)
        self._udp.bind(("127.0.0.1", 0))
        for opened in (self._tcp, self._udp):
            opened.setblocking(False)
        self.tcp_port, self.udp_port = self._tcp.getsockname()[1], self._udp.getsockname()[1]
        self._inotify = _inotify(self.canary) if sys.platform == "linux" else None
        self.child_pipe = folder / "child"
        os.mkfifo(self.child_pipe)
        self._child_events = os.open(self.child_pipe, os.O_RDWR | os.O_NONBLOCK)  # for writing too: else it ends with a child
        self.events: list[str] = []
        self.allowed: list[str] = []
        self._roots = installation()
        self._on = False
        self._known = _sockets()
        sys.addaudithook(self._hook)
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def case(self, *allowed: Path) -> Iterator[list[str]]:
        """Watch one case; files under the `allowed` folders may be opened. Yields the list that holds its events after."""
        found: list[str] = []
        self.events = []
        self.allowed = [os.path.realpath(path) for path in allowed]
        self._on = True
        try:
            yield found
        finally:
            self._on = False
            self._collect()
            found += dict.fromkeys(self.events)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            self._opened(args[0])
        elif event.startswith(EVENTS) and event not in _QUIET_SOCKETS and not self._permitted(event, args):
            self.events.append(f"{event} {str(args)[:120]}")

    def _permitted(self, event: str, args: tuple[Any, ...]) -> bool:
        if event == "subprocess.Popen":
            return any(_CHILD in str(part) for part in args[1])
        if event == "socket.connect":
            return args[1][0] == "127.0.0.1" and args[1][1] in self._ports
        if event == "socket.getaddrinfo":
            return str(args[0]) == "127.0.0.1" and args[1] in self._ports
        return event == "socket.__new__" and bool(self._ports)  # where it leads is seen when it connects

    def _opened(self, path: Any) -> None:
        if isinstance(path, int) or path is None:
            return
        name = os.path.realpath(os.fsdecode(path))
        if not any(name == root or name.startswith(root + os.sep) for root in (*self._roots, *self.allowed)):
            self.events.append(f"open {name}")

    def _look(self) -> None:
        while True:
            found = _sockets() - self._known if self._on else set()
            if found & _sockets_elsewhere(self._ports) if self._ports else found:
                self.events.append("a socket is open")
            time.sleep(0.005)

    def _collect(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                connection, _ = self._tcp.accept()
                connection.close()
                self.events.append("TCP connection")
        with contextlib.suppress(BlockingIOError):
            while True:
                self._udp.recvfrom(65536)
                self.events.append("UDP packet")
        with contextlib.suppress(BlockingIOError):
            while told := os.read(self._child_events, 65536):
                self.events += told.decode("utf-8", "replace").splitlines()
        if self._inotify is not None:
            with contextlib.suppress(BlockingIOError):
                while os.read(self._inotify, 4096):
                    self.events.append("canary file opened")

    def control(self) -> dict[str, list[str]]:
        """What the watch sees of each thing that must not happen: every list must be non-empty."""
        libc = ctypes.CDLL(None)
        seen = {}
        with self.case() as seen["Python opens the canary"]:
            self.canary.read_bytes()
        with self.case() as seen["native code opens the canary"]:
            os.close(libc.open(os.fsencode(self.canary), 0))
        with self.case() as seen["native code connects"]:
            made = libc.socket(2, 1, 0)
            address = (2).to_bytes(2, sys.byteorder) + self.tcp_port.to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
            assert libc.connect(made, address, 16) == 0
            os.close(made)
        with self.case() as seen["native code sends a datagram"]:
            made = libc.socket(2, 2, 0)
            address = (2).to_bytes(2, sys.byteorder) + self.udp_port.to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
            assert libc.sendto(made, b"x", 1, 0, address, 16) == 1
            os.close(made)
        with self.case() as seen["native code holds a socket"]:
            made = libc.socket(2, 2, 0)
            time.sleep(0.1)
            os.close(made)
        with self.case() as seen["Python makes a socket"]:
            socket.socket().close()
        with self.case() as seen["a program is started"]:
            os.system("true")
        return seen


def _inotify(path: Path) -> int:
    libc = ctypes.CDLL(None)
    made = int(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    for target in (path, path.parent):
        assert libc.inotify_add_watch(made, os.fsencode(target), _OPENED | _ACCESSED) >= 0
    return made


def _sockets() -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for number in os.listdir("/proc/self/fd"):  # noqa: PTH208
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/self/fd/{number}")  # noqa: PTH115
                if target.startswith("socket:"):
                    found.add(f"{target} is open")
    return found


def _sockets_elsewhere(ports: set[int]) -> set[str]:
    """Sockets that are connected to none of these ports. One that is connected to nothing yet is not among them."""
    elsewhere = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/self/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                port = int(fields[2].rpartition(":")[2], 16)
                if table.startswith("udp") or (port and port not in ports):
                    elsewhere.add(f"socket:[{fields[9]}] is open")
    return elsewhere


def installation() -> list[str]:
    """Folders that belong to Python, its packages and this repository, and what the system tells about itself."""
    roots = {*sysconfig.get_paths().values(), *(path for path in sys.path if path), sys.prefix, sys.base_prefix}
    roots |= {str(Path(__file__).parents[2]), "/proc", "/sys", "/dev/null", "/dev/urandom", "/etc/localtime"}
    roots |= {"/usr/share/zoneinfo", "/usr/lib", "/lib", "/lib64", "/etc/ld.so.cache"}
    return sorted({os.path.realpath(root) for root in roots if root})
