"""Requests to the Hub: timeouts, bounded retries, no token or signed query in any message.

The session is huggingface_hub's own (its proxies, certificates and offline switch hold here too); what it leaves open is
closed here: it waits for ever, does not retry a broken body, and obeys any `Retry-After`.
"""

from __future__ import annotations

import errno
import math
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import httpx2
from huggingface_hub import constants, get_token
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils._http import get_session

from ..errors import HubUnavailable, InputError, OfflineError, RateLimited, UnsafeVideoError
from .answer import Answer, Broken, duration, raise_if_broken
from .hidden import Bearer, clean, quiet_logs

T = TypeVar("T")
_LONGEST_ANSWER = 64 << 20
_NO_NETWORK = (errno.ENETUNREACH, errno.ENETDOWN)


@dataclass(frozen=True)
class Patience:
    """How long requests may take: seconds to connect, between two pieces of an answer, and for a small answer in all; tries,
    and the waits between them. A file that comes slower than `slowest` bytes a second over `answer` seconds counts as stuck. A
    longer `Retry-After` than `longest_wait` is reported, not obeyed."""

    connect: float = 10.0
    read: float = 30.0
    answer: float = 120.0
    slowest: float = 200.0
    tries: int = 5
    first_wait: float = 0.5
    longest_wait: float = 60.0


def default_patience() -> Patience:
    """`Patience`, as `UNSAFE_VIDEO_HUB_TIMEOUT` (seconds) and `UNSAFE_VIDEO_HUB_TRIES` set it. `InputError` for no number."""
    changes: dict[str, Any] = {}
    try:
        if timeout := os.environ.get("UNSAFE_VIDEO_HUB_TIMEOUT"):
            changes["connect"] = changes["read"] = float(timeout)
        if tries := os.environ.get("UNSAFE_VIDEO_HUB_TRIES"):
            changes["tries"] = int(tries)
    except ValueError:
        changes["tries"] = 0
    if not (changes.get("tries", 1) >= 1 and 0 < changes.get("read", 1) < math.inf):
        raise InputError("UNSAFE_VIDEO_HUB_TIMEOUT must be seconds above 0, UNSAFE_VIDEO_HUB_TRIES a count above 0.")
    return Patience(**changes)


