"""The fault table's data: every fault that Hub, network, disk or another process can show, and what must come of it.

`OK` means the right bytes arrived, each file compared byte for byte. Anything else is the typed error that refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

OK = "recovered"
RELEASE = Path(__file__).parents[1] / "unsafe_video_dataset" / "sample" / "release"
TRAIN = "data/metadata/train.parquet"  # behind a signed URL
MANIFEST = "manifest.json"  # small, served by the Hub itself
CUT = (RELEASE / TRAIN).stat().st_size * 2 // 5  # where bodies break: three tries bring such a file, two do not
CUT_MANIFEST = (RELEASE / MANIFEST).stat().st_size * 3 // 5

Times = Literal["once", "always", "-"]


@dataclass(frozen=True)
class FaultCase:
    """One row. `faults` are switched on before the client starts; `how` names what client and test do (see fault_table).

    `stock` names the case of `stock_outcomes` that shows the stock clients under the same fault.
    """

    name: str
    times: Times
    expected: str
    faults: tuple[dict[str, Any], ...] = ()
    how: str = "download"
    stock: str | None = None
    words: str = ""  # must stand in the error's message
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """A name for the test's report."""
        return f"{self.name}, {self.times}" if self.times != "-" else self.name


def _pair(title: str, once: str, always: str, stock: str | None = None, words: str = "", **fault: Any) -> list[FaultCase]:
    """The same fault once and always."""
    return [
        FaultCase(title, "once", once, ({**fault, "times": 1},), stock=stock, words=words if once != OK else ""),
        FaultCase(title, "always", always, ({**fault, "times": None},), words=words),
    ]


KINDS = {
    "whoami": "whoami",
    "auth_check": "auth-check",
    "repo_info": "repo_info",
    "tree": "tree",
    "resolve": "resolve",
    "body": "body",
}


def _kinds() -> list[FaultCase]:
    """The faults that any request can meet, for each kind of request that the package sends."""
    cases: list[FaultCase] = []
    for kind, label in KINDS.items():
        where = {"on": kind, **({"path": TRAIN} if kind in ("resolve", "body") else {})}
        down, limited, needed = "HubUnavailable", "RateLimited", kind != "whoami"
        # Without the account's name a download goes on: whether it may read is for auth-check to say.
        busy, full = (down, limited) if needed else (OK, OK)
        for status in (500, 503):
            cases += _pair(
                f"{status} on {label}",
                OK,
                busy,
                f"{status} on {label}",
                str(status) if needed else "",
                name="status",
                status=status,
                **where,
            )
        cases += _pair(
            f"429 on {label}",
            OK,
            full,
            f"429 on {label}",
            "1 seconds" if needed else "",
            name="rate_limit",
            retry_after=1,
            **where,
        )
        day = {"name": "rate_limit", "retry_after": 86400, **where}
        cases += _pair(
            f"429 for a day on {label}", full, full, f"429 for a day on {label}", "24 hours" if needed else "", **day
        )
        cases += _pair(f"stall before the answer of {label}", OK, down, name="stall", after=None, seconds=60, **where)
        cases += _pair(f"reset before the answer of {label}", OK, down, name="reset", after=None, **where)
        # A log-in page does not go away in a second: where JSON is due it is reported at once, where a file is, tried again.
        once = OK if kind in ("resolve", "body") else down
        cases += _pair(
            f"captive portal on {label}", once, down, f"captive portal on {label}", "log-in page", name="captive", **where
        )
    return cases


def _bodies() -> list[FaultCase]:
    """What can happen to a file on its way."""
    train, down = {"on": "body", "path": TRAIN}, "HubUnavailable"
    cases = [
        *_pair("reset mid-body", OK, OK, "reset mid-body", name="reset", after=CUT, **train),
        *_pair("reset after 1 byte", OK, down, name="reset", after=1, **train),
        *_pair("FIN mid-body", OK, OK, "FIN mid-body", name="fin", after=CUT, **train),
        *_pair("stall mid-body", OK, down, "stall mid-body", name="stall", after=1000, seconds=60, **train),
        *_pair("truncated, short Content-Length", OK, down, "truncated, short Content-Length",
               name="truncate", keep=1000, **train),
        *_pair(
            "truncated, no Content-Length", OK, down, "truncated, no Content-Length",
            name="truncate", keep=1000, length="absent", **train,
        ),
        *_pair("same-length corruption", OK, "ChecksumError", "same-length corruption", "twice", name="corrupt", **train),
        *_pair("expired signed URL", OK, down, "expired signed URL", name="expired", **train),
        *_pair("hostile ETag with ../", OK, OK, "hostile ETag", name="etag", on="*", path=TRAIN),
    ]  # fmt: skip
    manifest = {"on": "body", "path": MANIFEST}
    cases += _pair("500 on the manifest", OK, down, name="status", status=500, **manifest)
    cases += _pair("reset mid-manifest", OK, OK, name="reset", after=CUT_MANIFEST, **manifest)
    cases += _pair("same-length corruption of the manifest", OK, "ChecksumError", name="corrupt", **manifest)
    cases += _pair("truncated manifest", OK, down, name="truncate", keep=100, **manifest)
    cases += _pair("another commit in X-Repo-Commit", "RevisionError", "RevisionError", name="headers", on="resolve",
                   path=TRAIN, set={"X-Repo-Commit": "0" * 40})  # fmt: skip
    broken = {"name": "reset", "after": CUT, **train}
    for name, stock, fault, always in (
        ("Range ignored on resume", "Range ignored", {"name": "ignore_range"}, OK),
        ("another range sent on resume", "another range sent", {"name": "wrong_range"}, down),
        ("another range on resume, headers lie", "another range sent, headers lie", {"name": "wrong_range", "lie": True}, down),
        ("short range on resume", "short range", {"name": "truncate", "keep": 10}, down),
        ("corrupt range on resume", "same-length corruption, range", {"name": "corrupt", "offset": CUT * 2}, "ChecksumError"),
        ("captive portal on resume", "captive portal on range", {"name": "captive"}, down),
    ):
        cases.append(FaultCase(name, "once", OK, (broken, {**fault, **train, "nth": 2}), stock=stock))
        cases.append(FaultCase(name, "always", always, (broken, {**fault, **train, "nth": 2, "times": None})))
    return cases


