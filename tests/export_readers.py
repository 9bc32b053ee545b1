"""What FiftyOne and Label Studio's SDK read of an export: `python export_readers.py READER FOLDER` prints one JSON object.

Both pin other versions of shared packages than this package is tested with, so this file runs in an environment of its own,
with the standard library and one of them, and imports nothing of ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any


def label_studio(folder: Path) -> dict[str, Any]:
    """By the checks of its SDK; a choice that the page doesn't have must be refused by them."""
    from label_studio_sdk.label_interface import LabelInterface

    page = LabelInterface((folder / "labeling_config.xml").read_text(encoding="utf-8"))
    page.validate()
    tasks = json.loads((folder / "tasks.json").read_text(encoding="utf-8"))
    sound = [
        bool(page.validate_task({"data": task["data"]}))
        and all(page.validate_annotation(one) for one in task["annotations"])
        and all(page.validate_prediction(one) for one in task["predictions"])
        for task in tasks
    ]
    wrong = tasks[0]["predictions"][0]
    wrong["result"][0]["value"]["choices"] = ["Nope"]
    return {"tasks": len(tasks), "sound": sum(sound), "wrong is sound": bool(page.validate_prediction(wrong))}


def fiftyone_samples(folder: Path) -> dict[str, Any]:
    """With the importer that `from_dir` uses for a folder without a version; this needs no database."""
    from fiftyone.utils.data import importers

    legacy = importers.FiftyOneDatasetImporter(str(folder))._is_legacy_format_data()
    with importers.LegacyFiftyOneDatasetImporter(str(folder)) as importer:
        samples = list(importer)
    return {
        "legacy": legacy,
        "samples": {
            sample.video_id: {
                "media_type": sample.media_type,
                "sha256": hashlib.sha256(Path(sample.filepath).read_bytes()).hexdigest(),
                "categories": [label.label for label in sample.categories.classifications],
                "vote_counts": dict(sample.vote_counts),
                "width": sample.metadata.frame_width,
            }
            for sample in samples
        },
    }


def fiftyone_import(folder: Path) -> dict[str, Any]:
    """As a user imports it, into its database; says so where there is none."""
    import fiftyone

    try:
        fiftyone.list_datasets()
    except Exception as error:
        return {"no database": str(error)[:200]}
    dataset = fiftyone.Dataset.from_dir(str(folder), dataset_type=fiftyone.types.FiftyOneDataset)
    try:
        return {"videos": len(dataset), "unsafe": dataset.match_tags("unsafe").count()}
    finally:
        dataset.delete()


if __name__ == "__main__":
    os.environ["FIFTYONE_DO_NOT_TRACK"] = "1"
    if sys.argv[1] != "fiftyone_import":  # which needs its database
        os.environ["FIFTYONE_DISABLE_SERVICES"] = "1"
    readers = {"label_studio": label_studio, "fiftyone_samples": fiftyone_samples, "fiftyone_import": fiftyone_import}
    found = readers[sys.argv[1]](Path(sys.argv[2]))
    print("\n" + json.dumps(found))
