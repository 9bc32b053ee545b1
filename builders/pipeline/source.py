"""`[[source]]` of a recipe: a folder of raw videos of one generator."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from unsafe_video_dataset.errors import Fault, InputError
from unsafe_video_dataset.records import validate

from ..mapping import parse_categories
from .fingerprint import PLACE

Layout = Literal["folder", "upstream"]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True)
class Source:
    """Where raw videos lie and what is known of all of them.

    `folder` is relative to the recipe. Layout "folder": every `*.mp4` below it; `sidecar` is a CSV or JSONL file in it.
    Layout "upstream": `<index>.mp4`, with `prompts` and `labels` (files in the folder; found by themselves if not given),
    `categories` as `1=distorted_weird,…` (without it: by the paper's counts). `generator` may be missing where every
    row of the sidecar has one.
    """

    name: str
    folder: str = field(metadata=PLACE)
    layout: Layout = "folder"
    generator: str | None = None
    prompt_source: str | None = None
    sidecar: str | None = None
    prompts: str | None = None
    labels: str | None = None
    categories: str | None = None
    no_prompts: bool = False

    def problems(self) -> list[tuple[str, str]]:
        """(field, message) of each value that can't be used."""
        found = []
        if not _NAME.fullmatch(self.name):
            found.append(("name", f"{self.name[:80]!r} is not letters, digits, `_`, `.` and `-` (1 to 64)"))
        if not self.folder:
            found.append(("folder", "is empty"))
        record: dict[str, Any] = {"prompt_source": self.prompt_source, "generator": self.generator or "x"}
        for fault in validate("video", [(None, record)], file=""):
            if fault.field in record:
                found.append((fault.field, f"{fault.message}; expected {fault.expected}"))
        if self.layout == "upstream":
            if self.generator is None:
                found.append(("generator", "is missing; the upstream layout does not say which model made the videos"))
            if self.categories is not None:
                try:
                    parse_categories(self.categories)
                except InputError as error:
                    found.append(("categories", str(error)))
        else:
            for name in ("prompts", "labels", "categories"):
                if getattr(self, name) is not None:
                    found.append((name, 'means nothing with layout = "folder"; put prompts into the sidecar'))
        return found

    def path(self, base: Path) -> Path:
        """The folder, for a recipe in `base`."""
        return base / self.folder


@dataclass(frozen=True)
class Sources:
    """All `[[source]]` tables, and the file of tombstones of `[release]`: the settings of the stage that takes them."""

    sources: tuple[Source, ...]
    tombstones: str | None = None


def source_faults(sources: Sequence[Source], *, file: str, base: Path) -> list[Fault]:
    """What is wrong with sources beside one another: a name twice (also in other case), one folder inside another."""
    faults = []
    for name, number in Counter(source.name.lower() for source in sources).items():
        if number > 1:
            faults.append(
                Fault(file, f"{number} sources have the name {name!r}", field="source.name", expected="each name once")
            )
    folders = [(source, source.path(base).resolve()) for source in sources]
    for position, (one, folder) in enumerate(folders):
        for other, outer in folders[:position]:
            if folder.is_relative_to(outer) or outer.is_relative_to(folder):
                message = f"the folders of {other.name!r} and {one.name!r} overlap: their videos would count twice"
                faults.append(Fault(file, message, field="source.folder", expected="folders beside one another"))
    return faults
