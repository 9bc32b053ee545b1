"""What is on this machine of exactly one revision, without asking the network."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

from ..errors import AccessError, OfflineError, StorageError
from .listing import load_listing
from .plan import Plan, check_manifest, make_plan
from .store import Store, disk_errors, size_text
from .terms import log_access

_COMMIT = re.compile(r"[0-9a-f]{40}")


def plan_offline(
    store: Store, revision: str | None, config: str, split: str | None, *, allow_cached: bool = False
) -> tuple[Plan, dict[str, Any]]:
    """What is here, and what is missing, of exactly this revision; and the kept state.

    Raises `AccessError` where the Hub's last word was no or is not known (unless `allow_cached`), `StorageError` where it
    can't be read, `OfflineError` for a revision that is not here.
    """
    state = _kept_state(store, allow_cached=allow_cached)
    name = revision or "main"
    access, revisions = state.get("access", {}), state.get("revisions", {})
    when = f"When you have access: unsafe-video download {store.repo_id}. allow_cached=True opens it all the same."
    if access.get("granted") is False and not allow_cached:
        raise AccessError(
            f"The Hub last denied access to {store.repo_id} ({access.get('denied')}), so its copy here is not opened. {when}"
        )
    commit = name if _COMMIT.fullmatch(name) else revisions.get(name)
    known = ", ".join(f"{key} ({str(sha)[:12]})" for key, sha in sorted(revisions.items())) or "none"
    go_online = f"Go online once: unsafe-video download {store.repo_id}" + (f" --revision {revision}" if revision else "")
    if commit is None or not _COMMIT.fullmatch(str(commit)):
        raise OfflineError(f"Revision {name!r} of {store.repo_id} is not on this machine (here: {known}). {go_online}")
    listing = load_listing(store.listing(commit))
    if listing is None:
        raise OfflineError(f"Commit {commit[:12]} of {store.repo_id} is not on this machine (here: {known}). {go_online}")
    if access.get("granted") is not True and not allow_cached:
        raise AccessError(
            f"What the Hub last said about access to {store.repo_id} is not known here, so its copy is not opened. {when}"
        )
    with disk_errors(store.folder):
        return make_plan(store, commit, config, split, listing), state


def open_offline(
    store: Store, revision: str | None, config: str, split: str | None, *, allow_cached: bool, why: str = ""
) -> Path:
    """The folder of exactly this revision, complete and checked; else `OfflineError` that says what is missing."""
    plan, state = plan_offline(store, revision, config, split, allow_cached=allow_cached)
    if plan.fetch:
        listed = ", ".join(file.path for file in plan.fetch[:5]) + (" …" if len(plan.fetch) > 5 else "")
        go_online = f"Go online once: unsafe-video download {store.repo_id}" + (f" --revision {revision}" if revision else "")
        raise OfflineError(
            f"Of {store.repo_id} at {plan.commit[:12]}, {size_text(plan.bytes_to_fetch)} are missing or damaged here "
            f"({len(plan.fetch)} of {len(plan.fetch) + len(plan.here)} files): {listed}. {go_online} --config {config}"
        )
    access = state.get("access", {})
    with disk_errors(store.folder):
        check_manifest(plan, complete=True)
        if why or access.get("granted") is not True:
            warnings.warn(
                f"Opening the copy of {store.repo_id} at {plan.commit[:12]} that is on this machine, although: "
                f"{why or access.get('denied') or 'it is not known what the Hub last said about access'}",
                stacklevel=3,
            )
        how = "cached" if allow_cached else "offline"
        terms = state.get("terms_of", {}).get(plan.commit)
        log_access(store, account=access.get("account"), commit=plan.commit, config=config, terms=terms, how=how)
    return plan.folder


def _kept_state(store: Store, *, allow_cached: bool) -> dict[str, Any]:
    """The state; one that can't be read closes the copy, unless `allow_cached`."""
    try:
        return store.state()
    except StorageError as error:
        if allow_cached:
            return {}  # a commit id still says what is meant; the caller warns
        raise StorageError(
            f"{error} So it is not known what the Hub last said about access, and the copy of {store.repo_id} here is not "
            f"opened. Ask the Hub anew: unsafe-video download {store.repo_id}. With allow_cached=True a commit id opens."
        ) from error
