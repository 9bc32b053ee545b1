"""A sample of each message of access and download, told by the package itself: `python tests/message_table.py` writes them.

docs/messages.md shows the thirteen answers of `access`, and the errors; README's chapter "Access" the answers in short.
test_messages.py compares.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import gate_support as support
from hub import LoopbackHub, run_client
from hub.wire import Reply

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "messages.md"
README = ROOT / "README.md"
MARKS = ("<!-- access -->\n", "<!-- /access -->")
COMMIT = "1" * 40

STATES = (
    support.QUICK
    + support.STEP
    + """
import json, sys
from unsafe_video_dataset.hub import access
result = {}
for state, repo, token in json.loads(sys.argv[2]):
    step()
    result[state] = access(repo, token=token or False).to_dict()
"""
)
OFFLINE = "from unsafe_video_dataset.hub import access\nresult = access('org/data').to_dict()"
ERRORS = (
    support.QUICK
    + support.STEP
    + """
import json, os, sys, warnings
from unsafe_video_dataset.hub import download, plan_download, store
cache, tokens = sys.argv[2], json.loads(sys.argv[3])
def say(title, action, *args, **kwargs):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            action(*args, **{"progress": False, "cache_dir": cache, "token": tokens["reader"], **kwargs})
            result[title] = [caught[0].category.__name__, str(caught[0].message)]
        except Exception as error:
            result[title] = [type(error).__name__, str(error)]
