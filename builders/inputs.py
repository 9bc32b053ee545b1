"""What an upstream build reads, file by file, as the manifest lists it: the one place that says which files these are."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unsafe_video_dataset.integrity import sha256_file

from .raw import RawFolder
from .settings import UpstreamSettings

Entry = dict[str, Any]


def raw_inputs(raw: RawFolder, settings: UpstreamSettings) -> list[Entry]:
    """Every file that a build of this folder reads, hashed as it is on disk now; in the order of the manifest."""
    videos = [_entry(path, f"{index}.mp4") for index, path in raw.videos.items()]
    return in_order(table_inputs(raw, settings) + videos)


def table_inputs(raw: RawFolder, settings: UpstreamSettings) -> list[Entry]:
    """The text files: labels, prompts, annotations."""
    files = [file for file in (raw.labels_file, raw.prompts_file, settings.annotations) if file is not None and file.is_file()]
    return [_entry(file, file.name) for file in files]


def video_input(index: int, num_bytes: int, sha256: str) -> Entry:
    """The entry of a video whose bytes have been read already."""
    return {"path": f"{index}.mp4", "bytes": num_bytes, "sha256": sha256}


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """As the manifest lists them."""
    return sorted(entries, key=lambda entry: (entry["path"], entry["sha256"]))


def _entry(file: Path, name: str) -> Entry:
    return {"path": name, "bytes": file.stat().st_size, "sha256": sha256_file(file)}
