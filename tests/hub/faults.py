"""What can go wrong, on demand. A fault names the requests it hits; the server asks which faults a request meets."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from .log import Entry
from .wire import Reply, Request, error, rate_limited, xml_error

if TYPE_CHECKING:
    from .server import LoopbackHub

RST = struct.pack("ii", 1, 0)

# name -> what happens, and the options with their defaults
FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "reset": ("TCP reset (SO_LINGER 0) after `after` body bytes; None: before the status line", {"after": 1}),
    "fin": ("orderly close after `after` body bytes, headers as if all came; None: before the status line", {"after": 1}),
    "stall": ("nothing more for `seconds` after `after` body bytes (None: before the status line), then on", {"after": 0}),
    "status": ("`status` in place of the answer, with `body` and no X-Error-Code", {"status": 503, "body": None}),
    "rate_limit": ("429 with `Retry-After: retry_after`, and RateLimit headers (`window`)", {"retry_after": 1, "window": None}),
    "expired": ("403 with the object store's XML, as for a signed URL past its time", {}),
    "ignore_range": ("200 and the whole file where a range was asked for", {}),
    "wrong_range": (
        "206 for a range `shift` bytes further on, honest in Content-Range unless `lie`",
        {"shift": 1, "lie": False},
    ),
    "truncate": ("200/206 with only `keep` bytes; `length` short: Content-Length says so, absent: none", {"keep": 1}),
    "corrupt": ("`flips` bytes changed from `offset` in the file (None: mid-answer); length and ETag as before", {"flips": 1}),
    "captive": ("200 text/html, a captive portal's log-in page, in place of the answer", {}),
    "etag": ("ETag and X-Linked-ETag set to `etag`", {"etag": '"../../../../evil"'}),
    "headers": ("answer's headers overridden by `set` (value None: header left out)", {"set": {}}),
    "rewrite": ("`edit(reply)` changes or replaces the answer", {"edit": None}),
    "move": ("before answering: `repo`'s `branch` moves to `revision`", {"repo": None, "revision": None, "branch": "main"}),
    "gate": ("before answering: `account`'s access to `repo` becomes `state`", {"repo": None, "account": None}),
    "call": ("before answering: `run()` is called", {"run": None}),
}
_MORE: dict[str, dict[str, Any]] = {
    "stall": {"seconds": 30.0},
    "truncate": {"length": "short"},
    "corrupt": {"offset": None},
    "gate": {"state": "revoked"},
}
PORTAL = b"<!DOCTYPE html><html><head><title>Log in to the network</title></head><body>Please accept.</body></html>"


@dataclass
class Fault:
    """One fault: which requests (`on` kind, `method`, `repo`, `path`: a glob on the repo file or the URL path, `by` account),
    and how.

    It hits the `nth` matching request and the `times - 1` after it; `times=None`: from then on.
    """

    name: str
    on: str = "*"
    method: str = "*"
    repo: str = "*"
    path: str = "*"
    nth: int = 1
    times: int | None = 1
    options: dict[str, Any] = field(default_factory=dict)
    by: str = "*"
    seen: int = 0
    fired: int = 0

    def __post_init__(self) -> None:
        if self.name not in FAULTS:
            raise ValueError(f"fault must be one of {sorted(FAULTS)}, got {self.name!r}")
        defaults = {**FAULTS[self.name][1], **_MORE.get(self.name, {})}
        if unknown := set(self.options) - set(defaults):
            raise TypeError(f"{self.name} takes {sorted(defaults)}, not {sorted(unknown)}")
        self.options = {**defaults, **self.options}

    def meets(self, entry: Entry) -> bool:
        """Count the request if it matches; True if the fault hits it. Call under the hub's lock."""
        target = entry.file if entry.file is not None else entry.path
        if not (fnmatchcase(entry.kind, self.on) and fnmatchcase(entry.method, self.method)):
            return False
        if self.repo != "*" and not fnmatchcase(entry.repo or "", self.repo):
            return False
        if self.by != "*" and not fnmatchcase(entry.account or "", self.by):
            return False
        if not (fnmatchcase(target, self.path) or fnmatchcase(entry.path, self.path)):
            return False
        self.seen += 1
        hit = self.seen >= self.nth and (self.times is None or self.seen < self.nth + self.times)
        self.fired += hit
        return hit

    def before(self, hub: LoopbackHub) -> None:
        """Change the hub's state before the answer is made."""
        if self.name == "move":
            hub.find(self.options["repo"]).move(self.options["branch"], self.options["revision"])
        elif self.name == "gate":
            hub.find(self.options["repo"]).gate(self.options["account"], self.options["state"])
        elif self.name == "call":
            self.options["run"]()

    def change(self, reply: Reply, request: Request) -> Reply:
        """The answer as the fault makes it."""
        edit = _CHANGES.get(self.name)
        if edit is None:
            return reply
        changed = edit(reply, request, **self.options)
        changed.head = reply.head
        return changed


