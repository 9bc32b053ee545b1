"""`UnsafeVideoBuilder`: a `datasets` builder over a raw upstream folder, used in process.

The raw folder is built into a release first (checked, atomic), which is kept in the cache under a name made from the
content of every file that the build reads and from every setting: another folder, an edited file or another setting can't
find it. The release's own list of inputs is compared with the files too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import datasets

from unsafe_video_dataset.errors import ChecksumError, InputError
from unsafe_video_dataset.hf import ReleaseBuilder
from unsafe_video_dataset.records import SCHEMA_VERSION
from unsafe_video_dataset.release import Release

from .inputs import raw_inputs
from .raw import read_raw_folder
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
        found = read_raw_folder(raw, labels=chosen.labels, prompts=chosen.prompts)
        inputs = raw_inputs(found, chosen)
        root = Path(cache_dir or datasets.config.HF_DATASETS_CACHE) / "unsafe_video_dataset_releases"
        # What is wrong with the folder is part of the name: a file that does not belong there is not read, but it is a fault.
        folder = root / _key(inputs, [str(fault) for fault in found.faults], chosen)
        if not (folder / "manifest.json").is_file():
            try:
                build_upstream(raw, folder, chosen, progress=progress)
            except InputError:
                if not (folder / "manifest.json").is_file():  # else another process has just built the same
                    raise
        release = Release.open(folder)
        if release.manifest["inputs"] != inputs:  # a file was replaced between its hash and its use
            shutil.rmtree(folder, ignore_errors=True)
            raise ChecksumError(f"{raw} changed while the release was built. Build again.")
        super().__init__(release, config_name, cache_dir=cache_dir)


def _key(inputs: list[dict[str, Any]], faults: list[str], settings: UpstreamSettings) -> str:
    """A name for what is read and how: the sha256 of every input's name and sha256, of every setting, and of the code."""
    versions = [metadata.version(name) for name in ("unsafe-video-dataset", "pyarrow")]
    text = json.dumps([inputs, faults, asdict(settings), SCHEMA_VERSION, versions], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
