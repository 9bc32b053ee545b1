"""Opening the RELEASE of a command: a folder, the sample, or a repository on the Hub, whose terms are asked about."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .cli_hub import ask_terms, refuse_token
from .errors import InputError
from .release import Release, is_repo_id


def add_source(parser: argparse.ArgumentParser) -> None:
    """Add the flags that only a repository on the Hub needs."""
    parser.add_argument("--revision", help="branch, tag or commit of a repository (default: main)")
    parser.add_argument("--cache-dir", type=Path, metavar="DIR", help="where downloads are kept (default: the shared store)")
    parser.add_argument("--accept-terms", action="store_true", help="you have read a repository's terms and accept them")
    refuse_token(parser)


def open_source(arguments: argparse.Namespace, **hub: Any) -> Release:
    """Open `arguments.release`; `hub` says what of a repository is needed. On a terminal, terms that are new are asked about.

    Raises `InputError` for a revision of a folder, and what `Release.open` raises.
    """
    if not is_repo_id(arguments.release):
        if arguments.revision:
            raise InputError("--revision is for repositories; a folder has only what is in it.")
        return Release.open(arguments.release)
    where = {"revision": arguments.revision, "cache_dir": arguments.cache_dir, **hub}
    return ask_terms(
        lambda accepted: Release.open(arguments.release, accept_terms=accepted, progress=not arguments.json, **where),
        accepted=arguments.accept_terms,
        quiet=arguments.json,
    )
