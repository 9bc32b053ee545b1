"""What comes back from the Hub: a small answer, the tries that it is worth, the waits that it asks for."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from ..errors import HubUnavailable
from .hidden import clean

_PORTAL = "Open a web page in a browser: a network log-in page may be in the way."


class Broken(Exception):
    """A try failed in a way that another try may mend. Never leaves this package's `hub`."""

    def __init__(self, reason: str, *, wait: float | None = None, limited: bool = False, offline: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.wait, self.limited, self.offline = reason, wait, limited, offline


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
        except (ValueError, RecursionError):
            kind = f"status {self.status}, {self.headers.get('content-type', 'no content type')}"
        raise HubUnavailable(f"Something between here and the Hub answered instead of it ({kind}). {_PORTAL}")

    @property
    def web_page(self) -> bool:
        """Whether it looks like a page for people, which the Hub's API never sends."""
        return "html" in self.headers.get("content-type", "") or self.body.lstrip()[:1] == b"<"

    @property
    def error_code(self) -> str:
        """The Hub's `X-Error-Code`."""
        return self.headers.get("x-error-code", "")

    @property
    def message(self) -> str:
        """The server's own words, cleaned and short: one printable line."""
        text = self.headers.get("x-error-message", "")
        if not text and "json" in self.headers.get("content-type", ""):
            try:
                text = str(json.loads(self.body).get("error", ""))
            except (ValueError, AttributeError, RecursionError):
                text = ""
        return "".join(letter if letter.isprintable() else " " for letter in clean(text))[:500]


def raise_if_broken(answer: Answer) -> None:
    """Raise `Broken` for an answer that another try may mend: 429 and 5xx."""
    if answer.status == 429:
        raise Broken("it limits the rate (429)", wait=_retry_after(answer.headers), limited=True)
    if answer.status in (408, 500, 502, 503, 504):
        raise Broken(f"it answers {answer.status}", wait=_retry_after(answer.headers))


def _retry_after(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "").strip()
    if not text:
        match = re.search(r"\bt=(\d{1,9})\b", headers.get("ratelimit", ""))
        return float(match[1]) if match else None
    if re.fullmatch(r"\d{1,9}(\.\d+)?", text):
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


def duration(seconds: float) -> str:
    """Seconds for people: `40 seconds`, `24 hours`."""
    if seconds < 120:
        return f"{math.ceil(seconds)} seconds"
    return f"{math.ceil(seconds / 60)} minutes" if seconds < 7200 else f"{math.ceil(seconds / 3600)} hours"
