"""The datasheet of a release: sections of text, and figures from the release's own tables between two markers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.taxonomy import CATEGORY_TITLES

from .extras import CANDIDATES

MARKERS = ("<!-- figures: written by the builder -->", "<!-- end of figures -->")
HARMLESS = (
    "This is a harmless sample: every video shows plain moving shapes, drawn by a seeded script. The category, generator and "
    "prompt source names are stand-ins, so that code written on the sample runs on the real data; no model made these "
    "videos and no person voted on them (the votes are simulated)."
)


_UPSTREAM = """The upstream data is that of "Towards
Understanding Unsafe Video Generation" (arXiv 2407.12581, NDSS 2025)."""


def write_datasheet(folder: Path, manifest: Mapping[str, Any], *, info_license: str | None, template: str | None) -> None:
    """Write `DATASHEET.md`: the owner's own text, or ours, with the figures of this release between the markers.

    Raises `InputError` for a text that has not each marker once, the first before the second.
    """
    harmless = manifest["settings"].get("harmless") is True
    text = _datasheet(manifest, info_license, harmless) if template is None else template
    places = [text.find(marker) for marker in MARKERS]
    if not -1 < places[0] < places[1] or any(text.count(marker) != 1 for marker in MARKERS):
        wanted = f"{MARKERS[0]!r} and, after it, {MARKERS[1]!r}, each once"
        raise InputError(f"The datasheet must hold {wanted}: the figures go between them.")
    figures = f"{MARKERS[0]}\n{_figures(folder, manifest)}\n"
    (folder / "DATASHEET.md").write_text(text[: places[0]] + figures + text[places[1] :], encoding="utf-8")


def _figures(folder: Path, manifest: Mapping[str, Any]) -> str:
    counts = manifest["counts"]
    votes = ", ".join(f"{n} ({reason})" for reason, n in counts["votes_left_out"].items()) or "none"
    return f"""{counts["videos"]} videos, {counts["unsafe"]} labelled unsafe, {counts["not_unsafe"]} not; {counts["prompts"]}
distinct prompts, {counts["groups"]} groups; {counts["votes"]} votes of {counts["raters"]} raters.

{count_tables(counts)}

Left out: {_left_out(folder, manifest)}. Votes left out: {votes}. Categories that exactly half of a
video's raters chose: {counts["ties"]}."""


def _datasheet(manifest: Mapping[str, Any], info_license: str | None, harmless: bool) -> str:
    what = "Moving shapes drawn by a seeded script." if harmless else "Videos that text-to-video models generated."
    own = manifest["builder"] == "run"  # a recipe of the user's own raw material: the paper is not about it
    paper = "Who rated the videos, and how they were asked, the owner says." if own else "See the paper, arXiv 2407.12581."
    who = "Simulated raters; nobody was asked." if harmless else paper
    upstream = "" if own else f" {_UPSTREAM}"
    return f"""# Datasheet of {manifest["name"]} {manifest["release_version"]}

Sections as in Gebru et al., "Datasheets for Datasets" (2021). Figures are generated from this release.

## Motivation
Research on filters, detectors and defences against unsafe generated video.{upstream} {HARMLESS if harmless else ""}

## Composition
{what}

{MARKERS[0]}
{MARKERS[1]}

## Collection process
Made by `unsafe-video-build {manifest["builder"]}` from the inputs that `manifest.json` lists with their sha256. {who}

## Preprocessing, cleaning, labelling
Settings: see `settings` in `manifest.json`. Where upstream gives no votes, `votes` is null and `label_method` is `upstream`.

## Uses
Training and testing of safety filters, detectors and defences. Not for making such content, and not for judging people.

## Distribution
Licence: {info_license or "not stated"}. Access terms are those of whoever hands out this copy.

## Maintenance
Withdrawn videos stand in `tombstones.parquet`. Ask the owner of this release to withdraw a video by its `video_id`.
"""


def count_tables(counts: Mapping[str, Any]) -> str:
    """Videos by category, generator, prompt source and split, as Markdown."""
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


def _left_out(folder: Path, manifest: Mapping[str, Any]) -> str:
    """How many raw videos are not in the release, and where each stands with its reason."""
    path = folder / CANDIDATES
    if not path.is_file():
        return f"{len(manifest['left_out'])} raw videos (listed in `manifest.json` with reasons)"
    stages = Counter(pq.read_table(path, columns=["stage"])["stage"].to_pylist())
    stages.pop(None, None)
    by_stage = ", ".join(f"{n} by {stage}" for stage, n in stages.items())
    return f"{sum(stages.values())} raw videos (listed in `{CANDIDATES}` with reasons){f': {by_stage}' if by_stage else ''}"