class Client:
    """One account at one Hub. `token`: None takes the one of the environment or the login file, False none at all."""

    def __init__(self, *, token: str | bool | None = None, patience: Patience | None = None) -> None:
        found = token if isinstance(token, str) else (None if token is False else get_token())
        self._auth = Bearer(found.strip()) if found and found.strip() else None
        self.endpoint = _checked_endpoint(constants.ENDPOINT)
        self.patience = patience or default_patience()

    def __repr__(self) -> str:
        return f"<Client of {self.endpoint}, {'with' if self._auth else 'without'} a token>"

    def __reduce__(self) -> Any:
        raise TypeError("A Client holds a token and is not pickled; make a new one.")

    @property
    def has_token(self) -> bool:
        """Whether requests carry a token."""
        return self._auth is not None

    @property
    def token_usable(self) -> bool:
        """False for a token that can't stand in a request (spaces or letters outside ASCII inside)."""
        return self._auth is None or self._auth.usable

    def page(self, repo_id: str) -> str:
        """Web page of a dataset repository."""
        return f"{self.endpoint}/datasets/{repo_id}"

    def url(self, *parts: str) -> str:
        """A URL of the Hub; each part is quoted, its slashes kept."""
        return "/".join([self.endpoint, *(quote(part, safe="/") for part in parts)])

    def is_hub(self, url: str) -> bool:
        """Whether a URL is of the Hub's own origin. The token goes nowhere else."""
        return _origin(url) == _origin(self.endpoint)

    def patiently(self, what: str, attempt: Callable[[int], T], *, patience: Patience | None = None) -> T:
        """Call `attempt(number)` until it does not raise `Broken`, at most `tries` times of `patience` (default: the client's).

        Raises `RateLimited` or `HubUnavailable` with the last reason; `OfflineError` where there is no network.
        """
        patience = patience or self.patience
        last = Broken("no try was made")
        for number in range(patience.tries):
            try:
                return attempt(number)
            except Broken as broken:
                last = broken
            wait = patience.first_wait * 2**number if last.wait is None else last.wait
            wait = max(wait, patience.first_wait) if last.limited else wait
            if wait > patience.longest_wait:
                break
            if number + 1 < patience.tries:
                time.sleep(wait)
        if last.limited:
            when = "later" if last.wait is None else f"in {duration(last.wait)}"
            raise RateLimited(
                f"The Hub limits the rate of requests ({what}). Try again {when}; a logged-in account is limited less.",
                last.wait,
            )
        if last.offline:
            raise OfflineError(f"There is no network: {last.reason}. Connect, or use what is complete here.")
        raise HubUnavailable(f"The Hub could not serve {what}: {last.reason}. Try again; what is complete is kept.")

    def pieces(self, response: httpx2.Response) -> Iterator[bytes]:
        """The body as it comes. Raises `Broken` if it drips: a byte now and then would else hold a download for ever."""
        since, got = time.monotonic(), 0
        for piece in response.iter_raw():
            yield piece
            got += len(piece)
            elapsed = time.monotonic() - since
            if elapsed > self.patience.answer:
                if got < self.patience.slowest * elapsed:
                    raise Broken(f"it drips: {got} bytes in {elapsed:.0f} s")
                since, got = time.monotonic(), 0

    @contextmanager
    def stream(self, url: str, *, headers: Mapping[str, str] | None = None) -> Iterator[httpx2.Response]:
        """A GET without redirects; the token goes to the Hub's own origin only. Network faults become `Broken`."""
        sent = {"user-agent": "unsafe-video-dataset", "accept-encoding": "identity", **(headers or {})}
        auth = self._auth if self.is_hub(url) else None
        timeout = httpx2.Timeout(self.patience.read, connect=self.patience.connect)
        try:
            with (
                quiet_logs(),
                get_session().stream("GET", url, headers=sent, auth=auth, timeout=timeout, follow_redirects=False) as response,
            ):
                yield response
                return
        except UnsafeVideoError:
            raise  # some of ours are OSErrors too
        except OfflineModeIsEnabled:
            failure: Exception = OfflineError("The network is switched off (HF_HUB_OFFLINE). Unset it, or use what is here.")
        except httpx2.TimeoutException as error:
            failure = Broken(f"no answer within {self.patience.read:g} s ({type(error).__name__})")
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, ConnectionError, TimeoutError) as error:
            reason = f"the connection failed ({type(error).__name__}: {clean(error)})"
            failure = Broken(reason, offline=_no_network(error))
        raise failure  # here, so that it carries no foreign exception along

    def answer(self, response: httpx2.Response) -> Answer:
        """Read a small answer (JSON or an error) whole. Raises `HubUnavailable` for an endless one, `Broken` for a slow one."""
        began, body = time.monotonic(), bytearray()
        for piece in response.iter_bytes():
            body += piece
            if len(body) > _LONGEST_ANSWER:
                raise HubUnavailable(
                    f"An answer of the Hub is longer than {_LONGEST_ANSWER >> 20} MB. Do not use it; try again."
                )
            if time.monotonic() - began > self.patience.answer:
                raise Broken(f"an answer took longer than {self.patience.answer:g} s")
        hide = self._auth.hide if self._auth else bytes
        headers = {name: hide(value.encode()).decode() for name, value in response.headers.items()}
        return Answer(response.status_code, headers, hide(bytes(body)))

    def get(self, url: str, *, optional: bool = False) -> Answer:
        """A small answer, whole. Server faults and rate limits are tried again.

        One that can be done without (`optional`) is tried twice, with a short wait at most; then a 429 or 5xx comes as it is.
        """
        last: list[Answer] = []

        def attempt(number: int) -> Answer:
            last.clear()
            with self.stream(url) as response:
                last.append(self.answer(response))
            raise_if_broken(last[0])
            return last[0]

        patience = replace(self.patience, tries=min(self.patience.tries, 2), longest_wait=2.0) if optional else self.patience
        try:
            return self.patiently(clean(urlsplit(url).path), attempt, patience=patience)
        except HubUnavailable:
            if optional and last:
                return last[0]
            raise


def _checked_endpoint(url: str) -> str:
    """The Hub's address. Raises `InputError` for one that no request can go to."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError(
            f"HF_ENDPOINT is {clean(url)[:100]!r}, which is no address of a Hub: it must start with https:// (or http://). "
            "Unset it to ask https://huggingface.co."
        )
    return url


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _no_network(error: BaseException) -> bool:
    """Whether a failure is this machine's: no route, or no name server."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror) or (isinstance(cause, OSError) and cause.errno in _NO_NETWORK):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def redirect_target(url: str, headers: Mapping[str, str]) -> str:
    """Where a redirect leads. Raises `Broken` for none, or for a scheme that is not http(s)."""
    try:
        target = urljoin(url, headers.get("location", ""))
        scheme = urlsplit(target).scheme
    except ValueError:
        target = scheme = ""
    if target == url or scheme not in ("http", "https"):
        raise Broken("it sends a redirect that leads nowhere")
    if urlsplit(url).scheme == "https" and scheme != "https":
        raise Broken("it sends a redirect from https to http")
    return target
