"""The formats by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import csv_tables, fiftyone, label_studio, lance, webdataset
from .selection import Selection


@dataclass(frozen=True)
class Format:
    """`write` puts a selection into an empty folder; `media`: whether the format can hold videos; `check` raises before any
    work if something is not installed; `next_step`: what to do with the folder `{out}`, whose
    first split is `{split}`, one line."""

    write: Callable[[Selection, Path], None]
    media: bool
    next_step: str
    check: Callable[[], object] = lambda: None


FORMATS: dict[str, Format] = {
    "csv": Format(csv_tables.write, False, "pandas.read_csv('{out}/videos.csv')"),
    "webdataset": Format(webdataset.write, True, "webdataset.WebDataset(glob.glob('{out}/{split}-*.tar'), shardshuffle=False)"),
    "lance": Format(lance.write, True, "lance.dataset('{out}/videos.lance')", lance.need_lance),
    "labelstudio": Format(
        label_studio.write,
        True,
        "start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={out}; "
        "make a project with labeling_config.xml and a local storage at {out}/media (don't sync it); import tasks.json",
    ),
    "fiftyone": Format(
        fiftyone.write,
        True,
        "fiftyone.Dataset.from_dir('{out}', dataset_type=fiftyone.types.FiftyOneDataset); FiftyOne keeps datasets in its "
        "database: the MongoDB that it starts by itself, or one that FIFTYONE_DATABASE_URI names",
    ),
}
