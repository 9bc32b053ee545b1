"""`unsafe-video-build publish`: a checked release -> a gated dataset repository on the Hub, verified and tagged."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils._http import get_session

from unsafe_video_dataset.errors import (
    AccessError,
    ChecksumError,
    FaultsError,
    HubUnavailable,
    InputError,
    InvalidToken,
    NotLoggedIn,
    OfflineError,
    RateLimited,
    RevisionError,
    UnsafeVideoError,
)
from unsafe_video_dataset.hub import download
from unsafe_video_dataset.hub.access import check_repo_id
from unsafe_video_dataset.hub.client import Client
from unsafe_video_dataset.hub.hidden import clean
from unsafe_video_dataset.hub.listing import list_files, resolve
from unsafe_video_dataset.hub.store import size_text
from unsafe_video_dataset.records import validate
from unsafe_video_dataset.release import Release

from .checklist import Checklist, read_checklist
from .write import is_harmless

_TIMEOUT = httpx2.Timeout(120, connect=15)  # huggingface_hub waits for ever
_NOT_OURS = (".gitattributes",)


@dataclass(frozen=True)
class Published:
    """What was, or with a dry run would be, published. `private`: None where a dry run can't know."""

    repo_id: str
    page: str
    tag: str
    files: int
    num_bytes: int
    manifest_sha256: str
    commit: str | None = None
    private: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dict(vars(self))


def publish(
    folder: Path,
    repo_id: str,
    *,
    checklist: Path,
    token: str | bool | None = None,
    public: bool = False,
    dry_run: bool = False,
) -> Published:
    """Publish a release: gated with manual approval before the first byte is uploaded, tagged `v<release_version>`.

    The release is verified and the checklist read; its hash goes into the manifest that is uploaded, and into the one here
    when all that was sent has come back right. A new repository is private until all
    is done, and stays so unless `public`; one that exists keeps its visibility. The gate's text and fields come from the card.
    One commit replaces what the branch held. Before the tag is set, the Hub's listing and a download through the same door as
    a user's must agree with the files here. A dry run checks all that this machine can check, and asks and writes nothing.

    Raises `FaultsError` for a release that is not sound or a checklist that is not filled in, `InputError` for a repository
    that holds other things, `RevisionError` for a tag that exists with other files, `AccessError` and `HubUnavailable` kinds,
    `ChecksumError` if the Hub gives other bytes back. After a failure, publish again: what is there is not uploaded twice.
    """
    check_repo_id(repo_id)
    answers = read_checklist(checklist)
    release = Release.open(folder)
    release.verify().raise_for_faults()
    if not _card_has_gate(release.path) and not is_harmless(release.manifest):
        raise InputError(f"The card of {folder} has no extra_gated_* fields. Build the release anew before publishing it.")
    manifest = _signed_off(release, answers)
    sizes = [entry["bytes"] for entry in release.manifest["files"]]
    plan = Published(
        repo_id,
        Client(token=False).page(repo_id),
        f"v{release.version}",
        len(sizes) + 1,
        sum(sizes) + len(manifest),
        hashlib.sha256(manifest).hexdigest(),
    )
    if dry_run:
        return plan
    client = Client(token=token)
    if not client.has_token:
        raise NotLoggedIn("Publishing needs a token that may write. Run `hf auth login`, or set HF_TOKEN.")
    if constants.is_offline_mode():
        raise OfflineError("Publishing needs the Hub, and HF_HUB_OFFLINE is set. Unset it.")
    with _beside(release.path, manifest) as signed:
        commit, private = _send(client, release, plan, signed, token, public=public)
    return replace(plan, commit=commit, private=private)


