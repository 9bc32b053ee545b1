"""The content warning and terms, shown once and accepted once, and the local log of who opened what."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ..errors import TermsNotAccepted
from .roots import known_roots
from .store import Store, disk_errors

CONTENT_WARNING = (
    "This data shows generated videos that people judged unsafe: distorted, terrifying, pornographic, violent or political. "
    "It is for research on safety. Do not pass it on, do not show it to people who did not agree to see it, and do not use "
    "it to make such content."
)
LOG_NAME = "access-log.jsonl"  # JSON lines, for the user alone to read
_LOG_SWITCH = "UNSAFE_VIDEO_ACCESS_LOG"


def terms_text(repo_id: str, gate_text: str) -> str:
    """What a user of a gated repository agrees to: our content warning and the owner's own text."""
    return f"{repo_id}\n\n{CONTENT_WARNING}" + (f"\n\nThe owner's terms:\n{gate_text.strip()}" if gate_text.strip() else "")


def terms_sha256(text: str) -> str:
    """What is recorded of a text that was accepted."""
    return hashlib.sha256(text.encode()).hexdigest()


def require_terms(store: Store, text: str, *, accept: bool | str) -> str:
    """Return the hash of the terms; record them if `accept` is True or their hash.

    Raises `TermsNotAccepted`, with the text, if they are new, or other ones than those of the hash.
    """
    found = terms_sha256(text)
    accepted = store.state().get("terms", {})
    if found in accepted:
        return found
    if accept is not True and accept != found:
        why = "The owner changed the terms while you read them, and these have" if accept else "These terms have"
        fix = "If you accept them, add --accept-terms to the command; in Python, accept_terms=True."
        raise TermsNotAccepted(f"{text}\n\n{why} not been accepted on this machine. {fix}", text)
    store.update(terms={found: _now()})
    return found


def log_access(store: Store, *, account: str | None, commit: str, config: str, terms: str | None, how: str) -> None:
    """Append one line: who, which repository and commit, which config, when, which terms. `UNSAFE_VIDEO_ACCESS_LOG=0`: none.

    No token and no prompt is in it. The file is the user's alone (mode 600).
    """
    if os.environ.get(_LOG_SWITCH, "1").lower() in ("0", "off", "false", "no"):
        return
    line: dict[str, Any] = {
        "when": _now(),
        "account": account,
        "repo_id": store.repo_id,
        "commit": commit,
        "config": config,
        "terms_sha256": terms,
        "how": how,
    }
    store.root.mkdir(parents=True, exist_ok=True, mode=0o700)
    # One write to a file opened for appending: lines of two processes do not mix.
    handle = os.open(store.root / LOG_NAME, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        with suppress(OSError, AttributeError):  # not everywhere
            os.fchmod(handle, 0o600)
        end = os.lseek(handle, 0, os.SEEK_END)
        torn = end > 0 and os.lseek(handle, end - 1, os.SEEK_SET) >= 0 and os.read(handle, 1) != b"\n"  # a full disk tears one
        os.write(handle, (b"\n" if torn else b"") + (json.dumps(line) + "\n").encode())
    finally:
        os.close(handle)


def log_stream(store: Store, *, commit: str, config: str) -> None:
    """As `log_access`, for data files that are read over ranges: account and terms are those of the download before it."""
    state = store.state()
    with disk_errors(store.root):
        account, terms = state.get("access", {}).get("account"), state.get("terms_of", {}).get(commit)
        log_access(store, account=account, commit=commit, config=config, terms=terms, how="stream")


def read_log(cache_dir: str | os.PathLike[str] | None = None) -> list[dict[str, Any]]:
    """The lines of the access log, oldest first: of one `cache_dir`, or of every one that was used on this machine.

    Lines that can't be read are left out; `count_log` says how many.
    """
    return count_log(cache_dir)[0]


def count_log(cache_dir: str | os.PathLike[str] | None = None) -> tuple[list[dict[str, Any]], int]:
    """`read_log`, and how many lines can't be read (a full disk tears one)."""
    lines: list[dict[str, Any]] = []
    unreadable = 0
    for root in [Path(cache_dir)] if cache_dir is not None else known_roots()[0]:
        path = root / LOG_NAME
        for text in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
            try:
                found = json.loads(text)
            except ValueError:
                found = None
            if isinstance(found, dict):
                lines.append(found)
            elif text.strip():
                unreadable += 1
    return sorted(lines, key=lambda line: str(line.get("when"))), unreadable


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
