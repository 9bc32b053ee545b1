"""What must not be read by others: the token, and the query of a signed URL. Kept out of messages, reprs and logs."""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import httpx2

_SECRETS = re.compile(r"hf_[A-Za-z0-9]{4,}|(?i:bearer\s+[^\s'\"]+)")
_QUERIES = re.compile(r"(https?://[^\s?#'\"<>]+)[?#][^\s'\"<>)]*")
_USERS = re.compile(r"(https?://)[^\s/@]+@")
_LOGGERS = (
    "httpx2",
    "huggingface_hub.utils._http",
    *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy")),
)
_ours: ContextVar[bool] = ContextVar("unsafe_video_request", default=False)


def clean(text: object) -> str:
    """Text for a message: URLs lose their query and user, anything that looks like a token goes."""
    return _SECRETS.sub("<hidden>", _QUERIES.sub(r"\1", _USERS.sub(r"\1", str(text))))


class Bearer(httpx2.Auth):
    """Puts the token into a request. Its repr shows nothing, so that a traceback with local variables shows nothing."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __repr__(self) -> str:
        return "<a token>"

    def __reduce__(self) -> str:
        raise TypeError("A token is not pickled.")

    @property
    def usable(self) -> bool:
        """Whether the token can stand in a header at all."""
        return self._token.isascii() and self._token.isprintable() and " " not in self._token

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Called by httpx2 for each request."""
        request.headers["authorization"] = f"Bearer {self._token}"
        yield request

    def hide(self, data: bytes) -> bytes:
        """An answer's bytes without the token, should a server repeat it."""
        return data.replace(self._token.encode(), b"<hidden>") if len(self._token) >= 8 else data


class _Cleaner(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        if _ours.get():
            record.msg, record.args = clean(record.getMessage()), ()
        return True


_cleaner = _Cleaner()


@contextmanager
def quiet_logs() -> Iterator[None]:
    """Clean what the HTTP libraries log meanwhile in this thread: they write signed URLs at INFO, headers at DEBUG."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_cleaner)  # adding it twice adds it once
    before = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(before)
