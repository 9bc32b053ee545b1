"""A loopback Hub for tests: gated dataset repos on 127.0.0.1, spoken to by the real clients, with faults on demand.

>>> with LoopbackHub() as hub:
...     reader = hub.account("reader")
...     repo = hub.repo("org/data", files={"a.parquet": b"..."}, gated="manual")
...     repo.gate("reader", "granted")
...     hub.fault("reset", on="body", path="*.parquet", after=1)
...     result = run_client(hub, "result = whoami()['name']", tmp_path, token=reader.token)
...     assert hub.log.count(kind="whoami") == 1

Standard library only. See `faults.FAULTS` for what can go wrong and `repo.Gate` for who may read.
"""

from .client import ClientProcess, ClientResult, client_env, run_client, start_client
from .faults import FAULTS, Fault
from .log import Entry, RequestLog
from .repo import Account, Blob, Commit, Gate, Repo
from .server import LoopbackHub

__all__ = [
    "FAULTS",
    "Account",
    "Blob",
    "ClientProcess",
    "ClientResult",
    "Commit",
    "Entry",
    "Fault",
    "Gate",
    "LoopbackHub",
    "Repo",
    "RequestLog",
    "client_env",
    "run_client",
    "start_client",
]
