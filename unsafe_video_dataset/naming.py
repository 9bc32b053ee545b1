"""What a person may call a release: `sample`, a folder, or a repository on the Hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import HubUnavailable, InputError, OfflineError, RepositoryMissing

SAMPLE = "sample"
UPSTREAM = "pypy/unsafe_generated_video_dataset"  # the paper's data: raw files, not a release


def is_repo_id(path: str | os.PathLike[str]) -> bool:
    """Whether a path names a repository on the Hub (`org/repo`). A folder that is there comes first."""
    text = os.fspath(path)
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", text) is not None and not Path(text).exists()


def locate(path: str | os.PathLike[str]) -> Path:
    """The folder of the embedded sample or of a release on disk. Raises `InputError` where there is none."""
    if os.fspath(path) == SAMPLE:
        return Path(__file__).parent / "sample" / "release"
    root = Path(path)
    if not root.is_dir():
        raise InputError(
            f"There is no release folder {os.fspath(path)!r}. Give a folder that `unsafe-video-build` made, 'sample', or the "
            "name of a repository on the Hub (org/repo)."
        )
    return root


@contextmanager
def taken_for_a_repository(name: str | os.PathLike[str]) -> Iterator[None]:
    """Where the Hub can't be asked, or has no such repository, the error says that there is no such folder either."""
    try:
        yield
    except (RepositoryMissing, OfflineError, HubUnavailable) as error:
        both = f"(There is no folder {os.fspath(name)!r} here, so it was taken for a repository on the Hub.)"
        error.args = (f"{error} {both}", *error.args[1:])
        raise
