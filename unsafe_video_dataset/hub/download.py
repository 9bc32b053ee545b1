"""Download what a config of a release needs, of exactly one commit, verified; or open what is already here."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import constants
from tqdm import tqdm

from ..errors import AccessError, ChecksumError, Fault, HubUnavailable, OfflineError, TermsNotAccepted, one_of
from ..taxonomy import CONFIGS, SPLITS
from .access import check_access, check_repo_id
from .client import Client
from .denial import denials_kept
from .fetch import fetch, partial_name
from .listing import RemoteFile, check_revision, list_files, resolve, save_listing
from .offline import open_offline, plan_offline
from .plan import Plan, check_manifest, is_good, make_plan, manifest_faults, require_release
from .store import Store, disk_errors
from .terms import log_access, require_terms, terms_text


def download(
    repo_id: str,
    *,
    revision: str | None = None,
    config: str = "unsafe",
    split: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    allow_cached: bool = False,
    accept_terms: bool | str = False,
    progress: bool = True,
) -> Path:
    """Bring what `config` (and `split`) of a release repository needs to this machine; returns the folder of its commit.

    `revision` (branch, tag or commit; None: `main`) is resolved to a commit first, and only files of that commit are used.
    Every file, also one that was here, is checked against the Hub's hash and the manifest. `config="all"` takes every file.
    With `local_files_only` or HF_HUB_OFFLINE nothing is asked of the network. Access that was revoked closes what is here
    too, unless `allow_cached`, which warns; it also opens what is complete here while the Hub can't be reached.
    `accept_terms` accepts the terms of a gated repository: True whatever they are, a sha256 (`terms_sha256` of the text that a
    person saw) only those. UNSAFE_VIDEO_HUB_TIMEOUT (seconds, 30) and UNSAFE_VIDEO_HUB_TRIES (5) say how patient requests are.

    Raises the kinds of `AccessError`, `OfflineError`, `HubUnavailable`, `RevisionError`, `IntegrityError`, `StorageError`.
    """
    store = Store(check_repo_id(repo_id), cache_dir)
    _check_options(revision, config, split)
    if local_files_only or constants.is_offline_mode():
        return open_offline(store, revision, config, split, allow_cached=allow_cached)
    try:
        return open_online(store, revision, config, split, Client(token=token), accept_terms=accept_terms, progress=progress)
    except TermsNotAccepted:
        raise
    except (AccessError, HubUnavailable, OfflineError) as error:
        here = (store.folder / "commits").is_dir()
        if here and allow_cached:
            return open_offline(store, revision, config, split, allow_cached=True, why=str(error))
        if here:
            hint = _HINTS[isinstance(error, AccessError)].format(repo_id=repo_id)
            error.args = (f"{error} {hint}", *error.args[1:])
        raise


_HINTS = {
    True: "The copy on this machine is not opened either: `unsafe-video purge {repo_id}` removes it, allow_cached=True opens "
    "it all the same.",
    False: "What is complete on this machine opens with local_files_only=True.",
}


def plan_download(
    repo_id: str,
    *,
    revision: str | None = None,
    config: str = "unsafe",
    split: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> Plan:
    """What `download` would fetch: sizes first, and `StorageError` if the disk has no room. Fetches no file.

    With `local_files_only` or HF_HUB_OFFLINE nothing is asked of the network: the plan says what is missing of a revision
    that is known here. Raises the errors of `download`.
    """
    store = Store(check_repo_id(repo_id), cache_dir)
    _check_options(revision, config, split)
    if local_files_only or constants.is_offline_mode():
        return plan_offline(store, revision, config, split)[0]
    client = Client(token=token)
    with denials_kept(store), disk_errors(store.folder):
        check_access(repo_id, client).raise_for_denial()
        commit = resolve(client, repo_id, revision).sha
        plan = make_plan(store, commit, config, split, list_files(client, repo_id, commit))
        store.need_room(plan.bytes_to_fetch)
    return plan


def _check_options(revision: str | None, config: str, split: str | None) -> None:
    check_revision(revision)
    one_of(config, (*CONFIGS, "all"), "config")
    if split is not None:
        one_of(split, SPLITS, "split")


def open_online(
    store: Store,
    revision: str | None,
    config: str,
    split: str | None,
    client: Client,
    *,
    accept_terms: bool | str,
    progress: bool,
    faults: list[Fault] | None = None,
) -> Path:
    """Bring everything; with a list of `faults`, wrong files and a wrong manifest are put there, and the rest goes on."""
    with denials_kept(store):
        status = check_access(store.repo_id, client)
        status.raise_for_denial()
        commit = resolve(client, store.repo_id, revision)
        store.renew_state()
        terms = require_terms(store, terms_text(store.repo_id, commit.gate_text), accept=accept_terms) if commit.gated else None
        with store.locked():
            store.update(
                revisions={revision or "main": commit.sha},
                access={"granted": True, "denied": None, "account": status.account},
                terms_of={commit.sha: terms},
            )
            listing = list_files(client, store.repo_id, commit.sha)
            save_listing(store.listing(commit.sha), listing)
            if faults is not None:  # who verifies wants a release: nothing is fetched of what is none
                require_release(store, commit.sha, listing)
            plan = make_plan(store, commit.sha, config, split, listing)
            _carry_out(client, store, plan, progress=progress, faults=faults)
            if faults is None:
                check_manifest(plan, complete=True)
            else:
                faults += manifest_faults(plan, complete=True)
        with disk_errors(store.root):
            log_access(store, account=status.account, commit=commit.sha, config=config, terms=terms, how="online")
        return plan.folder


def _carry_out(client: Client, store: Store, plan: Plan, *, progress: bool, faults: list[Fault] | None) -> None:
    """Fetch what is missing. The manifest comes first, and must agree with the listing before anything large is fetched."""
    started = {file: store.partial / partial_name(file) for file in plan.fetch}
    store.need_room(plan.bytes_to_fetch - sum(path.stat().st_size for path in started.values() if path.is_file()))
    title = f"{plan.repo_id}@{plan.commit[:8]}"
    checked = False
    with tqdm(total=plan.bytes_to_fetch, desc=title, unit="B", unit_scale=True, disable=not progress or not plan.fetch) as bar:
        for file, partial in started.items():
            if not checked and faults is None and file.path != "manifest.json":
                check_manifest(plan, complete=False)
                checked = True
            target = plan.folder / file.path
            if _copy_from_another_commit(store, file, target):
                bar.update(file.size)
                continue
            try:
                fetch(client, plan.repo_id, plan.commit, file, target, partial, bar)
            except ChecksumError as error:
                if faults is None or file.path == "manifest.json":
                    raise
                faults.append(Fault(file.path, str(error)))


def _copy_from_another_commit(store: Store, file: RemoteFile, target: Path) -> bool:
    """Link the same file of another commit that is here, if its bytes are right."""
    for commit in sorted((store.folder / "commits").iterdir()):
        other = commit / file.path
        if other != target and is_good(other, file):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                os.link(other, target)
            except OSError:
                return False  # a disk without hard links: fetch it
            return True
    return False
