"""Runs code with the real clients in a subprocess: they read their environment at import.

The subprocess may reach loopback and nothing else: an audit hook refuses other addresses and names, and the result
lists them in `refused`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .server import LoopbackHub

# Passed on where set; everything else, proxies and tokens above all, stays out.
KEPT = (
    "PATH",
    "PYTHONPATH",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TEMP",
    "TMP",
    "SYSTEMROOT",
    "LD_LIBRARY_PATH",
    "COVERAGE_PROCESS_START",
)

RUNNER = '''
import json, os, sys

refused = []

def guard(event, args):
    if event == "socket.connect":
        address = args[1]
        host = address[0] if isinstance(address, tuple) else None
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if isinstance(host, bytes):
        host = host.decode()
    if host not in (None, "127.0.0.1", "::1", "localhost"):
        refused.append(host)
        raise OSError(f"the test's guard refuses {host}")

def describe(error):
    response = getattr(error, "response", None)
    return {
        "type": type(error).__name__,
        "mro": [kind.__name__ for kind in type(error).__mro__],
        "message": str(error),
        "status": getattr(response, "status_code", None),
        "server_message": getattr(error, "server_message", None),
        "cause": type(error.__cause__).__name__ if error.__cause__ else None,
    }

def attempt(action, *args, **kwargs):
    """`["ok", value]` or `["error", what is known of it]`."""
    try:
        return ["ok", action(*args, **kwargs)]
    except Exception as error:
        return ["error", describe(error)]

sys.addaudithook(guard)
space = {"__name__": "__main__", "attempt": attempt, "describe": describe, "result": None}
report = {"value": None, "error": None}
try:
    exec(compile(sys.stdin.read(), "<client>", "exec"), space)
    report["value"] = space["result"]
except Exception as error:
    import traceback
    traceback.print_exc()
    report["error"] = describe(error)
report["refused"] = sorted(set(refused))
with open(sys.argv[1] + ".part", "w", encoding="utf-8") as file:
    json.dump(report, file, default=str)
os.replace(sys.argv[1] + ".part", sys.argv[1])
'''


@dataclass
class ClientResult:
    """How a client's run ended. `value` is what the code left in `result`; `error` describes the exception that ended it."""

    returncode: int | None
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool = False
    value: Any = None
    error: SimpleNamespace | None = None
    refused: list[str] = field(default_factory=list)

    def ok(self) -> Any:
        """The value; AssertionError with the subprocess's stderr where it did not get so far."""
        if self.returncode != 0 or self.error is not None or self.timed_out:
            raise AssertionError(f"the client failed ({self.returncode}):\n{self.stderr[-4000:]}")
        return self.value


class ClientProcess:
    """A client under way: `kill()` it, or `wait()` for its result."""

    def __init__(self, process: subprocess.Popen[str], report: Path) -> None:
        self.process = process
        self._report = report
        self._began = time.monotonic()

    def kill(self) -> None:
        """SIGKILL: no cleanup runs."""
        self.process.kill()

    def wait(self, timeout: float = 240) -> ClientResult:
        """The result; a client that takes longer is killed and reported as timed out."""
        timed_out = False
        try:
            stdout, stderr = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
            self.process.kill()
            stdout, stderr = self.process.communicate()
        result = ClientResult(self.process.returncode, stdout, stderr, time.monotonic() - self._began, timed_out)
        if self._report.exists():
            report = json.loads(self._report.read_text(encoding="utf-8"))
            result.value, result.refused = report["value"], report["refused"]
            result.error = SimpleNamespace(**report["error"]) if report["error"] else None
        return result


def client_env(
    hub: LoopbackHub, tmp_path: Path, *, token: str | None = None, env: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The environment in which a client knows this Hub only: its cache under `tmp_path`, no proxy, no token but `token`.

    Two clients with the same `tmp_path` share their cache. `env` adds to it or overrides it.
    """
    home = tmp_path / "home"
    home.mkdir(parents=True, exist_ok=True)
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        "HOME": str(home),
        "USERPROFILE": str(home),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_ENDPOINT": hub.endpoint,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "DO_NOT_TRACK": "1",
        "NO_PROXY": "*",
        **({"HF_TOKEN": token} if token else {}),
        **(env or {}),
    }


def start_client(
    hub: LoopbackHub,
    code: str,
    tmp_path: Path,
    *,
    token: str | None = None,
    env: Mapping[str, str] | None = None,
    argv: Sequence[str] = (),
) -> ClientProcess:
    """Start Python `code` with the real clients. In it, `result` is what comes back (as JSON), and
    `attempt(f, *args)` gives `["ok", value]` or `["error", {type, mro, message, status, server_message, cause}]`."""
    environment = client_env(hub, tmp_path, token=token, env=env)
    report = tmp_path / f"result-{uuid.uuid4().hex}.json"
    process = subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(report), *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=tmp_path,
        env=environment,
    )
    assert process.stdin is not None
    process.stdin.write(code)
    process.stdin.close()
    process.stdin = None
    return ClientProcess(process, report)


def run_client(
    hub: LoopbackHub,
    code: str,
    tmp_path: Path,
    *,
    token: str | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 240,
    argv: Sequence[str] = (),
) -> ClientResult:
    """Run Python `code` with the real clients and wait for it; see `start_client`."""
    return start_client(hub, code, tmp_path, token=token, env=env, argv=argv).wait(timeout)