result = {}
here = {"config": "metadata", "accept_terms": True}
say("the first use of a gated repository", download, "org/data", config="metadata")
say("offline, and nothing is here", download, "org/data", local_files_only=True, **here)
say("a revision that is not known", download, "org/data", revision="v9", **here)
folder = download("org/data", cache_dir=cache, token=tokens["reader"], progress=False, **here)
say("offline, and another revision is here", download, "org/data", revision="v2.0", local_files_only=True, **here)
say("offline, and a part is missing", download, "org/data", local_files_only=True)
edited = folder / "data/metadata/test.parquet"
sound = edited.read_bytes()
edited.write_bytes(b"edited")
say("offline, and a file was edited", download, "org/data", local_files_only=True, **here)
step()  # bodies arrive changed
say("the Hub serves other bytes than it lists", download, "org/data", revision="main", **here)
edited.write_bytes(sound)
step()  # access is revoked
before = (folder.parent.parent / "state.json").read_text()
(folder.parent.parent / "state.json").write_text(before[:20])
say("what the Hub last said can't be read, and now offline", download, "org/data", local_files_only=True, **here)
(folder.parent.parent / "state.json").write_text(before)
say("access was revoked", download, "org/data", **here)
say("access was revoked, and now offline", download, "org/data", local_files_only=True, **here)
say("access was revoked, and allow_cached=True", download, "org/data", allow_cached=True, **here)
step()  # faults of the Hub
say("the Hub has a fault", download, "org/other", **here)
say("files that the manifest does not know", download, "org/wrong", config="unsafe")
say("a repository that is no release", download, "org/raw", **here)
store.shutil.disk_usage = lambda place: type("Usage", (), {"free": 5_000_000})  # a disk with little room
say("no room on the disk", download, "org/fresh", **here)
"""
)


def collect(folder: Path, tmp_path: Path) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """(state -> status, title -> [error, message]) from a loopback Hub; addresses and folders as a user would see them."""
    with LoopbackHub() as hub:
        repo = hub.repo("org/data", folder=folder, gated="manual")
        accounts = {}
        for name, gate in (("reader", "granted"), ("newcomer", None), ("waiting", "pending"), ("declined", "rejected")):
            accounts[name] = hub.account(name, role="read").token
            if gate:
                repo.gate(name, gate)
        accounts["narrow"] = hub.account("narrow", role="fine-grained").token
        repo.gate("narrow", "granted")
        hub.repo("org/disabled", {"a.txt": b"a"}, disabled=True)
        jobs = [
            ("granted", "org/data", accounts["reader"]),
            ("not_logged_in", "org/data", None),
            ("invalid_token", "org/data", "hf_notKnown"),
            ("token_scope", "org/data", accounts["narrow"]),
            ("not_requested", "org/data", accounts["newcomer"]),
            ("pending", "org/data", accounts["waiting"]),
            ("rejected", "org/data", accounts["declined"]),
            ("missing_or_private", "org/absent", accounts["reader"]),
            ("renamed", "org/former", accounts["reader"]),
            ("disabled", "org/disabled", accounts["reader"]),
            ("rate_limited", "org/data", accounts["reader"]),
            ("hub_down", "org/data", accounts["reader"]),
        ]
        moved = Reply(307, {"Location": "/api/datasets/org/data/auth-check"}, b"")
        faults = {
            "renamed": lambda: hub.fault("rewrite", path="/api/datasets/org/former*", edit=lambda _: moved),
            "rate_limited": lambda: hub.fault("rate_limit", on="auth_check", retry_after=40, times=None),
            "hub_down": lambda: hub.fault("status", on="auth_check", status=503, times=None),
        }
        support.steps(hub, [faults.get(state, lambda: None) for state, _, _ in jobs])
        states = run_client(hub, STATES, tmp_path, argv=[json.dumps(jobs)]).ok()
        states["offline"] = run_client(hub, OFFLINE, tmp_path, env={"HF_HUB_OFFLINE": "1"}).ok()
        hub.clear_faults()
        errors = _errors(hub, folder, accounts, tmp_path)
        shown = json.dumps([states, errors])
        for found, name in ((hub.endpoint, "https://huggingface.co"), (str(tmp_path / "cache"), "CACHE")):
            shown = shown.replace(json.dumps(found)[1:-1], name)
        for commit in (hub.find(name).head for name in ("org/data", "org/raw", "org/wrong")):
            shown = shown.replace(commit, COMMIT).replace(commit[:12], COMMIT[:12])
        states, errors = json.loads(re.sub(r"[0-9a-f]{16}(?=\\u2026)", "0123456789abcdef", shown))
    return states, errors


def _errors(hub: LoopbackHub, folder: Path, accounts: dict[str, str], tmp_path: Path) -> dict[str, list[str]]:
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    support.steps(
        hub,
        [
            lambda: hub.fault("corrupt", on="body", path="data/metadata/test.parquet", times=None),
            lambda: hub.find("org/data").gate("reader", "rejected"),
            lambda: hub.fault("status", on="repo_info", of="org/other", status=503, times=None),
        ],
    )
    more = {"org/other": files, "org/fresh": files, "org/wrong": {**files, "data/unsafe/train-9.parquet": b"PAR1"}}
    for name, content in {**more, "org/raw": {"0.mp4": b"x", "prompts.txt": b"x"}}.items():
        hub.repo(name, files=content)
    cache = str(tmp_path / "cache")
    value = run_client(hub, ERRORS, tmp_path, argv=[cache, json.dumps(accounts)], timeout=120).ok()
    assert isinstance(value, dict)
    return value


def state_table(states: dict[str, Any]) -> str:
    """The thirteen answers of `access`, as Markdown."""
    lines = ["| `access` says | what happened, and the next step |", "|---|---|"]
    for state, status in states.items():
        said = f" The Hub says: “{status['server']}”" if status["server"] else ""
        lines.append(f"| {state.replace('_', ' ')} | {status['message']} {status['next_step']}{said} |".replace("\n", " "))
    return "\n".join(lines)


def short_table(states: dict[str, Any]) -> str:
    """The same for README: the first sentence of what happened and of the next step, with PAGE and ACCOUNT for the names."""
    lines = ["| `access` says | what happened | next step |", "|---|---|---|"]
    for state, status in states.items():
        said = (status[part].partition(". ")[0].rstrip(".") for part in ("message", "next_step"))
        happened, following = (
            text.replace(status["page"], "PAGE").replace(status["account"] or "\0", "ACCOUNT") for text in said
        )
        lines.append(f"| {state.replace('_', ' ')} | {happened} | {following} |")
    return "\n".join(lines) + "\n"


def readme(text: str, states: dict[str, Any]) -> str:
    """README with its table between the marks."""
    before, _, rest = text.partition(MARKS[0])
    _, mark, after = rest.partition(MARKS[1])
    assert mark, "README has lost the marks of its table"
    return before + MARKS[0] + "\n" + short_table(states) + "\n" + MARKS[1] + after


def page(states: dict[str, Any], errors: dict[str, list[str]]) -> str:
    """docs/messages.md."""
    lines = [
        "# Messages",
        "",
        "Written by `python tests/message_table.py` from what the package says to a loopback Hub; `tests/test_messages.py`",
        "compares. A message says what happened, why we think so, and the next step.",
        "",
        "## `unsafe-video access org/repo`",
        "",
        state_table(states),
        "",
        "## `download`, `load_dataset`, `Release.open`",
        "",
    ]
    for title, (error, message) in errors.items():
        quoted = "\n".join(f"> {line}".rstrip() for line in message.splitlines())
        lines += [f"**{title[0].upper()}{title[1:]}**: `{error}`", "", quoted, ""]
    return "\n".join(lines)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        support.write_sound(Path(name) / "release", videos=12)
        states, errors = collect(Path(name) / "release", Path(name))
    DOCS.write_text(page(states, errors), encoding="utf-8")
    README.write_text(readme(README.read_text(encoding="utf-8"), states), encoding="utf-8")
    sys.stdout.write(f"{len(states)} states, {len(errors)} errors\n")
