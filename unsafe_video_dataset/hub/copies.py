"""The records of copies of a downloaded release that stand elsewhere: what made them, and where they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from .store import Store

Kind = Literal["arrow", "frames", "exports", "reports", "builds"]


def remember_copy(release: Path, folder: str | os.PathLike[str], *, kind: Kind = "arrow") -> None:
    """Record a folder with a copy of a release that was downloaded, so that `purge` finds it; other releases need none.

    Call it before the first byte is written: a process may be killed at any time. `kind` is `arrow` for rows that `datasets`
    keeps, `frames` for a `FrameCache`, `exports` for a folder of `export`, `reports` for one of `report`, `builds` for a
    release that the user built from it. A cache that can choose its place lives in the repository's own folder of the store
    instead: that goes as a whole.
    """
    owner, _, name = release.parent.parent.name.partition("--")
    if release.parent.name != "commits" or not (name and (release.parent.parent / "state.json").is_file()):
        return
    store = Store(f"{owner}/{name}", release.parent.parent.parent)
    where = str(Path(folder).absolute())
    if where not in store.state().get(kind, {}):
        store.update(**{kind: {where: release.name}})
