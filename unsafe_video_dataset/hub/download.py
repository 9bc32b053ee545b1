"""Download what a config of a release needs, of exactly one commit, verified; or open what is already here."""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.constants import HF_HUB_OFFLINE
from tqdm import tqdm

from ..errors import AccessError, IntegrityError, OfflineError, one_of
from ..taxonomy import CONFIGS, SPLITS
from .access import AccessStatus, check_access, check_repo_id
from .client import Client
from .fetch import fetch, partial_name
from .listing import RemoteFile, list_files, load_listing, resolve, save_listing
from .store import Store, size_text
from .terms import log_access, require_terms, terms_text

_COMMIT = re.compile(r"[0-9a-f]{40}")
_ALWAYS = ("manifest.json", "tombstones.parquet")
_FOLDERS = {
    "metadata": ("metadata",),
    "annotations": ("metadata", "annotations"),
    "unsafe": ("metadata", "unsafe"),
    "reviewed": ("metadata", "unsafe", "not_unsafe"),
    "all": (),
}


@dataclass(frozen=True)
class Plan:
    """What a download would do: files to fetch and files already here and right, in bytes."""

    repo_id: str
    commit: str
    folder: Path
    config: str
    fetch: tuple[RemoteFile, ...]
    here: tuple[RemoteFile, ...]

    @property
    def bytes_to_fetch(self) -> int:
        """Bytes that are not here yet."""
        return sum(file.size for file in self.fetch)

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values."""
        files = [{"path": file.path, "bytes": file.size, "here": file in self.here} for file in (*self.here, *self.fetch)]
        return {
            "repo_id": self.repo_id,
            "commit": self.commit,
            "folder": str(self.folder),
            "config": self.config,
            "bytes_to_fetch": self.bytes_to_fetch,
            "files": sorted(files, key=lambda file: str(file["path"])),
        }


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
    accept_terms: bool = False,
    progress: bool = True,
) -> Path:
    """Bring what `config` (and `split`) of a release repository needs to this machine; returns the folder of its commit.

    `revision` (branch, tag or commit; None: `main`) is resolved to a commit first, and only files of that commit are used.
    Every file, also one that was here, is checked against the Hub's hash and the manifest. `config="all"` takes every file.
    With `local_files_only` or HF_HUB_OFFLINE nothing is asked of the network. Access that was revoked closes what is here
    too, unless `allow_cached`, which warns.

    Raises the kinds of `AccessError`, `OfflineError`, `HubUnavailable`, `RevisionError`, `ChecksumError`, `StorageError`.
    """
    store = Store(check_repo_id(repo_id), cache_dir)
    offline = local_files_only or HF_HUB_OFFLINE
    _check_options(config, split)
    if offline:
        return _open_offline(store, revision, config, split, allow_cached=allow_cached)
    client = Client(token=token)
    status = check_access(repo_id, client)
    if not status.granted:
        return _refused(store, status, revision, config, split, allow_cached=allow_cached)
    commit = resolve(client, repo_id, revision)
    terms = require_terms(store, terms_text(repo_id, commit.gate_text), accept=accept_terms) if commit.gated else None
    with store.locked():
        store.update(revisions={revision or "main": commit.sha}, access={"granted": True, "account": status.account})
        plan = _plan(client, store, commit.sha, config, split)
        _carry_out(client, store, plan, progress=progress)
        _check_manifest(plan)
    log_access(store, account=status.account, commit=commit.sha, config=config, terms=terms, how="online")
    return plan.folder


def plan_download(
    repo_id: str,
    *,
    revision: str | None = None,
    config: str = "unsafe",
    split: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Plan:
    """What `download` would fetch: sizes first, and `StorageError` if the disk has no room. Fetches no file."""
    _check_options(config, split)
    store, client = Store(check_repo_id(repo_id), cache_dir), Client(token=token)
    check_access(repo_id, client).raise_for_denial()
    plan = _plan(client, store, resolve(client, repo_id, revision).sha, config, split)
    store.need_room(plan.bytes_to_fetch)
    return plan


def wanted_files(listing: Sequence[RemoteFile], config: str, split: str | None) -> list[RemoteFile]:
    """The files of a listing that a config (and split) needs, and no more."""
    if config == "all":
        return [file for file in listing if not file.path.startswith(".git")]
    splits = SPLITS if split is None else (split,)
    starts = tuple(f"data/{folder}/{name}{end}" for folder in _FOLDERS[config] for name in splits for end in ("-", "."))
    metadata = tuple(f"data/metadata/{name}." for name in SPLITS)  # a video is found through the metadata of all splits
    return [file for file in listing if file.path in _ALWAYS or file.path.startswith(starts + metadata)]


def _check_options(config: str, split: str | None) -> None:
    one_of(config, (*CONFIGS, "all"), "config")
    if split is not None:
        one_of(split, SPLITS, "split")


def _plan(client: Client, store: Store, commit: str, config: str, split: str | None) -> Plan:
    listing = list_files(client, store.repo_id, commit)
    if store.listing(commit).parent.is_dir():
        save_listing(store.listing(commit), listing)
    return _compare(store, commit, config, wanted_files(listing, config, split), listing)


def _compare(store: Store, commit: str, config: str, wanted: Sequence[RemoteFile], listing: Sequence[RemoteFile]) -> Plan:
    if config != "all" and not any(file.path == "manifest.json" for file in listing):
        raise IntegrityError(
            f"{store.repo_id} at {commit[:12]} is not a release (no manifest.json). If it holds raw upstream files, build a "
            f"release: unsafe-video-build upstream {store.repo_id} OUT"
        )
    here: list[RemoteFile] = []
    missing: list[RemoteFile] = []
    for file in wanted:
        path = store.commit(commit) / file.path
        good = path.is_file() and not path.is_symlink() and file.mismatch(path) is None
        (here if good else missing).append(file)
    return Plan(store.repo_id, commit, store.commit(commit), config, tuple(missing), tuple(here))


def _carry_out(client: Client, store: Store, plan: Plan, *, progress: bool) -> None:
    started = {file: store.partial / partial_name(file) for file in plan.fetch}
    store.need_room(plan.bytes_to_fetch - sum(path.stat().st_size for path in started.values() if path.is_file()))
    title = f"{plan.repo_id}@{plan.commit[:8]}"
    with tqdm(total=plan.bytes_to_fetch, desc=title, unit="B", unit_scale=True, disable=not progress or not plan.fetch) as bar:
        for file, partial in started.items():
            fetch(client, plan.repo_id, plan.commit, file, plan.folder / file.path, partial, bar)


def _check_manifest(plan: Plan) -> None:
    """The release's own manifest must agree with the bytes that the Hub listed."""
    path = plan.folder / "manifest.json"
    if not path.is_file():
        return
    try:
        entries = {entry["path"]: entry for entry in json.loads(path.read_bytes())["files"]}
    except (ValueError, TypeError, KeyError) as error:
        raise IntegrityError(
            f"The manifest of {plan.repo_id} at {plan.commit[:12]} can't be read ({error}). Tell the owner."
        ) from error
    for file in (*plan.fetch, *plan.here):
        entry = entries.get(file.path)
        if file.path.startswith("data/") and entry is None:
            raise IntegrityError(f"{file.path} of {plan.repo_id} is not in its manifest. Do not use it; tell the owner.")
        if entry and (entry["bytes"] != file.size or (file.sha256 and entry["sha256"] != file.sha256)):
            raise IntegrityError(f"{file.path} of {plan.repo_id} differs from its manifest. Do not use it; tell the owner.")


