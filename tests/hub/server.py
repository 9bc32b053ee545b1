"""The Hub itself: two servers on 127.0.0.1, the second one in the CDN's place, and the code that sends answers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from .access import Denied
from .faults import RST, Fault
from .log import Entry, RequestLog
from .repo import Account, Blob, Repo, Role
from .routes import KINDS, route
from .wire import Reply, Request, error

CHUNK = 1 << 16


@dataclass
class Signed:
    """What one signed URL stands for."""

    repo: Repo
    file: str
    oid: str
    path: str
    expires: float
    upload: bool


class LoopbackHub:
    """A Hub on loopback, running between `with` and the end of its block. Leaving raises if the server itself broke."""

    def __init__(
        self,
        *,
        page_size: int = 1000,
        lfs_over: int = 10 << 20,
        lfs_suffixes: tuple[str, ...] = (".parquet", ".mp4"),
        url_ttl: float = 3600,
        resolve_cache: bool = False,
        bare_401: bool = False,
    ) -> None:
        self.page_size = page_size
        self.lfs_over = lfs_over
        self.lfs_suffixes = lfs_suffixes
        self.url_ttl = url_ttl
        self.resolve_cache = resolve_cache
        self.bare_401 = bare_401
        self.repos: dict[str, Repo] = {}
        self.accounts: dict[str, Account] = {}
        self.signed: dict[str, Signed] = {}
        self.log = RequestLog()
        self.clock = time.time
        self.closing = threading.Event()
        self.lock = threading.RLock()
        self.crashes: list[str] = []
        self._faults: list[Fault] = []
        self._servers = [_Server(self, "hub"), _Server(self, "cdn")]
        self.endpoint, self.cdn = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.02,), name=f"loopback-{server.origin}", daemon=True)
            for server in self._servers
        ]

    def __enter__(self) -> LoopbackHub:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
        if self.crashes and kind is None:
            raise AssertionError("the loopback Hub itself failed:\n" + "\n".join(self.crashes))

    def close(self) -> None:
        """Stop both servers, cut every connection, wait for every thread."""
        self.closing.set()
        for server, thread in zip(self._servers, self._threads, strict=True):
            if thread.is_alive():
                server.shutdown()
                thread.join()
            server.cut()
            server.server_close()

    def account(self, name: str, *, role: Role = "write", token: str | None = None, orgs: tuple[str, ...] = ()) -> Account:
        """Add an account with one token. Any other bearer token is invalid."""
        account = Account(name, token or "hf_" + hashlib.sha256(name.encode()).hexdigest()[:34], role, orgs)
        self.accounts[account.token] = account
        return account

    def repo(
        self,
        repo_id: str,
        files: Mapping[str, bytes | Path | None] | None = None,
        *,
        folder: Path | None = None,
        **settings: Any,
    ) -> Repo:
        """Add a dataset repo, with one commit of `files` or of a folder's files. `settings` as for `Repo`."""
        repo = Repo(repo_id, **{"lfs_over": self.lfs_over, "lfs_suffixes": self.lfs_suffixes, **settings})
        if files:
            repo.commit(dict(files))
        if folder:
            repo.commit_folder(folder)
        self.repos[repo_id] = repo
        return repo

    def find(self, repo_id: str) -> Repo:
        """A repo by its id; KeyError where there is none."""
        return self.repos[repo_id]

    def fault(
        self,
        name: str,
        *,
        on: str = "*",
        method: str = "*",
        of: str = "*",
        path: str = "*",
        nth: int = 1,
        times: int | None = 1,
        by: str = "*",
        **options: Any,
    ) -> Fault:
        """Switch a fault on: `faults.FAULTS` lists names and options, `routes.KINDS` what `on` can be (a glob too).

        `of` is the repo, `path` the file in it or the URL's path, `by` the account (globs all; the CDN knows no account).
        """
        if not set("*?[") & set(on) and on not in KINDS:
            raise ValueError(f"on must be one of {KINDS} or a glob, got {on!r}")
        fault = Fault(name, on, method, of, path, nth, times, options, by)
        with self.lock:
            self._faults.append(fault)
        return fault

    def clear_faults(self) -> None:
        """Switch all faults off."""
        with self.lock:
            self._faults.clear()

    def sign(self, repo: Repo, file: str, content: Blob | str, account: Account | None, *, upload: bool = False) -> str:
        """A signed URL on the CDN for a blob (or, by its sha256, for an upload)."""
        oid = content if isinstance(content, str) else content.sha256
        path = f"/{'uploads' if upload else 'repos'}/{oid[:2]}/{oid[2:4]}/{oid}"
        signature, expires = secrets.token_hex(32), self.clock() + self.url_ttl
        self.signed[signature] = Signed(repo, file, oid, path, expires, upload)
        query = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Expires={self.url_ttl:.0f}&X-Amz-Signature={signature}"
        return f"{self.cdn}{path}?{query}&Expires={expires:.0f}"

    def expire_urls(self) -> None:
        """Let every signed URL handed out so far be past its time."""
        for signed in list(self.signed.values()):
            signed.expires = 0

    def respond(self, request: Request) -> tuple[Reply, Entry, Fault | None]:
        """The answer, its log entry, and the fault (if any) that cuts or stalls the sending of it."""
        with self.lock:
            way = route(self, request)
            entry = self.log.start(
                origin=request.origin,
                method=request.method,
                path=request.path,
                kind=way.kind,
                repo=way.repo,
                file=way.file,
                range=request.headers.get("range"),
                account=request.account.name if request.account else None,
                authorized="authorization" in request.headers,
            )
            faults = [fault for fault in self._faults if fault.meets(entry)]
            entry.faults = [fault.name for fault in faults]
            for fault in faults:
                fault.before(self)
            try:
                reply = way.answer()
            except Denied as denied:
                reply = denied.reply
            except Exception:
                self.crashes.append(f"{request.method} {request.path}\n{traceback.format_exc()}")
                reply = error(500, "the loopback Hub itself failed")
            reply.head = request.method == "HEAD"
            for fault in faults:
                reply = fault.change(reply, request)
            return reply, entry, next((f for f in faults if f.name in ("reset", "fin", "stall")), None)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    request_queue_size = 128

    def __init__(self, hub: LoopbackHub, origin: str) -> None:
        self.hub = hub
        self.origin = origin
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def cut(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            self.hub.crashes.append(traceback.format_exc())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "LoopbackHub"
    sys_version = ""
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.open.add(self.connection)

    def finish(self) -> None:
        self.server.open.discard(self.connection)
        with contextlib.suppress(OSError, ValueError):
            super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def serve(self) -> None:
        """Answer one request."""
        hub, url = self.server.hub, urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        bearer = headers.get("authorization", "")
        token = bearer.removeprefix("Bearer ") if bearer else None
        request = Request(
            origin=self.server.origin,
            method=self.command,
            path=url.path,
            query=parse_qs(url.query, keep_blank_values=True),
            headers=headers,
            body=self._body(headers),
            token=token,
            account=hub.accounts.get(token or ""),
        )
        reply, entry, cut = hub.respond(request)
        try:
            self._send(reply, entry, cut)
        except OSError:
            self.close_connection = True
        finally:
            entry.done = True

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = serve

    def _body(self, headers: dict[str, str]) -> bytes:
        if "chunked" not in headers.get("transfer-encoding", ""):
            return self.rfile.read(int(headers.get("content-length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, reply: Reply, entry: Entry, cut: Fault | None) -> None:
        after = cut.options["after"] if cut else 0
        if cut and after is None and self._cut(cut, entry):
            return
        entry.status = reply.status
        self.send_response(reply.status)
        self.send_header("X-Request-Id", f"Root=1-{entry.number:08x}")
        for name, value in {"Content-Length": str(reply.length), **reply.headers}.items():
            if (name, value) == ("Content-Length", "absent"):
                self.send_header("Connection", "close")
                self.close_connection = True
            else:
                self.send_header(name, value)
        self.end_headers()
        length = 0 if reply.head else reply.length
        stop = min(after, length) if cut and after is not None else length
        self._write(reply, entry, 0, stop)
        self.wfile.flush()
        if cut and after is not None and self._cut(cut, entry):
            return
        self._write(reply, entry, stop, length)
        self.wfile.flush()

    def _write(self, reply: Reply, entry: Entry, start: int, stop: int) -> None:
        for first in range(start, stop, CHUNK):
            piece = reply.read(first, min(first + CHUNK, stop))
            self.wfile.write(piece)
            entry.sent += len(piece)

    def _cut(self, fault: Fault, entry: Entry) -> bool:
        """Stall, or end the connection; True if nothing more may be sent."""
        if fault.name == "stall":
            entry.stalled = True
            closing = self.server.hub.closing.wait(fault.options["seconds"])
            entry.stalled = False
            self.close_connection = self.close_connection or closing
            return closing
        self.close_connection = True
        if fault.name == "reset":
            time.sleep(0.3)  # let what was sent be read, on a busy machine too: a reset throws away what lies in the buffers
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            self.server.open.discard(self.connection)
            os.close(self.connection.detach())
        return True
