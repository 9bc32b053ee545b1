"""`UnsafeVideoBuilder`: a `datasets` builder over a raw upstream folder, used in process.

The raw folder is built into a release first (checked, atomic), which is kept in the cache under a name made from every
input's content and every setting: another folder, an edited file or another setting can't find it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import datasets

from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.hf import ReleaseBuilder
from unsafe_video_dataset.integrity import sha256_file
from unsafe_video_dataset.records import SCHEMA_VERSION
from unsafe_video_dataset.release import Release

from .settings import UpstreamSettings
from .upstream import build_upstream

_FILES = ("labels", "prompts", "annotations")


class UnsafeVideoBuilder(ReleaseBuilder):
    """`UnsafeVideoBuilder(raw_dir, categories="1=…,…", generator="…").download_and_prepare()`, then `.as_dataset()`.

    `settings` are the fields of `UpstreamSettings`. Raises what `build_upstream` raises; nothing is cached then.
    """

    def __init__(
        self,
        raw_dir: str | os.PathLike[str],
        config_name: str = "unsafe",
        *,
        cache_dir: str | os.PathLike[str] | None = None,
        progress: bool = True,
        **settings: object,
    ) -> None:
        files = {key: Path(str(value)) for key, value in settings.items() if key in _FILES and value is not None}
        raw, chosen = Path(raw_dir), UpstreamSettings(**{**settings, **files})  # type: ignore[arg-type]
        if not raw.is_dir():
            raise InputError(f"There is no folder {raw}. Give the folder that holds the `<index>.mp4` files.")
        root = Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "unsafe_video_dataset_releases"
        folder = root / _key(raw, chosen)
        if not (folder / "manifest.json").is_file():
            try:
                build_upstream(raw, folder, chosen, progress=progress)
            except InputError:
                if not (folder / "manifest.json").is_file():  # else another process has just built the same
                    raise
        super().__init__(Release.open(folder), config_name, cache_dir=cache_dir)


def _key(raw: Path, settings: UpstreamSettings) -> str:
    """A name for (contents of the folder, settings, code): the sha256 of every input's path and sha256, and of the rest."""
    named = [file for file in (getattr(settings, key) for key in _FILES) if file is not None]
    inside = sorted(path for path in raw.rglob("*") if path.suffix.lower() in (".mp4", ".csv", ".txt") and path.is_file())
    files = [(path.relative_to(raw).as_posix(), sha256_file(path)) for path in inside]
    files += [(str(path), sha256_file(path)) for path in named if path.is_file()]
    versions = [metadata.version(name) for name in ("unsafe-video-dataset", "pyarrow")]
    text = json.dumps([files, asdict(settings), SCHEMA_VERSION, versions], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
