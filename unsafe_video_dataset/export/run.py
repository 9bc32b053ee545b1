"""`export`: choose, check, write, remember."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import one_of
from ..hub.copies import remember_copy
from ..release import SAMPLE, Release, locate
from .formats import FORMATS
from .place import appearing, need_room, refuse_existing, refuse_git, write_list
from .report import ExportReport
from .selection import Selection

To = Literal["csv", "webdataset", "lance", "labelstudio", "fiftyone"]
ExportConfig = Literal["unsafe", "reviewed"]
_ROW_BYTES = 2_000  # metadata a video, generously


def export(
    release: str | os.PathLike[str] | Release,
    out: str | os.PathLike[str],
    *,
    to: To,
    config: ExportConfig = "unsafe",
    split: str | None = None,
    categories: Sequence[str] | None = None,
    generators: Sequence[str] | None = None,
    prompt_sources: Sequence[str] | None = None,
    min_raters: int | None = None,
    min_agreement: float | None = None,
    media: bool = True,
    prompts: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> ExportReport:
    """Write a selection of a release to the new folder `out` in another tool's format; withdrawn videos are left out.

    `config` and the filters choose as in `Release.metadata`. With `media` the MP4 files go along, in clear: a **further copy
    of gated data**. It is private to the user, `purge` removes it with the download that it came from, and it may not lie in
    a git work tree that doesn't ignore it (the sample may). `prompts` adds the prompts' text. `export.json` in the folder
    lists its files. The folder appears whole or not at all; `overwrite` replaces an export, nothing else.

    Raises `FilterError` for an unknown name and an empty selection, `InputError` where `out` can't be used,
    `MissingDependency`, `StorageError` without room, `IntegrityError` for wrong bytes.
    """
    chosen = FORMATS[one_of(to, tuple(FORMATS), "to")]
    one_of(config, ("unsafe", "reviewed"), "config")
    place = Path(out)
    chosen.check()
    refuse_existing(place, overwrite=overwrite)
    opened = release if isinstance(release, Release) else Release.open(release, config=config, split=split)
    media = media and chosen.media
    if (media or prompts) and opened.path.resolve() != locate(SAMPLE).resolve():
        refuse_git(place)
    filters: dict[str, Any] = {
        "categories": categories,
        "generators": generators,
        "prompt_sources": prompt_sources,
        "min_raters": min_raters,
        "min_agreement": min_agreement,
    }
    rows = opened.metadata(split, is_unsafe=True if config == "unsafe" else None, **filters)
    rows = rows if prompts else rows.drop_columns(["prompt"])
    selection = Selection(opened, rows, media, prompts, progress, f"{opened.name} to {to}")
    need_room(place, len(selection) * _ROW_BYTES + (selection.num_bytes if media else 0))
    remember_copy(opened.path, place, kind="exports")  # before the first byte: a killed export is found too
    facts = {
        "format": to,
        "release": opened.name,
        "release_version": opened.version,
        "manifest_sha256": opened.manifest_sha256,
        "config": config,
        "split": split,
        "filters": {name: value for name, value in filters.items() if value is not None},
        "videos": len(selection),
        "votes": sum(rows["num_raters"].to_pylist()),
        "media": media,
        "media_bytes": selection.num_bytes if media else 0,
        "prompts": prompts,
    }
    with appearing(place, overwrite=overwrite) as folder:
        chosen.write(selection, folder)
        write_list(folder, facts)
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    step = chosen.next_step.format(out=place.absolute(), split=rows["split"][0].as_py())
    return ExportReport(**facts, files=len(sizes), bytes=sum(sizes), out=str(place), next_step=step)
