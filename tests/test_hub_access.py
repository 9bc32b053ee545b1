"""`access`: every state with its account, page, next step and the server's own words; and nothing secret anywhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hub import Account, LoopbackHub, Repo, run_client
from hub.wire import Reply

RELEASE = Path(__file__).parents[1] / "unsafe_video_dataset" / "sample" / "release"
QUICK = {"UNSAFE_VIDEO_HUB_TRIES": "2", "UNSAFE_VIDEO_HUB_TIMEOUT": "5"}

ASK = """
import json, sys
from unsafe_video_dataset.hub import access
result = {}
for name, (repo, token) in json.loads(sys.argv[2]).items():
    status = access(repo, token=token if token else False)
    error = None if status.granted else status.error()
    result[name] = {**status.to_dict(), "bool": bool(status), "error": error and type(error).__name__, "text": str(error)}
"""
CLI = """
import argparse, contextlib, io, json, os, sys
from unsafe_video_dataset._console import run
from unsafe_video_dataset.cli_hub import add_commands
parser = argparse.ArgumentParser(prog="unsafe-video")
add_commands(parser.add_subparsers(dest="command", required=True))
out, err = io.StringIO(), io.StringIO()
with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    try:
        arguments = parser.parse_args(sys.argv[2:])
        code = run(arguments.call, arguments)
    except SystemExit as stop:
        code = stop.code
result = [code, out.getvalue(), err.getvalue()]
"""


def batch(code: str, jobs: list[tuple[list[str], str | None]]) -> str:
    """Client code that runs `code` for each command line and token, in one process."""
    return f"""
import json, os, sys
every = []
for argv, token in json.loads({json.dumps(jobs)!r}):
    sys.argv[2:] = argv
    os.environ.pop("HF_TOKEN", None)
    if token:
        os.environ["HF_TOKEN"] = token
    exec({code!r})
    every.append(result)