def _send(
    client: Client, release: Release, plan: Published, signed: Path, token: str | bool | None, *, public: bool
) -> tuple[str, bool]:
    """Gate, upload, verify, tag; the commit, and whether the repository is private.

    `signed` is the manifest with the checklist's hash. It becomes the release's own when the Hub has given everything back as
    it should: a publish that is refused leaves the release as it was.
    """
    api, repo_id = HfApi(token=token), plan.repo_id
    local = {entry["path"]: release.path / entry["path"] for entry in release.manifest["files"]} | {"manifest.json": signed}
    with _typed(repo_id):
        tagged = _tags(api, repo_id).get(plan.tag)
    if tagged is not None and _wrong_files(client, local, repo_id, tagged):
        raise RevisionError(
            f"{repo_id} has a tag {plan.tag} with other files, and a published version never changes. Raise --release-version "
            "and build."
        )
    with _typed(repo_id):
        _gate(api, repo_id)
        commit = tagged or _upload(api, local, repo_id, title=f"{release.name} {release.version}")
    _verify_published(client, local, replace(plan, commit=commit), token)
    signed.replace(release.path / "manifest.json")
    with _typed(repo_id):
        if tagged is None:
            api.create_tag(repo_id, tag=plan.tag, revision=commit, repo_type="dataset")
        if public:
            api.update_repo_settings(repo_id, repo_type="dataset", private=False)
        private = bool(api.dataset_info(repo_id).private)
    if resolve(client, repo_id, plan.tag).sha != commit:
        raise ChecksumError(f"The tag {plan.tag} of {repo_id} is not the commit that was verified. Withdraw the tag.")
    return commit, private


def _signed_off(release: Release, checklist: Checklist) -> bytes:
    """The manifest with the checklist's hash."""
    manifest = {**release.manifest, "checklist_sha256": checklist.sha256}
    faults = validate("manifest", [(None, manifest)], file="manifest.json")
    if faults:
        raise FaultsError("The manifest does not fit its schema; nothing was published", faults)
    return (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode()


@contextmanager
def _beside(folder: Path, manifest: bytes) -> Iterator[Path]:
    """A file with the manifest, beside the release (in it, nothing else may be): it can take its place in one step."""
    folder = folder.absolute()
    partial = folder.parent / f".{folder.name}.manifest.json-{os.getpid()}"
    try:
        partial.write_bytes(manifest)
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _card_has_gate(folder: Path) -> bool:
    return "extra_gated_prompt:" in (folder / "README.md").read_text(encoding="utf-8")


def _tags(api: HfApi, repo_id: str) -> dict[str, str]:
    """Tag -> commit; none where there is no repository yet."""
    try:
        return {ref.name: ref.target_commit for ref in api.list_repo_refs(repo_id, repo_type="dataset").tags}
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 404:
            return {}
        raise


def _gate(api: HfApi, repo_id: str) -> None:
    """The repository, there and gated. Raises `HubUnavailable` if the gate does not hold."""
    api.create_repo(repo_id, repo_type="dataset", private=True, exist_ok=True)
    api.update_repo_settings(repo_id, repo_type="dataset", gated="manual")
    gated = api.dataset_info(repo_id).gated
    if gated != "manual":
        raise HubUnavailable(f"The Hub says that {repo_id} is not gated (gated={gated!r}); nothing was uploaded. Try again.")


def _upload(api: HfApi, local: Mapping[str, Path], repo_id: str, *, title: str) -> str:
    """One commit on `main` that holds the `local` files and nothing else; its id. Never another file of the folder."""
    head = api.dataset_info(repo_id).sha
    there = api.list_repo_files(repo_id, repo_type="dataset", revision=head)
    stale = [path for path in there if path not in local and path not in _NOT_OURS]
    other = [path for path in stale if not path.startswith("data/")]
    if other:
        raise InputError(
            f"{repo_id} holds {len(other)} files that are not of a release ({_some(other)}). Nothing was uploaded: publish to "
            "another repository, or delete them there first."
        )
    operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=path) for name, path in local.items()]
    deletions = [CommitOperationDelete(path_in_repo=path, is_folder=False) for path in stale]
    commit = api.create_commit(
        repo_id,
        [*operations, *deletions],
        commit_message=title,
        repo_type="dataset",
        parent_commit=head,
    )
    return str(commit.oid)


