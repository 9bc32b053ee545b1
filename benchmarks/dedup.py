"""Recall and false merges of the search of near duplicates, on real encoded videos of moving shapes.

`python benchmarks/dedup.py [--videos 5607] [--clips FOLDER]` makes the videos, measures them, and writes the tables into
docs/dedup.md between markers. With `--clips` (a folder of real MP4s) it adds what the thresholds say of those.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from unsafe_video_dataset.builders.stages.dedup import DedupSettings
from unsafe_video_dataset.builders.vision.duplicates import Hashed, Threshold, find_matches, group
from unsafe_video_dataset.builders.vision.measure import HASHED_FRAMES, spread
from unsafe_video_dataset.builders.vision.phash import HASH_KINDS, hash_frames
from unsafe_video_dataset.builders.vision.synthetic import COPIES, encode, make_copy, scene
from unsafe_video_dataset.video import decode_frames

PAGE = Path(__file__).resolve().parent.parent / "docs" / "dedup.md"
DISTANCES = {"phash": (4, 6, 8, 10, 12), "pdq": (16, 24, 31, 40, 47)}
COPIES_OF_EACH = 90
Prints = dict[str, tuple[list[bytes], list[int]]]


def prints(frames: Any) -> Prints:
    """Hashes and their quality by kind, as `measure` makes them."""
    some = frames[spread(len(frames), HASHED_FRAMES)]
    return {kind: hash_frames(some, kind) for kind in HASH_KINDS}  # type: ignore[arg-type]


def make(job: tuple[int, str]) -> Prints:
    """Encode and decode original `job[0]`, or its copy `job[1]`; its hashes."""
    number, how = job
    frames = decode_frames(encode(scene(number)))
    return prints(decode_frames(make_copy(frames, how)) if how else frames)


def jobs(videos: int) -> list[tuple[int, str]]:
    """Originals, and one copy of one original for each job with a text: `COPIES_OF_EACH` a kind, fewer for small sets."""
    each = min(COPIES_OF_EACH, videos // (4 * len(COPIES)))
    copies = [(number * len(COPIES) + place, how) for place, how in enumerate(COPIES) for number in range(each)]
    return [(number, "") for number in range(videos - len(copies))] + copies


def measure_dedup(videos: int = 5607, *, workers: int = 2, progress: bool = True) -> list[dict[str, Any]]:
    """One row a kind of hash and distance: recall of copies (all, and the worst kind) and originals merged by mistake.

    The share of matching frames and the looser threshold are the defaults of the stage. A copy is found where it shares its
    original's duplicate group; an original is lost where it shares its group with another one.
    """
    todo = jobs(videos)
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        found = list(tqdm(pool.imap(make, todo, chunksize=16), total=len(todo), desc="videos", disable=not progress))
    names = [f"{number:05d}{'-' + how if how else ''}" for number, how in todo]
    rows = []
    for kind in HASH_KINDS:
        for distance in DISTANCES[kind]:
            duplicate, related = _thresholds(kind, distance)
            films = [_hashed(name, one, kind) for name, one in zip(names, found, strict=True)]
            settings = DedupSettings()
            matches = find_matches(films, duplicate, related, kind=kind, min_quality=settings.min_quality)
            groups = group(films, matches, duplicate, related)
            hits = {
                how: [groups.duplicate[f"{n:05d}"] == groups.duplicate[f"{n:05d}-{h}"] for n, h in todo if h == how]
                for how in COPIES
            }
            members: dict[str, set[str]] = {}
            for name, number in groups.duplicate.items():
                members.setdefault(number, set()).add(name[:5])
            worst = min(COPIES, key=lambda how: (np.mean(hits[how]), how))
            rows.append(
                {
                    "hash": kind,
                    "distance": distance,
                    "copies": sum(map(len, hits.values())),
                    "found": sum(map(sum, hits.values())),
                    "worst": f"{worst} ({sum(hits[worst])} of {len(hits[worst])})",
                    "originals": sum(not how for _, how in todo),
                    "lost": sum(len(one) - 1 for one in members.values()),
                    "default": distance == settings.thresholds(kind)[0].distance,
                }
            )
    return rows


def _thresholds(kind: str, distance: int) -> tuple[Threshold, Threshold]:
    duplicate, related = DedupSettings().thresholds(kind)
    return Threshold(distance, duplicate.share), Threshold(max(distance, related.distance), related.share)


def _hashed(name: str, found: Prints, kind: str) -> Hashed:
    hashes, quality = found[kind]
    return Hashed(name, name, 0, len(hashes), 0 if "-" in name else 1, hashes, quality)


def measure_clips(clips: Mapping[str, Any], copies: Sequence[str] = tuple(COPIES)) -> list[dict[str, Any]]:
    """What each kind of hash says of decoded clips (name -> uint8 [T, 3, H, W]).

    A row a kind of hash: the distance of the closest frames of two different clips, and which they are; the largest share of
    frames that two clips have in common at the default thresholds; and of each clip's altered copies, how many are
    duplicates of it.
    """
    mine = {name: prints(frames) for name, frames in clips.items()}
    theirs = {
        (name, how): prints(decode_frames(make_copy(frames, how)))
        for name, frames in tqdm(sorted(clips.items()), desc="copies")
        for how in copies
    }
    rows = []
    for kind in HASH_KINDS:
        duplicate, related = DedupSettings().thresholds(kind)
        nearest = min((_closest(mine[a][kind][0], mine[b][kind][0]), a, b) for a, b in itertools.combinations(sorted(clips), 2))
        films = [_hashed(name, one, kind) for name, one in mine.items()]
        least = DedupSettings().min_quality
        among = find_matches(films, duplicate, related, kind=kind, min_quality=least)
        found = 0
        for (name, how), one in theirs.items():
            pair = [_hashed(name, mine[name], kind), _hashed(f"{name}-{how}", one, kind)]
            matches = find_matches(pair, duplicate, related, kind=kind, min_quality=least)
            found += any(match.duplicate_share >= duplicate.share for match in matches)
        rows.append(
            {
                "hash": kind,
                "clips": len(clips),
                "closest": nearest[0],
                "pair": f"{nearest[1]} and {nearest[2]}",
                "duplicate_share": max((match.duplicate_share for match in among), default=0.0),
                "related_share": max((match.related_share for match in among), default=0.0),
                "copies": len(theirs),
                "found": found,
            }
        )
    return rows


def _closest(left: Sequence[bytes], right: Sequence[bytes]) -> int:
    a, b = (np.unpackbits(np.frombuffer(b"".join(one), np.uint8).reshape(len(one), -1), axis=1) for one in (left, right))
    return int((a[:, None] != b[None]).sum(axis=2).min())


def fill(page: str, name: str, table: str) -> str:
    """The page with the text between `<!-- name -->` and `<!-- /name -->` replaced."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, rest = page.split(start)
    return before + start + table + end + rest.split(end, 1)[1]


