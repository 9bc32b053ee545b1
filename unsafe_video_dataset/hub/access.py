"""May this account read this repository? One answer out of a closed list, with the next step and the server's own words."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal
from urllib.parse import unquote, urljoin, urlsplit

from huggingface_hub import constants

from ..errors import (
    AccessError,
    AccessNotRequested,
    AccessPending,
    AccessRejected,
    FilterError,
    HubUnavailable,
    InvalidToken,
    NotLoggedIn,
    OfflineError,
    RateLimited,
    RepositoryDisabled,
    RepositoryMissing,
    RepositoryRenamed,
    TokenScope,
    UnsafeVideoError,
)
from ..naming import UPSTREAM
from .answer import Answer, duration
from .client import Client, default_patience
from .denial import keep_denial
from .hidden import clean

State = Literal[
    "granted", "not_logged_in", "invalid_token", "token_scope", "not_requested", "pending", "rejected",
    "missing_or_private", "renamed", "disabled", "offline", "rate_limited", "hub_down",
]  # fmt: skip

_REPO_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?/[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?")
_ERRORS: dict[str, type[UnsafeVideoError]] = {
    "not_logged_in": NotLoggedIn,
    "invalid_token": InvalidToken,
    "token_scope": TokenScope,
    "not_requested": AccessNotRequested,
    "pending": AccessPending,
    "rejected": AccessRejected,
    "missing_or_private": RepositoryMissing,
    "renamed": RepositoryRenamed,
    "disabled": RepositoryDisabled,
    "offline": OfflineError,
    "hub_down": HubUnavailable,
}
_HAPPENED: dict[str, str] = {
    "granted": "{account} may read {repo_id}.",
    "not_logged_in": "{repo_id} is gated, and no token was found (token=, HF_TOKEN, or the login file).",
    "invalid_token": "The Hub does not know the token that was found.",
    "token_scope": "The token of {account} may not read gated repositories.",
    "not_requested": "{account} has not asked for access to {repo_id}.",
    "pending": "{account} asked for access to {repo_id}; its owner has not answered yet.",
    "rejected": "The owner of {repo_id} rejected the request of {account}.",
    "missing_or_private": "There is no dataset {repo_id}, or it is private and {account} can't see it.",
    "renamed": "{repo_id} has moved to {new_name}.",
    "disabled": "The Hub has disabled {repo_id}.",
    "offline": "The network is switched off (HF_HUB_OFFLINE) or not there.",
    "rate_limited": "The Hub limits the rate of requests.",
    "hub_down": "The Hub can't be reached, has a fault, or something answers in its place.",
}
_NEXT: dict[str, str] = {
    "granted": "{use}",
    "not_logged_in": "Run `hf auth login`, or set HF_TOKEN; then ask for access at {page}.",
    "invalid_token": "Make a new token at {endpoint}/settings/tokens, then run `hf auth login`.",
    "token_scope": "At {endpoint}/settings/tokens, let the token read public gated repositories you can access.",
    "not_requested": "Open {page}, read the terms and ask for access.",
    "pending": "Wait for the owner. {page} shows the state of your request.",
    "rejected": "Write to the owner on {page}/discussions if you think that is a mistake.",
    "missing_or_private": "Check the name; if it is private, use a token of an account that can see it (`hf auth whoami`).",
    "renamed": "Use the new name: unsafe-video access {new_name}. What came by the old one: unsafe-video purge {repo_id}.",
    "disabled": "{page} may say why. The embedded sample works: load_dataset().",
    "offline": "Unset HF_HUB_OFFLINE or connect; complete downloads open with local_files_only=True.",
    "rate_limited": "Try again {when}; requests of a logged-in account are limited less.",
    "hub_down": "Try again later. A web page opened in a browser shows whether a network log-in page is in the way; "
    "https://status.huggingface.co says how the Hub is.",
}


_LOAD_IT = "Load it: load_dataset({repo_id!r})."
_BUILD_IT = (
    "It holds raw files, not a release. Build one, and load that: unsafe-video-build upstream {repo_id} OUT --revision main."
)


@dataclass(frozen=True)
class AccessStatus:
    """The answer. `state` is one of `State`; `message` says what happened, `next_step` what to do, `server` the Hub's words."""

    repo_id: str
    state: State
    account: str | None
    page: str
    message: str
    next_step: str
    server: str = ""
    retry_after_seconds: float | None = None

    @property
    def granted(self) -> bool:
        """True only when the repository can be read."""
        return self.state == "granted"

    def __bool__(self) -> bool:
        return self.granted

    def to_dict(self) -> dict[str, Any]:
        """The status as JSON values."""
        return {**asdict(self), "granted": self.granted}

    def error(self, hint: str = "") -> UnsafeVideoError:
        """The typed error of this state (`AccessError` and its kin); `hint` is added to its message."""
        said = f"The Hub says: {self.server!r}" if self.server else ""
        text = " ".join(part for part in (self.message, self.next_step, said, hint) if part)
        if self.state == "rate_limited":
            return RateLimited(text, self.retry_after_seconds)
        return _ERRORS.get(self.state, AccessError)(text)

    def raise_for_denial(self) -> None:
        """Raise `error()`; nothing when granted."""
        if not self.granted:
            raise self.error()


def check_repo_id(repo_id: str) -> str:
    """`owner/name`, or `FilterError`."""
    if not _REPO_ID.fullmatch(repo_id) or ".." in repo_id or "--" in repo_id:
        raise FilterError(f"{repo_id!r} is not a repository id of the form owner/name.")
    return repo_id


