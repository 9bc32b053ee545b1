"""The text files and truth tables of a twin, as bytes by path relative to its folder."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from unsafe_video_dataset.taxonomy import CATEGORIES

from .plan import GENERATORS, SOURCES, Item, Plan
from .raters import Rater
from .scene import NUM_FRAMES
from .spoil import Task, scene_of
from .votes import Vote

KEY_FILE = "raters.key"
SIDECAR = "generation.csv"
CODERS = ("coder-a", "coder-b")
_DECIDED = {
    "soft": ("keep", "soft, but clear enough"),
    "slow": ("keep", "slow, but it moves"),
    "dim": ("keep", "dim, but clear"),
    "blurred_slightly": ("drop", "too blurred"),
}
_CODERS_DIFFER = 0.08  # share of videos for which the second coder sees another theme


def text_files(plan: Plan, votes: Sequence[Vote], *, name: str) -> dict[str, bytes]:
    """What the pipeline reads beside the videos: recipe, sidecars, votes, key, decisions, themes."""
    found: dict[str, bytes] = {"recipe.toml": _recipe(plan, name).encode()}
    for source in sources(plan):
        rows = [_sidecar_row(one) for one in plan.items if one.source == source]
        found[f"raw/{source}/{SIDECAR}"] = to_csv(rows)
    found["votes.csv"] = to_csv([_vote_row(vote) for vote in votes])
    found[KEY_FILE] = hashlib.sha256(f"twin {plan.seed}".encode()).hexdigest().encode() + b"\n"
    found["decisions.csv"] = to_csv(
        [
            {"item": one.item, "decision": _DECIDED[one.kind][0], "reviewer": "reviewer-a", "reason": _DECIDED[one.kind][1]}
            for one in plan.items
            if one.kind in _DECIDED
        ]
    )
    found["themes.csv"] = to_csv(_themes(plan))
    return found


def sources(plan: Plan) -> list[str]:
    """The source folders that hold an item; six, `<generator>-<prompt source>`, but for very small twins."""
    return sorted({one.source for one in plan.items})


def _recipe(plan: Plan, name: str) -> str:
    parts = [
        f"# Harmless raw material: {plan.counts.videos} videos of moving shapes, seed {plan.seed}.",
        "# Made by `unsafe-video-build twin`.",
        "[release]",
        f'name = "{name}"',
        'version = "1.0"',
        'out = "release"',
        'work = "work"',
        'prompts = "keep"',
        'license = "apache-2.0"',
        "harmless = true",
    ]
    for generator in GENERATORS:
        for source in SOURCES:
            folder = f"{generator}-{source}"
            if folder not in sources(plan):
                continue
            parts += [
                "",
                "[[source]]",
                f'name = "{folder}"',
                f'folder = "raw/{folder}"',
                'layout = "folder"',
                f'generator = "{generator}"',
                f'prompt_source = "{source}"',
                f'sidecar = "{SIDECAR}"',
            ]
    parts += [
        "",
        "[probe]",
        'hash = "phash"  # the same wherever it runs; PDQ depends on what is installed',
        "",
        "[quality]",
        f"max_frames = {2 * NUM_FRAMES}",
        'decisions = "decisions.csv"',
        "",
        "[cluster]",
        'themes = "themes.csv"',
        "",
        "[votes]",
        'files = ["votes.csv"]',
        'format = "long"',
        f'key_file = "{KEY_FILE}"',
        "min_agreement = 0.3",
        "",
        "[split]",
        "fractions = [0.7, 0.1, 0.2]",
        "seed = 0",
        "folds = 5",
    ]
    return "\n".join(parts) + "\n"


def _sidecar_row(one: Item) -> dict[str, Any]:
    return {
        "file": one.item.partition("/")[2],
        "prompt": one.prompt_text,
        "source_index": one.prompt,
        **{key: one.generation[key] for key in ("num_inference_steps", "guidance_scale", "seed", "scheduler")},
    }


def _vote_row(vote: Vote) -> dict[str, Any]:
    return {
        "item": vote.item,
        "rater_id": vote.rater,
        "categories": ";".join(vote.categories),
        "seconds": vote.seconds,
        "attention_check": "pass" if vote.attention_check else "fail",
    }


def theme_of(one: Item) -> str:
    """The theme that a video shows: how many categories, or that it is off topic."""
    if one.kind == "off_topic":
        return "off topic"
    return {0: "calm shapes", 1: "one motif"}.get(len(one.truth), "several motifs")


def _themes(plan: Plan) -> list[dict[str, Any]]:
    """Two coders code each video by itself: cluster numbers are not known before a run. They agree on what to drop."""
    rng = np.random.default_rng([plan.seed, 5])
    others = ["calm shapes", "one motif", "several motifs"]
    rows = []
    for one in plan.items:
        if not one.original:
            continue
        theme = theme_of(one)
        seen = [theme, theme]
        if theme in others and rng.random() < _CODERS_DIFFER:
            seen[1] = [other for other in others if other != theme][int(rng.integers(2))]
        action = "drop" if one.kind == "off_topic" else "keep"
        rows += [{"item": one.item, "theme": seen[i], "coder": coder, "action": action} for i, coder in enumerate(CODERS)]
    return rows


def to_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """UTF-8 CSV with the first row's keys as header and LF line ends; empty for no rows."""
    if not rows:
        return b""
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


