"""Open a release by its name on the Hub: download what is needed and open local files, or read data files as a stream."""

from __future__ import annotations

import os
from typing import Any

from huggingface_hub import constants

from ..errors import AccessError, HubUnavailable, OfflineError, TermsNotAccepted
from ..parts import Part
from ..release import Release
from .download import download
from .remote import RemoteRelease


def open_release(
    repo_id: str,
    *,
    config: str = "unsafe",
    split: str | None = None,
    stream: bool = False,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    allow_cached: bool = False,
    accept_terms: bool | str = False,
    progress: bool = True,
) -> Release:
    """The release of a repository at one commit, with the files that `config` and `split` need; see `download`.

    With `stream`, data files are not downloaded but read over checked ranges (`RemoteRelease`). Where nothing may be asked of
    the network, and with `allow_cached` where the Hub denies access or can't be reached, a stream reads the copy on this
    machine; that has to be complete.
    """
    how: dict[str, Any] = {"revision": revision, "token": token, "cache_dir": cache_dir, "accept_terms": accept_terms}
    if stream and config in ("unsafe", "reviewed") and not (local_files_only or constants.is_offline_mode()):
        try:
            return RemoteRelease.open_remote(repo_id, config=config, progress=progress, **how)
        except TermsNotAccepted:
            raise
        except (AccessError, HubUnavailable, OfflineError):
            if not allow_cached:
                raise
    how |= {"local_files_only": local_files_only, "allow_cached": allow_cached, "progress": progress}
    release = Release.open(download(repo_id, config=config, split=split, **how))
    release.part = Part(config, split)  # what was not asked for is not missing
    return release