def _refused(
    store: Store, status: AccessStatus, revision: str | None, config: str, split: str | None, *, allow_cached: bool
) -> Path:
    """Access was denied, or the Hub is not there. A denial is remembered; only `allow_cached` opens what is here."""
    denied = status.state not in ("offline", "rate_limited", "hub_down")
    here = (store.folder / "commits").is_dir()
    if here and denied:
        store.update(access={"granted": False, "state": status.state})
    if here and allow_cached:
        return _open_offline(store, revision, config, split, allow_cached=True, why=status.message)
    hint = ""
    if here and denied:
        hint = (
            f"The copy on this machine is not opened either: `unsafe-video purge {store.repo_id}` removes it, "
            "allow_cached=True opens it all the same."
        )
    elif here:
        hint = "What is complete on this machine opens with local_files_only=True."
    raise status.error(hint)


def _open_offline(
    store: Store, revision: str | None, config: str, split: str | None, *, allow_cached: bool, why: str = ""
) -> Path:
    """What is here of exactly this revision, complete and checked; else `OfflineError` that says what is missing."""
    state = store.state()
    name = revision or "main"
    access = state.get("access", {})
    if access.get("granted") is False and not allow_cached:
        raise AccessError(
            f"The last answer of the Hub for {store.repo_id} was {access.get('state')!r}, so its copy here is not opened. "
            f"Check with `unsafe-video access {store.repo_id}`; allow_cached=True opens it all the same."
        )
    commit = name if _COMMIT.fullmatch(name) else state.get("revisions", {}).get(name)
    known = ", ".join(f"{key} ({sha[:12]})" for key, sha in sorted(state.get("revisions", {}).items())) or "none"
    go_online = f"Go online once: unsafe-video download {store.repo_id}" + (f" --revision {revision}" if revision else "")
    if commit is None:
        raise OfflineError(f"Revision {name!r} of {store.repo_id} is not on this machine (here: {known}). {go_online}")
    listing = load_listing(store.listing(commit))
    if listing is None:
        raise OfflineError(f"Commit {commit[:12]} of {store.repo_id} is not on this machine (here: {known}). {go_online}")
    plan = _compare(store, commit, config, wanted_files(listing, config, split), listing)
    if plan.fetch:
        listed = ", ".join(file.path for file in plan.fetch[:5]) + (" …" if len(plan.fetch) > 5 else "")
        raise OfflineError(
            f"{len(plan.fetch)} files ({size_text(plan.bytes_to_fetch)}) of {store.repo_id} at {commit[:12]} are missing or "
            f"damaged here: {listed}. {go_online} --config {config}"
        )
    _check_manifest(plan)
    if allow_cached and (why or access.get("granted") is False):
        warnings.warn(
            f"Opening the copy of {store.repo_id} on this machine without access: {why or access.get('state')}", stacklevel=3
        )
    log_access(
        store,
        account=access.get("account"),
        commit=commit,
        config=config,
        terms=None,
        how="cached" if allow_cached else "offline",
    )
    return plan.folder
