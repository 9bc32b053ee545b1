"""The dataset card of a release: README.md with the YAML that the Hub and `datasets` read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
from huggingface_hub import DatasetCardData

from unsafe_video_dataset.records import features
from unsafe_video_dataset.taxonomy import SPLITS

from .datasheet import HARMLESS, count_tables

CONTENT_WARNING = (
    "This release holds generated videos that people judged unsafe: distorted, terrifying, pornographic, violent or "
    "political. It is for research on safety. Do not show it to people who did not agree to see it, and do not use it to "
    "make such content."
)
GATED_PROMPT = CONTENT_WARNING + " By asking for access you agree to use it for research only and not to pass it on."
PATTERNS = {
    "unsafe": ["data/unsafe/{split}-*.parquet"],
    "reviewed": ["data/unsafe/{split}-*.parquet", "data/not_unsafe/{split}-*.parquet"],
    "metadata": ["data/metadata/{split}.parquet"],
    "annotations": ["data/annotations/{split}.parquet"],
}
TABLES: dict[str, Any] = {"unsafe": "video", "reviewed": "video", "metadata": "metadata", "annotations": "annotation"}


def write_card(folder: Path, manifest: Mapping[str, Any], *, info_license: str | None, harmless: bool) -> None:
    """Write the `README.md` of a release whose data files stand in `folder`."""
    (folder / "README.md").write_text(_card(folder, manifest, info_license, harmless), encoding="utf-8")


def _card(folder: Path, manifest: Mapping[str, Any], info_license: str | None, harmless: bool) -> str:
    # `datasets` can't load a split or a config without rows, so the card does not offer any.
    infos = {config: _info(folder, config) for config in manifest["configs"]}
    infos = {config: info for config, info in infos.items() if info.splits}
    gate: dict[str, Any] = {
        "extra_gated_prompt": GATED_PROMPT,
        "extra_gated_fields": {
            "Name and affiliation": "text",
            "Research purpose": "text",
            "I am an adult and want to see this content for research": "checkbox",
            "I will not pass the data on or use it to make harmful content": "checkbox",
        },
    }
    data = DatasetCardData(
        pretty_name=manifest["name"],
        license=info_license,
        task_categories=["video-classification"],
        tags=["text-to-video", "safety"] + ([] if harmless else ["not-for-all-audiences"]),
        configs=[
            {
                "config_name": config,
                **({"default": True} if config == "unsafe" else {}),
                "data_files": [{"split": split, "path": _patterns(config, split)} for split in info.splits],
            }
            for config, info in infos.items()
        ],
        **({} if harmless else gate),
    )
    datasets.info.DatasetInfosDict(infos).to_dataset_card_data(data)
    counts = manifest["counts"]
    return f"""---
{data.to_yaml(line_break=chr(10)).strip()}
---

# {manifest["name"]} {manifest["release_version"]}

{HARMLESS if harmless else CONTENT_WARNING}

```python
from unsafe_video_dataset import load_dataset  # lazy frames, checked bytes, filters

load_dataset("path/to/this/folder", "unsafe")

import datasets  # the same rows, MP4 bytes as they are

datasets.load_dataset("path/to/this/folder", "unsafe")
```

{counts["videos"]} reviewed videos, {counts["unsafe"]} of them unsafe; {counts["votes"]} votes of {counts["raters"]} raters.

| config | rows |
|---|---|
| `unsafe` (default) | the unsafe videos |
| `reviewed` | every reviewed video, `is_unsafe` true or false |
| `metadata` | `reviewed` without the MP4 bytes |
{"| `annotations` | one row per rater and video |" if "annotations" in manifest["configs"] else ""}

{count_tables(counts)}

A video is known by its `video_id`, the first 16 hex digits of its MP4's sha256. A `group_id` ({_groups_of(manifest)})
never crosses a split. How each field is meant stands in the JSON Schemas of the Python package `unsafe-video-dataset`
(schema version {manifest["schema_version"]}); what this release was made from stands in `manifest.json` and `DATASHEET.md`.
"""


def _patterns(config: str, split: str) -> str | list[str]:
    found = [pattern.format(split=split) for pattern in PATTERNS[config]]
    return found[0] if len(found) == 1 else found


def _info(folder: Path, config: str) -> datasets.DatasetInfo:
    splits = {}
    for split in SPLITS:
        files = [file for pattern in PATTERNS[config] for file in sorted(folder.glob(pattern.format(split=split)))]
        size = sum(file.stat().st_size for file in files)
        rows = sum(pq.read_metadata(file).num_rows for file in files)
        if rows:
            splits[split] = datasets.SplitInfo(split, num_bytes=size, num_examples=rows)
    total = sum(info.num_bytes for info in splits.values())
    return datasets.DatasetInfo(
        features=features(TABLES[config]), splits=datasets.SplitDict(splits), download_size=total, dataset_size=total
    )


def _groups_of(manifest: Mapping[str, Any]) -> str:
    return "shared prompt, bytes or look" if manifest["builder"] == "run" else "shared prompt or bytes"