def access(repo_id: str, *, token: str | bool | None = None) -> AccessStatus:
    """Whether this account may read a dataset repository, and if not, why and what to do. Two requests.

    Returns a value for every 'no', also for no network; raises `FilterError` for a name that can't be a repository. A denial
    closes the copies of the repository on this machine, as one that `download` meets does.
    """
    check_repo_id(repo_id)
    patience = default_patience()
    # Who asks for a state wants an answer now: a long wait is part of the answer.
    client = Client(token=token, patience=replace(patience, tries=min(patience.tries, 3), longest_wait=5.0))
    status = check_access(repo_id, client)
    if not status.granted and isinstance(denial := status.error(), AccessError):
        keep_denial(repo_id, denial)
    return status


def check_access(repo_id: str, client: Client) -> AccessStatus:
    """`access` with a client that is there already."""
    account: str | None = None
    scoped = True
    if constants.is_offline_mode():
        return _status(repo_id, "offline", client)
    if not client.token_usable:
        return _status(repo_id, "invalid_token", client)
    try:
        if client.has_token:
            # The account's name is good to know; whether it may read is for the next request to say.
            who = client.get(client.url("api/whoami-v2"), optional=True)
            if who.status == 401:
                return _status(repo_id, "invalid_token", client, answer=who)
            account, scoped = _account(who)
        answer = client.get(client.url("api/datasets", repo_id, "auth-check"))
    except OfflineError as error:
        return _status(repo_id, "offline", client, account=account, reason=str(error))
    except RateLimited as error:
        return _status(repo_id, "rate_limited", client, account=account, reason=str(error), seconds=error.seconds)
    except HubUnavailable as error:
        return _status(repo_id, "hub_down", client, account=account, reason=str(error))
    state = classify(answer, logged_in=client.has_token, scoped=scoped)
    return _status(repo_id, state, client, account=account, answer=answer)


def _account(who: Answer) -> tuple[str | None, bool]:
    """Account name, and whether its token may read gated repositories (True where the Hub does not say)."""
    if who.status != 200:
        return None, True
    data = who.json()
    if not isinstance(data, dict):
        return None, True
    auth = data.get("auth")
    token = auth.get("accessToken") if isinstance(auth, dict) else None
    fine = token.get("fineGrained") if isinstance(token, dict) and token.get("role") == "fineGrained" else None
    scoped = not isinstance(fine, dict) or fine.get("canReadGatedRepos") is not False
    return clean(data.get("name") or "")[:100] or None, scoped


def classify(answer: Answer, *, logged_in: bool, scoped: bool = True) -> State:
    """The state that an answer of the Hub means.

    Never asked, pending and rejected share status and code; only the text tells them apart. A text that is not known counts
    as 'not asked', and is always shown.
    """
    text = answer.message.lower()
    if answer.status == 200:
        return "hub_down" if answer.web_page else "granted"  # a network log-in page must not count as access
    if "disabled" in text:
        return "disabled"
    if answer.status == 401 and logged_in:
        return "invalid_token"  # with a token that is known, what can't be seen is a 404
    if answer.error_code == "GatedRepo":
        if not logged_in:
            return "not_logged_in"
        if not scoped or "fine-grained" in text or "token settings" in text:
            return "token_scope"
        if "reject" in text:
            return "rejected"
        if "awaiting" in text or "pending" in text or "review" in text:
            return "pending"
        return "not_requested"
    if answer.error_code == "RepoNotFound" or answer.status == 401 or (answer.status == 404 and not answer.web_page):
        return "missing_or_private"
    if answer.status == 403 and not answer.web_page:
        return "token_scope" if logged_in else "not_logged_in"
    return "hub_down"


def refusal(client: Client, repo_id: str, answer: Answer) -> UnsafeVideoError:
    """The typed error of an answer that is not what was asked for."""
    state = classify(answer, logged_in=client.has_token)
    return _status(repo_id, state if state != "granted" else "hub_down", client, answer=answer).error()


def _status(
    repo_id: str,
    state: State,
    client: Client,
    *,
    account: str | None = None,
    answer: Answer | None = None,
    reason: str = "",
    seconds: float | None = None,
) -> AccessStatus:
    """A status; `reason` is what went wrong on this side, `answer` what the Hub said."""
    new_name = _new_name(repo_id, client, answer)
    if new_name is not None:
        state = "renamed"
    page = client.page(new_name or repo_id)
    words = {"repo_id": repo_id, "account": account or "this account", "page": page, "endpoint": client.endpoint}
    words |= {"new_name": new_name or ""}
    raw = repo_id == UPSTREAM  # not a release: it can be read, and not loaded
    words["use"] = (_BUILD_IT if raw else _LOAD_IT).format(repo_id=repo_id)
    words["when"] = "later" if seconds is None else f"in {duration(seconds)}"
    said = answer.message if answer is not None and state != "granted" else ""
    happened = _HAPPENED[state].format(**words)
    if state == "hub_down" and answer is not None:
        reason = f"It answered {answer.status} with {answer.headers.get('content-type', 'no content type')[:50]}."
    if state in ("hub_down", "offline") and reason:
        happened = f"{happened} {reason}"
    return AccessStatus(repo_id, state, account, page, happened, _NEXT[state].format(**words), said, seconds)


def _new_name(repo_id: str, client: Client, answer: Answer | None) -> str | None:
    """The name that a repository has now, if the answer is the Hub's redirect to one."""
    if answer is None or answer.status not in (301, 302, 307, 308):
        return None
    try:
        url = urljoin(f"{client.endpoint}/", answer.headers.get("location", ""))
        found = re.search(r"/datasets/([^/]+/[^/]+)(?:/|$)", unquote(urlsplit(url).path))
        return check_repo_id(found[1]) if found and client.is_hub(url) and found[1] != repo_id else None
    except ValueError:
        return None