def _status(reply: Reply, request: Request, status: int, body: bytes | None) -> Reply:
    if body is not None:
        return Reply(status, {"Content-Type": "application/json"}, body)
    return error(status, "Internal Error - We're working hard to fix this as soon as possible!")


def _rate_limit(reply: Reply, request: Request, retry_after: int | str | None, window: int | None) -> Reply:
    return rate_limited(retry_after, window)


def _expired(reply: Reply, request: Request) -> Reply:
    return xml_error(403, "AccessDenied", "Request has expired")


def _ignore_range(reply: Reply, request: Request) -> Reply:
    if reply.status not in (206, 416) or reply.blob is None:
        return reply
    headers = {k: v for k, v in reply.headers.items() if k not in ("Content-Range", "Accept-Ranges")}
    return Reply(200, headers, blob=reply.blob, stop=reply.blob.size)


def _wrong_range(reply: Reply, request: Request, shift: int, lie: bool) -> Reply:
    if reply.status != 206 or reply.blob is None:
        return reply
    reply.start, reply.stop = reply.start + shift, min(reply.stop + shift, reply.blob.size)
    if not lie:
        reply.headers["Content-Range"] = f"bytes {reply.start}-{reply.stop - 1}/{reply.blob.size}"
    return reply


def _truncate(reply: Reply, request: Request, keep: int, length: str) -> Reply:
    reply.load()
    reply.body = reply.body[:keep]
    if length == "absent":
        reply.headers["Content-Length"] = "absent"
    elif length != "short":
        raise ValueError("length must be 'short' or 'absent'; for a full Content-Length use the fault 'fin'")
    return reply


def _corrupt(reply: Reply, request: Request, flips: int, offset: int | None) -> Reply:
    body = bytearray(reply.load().body)
    first = len(body) // 2 if offset is None else offset - reply.start
    for index in range(max(first, 0), min(first + flips, len(body))):
        body[index] ^= 0xFF
    reply.body = bytes(body)
    return reply


def _captive(reply: Reply, request: Request) -> Reply:
    return Reply(200, {"Content-Type": "text/html; charset=utf-8"}, PORTAL)


def _etag(reply: Reply, request: Request, etag: str) -> Reply:
    reply.headers["ETag"] = etag
    if "X-Linked-ETag" in reply.headers:
        reply.headers["X-Linked-ETag"] = etag
    return reply


def _headers(reply: Reply, request: Request, set: dict[str, str | None]) -> Reply:
    for name, value in set.items():
        reply.headers = {k: v for k, v in reply.headers.items() if k.lower() != name.lower()}
        if value is not None:
            reply.headers[name] = value
        elif name.lower() == "content-length":
            reply.headers["Content-Length"] = "absent"
    return reply


def _rewrite(reply: Reply, request: Request, edit: Callable[[Reply], Reply]) -> Reply:
    return edit(reply.load())


_CHANGES: dict[str, Callable[..., Reply]] = {
    "status": _status,
    "rate_limit": _rate_limit,
    "expired": _expired,
    "ignore_range": _ignore_range,
    "wrong_range": _wrong_range,
    "truncate": _truncate,
    "corrupt": _corrupt,
    "captive": _captive,
    "etag": _etag,
    "headers": _headers,
    "rewrite": _rewrite,
}