def _verify_published(client: Client, local: Mapping[str, Path], plan: Published, token: str | bool | None) -> None:
    """The commit must list exactly the files here, and a download of its metadata must open as this release."""
    commit = str(plan.commit)
    wrong = _wrong_files(client, local, plan.repo_id, commit)
    found = ""
    if not wrong:
        with TemporaryDirectory() as scratch:
            folder = download(
                plan.repo_id,
                revision=commit,
                config="metadata",
                token=token,
                cache_dir=scratch,
                accept_terms=True,
                progress=False,
            )
            found = Release.open(folder).manifest_sha256
    if wrong or found != plan.manifest_sha256:
        raise ChecksumError(
            f"The Hub gives back other files than were sent to {plan.repo_id} ({_some(wrong) or 'manifest.json'}). It was not "
            "tagged. Publish again; if that does not help, look into the repository."
        )


def _wrong_files(client: Client, local: Mapping[str, Path], repo_id: str, commit: str) -> list[str]:
    """Files of a commit that are missing, too many, or of other size or hash than here."""
    listed = {file.path: file for file in list_files(client, repo_id, commit) if file.path not in _NOT_OURS}
    differ = {path for path in local.keys() & listed.keys() if listed[path].mismatch(local[path]) is not None}
    return sorted((listed.keys() ^ local.keys()) | differ)


def _some(paths: Sequence[str]) -> str:
    return ", ".join(paths[:3]) + (" …" if len(paths) > 3 else "")


@contextmanager
def _typed(repo_id: str) -> Iterator[None]:
    """huggingface_hub's errors as ours, without tokens or signed URLs; and requests that don't wait for ever."""
    session = get_session()
    before, session.timeout = session.timeout, _TIMEOUT
    failure: UnsafeVideoError
    try:
        yield
        return
    except UnsafeVideoError:
        raise
    except (HfHubHTTPError, httpx2.HTTPError, OSError, RuntimeError, ValueError, KeyError) as error:
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error  # uploads wrap theirs
        if isinstance(cause, HfHubHTTPError):
            failure = _refusal(repo_id, cause)
        else:
            failure = HubUnavailable(
                f"The Hub can't be reached while publishing {repo_id} ({type(cause).__name__}: {clean(cause)[:300]}). Publish "
                "again: what is there is not uploaded twice."
            )
    finally:
        session.timeout = before
    raise failure  # here, so that it carries no foreign exception along


def _refusal(repo_id: str, error: HfHubHTTPError) -> UnsafeVideoError:
    status = error.response.status_code if error.response is not None else None
    said = clean(error.server_message or str(error).splitlines()[0])[:300]
    text = f"The Hub refuses to publish {repo_id} ({status}): {said}."
    if status == 401:
        return InvalidToken(f"{text} Make a new token that may write, then run `hf auth login`.")
    if status in (403, 404):
        return AccessError(f"{text} Use a token that may write to {repo_id.split('/')[0]} (`hf auth whoami`).")
    if status == 429:
        return RateLimited(f"{text} Wait, then publish again: what is there is not uploaded twice.")
    if status in (409, 412):
        return HubUnavailable(f"{text} Something else changed the repository meanwhile. Publish again.")
    return HubUnavailable(f"{text} Publish again: what is there is not uploaded twice.")


def summary(published: Published) -> str:
    """What to tell the owner."""
    what = f"{published.files} files, {size_text(published.num_bytes)}, tag {published.tag}"
    if published.commit is None:
        return f"Would publish to {published.page}: {what}; gated, manual approval. Nothing was sent or written."
    seen = "private: make it public on its settings page when you are ready" if published.private else "public"
    return f"Published {published.page} at {published.commit[:12]}: {what}; gated, verified; {seen}."