def _heads() -> list[FaultCase]:
    """The package sends no HEAD: these can't happen to it. The request log shows it."""
    faults = (
        ("500 on HEAD", {"name": "status", "status": 500}),
        ("503 on HEAD", {"name": "status", "status": 503}),
        ("429 on HEAD", {"name": "rate_limit"}),
        ("captive portal on HEAD", {"name": "captive"}),
        ("stall of the HEAD", {"name": "stall", "after": None}),
    )
    return [FaultCase(name, "always", OK, ({**fault, "on": "head", "times": None},), stock=name) for name, fault in faults]


def _states() -> list[FaultCase]:
    """What changes between two calls, or under one; on the Hub and on this machine."""
    revoked = "AccessRejected"
    return [
        FaultCase("revision moved between two calls", "-", OK, how="moved", stock="revision moved between calls"),
        FaultCase("revision moved, then offline: the last one resolved", "-", OK, how="moved_offline"),
        FaultCase("revision moved in the middle of a call", "-", OK, ({"name": "move", "on": "tree"},), how="moved_within"),
        FaultCase("pinned revision asked for offline, another one here", "-", "OfflineError", how="other_revision",
                  stock="load_dataset(R2) behind a captive portal, R1 cached", words="not on this machine"),
        FaultCase("access revoked between two calls", "-", revoked, how="revoked", stock="access revoked between calls"),
        FaultCase("access revoked, then offline", "-", "AccessError", how="revoked_offline", words="last denied"),
        FaultCase("access revoked, another revision asked for", "-", revoked, how="revoked_other",
                  stock="load_dataset(R2), access revoked, R1 cached"),
        FaultCase("access revoked in the middle of a call", "-", revoked, ({"name": "gate", "on": "resolve", "nth": 2},)),
        FaultCase("corrupted cached file", "once", OK, how="corrupted"),
        FaultCase("corrupted cached file, offline", "always", "OfflineError", how="corrupted_offline", words="damaged"),
        FaultCase("truncated cached file", "once", OK, how="truncated"),
        FaultCase("truncated cached file, offline", "always", "OfflineError", how="truncated_offline", words="damaged"),
        FaultCase("edited local file with its mtime kept", "once", OK, how="edited"),
        FaultCase("edited local file with its mtime kept, offline", "always", "OfflineError", how="edited_offline",
                  words="damaged"),
        FaultCase("cached file replaced by a symlink", "once", OK, how="linked"),
        FaultCase("damaged partial file", "once", OK, how="partial"),
        FaultCase("kept listing damaged, offline", "always", "OfflineError", how="listing_offline",
                  words="not on this machine"),
        FaultCase("what the Hub last said can't be read", "once", OK, how="state"),
        FaultCase("what the Hub last said can't be read, offline", "always", "StorageError", how="state_offline",
                  words="can't be read"),
        FaultCase("access revoked, only `access` was told, then offline", "-", "AccessError", how="revoked_asked_offline",
                  words="last denied"),
        FaultCase("rows that `load_dataset` cached edited, mtime kept", "once", OK, how="rows_edited"),
        FaultCase("rows that `load_dataset` cached edited, mtime kept, offline", "once", OK, how="rows_edited_offline"),
        FaultCase("rows that `load_dataset` cached truncated", "once", OK, how="rows_truncated"),
        FaultCase("two processes at once", "-", OK, how="two_processes"),
        FaultCase("SIGKILL mid-body and rerun", "once", OK, how="killed"),
        FaultCase("SIGKILL mid-body, then offline", "always", "OfflineError", how="killed_offline", words="missing"),
        FaultCase("disk full, then room again", "once", OK, how="full_once"),
        FaultCase("disk full", "always", "StorageError", how="full", words="full"),
    ]  # fmt: skip


CASES: tuple[FaultCase, ...] = (*_kinds(), *_heads(), *_bodies(), *_states())
