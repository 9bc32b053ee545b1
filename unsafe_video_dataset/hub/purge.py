"""Remove every copy that this package made of a repository."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from .access import check_repo_id
from .store import Store


def purge(repo_id: str, *, cache_dir: str | os.PathLike[str] | None = None) -> tuple[int, int]:
    """Remove downloads, partial files, kept answers and the rows that `datasets` cached; returns (files, bytes).

    The accepted terms go too; the access log stays, since it holds no data. Copies that you made yourself, and those of
    other tools (huggingface_hub's own cache), are not known here: `hf cache` looks after the latter.
    """
    store = Store(check_repo_id(repo_id), cache_dir)
    count, size = 0, 0
    # Rows that load_dataset copied into Arrow files are recorded beside the download, wherever their cache is.
    for folder in [Path(name) for name in store.state().get("arrow", {})]:
        files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
        count, size = count + len(files), size + sum(path.stat().st_size for path in files)
        shutil.rmtree(folder, ignore_errors=True)
    more_files, more_bytes = store.purge()
    return count + more_files, size + more_bytes
