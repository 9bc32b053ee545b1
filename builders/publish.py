"""`unsafe-video-build publish`: a checked release -> a gated dataset repository on the Hub, tagged and verified."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.constants import HF_HUB_OFFLINE
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, RevisionNotFoundError

from unsafe_video_dataset.errors import (
    AccessError,
    ChecksumError,
    HubUnavailable,
    InputError,
    NotLoggedIn,
    OfflineError,
    RevisionError,
)
from unsafe_video_dataset.hub import download
from unsafe_video_dataset.hub.access import check_repo_id
from unsafe_video_dataset.hub.client import Client, clean
from unsafe_video_dataset.hub.store import size_text
from unsafe_video_dataset.release import Release

from .checklist import Checklist, read_checklist


@dataclass(frozen=True)
class Published:
    """What was, or with a dry run would be, published."""

    repo_id: str
    page: str
    tag: str
    files: int
    num_bytes: int
    manifest_sha256: str
    commit: str | None
    private: bool

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

    The release is verified, the checklist read and its hash written into the manifest. A new repository is private unless
    `public`; the gate's text and fields come from the card. At the end the manifest is downloaded again, through the same
    door as a user's, and compared. A dry run checks everything on this machine and asks nothing of the Hub.

    Raises `FaultsError` for a release that is not sound or a checklist that is not filled in, `RevisionError` for a tag that
    exists, `AccessError` and `HubUnavailable` kinds, `ChecksumError` if the Hub gives other bytes back.
    """
    check_repo_id(repo_id)
    release = Release.open(folder)
    release.verify().raise_for_faults()
    answers = read_checklist(checklist)
    if not _card_has_gate(release.path) and not _is_harmless(release):
        raise InputError(f"The card of {folder} has no extra_gated_* fields. Build the release anew before publishing it.")
    release = _sign_off(release, answers)
    sizes = [entry["bytes"] for entry in release.manifest["files"]]
    tag = f"v{release.version}"
    plan = Published(
        repo_id, Client(token=False).page(repo_id), tag, len(sizes) + 1, sum(sizes), release.manifest_sha256, None, not public
    )
    if dry_run:
        return plan
    if HF_HUB_OFFLINE:
        raise OfflineError("Publishing needs the Hub, and HF_HUB_OFFLINE is set. Unset it.")
    api = HfApi(token=token)
    with _typed(repo_id):
        _refuse_tag(api, repo_id, tag)
        api.create_repo(repo_id, repo_type="dataset", private=True, exist_ok=True)
        api.update_repo_settings(repo_id, repo_type="dataset", gated="manual")
        commit = api.upload_folder(
            repo_id=repo_id,
            repo_type="dataset",
            folder_path=release.path,
            commit_message=f"{release.name} {release.version}",
            delete_patterns=["data/**"],
            ignore_patterns=[".*", "**/.*"],
        )
        api.create_tag(repo_id, tag=tag, revision=commit.oid, repo_type="dataset")
    _verify_published(release, repo_id, tag, token)
    if public:
        with _typed(repo_id):
            api.update_repo_settings(repo_id, repo_type="dataset", private=False)
    return Published(**{**plan.to_dict(), "commit": commit.oid})


def _sign_off(release: Release, checklist: Checklist) -> Release:
    """Write the checklist's hash into the manifest (whole or not at all) and open the release again."""
    manifest = {**release.manifest, "checklist_sha256": checklist.sha256}
    path = release.path / "manifest.json"
    partial = release.path.parent / f".{release.path.name}.manifest-{os.getpid()}"
    partial.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    partial.replace(path)
    return Release.open(release.path)


def _card_has_gate(folder: Path) -> bool:
    return "extra_gated_prompt:" in (folder / "README.md").read_text(encoding="utf-8")


def _is_harmless(release: Release) -> bool:
    return bool(release.manifest["builder"] == "sample")


def _refuse_tag(api: HfApi, repo_id: str, tag: str) -> None:
    try:
        tags = [ref.name for ref in api.list_repo_refs(repo_id, repo_type="dataset").tags]
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code in (401, 404):
            return  # there is no repository yet
        raise
    if tag in tags:
        raise RevisionError(
            f"{repo_id} has a tag {tag}, and a published version never changes. Raise --release-version and build."
        )


def _verify_published(release: Release, repo_id: str, tag: str, token: str | bool | None) -> None:
    with TemporaryDirectory() as scratch:
        folder = download(
            repo_id, revision=tag, config="metadata", token=token, cache_dir=scratch, accept_terms=True, progress=False
        )
        found = Release.open(folder).manifest_sha256
    if found != release.manifest_sha256:
        raise ChecksumError(f"The Hub gives back another manifest for {repo_id} at {tag}. Withdraw the tag and look into it.")


@contextmanager
def _typed(repo_id: str) -> Iterator[None]:
    """huggingface_hub's errors as ours, without tokens or signed URLs."""
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise NotLoggedIn("Publishing needs a token that may write. Run `hf auth login`, or set HF_TOKEN.") from error
    except RevisionNotFoundError as error:
        raise RevisionError(clean(error)) from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        text = f"The Hub refuses to publish {repo_id} ({status}): {clean(error).splitlines()[0]}"
        if status in (401, 403):
            raise AccessError(f"{text}. Use a token that may write to {repo_id.split('/')[0]} (`hf auth whoami`).") from None
        raise HubUnavailable(f"{text}. Try again: what is uploaded is not uploaded twice.") from None
    except OSError as error:
        raise HubUnavailable(f"The Hub can't be reached while publishing {repo_id}: {clean(error)}. Try again.") from None


def summary(published: Published) -> str:
    """What to tell the owner."""
    what = f"{published.files} files, {size_text(published.num_bytes)}, tag {published.tag}"
    if published.commit is None:
        return f"Would publish to {published.page}: {what}; gated, manual approval. Nothing was sent."
    seen = "private: make it public on its settings page when you are ready" if published.private else "public, gated"
    return f"Published {published.page} at {published.commit[:12]}: {what}; verified; {seen}."
