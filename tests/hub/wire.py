"""Requests and replies as plain values, byte ranges, and the real Hub's error answers word for word."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from .repo import Account, Blob

UNAUTHENTICATED = 'Bearer realm="Authentication required", charset="UTF-8"'
BAD_CREDENTIALS = "Invalid username or password."
NO_WRITE = "You have read access but not the required permissions for this operation"
NO_GATED_SCOPE = (
    "Please enable access to public gated repositories in your fine-grained token settings to view this repository."
)
DISABLED = "Access to this resource is disabled."
MASKED = "*" * 64


@dataclass
class Request:
    """One request, with its account already looked up (`account` None and `token` set: an invalid token)."""

    origin: str
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes = b""
    token: str | None = None
    account: Account | None = None

    def flag(self, name: str) -> bool:
        """Whether a query field is on, as the clients spell it."""
        return self.query.get(name, [""])[-1].lower() in ("1", "true")

    def json(self) -> Any:
        """The body as JSON; an empty one reads as {}."""
        return json.loads(self.body or b"{}")

    def form(self) -> dict[str, list[str]]:
        """The body's fields, form-encoded or JSON."""
        if "json" in self.headers.get("content-type", ""):
            return {k: v if isinstance(v, list) else [str(v)] for k, v in self.json().items()}
        return parse_qs(self.body.decode())


@dataclass
class Reply:
    """An answer before it goes out. `blob` stands for a body too large to build: `start` and `stop` cut it."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    blob: Blob | None = None
    start: int = 0
    stop: int = 0
    head: bool = False

    @property
    def length(self) -> int:
        """How many bytes the whole body has."""
        return self.stop - self.start if self.blob else len(self.body)

    def read(self, start: int, stop: int) -> bytes:
        """A piece of the body."""
        if self.blob:
            return self.blob.read(self.start + start, min(self.start + stop, self.stop))
        return self.body[start:stop]

    def load(self) -> Reply:
        """The same answer with its body in memory, for faults that edit it."""
        if self.blob:
            self.body, self.blob = self.read(0, self.length), None
        return self


def answer(data: Any, status: int = 200, **headers: str) -> Reply:
    """A JSON answer."""
    body = json.dumps(data).encode()
    return Reply(status, {"Content-Type": "application/json; charset=utf-8", **_dashed(headers)}, body)


def error(status: int, message: str, code: str | None = None, *, text: bool = False, **headers: str) -> Reply:
    """An error as the Hub gives it: the message in X-Error-Message and in the body (JSON on the API, plain on files)."""
    fields = {"X-Error-Message": message, **_dashed(headers)}
    if code:
        fields["X-Error-Code"] = code
    if status == 401:
        fields["WWW-Authenticate"] = UNAUTHENTICATED
    if text:
        return Reply(status, {"Content-Type": "text/plain; charset=utf-8", **fields}, message.encode())
    reply = answer({"error": message}, status)
    reply.headers.update(fields)
    return reply


def xml_error(status: int, code: str, message: str) -> Reply:
    """An error as the object store behind the CDN gives it."""
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Reply(status, {"Content-Type": "application/xml", "Server": "AmazonS3"}, body.encode())


def gate_message(repo_id: str, state: str | None) -> str:
    """The server's words for one state of a request for access; None: not logged in."""
    page = f"https://huggingface.co/datasets/{repo_id}"
    if state is None:
        return (
            f"Access to dataset {repo_id} is restricted. You must have access to it and be authenticated to access it."
            " Please log in."
        )
    return {
        "pending": f"Your request to access dataset {repo_id} is awaiting a review from the repo authors.",
        "rejected": f"Your request to access dataset {repo_id} has been rejected by the repo's authors.",
        "revoked": f"Your request to access dataset {repo_id} has been rejected by the repo's authors.",
        "reset": f"Your request to access dataset {repo_id} has been reset by the repo's authors."
        f" Visit {page} to submit a new request.",
    }.get(
        state,
        f"Access to dataset {repo_id} is restricted and you are not in the authorized list. Visit {page} to ask for access.",
    )


def rate_limited(retry_after: int | str | None, window: int | None) -> Reply:
    """A 429 with Retry-After and, where `window` is given, the RateLimit headers that the client prefers."""
    message = "We had to rate limit your IP. To continue using our service, create a HF account or login to your account."
    reply = error(429, message)
    if retry_after is not None:
        reply.headers["Retry-After"] = str(retry_after)
    if window is not None:
        reply.headers["RateLimit"] = f'"api";r=0;t={window}'
        reply.headers["RateLimit-Policy"] = '"fixed window";"api";q=500;w=300'
    return reply


def serve_blob(blob: Blob, range_header: str | None, headers: dict[str, str]) -> Reply:
    """The blob or the part of it that a single byte range asks for; 416 outside of it."""
    headers = {"Accept-Ranges": "bytes", "Content-Type": "application/octet-stream", **headers}
    match = re.fullmatch(r"bytes=(\d*)-(\d*)", (range_header or "").replace(" ", ""))
    if not match or match.groups() == ("", ""):
        return Reply(200, headers, blob=blob, stop=blob.size)
    first, last = match.groups()
    start = int(first) if first else max(0, blob.size - int(last))
    stop = min(int(last) + 1, blob.size) if first and last else blob.size
    if start >= blob.size or start >= stop:
        reply = xml_error(416, "InvalidRange", "The requested range is not satisfiable")
        reply.headers["Content-Range"] = f"bytes */{blob.size}"
        return reply
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{blob.size}"
    return Reply(206, headers, blob=blob, start=start, stop=stop)


def _dashed(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