# -- truth


def task_of(plan: Plan, number: int) -> Task:
    """The drawing of the item at place `number` of the plan."""
    one = plan.items[number]
    return Task(plan.seed, number, one.scene, tuple(one.truth), one.kind)


def truth_files(
    plan: Plan,
    raters: Sequence[Rater],
    votes: Sequence[Vote],
    drawn: Mapping[str, tuple[str, int]],
) -> dict[str, bytes]:
    """`truth/…`: items, raters and votes as Parquet, targets as JSON. `drawn` gives an item's sha256 and bytes."""
    items = [
        {
            "item": one.item,
            "sha256": drawn[one.item][0],
            "num_bytes": drawn[one.item][1],
            "kind": one.kind,
            "stage": one.stage,
            "copy_of": one.copy_of,
            "truth": one.truth,
            "label": one.label,
            "theme": theme_of(one) if one.original else None,
            "scene": json.dumps(scene_of(task_of(plan, number)).to_dict(), separators=(",", ":")),
        }
        for number, one in enumerate(plan.items)
    ]
    people = [
        {
            "rater": rater.name,
            "kind": rater.kind,
            "honest": rater.honest,
            "sensitivity": dict(zip(CATEGORIES, rater.sensitivity, strict=True)),
            "specificity": dict(zip(CATEGORIES, rater.specificity, strict=True)),
        }
        for rater in raters
    ]
    rows = [{"item": vote.item, "rater": vote.rater, "planted": vote.planted} for vote in votes]
    targets = json.dumps({"seed": plan.seed, **plan.counts.to_dict(), "votes": len(votes)}, indent=1) + "\n"
    return {
        "truth/items.parquet": _parquet(items, _ITEMS),
        "truth/raters.parquet": _parquet(people, _RATERS),
        "truth/votes.parquet": _parquet(rows, _VOTES),
        "truth/targets.json": targets.encode(),
    }


_TEXT = pa.string()
_SKILLS = pa.struct([(name, pa.float64()) for name in CATEGORIES])
_ITEMS = pa.schema(
    [
        ("item", _TEXT),
        ("sha256", _TEXT),
        ("num_bytes", pa.int64()),
        ("kind", _TEXT),
        ("stage", _TEXT),
        ("copy_of", _TEXT),
        ("truth", pa.list_(_TEXT)),
        ("label", pa.list_(_TEXT)),
        ("theme", _TEXT),
        ("scene", _TEXT),
    ]
)
_RATERS = pa.schema(
    [("rater", _TEXT), ("kind", _TEXT), ("honest", pa.bool_()), ("sensitivity", _SKILLS), ("specificity", _SKILLS)]
)
_VOTES = pa.schema([("item", _TEXT), ("rater", _TEXT), ("planted", _TEXT)])


def _parquet(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema).combine_chunks(), sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())
