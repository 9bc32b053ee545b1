"""FiftyOne: a folder that `fiftyone.Dataset.from_dir(OUT, dataset_type=fiftyone.types.FiftyOneDataset)` imports.

`metadata.json`, `samples.json`, `media/<video_id>.mp4`. `metadata.json` names no version of FiftyOne: the importer then
reads each sample by itself and infers the fields, so the folder does not depend on the layout of one version's database.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..taxonomy import CATEGORIES
from .selection import Record, Selection, answer, media_name

_FIELDS = (
    "video_id", "split", "is_unsafe", "generator", "prompt_source", "prompt_id", "group_id", "label_method", "num_raters",
    "agreement", "source_index", "sha256",
)  # fmt: skip


def write(selection: Selection, folder: Path) -> None:
    """Write the folder. Without media the samples name the same files, which then are not there."""
    release = selection.release
    info = {"release": release.name, "release_version": release.version, "manifest_sha256": release.manifest_sha256}
    (folder / "metadata.json").write_text(
        json.dumps({"info": info, "default_classes": list(CATEGORIES)}, indent=1) + "\n", encoding="utf-8"
    )
    with (folder / "samples.json").open("w", encoding="utf-8") as file:
        start = '{"samples": ['
        for record in selection.write_media(folder):
            file.write(f"{start}\n{json.dumps(sample(record, prompts=selection.prompts), ensure_ascii=False, sort_keys=True)}")
            start = ","
        file.write("\n]}\n")


def sample(record: Record, *, prompts: bool) -> dict[str, Any]:
    """One sample: labels as `Classifications` (confidence: the share of raters), votes as a list, counts as a dict."""
    shares = record["soft_labels"] or {}
    labels = [
        {"_cls": "Classification", "label": name, "tags": [], **({"confidence": shares[name]} if name in shares else {})}
        for name in record["categories"]
    ]
    found: dict[str, Any] = {
        "filepath": media_name(record),
        "tags": [record["split"], "unsafe" if record["is_unsafe"] else "not_unsafe"],
        "metadata": {
            "_cls": "VideoMetadata",
            "size_bytes": record["num_bytes"],
            "mime_type": "video/mp4",
            "frame_width": record["width"],
            "frame_height": record["height"],
            "frame_rate": record["fps"],
            "total_frame_count": record["num_frames"],
            "duration": record["duration_seconds"],
            "encoding_str": record["codec"],
        },
        "categories": {"_cls": "Classifications", "classifications": labels},
        **{name: record[name] for name in _FIELDS if record[name] is not None},
    }
    if record["votes"] is not None:
        found["vote_counts"] = record["vote_counts"]
        found["votes"] = [{"rater_id": vote["rater_id"], "categories": answer(vote)} for vote in record["votes"]]
    if prompts and record["prompt"] is not None:
        found["prompt"] = record["prompt"]
    return found