def generated_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """`measure_dedup` as Markdown."""
    lines = ["| hash | frames match within | copies found | worst kind of copy | originals lost |", "|---|---:|---:|---|---:|"]
    for row in rows:
        bits = f"**{row['distance']} bits** (default)" if row["default"] else f"{row['distance']} bits"
        share = f"{row['found']} of {row['copies']} ({row['found'] / row['copies']:.1%})"
        lines.append(f"| {row['hash']} | {bits} | {share} | {row['worst']} | {row['lost']} of {row['originals']} |")
    return "\n".join(lines) + "\n"


def clips_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """`measure_clips` as Markdown."""
    lines = [
        "| hash | closest frames of two different clips | most in common, duplicate | related | altered copies found |",
        "|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row['hash']} | {row['closest']} bits (clips {row['pair']}) | {row['duplicate_share']:.0%} |"
        f" {row['related_share']:.0%} | {row['found']} of {row['copies']} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=5607)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clips", type=Path)
    given = parser.parse_args()
    tables = {}
    if given.clips:
        clips = {path.stem: decode_frames(path.read_bytes()) for path in sorted(given.clips.glob("*.mp4"))}
        tables["clips"] = clips_table(measure_clips(clips))
    if given.videos:
        tables["generated"] = generated_table(measure_dedup(given.videos, workers=given.workers))
    page = PAGE.read_text(encoding="utf-8")
    for name, table in tables.items():
        page = fill(page, name, table)
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
