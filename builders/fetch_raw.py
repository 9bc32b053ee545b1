"""The upstream layout straight from the Hub: through the same door as a release, one commit, every file verified."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from unsafe_video_dataset.cli_hub import ask_terms, refuse_token
from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.hub import download
from unsafe_video_dataset.release import is_repo_id


def fetch_raw(
    repo_id: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    accept_terms: bool | str = False,
    progress: bool = True,
) -> Path:
    """Download every file of a repository of raw files at one commit; returns the folder, named as the commit.

    Each file is checked against the hash that the Hub lists. Raises the errors of `download`, and `InputError` for a
    repository that holds a release, not raw files.
    """
    folder = download(
        repo_id,
        revision=revision,
        config="all",
        token=token,
        cache_dir=cache_dir,
        accept_terms=accept_terms,
        progress=progress,
    )
    if (folder / "manifest.json").is_file():
        raise InputError(
            f"{repo_id} holds a release (it has a manifest.json), not raw files. Use it: load_dataset({repo_id!r})."
        )
    return folder


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say how RAW comes from the Hub."""
    parser.add_argument("--revision", help="branch, tag or commit, where RAW is org/repo (default: main)")
    parser.add_argument("--cache-dir", type=Path, help="where downloads live (default: UNSAFE_VIDEO_CACHE, or in HF_HOME)")
    parser.add_argument("--accept-terms", action="store_true", help="you have read the content warning and terms, and accept")
    refuse_token(parser)


def open_raw(arguments: argparse.Namespace) -> tuple[Path, dict[str, str] | None]:
    """The raw folder that RAW means, and where it came from: `{"repo_id", "commit"}`, or None for a folder of the user's."""
    raw = Path(arguments.raw).as_posix()
    if not is_repo_id(raw):
        if arguments.revision is not None:
            raise InputError("--revision is for repositories; a folder has only what is in it.")
        return Path(raw), None
    how: dict[str, Any] = {"revision": arguments.revision, "cache_dir": arguments.cache_dir, "progress": not arguments.json}
    folder = ask_terms(
        lambda accepted: fetch_raw(raw, accept_terms=accepted, **how),
        accepted=arguments.accept_terms,
        quiet=arguments.json,
    )
    return folder, {"repo_id": raw, "commit": folder.name}
