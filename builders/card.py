"""The dataset card (README.md with the YAML that the Hub and `datasets` read) and the datasheet of a release."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
from huggingface_hub import DatasetCardData

from unsafe_video_dataset.records import features
from unsafe_video_dataset.taxonomy import CATEGORY_TITLES, SPLITS

CONTENT_WARNING = (
    "This release holds generated videos that people judged unsafe: distorted, terrifying, pornographic, violent or "
    "political. It is for research on safety. Do not show it to people who did not agree to see it, and do not use it to "
    "make such content."
)
HARMLESS = (
    "This is a harmless sample: every video shows plain moving shapes, drawn by a seeded script. The category, generator and "
    "prompt source names are stand-ins, so that code written on the sample runs on the real data; no model made these "
    "videos and no person voted on them (the votes are simulated)."
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
    """Write `README.md` and `DATASHEET.md` of a release whose data files stand in `folder`."""
    (folder / "README.md").write_text(_card(folder, manifest, info_license, harmless), encoding="utf-8")
    (folder / "DATASHEET.md").write_text(_datasheet(manifest, info_license, harmless), encoding="utf-8")


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

{_tables(counts)}

A video is known by its `video_id`, the first 16 hex digits of its MP4's sha256. A `group_id` (shared prompt or bytes) never
crosses a split. How each field is meant stands in the JSON Schemas of the Python package `unsafe-video-dataset`
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


def _tables(counts: Mapping[str, Any]) -> str:
    parts = [
        _table(("category", "videos"), ((CATEGORY_TITLES[name], n) for name, n in counts["categories"].items())),
        _table(("generator", "videos"), counts["generators"].items()),
        _table(("prompt source", "videos"), counts["prompt_sources"].items()),
        _table(
            ("split", "unsafe", "not unsafe"),
            ((name, n["unsafe"], n["not_unsafe"]) for name, n in counts["splits"].items()),
        ),
    ]
    return "\n\n".join(parts)


def _table(header: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    head = list(header)
    lines: list[Iterable[object]] = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _datasheet(manifest: Mapping[str, Any], info_license: str | None, harmless: bool) -> str:
    counts = manifest["counts"]
    what = "moving shapes drawn by a seeded script" if harmless else "videos that text-to-video models generated"
    who = "Simulated raters; nobody was asked." if harmless else "See the paper, arXiv 2407.12581."
    left_out = f"{len(manifest['left_out'])} raw videos (listed in `manifest.json` with reasons)"
    votes = ", ".join(f"{n} ({reason})" for reason, n in counts["votes_left_out"].items()) or "none"
    return f"""# Datasheet of {manifest["name"]} {manifest["release_version"]}

Sections as in Gebru et al., "Datasheets for Datasets" (2021). Figures are generated from this release.

## Motivation
Research on filters, detectors and defences against unsafe generated video. The upstream data is that of "Towards
Understanding Unsafe Video Generation" (arXiv 2407.12581, NDSS 2025). {HARMLESS if harmless else ""}

## Composition
{counts["videos"]} videos ({what}), {counts["unsafe"]} labelled unsafe, {counts["not_unsafe"]} not; {counts["prompts"]} distinct
prompts, {counts["groups"]} groups; {counts["votes"]} votes of {counts["raters"]} raters.

{_tables(counts)}

## Collection process
Made by `unsafe-video-build {manifest["builder"]}` from the inputs that `manifest.json` lists with their sha256. {who}

## Preprocessing, cleaning, labelling
Settings: see `settings` in `manifest.json`. Left out: {left_out}. Votes left out: {votes}. Categories that exactly half of a
video's raters chose: {counts["ties"]}. Where upstream gives no votes, `votes` is null and `label_method` is `upstream`.

## Uses
Training and testing of safety filters, detectors and defences. Not for making such content, and not for judging people.

## Distribution
Licence: {info_license or "not stated"}. Access terms are those of whoever hands out this copy.

## Maintenance
Withdrawn videos stand in `tombstones.parquet`. Ask the owner of this release to withdraw a video by its `video_id`.
"""
