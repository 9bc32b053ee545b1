"""Requests to the Hub: timeouts, bounded retries, no token or signed query in any message.

The session is huggingface_hub's own (its proxies, certificates and offline switch hold here too); what it leaves open is
closed here: it waits for ever, does not retry a broken body, and obeys any `Retry-After`.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import httpx2
from huggingface_hub import constants, get_token
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils._http import get_session

from ..errors import HubUnavailable, OfflineError, RateLimited

T = TypeVar("T")
_SECRETS = re.compile(r"hf_[A-Za-z0-9]{4,}|(?i:bearer\s+\S+)")
_QUERIES = re.compile(r"(https?://[^\s?#'\"<>]+)[?#][^\s'\"<>)]*")


@dataclass(frozen=True)
class Patience:
    """How long requests may take: seconds to connect and between two pieces of an answer, tries, and waits between them."""

    connect: float = 10.0
    read: float = 30.0
    tries: int = 5
    first_wait: float = 0.5
    longest_wait: float = 60.0  # a longer `Retry-After` is reported, not obeyed


class Broken(Exception):
    """A try failed in a way that another try may mend. Never leaves this package's `hub`."""

    def __init__(self, reason: str, *, wait: float | None = None, limited: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.limited = reason, wait, limited


def clean(text: object) -> str:
    """Text for a message: URLs lose their query and user, anything that looks like a token goes."""
    return _SECRETS.sub("<hidden>", _QUERIES.sub(r"\1", re.sub(r"(https?://)[^\s/@]+@", r"\1", str(text))))


class Client:
    """One account at one Hub. `token`: None takes the one of the environment or the login file, False none at all."""

    def __init__(self, *, token: str | bool | None = None, patience: Patience | None = None) -> None:
        found = token if isinstance(token, str) else (None if token is False else get_token())
        self._token = found or None
        self.endpoint = constants.ENDPOINT
        self.patience = patience or Patience()

    def __repr__(self) -> str:
        return f"<Client of {self.endpoint}, {'with' if self._token else 'without'} a token>"

    def __reduce__(self) -> Any:
        raise TypeError("A Client holds a token and is not pickled; make a new one.")

    @property
    def has_token(self) -> bool:
        """Whether requests carry a token."""
        return self._token is not None

    def page(self, repo_id: str) -> str:
        """Web page of a dataset repository."""
        return f"{self.endpoint}/datasets/{repo_id}"

    def url(self, *parts: str) -> str:
        """A URL of the Hub; each part is quoted, its slashes kept."""
        return "/".join([self.endpoint, *(quote(part, safe="/") for part in parts)])

    def patiently(self, what: str, attempt: Callable[[int], T]) -> T:
        """Call `attempt(number)` until it does not raise `Broken`, at most `tries` times.

        Raises `RateLimited` or `HubUnavailable` with the last reason; `OfflineError` where the network is switched off.
        """
        last = Broken("no try was made")
        for number in range(self.patience.tries):
            try:
                return attempt(number)
            except Broken as broken:
                last = broken
            wait = last.wait if last.wait is not None else self.patience.first_wait * 2**number
            if wait > self.patience.longest_wait:
                break
            if number + 1 < self.patience.tries:
                time.sleep(wait)
        if last.limited:
            when = "later" if last.wait is None else f"in {_duration(last.wait)}"
            raise RateLimited(f"The Hub limits the rate of {what}. Try again {when}; {_LOGIN_HELPS}.", last.wait)
        raise HubUnavailable(f"The Hub could not serve {what}: {last.reason}. Try again; what is complete is kept.")

    @contextmanager
    def stream(self, url: str, *, headers: Mapping[str, str] | None = None) -> Iterator[httpx2.Response]:
        """A GET without redirects; the token goes to the Hub's own origin only. Network faults become `Broken`."""
        sent = {"user-agent": "unsafe-video-dataset", "accept-encoding": "identity", **(headers or {})}
        if self._token and _origin(url) == _origin(self.endpoint):
            sent["authorization"] = f"Bearer {self._token}"
        timeout = httpx2.Timeout(self.patience.read, connect=self.patience.connect)
        try:
            with get_session().stream("GET", url, headers=sent, timeout=timeout, follow_redirects=False) as response:
                yield response
        except OfflineModeIsEnabled as error:
            raise OfflineError(
                "The network is switched off (HF_HUB_OFFLINE). Unset it, or use what is complete here."
            ) from error
        except httpx2.TimeoutException as error:
            raise Broken(f"no answer within {self.patience.read:.0f} s ({type(error).__name__})") from None
        except (httpx2.HTTPError, OSError) as error:
            if isinstance(error, OSError) and not isinstance(error, (ConnectionError, TimeoutError)):
                raise  # a full disk is not the network's fault
            raise Broken(f"the connection failed ({type(error).__name__}: {clean(error)})") from None

    def get(self, url: str, *, retry: bool = True) -> Answer:
        """A small answer (JSON or an error), whole. Server faults and rate limits are tried again."""

        def attempt(number: int) -> Answer:
            with self.stream(url) as response:
                answer = Answer(response.status_code, dict(response.headers), response.read())
            raise_if_broken(answer)
            return answer

        if not retry:
            return attempt(0)
        return self.patiently(clean(urlsplit(url).path), attempt)


@dataclass(frozen=True)
class Answer:
    """Status, headers (lower-case names) and body of a response."""

    status: int
    headers: dict[str, str]
    body: bytes = b""

    def json(self) -> Any:
        """The body as JSON; raises `HubUnavailable` if it is not, which is what a captive portal looks like."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise HubUnavailable(
                f"Something between here and the Hub answered instead of it ({self.looks}). {_PORTAL}"
            ) from None

    @property
    def error_code(self) -> str:
        """The Hub's `X-Error-Code`."""
        return self.headers.get("x-error-code", "")

    @property
    def message(self) -> str:
        """The server's own words, cleaned and short."""
        text = self.headers.get("x-error-message", "")
        if not text and "json" in self.headers.get("content-type", ""):
            try:
                text = str(json.loads(self.body).get("error", ""))
            except (ValueError, AttributeError):
                text = ""
        return clean(text)[:500]

    @property
    def looks(self) -> str:
        """What kind of answer it is, for a message."""
        return f"status {self.status}, {self.headers.get('content-type', 'no content type')}"


_PORTAL = "Open a web page in a browser: a network log-in page may be in the way."
_LOGIN_HELPS = "requests of a logged-in account are limited less"


def raise_if_broken(answer: Answer) -> None:
    """Raise `Broken` for an answer that another try may mend: 429 and 5xx."""
    if answer.status == 429:
        raise Broken("it limits the rate (429)", wait=_retry_after(answer.headers), limited=True)
    if answer.status in (408, 500, 502, 503, 504):
        raise Broken(f"it answers {answer.status}", wait=_retry_after(answer.headers))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "").strip()
    if not text:
        match = re.search(r"\bt=(\d+)", headers.get("ratelimit", ""))
        return float(match[1]) if match else None
    try:
        return max(float(text), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def redirect_target(url: str, headers: Mapping[str, str]) -> str:
    """Where a redirect leads. Raises `Broken` for none, or for a scheme that is not http(s)."""
    target = urljoin(url, headers.get("location", ""))
    if target == url or urlsplit(target).scheme not in ("http", "https"):
        raise Broken("it sends a redirect that leads nowhere")
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise Broken("it sends a redirect from https to http")
    return target


def without_query(url: str) -> str:
    """A URL without query, fragment and user."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
