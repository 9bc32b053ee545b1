"""All ways to read a release, in a folder or on a Hub: each gives what is right, or a typed error."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


class Run(Protocol):
    """Tries steps; see `session.Run`."""

    def step(self, name: str, do: Callable[[], str | None]) -> bool: ...


@dataclass(frozen=True)
class Source:
    """Where a release is. `name` is what a user writes, `open` gives a `Release`, `check` verifies it."""

    name: Path | str
    open: Callable[[], Any]
    check: Callable[[Any, bool], Any]
    dataset: Callable[[Any], Any]  # what `UnsafeVideoDataset` is given


def in_folder(root: Path) -> Source:
    """A release in a folder."""
    from unsafe_video_dataset import Release

    return Source(
        root, lambda: Release.open(root), lambda release, decode: release.verify(decode=decode), lambda release: release.path
    )


def on_the_hub(repo_id: str) -> Source:
    """A release on the Hub, its videos read over ranges; `check` downloads it."""
    from unsafe_video_dataset import Release
    from unsafe_video_dataset.hub import verify

    return Source(
        repo_id,
        lambda: Release.open(repo_id, config="reviewed", stream=True, progress=False),
        lambda _, decode: verify(repo_id, decode=decode, progress=False),
        lambda release: release,
    )


def read(run: Run, source: Source, good: dict[str, Any], cache: Path, *, same: bool, isolate: bool = False) -> None:
    """Try every way. `good` holds the tables that are right; with `same`, what is read must equal them."""
    import torch

    from unsafe_video_dataset import UnsafeVideoDataset, load_dataset
    from unsafe_video_dataset.records import arrow_schema

    ids = [str(video_id) for video_id in good["train"]["video_id"].to_pylist()]
    opened: list[Any] = []
    if not run.step("open", lambda: opened.append(source.open())):
        return
    release = opened[0]

    def metadata() -> str | None:
        nonlocal ids
        table = release.metadata("train")
        if table.schema != arrow_schema("metadata", split=True):
            return "another schema"
        if same and not table.equals(good["train"]):
            return "another table"
        ids = [str(video_id) for video_id in table["video_id"].to_pylist()]
        return None

    def annotations() -> str | None:
        table = release.annotations()
        return "another table" if same and not table.equals(good["annotations"]) else None

    def all_bytes() -> str | None:
        errors = []
        for video_id in ids:
            try:
                data = release.video_bytes(video_id)
            except Exception as error:
                errors.append(error)
            else:
                if hashlib.sha256(data).hexdigest()[:16] != video_id:
                    return f"wrong bytes for {video_id}"
        if errors:
            raise errors[0]
        return None

    def loaded() -> str | None:
        rows = load_dataset(source.name, "unsafe", split="train", cache_dir=cache)
        return _rows_wrong(rows)

    def streamed() -> str | None:
        return _rows_wrong(load_dataset(source.name, "reviewed", split="train", streaming=True))

    def dataset(isolate: bool) -> str | None:
        items = UnsafeVideoDataset(source.dataset(release), config="reviewed", size=16, isolate=isolate)
        errors = []
        for number in range(len(items)):
            try:
                video = items[number]["video"]
            except Exception as error:
                errors.append(error)
            else:
                if video.shape != (16, 3, 16, 16) or video.dtype != torch.uint8:
                    return f"frames of {tuple(video.shape)}"
        if errors:
            raise errors[0]
        return None

    run.step("metadata", metadata)
    run.step("annotations", annotations)
    run.step("video_bytes", all_bytes)
    run.step("load_dataset", loaded)
    run.step("streaming", streamed)
    run.step("dataset", lambda: dataset(False))
    if isolate:
        run.step("isolated", lambda: dataset(True))
    run.step("verify", lambda: source.check(release, False).raise_for_faults())
    run.step("verify --decode", lambda: source.check(release, True).raise_for_faults())


def _rows_wrong(rows: Any) -> str | None:
    seen: set[str] = set()
    for row in itertools.islice(rows, 200):
        if row["video_id"] in seen:
            return f"{row['video_id']} comes twice"
        seen.add(row["video_id"])
        if hashlib.sha256(bytes(row["video"])).hexdigest()[:16] != row["video_id"]:
            return f"wrong bytes for {row['video_id']}"
    return None if seen else "no rows"