result = every
"""


# state -> (error, a piece of what happened, a piece of the next step, a piece of the server's words). Samples of the messages.
SAMPLES: dict[str, tuple[str | None, str, str, str]] = {
    "granted": (None, "granted may read org/data.", "load_dataset('org/data')", ""),
    "not_logged_in": ("NotLoggedIn", "org/data is gated, and no token was found", "hf auth login", "Please log in."),
    "invalid_token": ("InvalidToken", "does not know the token", "/settings/tokens", "Invalid username or password."),
    "token_scope": ("TokenScope", "The token of fine may not read gated", "let the token read", "fine-grained token settings"),
    "not_requested": ("AccessNotRequested", "none has not asked for access to org/data", "ask for access", "authorized list"),
    "pending": ("AccessPending", "pending asked for access to org/data", "Wait for the owner", "awaiting a review"),
    "rejected": ("AccessRejected", "rejected the request of rejected", "/discussions", "has been rejected by"),
    "missing_or_private": ("RepositoryMissing", "There is no dataset org/", "Check the name", "Repository not found"),
    "disabled": ("RepositoryDisabled", "The Hub has disabled org/disabled", "embedded sample", "is disabled"),
}


@pytest.fixture
def hub() -> Iterator[LoopbackHub]:
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture
def repo(hub: LoopbackHub) -> Repo:
    return hub.repo("org/data", folder=RELEASE, gated="manual")


@pytest.fixture
def reader(hub: LoopbackHub, repo: Repo) -> Account:
    repo.gate("reader", "granted")
    return hub.account("reader", role="read")


def ask(hub: LoopbackHub, tmp_path: Path, jobs: dict[str, tuple[str, str | None]], **env: str) -> dict[str, dict[str, Any]]:
    """`access` for each job, in one client process."""
    result = run_client(hub, ASK, tmp_path, env={**QUICK, **env}, argv=[json.dumps(jobs)])
    value: dict[str, dict[str, Any]] = result.ok()
    assert result.refused == []
    return value


def test_every_state_that_the_hub_can_give(hub: LoopbackHub, repo: Repo, tmp_path: Path) -> None:
    jobs: dict[str, tuple[str, str | None]] = {"not_logged_in": (repo.id, None)}
    for state in ("granted", "pending", "rejected", "none"):
        account = hub.account(state, role="read")
        repo.gate(state, state)
        jobs["not_requested" if state == "none" else state] = (repo.id, account.token)
    fine = hub.account("fine", role="fine-grained")
    repo.gate("fine", "granted")
    hub.repo("org/private", {"a.txt": b"a"}, private=True)
    hub.repo("org/disabled", {"a.txt": b"a"}, disabled=True)
    granted = jobs["granted"][1]
    jobs.update({"token_scope": (repo.id, fine.token), "invalid_token": (repo.id, "hf_thisTokenIsNotKnown")})
    jobs.update({"missing_or_private": ("org/absent", granted), "disabled": ("org/disabled", granted)})
    assert set(jobs) == set(SAMPLES)
    extra = {"private": ("org/private", granted), "anonymous": ("org/absent", None), "invalid": ("org/absent", "hf_no1234")}
    got = ask(hub, tmp_path, {**jobs, **extra})
    for state, (error, happened, step, words) in SAMPLES.items():
        status = got[state]
        assert status["state"] == state
        assert (status["granted"], status["bool"]) == (error is None, error is None)
        assert status["error"] == error
        assert happened in status["message"]
        assert step in status["next_step"]
        assert words in status["server"]
        assert status["page"] == f"{hub.endpoint}/datasets/{status['repo_id']}"
        assert status["retry_after_seconds"] is None
        if error:
            assert all(part in status["text"] for part in (status["message"], status["next_step"], status["server"]))
    assert [got[name]["account"] for name in ("granted", "pending", "token_scope")] == ["granted", "pending", "fine"]
    assert [got[name]["account"] for name in ("not_logged_in", "invalid_token")] == [None, None]
    assert [got[name]["state"] for name in extra] == ["missing_or_private", "missing_or_private", "invalid_token"]
    assert not any("hf_" in json.dumps(status) for status in got.values())
    # Two requests at most for an answer, and none for the file: the token of a denied account reaches no CDN.
    assert set(hub.log.kinds()) == {"whoami", "auth_check"}
    assert hub.log.count() <= 2 * len(got)


@pytest.mark.parametrize("bare_401", [False, True])
def test_bare_401s_and_403s(tmp_path: Path, bare_401: bool) -> None:
    with LoopbackHub(bare_401=bare_401) as hub:
        reader = hub.account("reader", role="read")
        hub.repo("org/open", {"a.txt": b"a"})
        hub.repo("org/bare", {"a.txt": b"a"})
        hub.repo("org/web", {"a.txt": b"a"})
        hub.fault("status", on="auth_check", of="org/bare", status=403, body=b"{}", times=None)
        hub.fault("status", on="auth_check", of="org/web", status=403, body=b"<html>blocked</html>", times=None)
        jobs = {
            "anonymous": ("org/absent", None),
            "open": ("org/open", None),
            "open, logged in": ("org/open", reader.token),
            "403": ("org/bare", reader.token),
            "403, anonymous": ("org/bare", None),
            "403 web page": ("org/web", reader.token),
        }
        got = ask(hub, tmp_path, jobs)
        states = ["missing_or_private", "granted", "granted", "token_scope", "not_logged_in", "hub_down"]
        assert [got[name]["state"] for name in jobs] == states


def test_a_fine_grained_token_is_seen_without_the_hubs_words(hub: LoopbackHub, repo: Repo, tmp_path: Path) -> None:
    # whoami says that the scope is missing, the gate itself only that there is no access: an answer older Hubs gave.
    fine = hub.account("fine", role="fine-grained")
    headers = {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access denied."}
    hub.fault("headers", on="auth_check", set=headers, times=None)
    got = ask(hub, tmp_path, {"fine": (repo.id, fine.token)})["fine"]
    assert (got["state"], got["server"]) == ("token_scope", "Access denied.")


def test_rate_limited_says_how_long_and_does_not_wait(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    hub.fault("rate_limit", on="auth_check", retry_after=240, times=None)
    job = {"limited": (repo.id, reader.token)}
    got = ask(hub, tmp_path / "1", job)["limited"]
    assert (got["state"], got["retry_after_seconds"], got["error"]) == ("rate_limited", 240, "RateLimited")
    assert "in 4 minutes" in got["next_step"]
    assert hub.log.count(kind="auth_check") == 1
    hub.clear_faults()
    hub.fault("rate_limit", on="*", retry_after=None, window=86400, times=None)
    got = ask(hub, tmp_path / "2", job)["limited"]
    assert (got["state"], got["retry_after_seconds"], got["account"]) == ("rate_limited", 86400, None)
    assert "in 24 hours" in got["next_step"]
    hub.clear_faults()
    strange = {f"odd-{number}": text for number, text in enumerate(("nan", "inf", "-5", "soon", "9" * 400))}
    for name, text in strange.items():
        hub.fault("rate_limit", by=name, retry_after=text, times=None)
    jobs: dict[str, tuple[str, str | None]] = {name: (repo.id, hub.account(name).token) for name in strange}
    for status in ask(hub, tmp_path / "3", jobs).values():
        assert (status["state"], status["retry_after_seconds"]) == ("rate_limited", None)
        assert "Try again later" in status["next_step"]


def test_only_the_name_is_missing_where_whoami_alone_fails(
    hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path
) -> None:
    faults: dict[str, dict[str, Any]] = {
        "limited": {"name": "rate_limit", "retry_after": 86400},
        "limited for a moment": {"name": "rate_limit", "retry_after": 0},
        "500": {"name": "status", "status": 500},
        "503": {"name": "status", "status": 503},
    }
    jobs: dict[str, tuple[str, str | None]] = {}
    for name, fault in faults.items():
        jobs[name] = (repo.id, hub.account(name, role="read").token)
        repo.gate(name, "granted")
        hub.fault(**fault, on="whoami", by=name, times=None)
    jobs["503, rejected"] = (repo.id, hub.account("503, rejected", role="read").token)
    repo.gate("503, rejected", "rejected")
    hub.fault("status", status=503, on="whoami", by="503, rejected", times=None)
    got = ask(hub, tmp_path, jobs)
    assert [(status["state"], status["account"]) for status in got.values()] == [("granted", None)] * 4 + [("rejected", None)]
    assert hub.log.count(kind="auth_check") == len(jobs)
    assert hub.log.count(kind="whoami") <= 2 * len(jobs), "a name is not worth a long wait"


def test_a_repository_that_moved_says_where_to(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    targets = {
        "old/name": "/api/datasets/org/data/auth-check",
        "old/absolute": f"{hub.endpoint}/api/datasets/org/data/auth-check",
        "old/self": "/api/datasets/old/self/auth-check",
        "old/far": "http://127.0.0.1:9/api/datasets/org/data/auth-check",
        "old/odd": "/api/datasets/org/da%0Ata/auth-check",
        "old/page": "/login",
    }
    for name, target in targets.items():
        moved = Reply(308 if name == "old/absolute" else 307, {"Location": target}, b"")
        hub.fault("rewrite", path=f"/api/datasets/{name}*", edit=lambda _, moved=moved: moved, times=None)
    got = ask(hub, tmp_path, {name: (name, reader.token) for name in targets})
    for name in ("old/name", "old/absolute"):
        assert (got[name]["state"], got[name]["error"]) == ("renamed", "RepositoryRenamed")
        assert f"{name} has moved to org/data." in got[name]["message"]
        assert "unsafe-video access org/data" in got[name]["next_step"]
        assert got[name]["page"] == f"{hub.endpoint}/datasets/org/data"
    assert {got[name]["state"] for name in targets if name not in ("old/name", "old/absolute")} == {"hub_down"}


def test_hub_down_offline_and_portals_are_not_access(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    job: dict[str, tuple[str, str | None]] = {"it": (repo.id, reader.token)}
    page = b"<html>Log in</html>"
    faults: dict[str, dict[str, Any]] = {
        "down": {"name": "status", "status": 503},
        "portal": {"name": "captive", "on": "whoami"},
        "portal at the gate": {"name": "captive", "on": "auth_check"},
        "portal that calls its page JSON": {"name": "status", "on": "auth_check", "status": 200, "body": page},
        "portal that redirects": {"name": "status", "on": "auth_check", "status": 302, "body": b""},
    }
    jobs: dict[str, tuple[str, str | None]] = {}
    for name, fault in faults.items():
        jobs[name] = (repo.id, hub.account(name).token)
        repo.gate(name, "granted")
        hub.fault(**fault, by=name, times=None)
    for name, status in ask(hub, tmp_path / "1", jobs).items():
        assert (status["state"], status["granted"], status["error"]) == ("hub_down", False, "HubUnavailable"), name
        assert "log-in page" in status["next_step"]
        assert "status.huggingface.co" in status["next_step"]
        assert name != "down" or "503" in status["message"]
    # Nothing listens there any more.
    env = {"HF_ENDPOINT": "http://127.0.0.1:9"}
    got = ask(hub, tmp_path / "down", job, **env)["it"]
    assert (got["state"], got["error"]) == ("hub_down", "HubUnavailable")
    hub.log.clear()
    got = ask(hub, tmp_path / "off", job, HF_HUB_OFFLINE="1")["it"]
    assert (got["state"], got["error"]) == ("offline", "OfflineError")
    assert "HF_HUB_OFFLINE" in got["message"]
    assert hub.log.count() == 0


def test_no_name_server_is_offline(hub: LoopbackHub, tmp_path: Path) -> None:
    code = """
