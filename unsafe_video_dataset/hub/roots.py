"""Where downloads live on this machine: the default folder, and every other one that a `cache_dir` ever named.

The other ones are written down, one JSON string a line, before anything is put there. So `purge` and a denial of the Hub
reach every copy, and `unsafe-video log` shows every access, without being told where to look.
"""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

from huggingface_hub import constants

INDEX_NAME = "cache-roots.jsonl"


def default_root() -> Path:
    """`$UNSAFE_VIDEO_CACHE`, or `unsafe-video-dataset` in huggingface_hub's home folder."""
    return Path(os.environ.get("UNSAFE_VIDEO_CACHE") or _home_root()).expanduser()


def known_roots() -> tuple[list[Path], list[str]]:
    """Every root that was used, the default first; and for each index that can't be read what is wrong with it."""
    roots = dict.fromkeys([default_root().absolute(), _home_root().absolute()])
    problems = []
    for place in _indexes():
        found, unreadable = _read(place)
        roots |= dict.fromkeys(found)
        if unreadable:
            problems.append(f"{place} has {unreadable} lines that can't be read: folders that were used may not be known.")
    return list(roots), problems


def remember_root(root: Path) -> None:
    """Write down a root that is not the default one. Warns where that can't be done: `purge` must then be told of it."""
    root = root.absolute()
    noted = False
    for place in _indexes():
        if root == place.parent.absolute() or root in _read(place)[0]:
            noted = True
            continue
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # One write to a file opened for appending: lines of two processes do not mix. The first newline ends a torn line.
            handle = os.open(place, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                os.write(handle, f"\n{json.dumps(str(root))}\n".encode())
            finally:
                os.close(handle)
            noted = True
        except OSError:
            continue
    if not noted:
        warnings.warn(
            f"{root} can't be written down in {default_root()}: `unsafe-video purge` will not find it by itself. Tell it with "
            f"--cache-dir {root}.",
            stacklevel=2,
        )


def _home_root() -> Path:
    return Path(constants.HF_HOME).expanduser() / "unsafe-video-dataset"


def _indexes() -> list[Path]:
    """In the home folder too: a root that only $UNSAFE_VIDEO_CACHE named must be found when that is not set any more."""
    return [root / INDEX_NAME for root in dict.fromkeys([_home_root(), default_root()])]


def _read(index: Path) -> tuple[list[Path], int]:
    """The roots in an index, and how many of its lines can't be read."""
    try:
        lines = [line for line in index.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except FileNotFoundError:
        return [], 0
    except OSError:
        return [], 1
    found, unreadable = [], 0
    for line in lines:
        try:
            found.append(Path(json.loads(line)))
        except (ValueError, TypeError):
            unreadable += 1
    return found, unreadable
