"""`UnsafeVideoBuilder`: a `datasets` builder over a raw upstream folder, used in process.

The raw folder is built into a release first (checked, atomic), which is kept in the cache under a name made from every
input's content and every setting: another folder, an edited file or another setting can't find it.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

import datasets

from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.hf import ReleaseBuilder
from unsafe_video_dataset.integrity import sha256_file
from unsafe_video_dataset.release import Release

from .upstream import UpstreamSettings, build_upstream


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
        raw, chosen = Path(raw_dir), UpstreamSettings(**settings)  # type: ignore[arg-type]
        if not raw.is_dir():
            raise InputError(f"There is no folder {raw}. Give the folder that holds the `<index>.mp4` files.")
        root = Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "unsafe_video_dataset_releases"
        folder = root / _key(raw, chosen)
        if not (folder / "manifest.json").is_file():
            build_upstream(raw, folder, chosen, progress=progress)
        super().__init__(Release.open(folder), config_name, cache_dir=cache_dir)


def _key(raw: Path, settings: UpstreamSettings) -> str:
    """A name for (contents of the folder, settings): the sha256 of every file's path and sha256, and of the settings."""
    named = [file for file in (settings.labels, settings.prompts, settings.annotations) if file is not None]
    inside = sorted(path for path in raw.rglob("*") if path.is_file())
    files = [(path.relative_to(raw).as_posix(), sha256_file(path)) for path in inside]
    files += [(str(path), sha256_file(path)) for path in named if path.is_file()]
    text = json.dumps([files, asdict(settings)], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
