"""Verify a release on the Hub: its files against the Hub's listing and the manifest, then everything inside them."""

from __future__ import annotations

import os
from typing import Any

from ..errors import Fault
from ..integrity import VerifyReport
from ..release import Release
from .access import check_repo_id
from .client import Client
from .download import open_online
from .listing import check_revision
from .store import Store


def verify(
    repo_id: str,
    *,
    revision: str | None = None,
    decode: bool = False,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    accept_terms: bool | str = False,
    progress: bool = True,
) -> VerifyReport:
    """Download every file of a release repository and report every fault, not only the first.

    Raises the errors of `download` for what keeps it from looking at all: no access, no network, no manifest that can be read.
    """
    store = Store(check_repo_id(repo_id), cache_dir)
    check_revision(revision)
    faults: list[Fault] = []
    how: dict[str, Any] = {"accept_terms": accept_terms, "progress": progress}
    client = Client(token=token)
    folder = open_online(store, revision, "all", None, client, faults=faults, **how)
    report = Release.open(folder).verify(decode=decode)
    known = {fault.file for fault in faults}  # what could not be fetched is missing here too: say it once
    report.faults = faults + [fault for fault in report.faults if fault.file not in known]
    return report