import socket
def getaddrinfo(*args, **kwargs):
    raise socket.gaierror(-3, "Temporary failure in name resolution")
socket.getaddrinfo = getaddrinfo
from unsafe_video_dataset.hub import access
result = access("org/data", token=False).to_dict()
"""
    got = run_client(hub, code, tmp_path, env={**QUICK, "HF_ENDPOINT": "http://hub.invalid"}).ok()
    assert got["state"] == "offline"
    assert "There is no network" in got["message"]


def test_names_that_cannot_be_a_repository(hub: LoopbackHub, tmp_path: Path) -> None:
    code = """
from unsafe_video_dataset.hub import access
names = ["data", "a/b/c", "../etc", "org/..", "org/a b", "org/a?x=1", "https://x/y", "", "org/\\u202edata", "org/-a"]
result = [attempt(access, name)[1]["type"] for name in names]
"""
    assert set(run_client(hub, code, tmp_path).ok()) == {"FilterError"}
    assert hub.log.count() == 0


def test_command_line(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    accounts = {name: hub.account(name, role="read").token for name in ("waiting", "limited")}
    repo.gate("waiting", "pending")
    hub.fault("rate_limit", by="limited", retry_after=3600, times=None)
    jobs: list[tuple[list[str], str | None]] = [
        (["access", repo.id], reader.token),
        (["access", repo.id], None),
        (["access", repo.id, "--json"], accounts["waiting"]),
        (["access", repo.id], accounts["limited"]),
        (["access", "nonsense"], None),
        (["access", repo.id, "--token", reader.token], None),
    ]
    answers = run_client(hub, batch(CLI, jobs), tmp_path, env=QUICK).ok()
    assert [code for code, _, _ in answers] == [0, 1, 1, 1, 2, 2], "0 only for granted; no token on the command line"
    granted, anonymous, waiting, limited, nonsense, _ = answers
    assert all(text in granted[1] for text in ("reader", "granted", "may read org/data", f"{hub.endpoint}/datasets/org/data"))
    assert all(text in anonymous[1] for text in ("not logged in", "Please log in.", "hf auth login"))
    status = json.loads(waiting[1])
    assert (status["state"], status["granted"], status["account"]) == ("pending", False, "waiting")
    assert all(text in limited[1] for text in ("try again in", "3600 s", "in 60 minutes"))
    assert nonsense[1] == ""
    assert nonsense[2].startswith("error: 'nonsense' is not a repository id")


SECRET = """
import io, json, logging, os, sys, traceback
stream = io.StringIO()
logging.basicConfig(level=logging.DEBUG, stream=stream)
from huggingface_hub import HfApi
from unsafe_video_dataset.hub import Client, access, download
from unsafe_video_dataset.hub.answer import Answer
token = os.environ["HF_TOKEN"]
seen = []

def note(call):
    try:
        seen.append(repr(call()))
    except BaseException as error:
        chain, at = [], error
        while at is not None:
            chain += [repr(at), str(at), repr(vars(at))]
            at = at.__cause__ or at.__context__
        frames = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        seen.append("\\n".join([*chain, frames]))

client = Client()
note(lambda: client)
note(lambda: vars(client))
import pickle
note(lambda: pickle.dumps(client))
for repo in json.loads(sys.argv[2]):
    note(lambda: access(repo))
    note(lambda: download(repo, config="metadata", accept_terms=True, progress=False))
result = [seen, stream.getvalue()]
"""


def test_no_token_and_no_signed_query_anywhere(hub: LoopbackHub, repo: Repo, tmp_path: Path) -> None:
    # A token of an unusual form: only the client itself can know it in a server's words.
    account = hub.account("reader", role="read", token="s3cr3t.of-an+unusual/form")
    names = ["fine", "denied", "reset", "expired", "echo", "circle", "500"]
    repos = [hub.repo(f"org/{name}", folder=RELEASE, gated="manual") for name in names]
    for one in repos:
        one.gate("reader", "rejected" if one.id == "org/denied" else "granted")
    hub.fault("reset", on="body", of="org/reset", after=10, times=None)
    hub.fault("expired", on="body", of="org/expired", times=None)
    words = {
        "X-Error-Message": f"Unknown bearer {account.token} in http://u:p@127.0.0.1/x?X-Amz-Signature=abc",
        "X-Error-Code": "GatedRepo",
    }
    hub.fault("status", on="auth_check", of="org/echo", status=403, times=None)
    hub.fault("headers", on="auth_check", of="org/echo", set=words, times=None)
    hub.fault(
        "headers", on="resolve", of="org/circle", set={"Location": "http://127.0.0.1:9/x?X-Amz-Signature=abc"}, times=None
    )
    hub.fault("status", on="body", of="org/500", status=500, times=None)
    seen, logs = run_client(
        hub, SECRET, tmp_path, token=account.token, env=QUICK, argv=[json.dumps([r.id for r in repos])]
    ).ok()
    assert len(logs) > 1000, "the libraries did log"
    assert any("HubUnavailable" in text for text in seen)
    assert any("AccessRejected" in text for text in seen)
    for text in [*seen, logs]:
        assert account.token not in text
        assert "X-Amz-Signature" not in text
        assert "u:p@" not in text
    for path in (tmp_path / "hf").rglob("*"):
        if path.is_file():
            assert account.token.encode() not in path.read_bytes()
            assert "partial" in path.parts or b"X-Amz" not in path.read_bytes()
    assert hub.log.count(origin="cdn") >= 4
    assert hub.log.count(origin="cdn", authorized=True) == 0
    assert hub.log.count(origin="cdn", status=400) == 0


def test_tokens_that_cannot_be_sent(hub: LoopbackHub, repo: Repo, reader: Account, tmp_path: Path) -> None:
    jobs: dict[str, tuple[str, str | None]] = {
        "newline": (repo.id, "hf_abcdef\nX-Evil: 1"),
        "letters": (repo.id, "hf_abc\u00e9\u0434def"),
        "spaces around": (repo.id, f" {reader.token}\n"),
    }
    got = ask(hub, tmp_path, jobs)
    assert [status["state"] for status in got.values()] == ["invalid_token", "invalid_token", "granted"]
    assert {entry.account for entry in hub.log.select()} == {"reader"}


def test_settings_of_patience(hub: LoopbackHub, tmp_path: Path) -> None:
    code = """
import os
from unsafe_video_dataset.hub import Client
result = []
for name, value in (("TRIES", "0"), ("TRIES", "x"), ("TIMEOUT", "nan"), ("TIMEOUT", "0"), ("TRIES", "7"), ("TIMEOUT", "2.5")):
    os.environ[f"UNSAFE_VIDEO_HUB_{name}"] = value
    answer = attempt(lambda: [Client().patience.tries, Client().patience.read])
    result.append(answer[1]["type"] if answer[0] == "error" else answer[1])
    del os.environ[f"UNSAFE_VIDEO_HUB_{name}"]
"""
    assert run_client(hub, code, tmp_path).ok() == [*["InputError"] * 4, [7, 30], [5, 2.5]]
