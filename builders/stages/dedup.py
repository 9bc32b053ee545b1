"""Stage 4: of files with the same bytes, and of near duplicates, one stays; what is related is known to the split.

Prompts do not take part: the same bytes are one video whatever prompts they stand under (the smallest item and its prompt
stay; the report counts `same_bytes_other_prompt`), and one prompt may have many videos. All prompts of the same bytes, or of
a related look, tie their videos together in the split.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from unsafe_video_dataset.errors import InputError

from ..pipeline.stage import COMMON, Context, StageResult
from ..vision.duplicates import Groups, Hashed, Match, Threshold, find_matches, group
from ..vision.sheets import Tile, write_sheets
from .tables import draw_strips, probed

_COLUMNS = ["video_id", "num_frames", "width", "height", "num_bytes", "hash_kind", "hash_version", "hashes", "hash_quality"]
SCHEMA = pa.schema(
    [
        *COMMON,
        pa.field("video_id", pa.string()),
        pa.field("duplicate_group", pa.string()),
        pa.field("related_group", pa.string()),
        pa.field("keeper", pa.string()),
        pa.field("distance", pa.int32()),
    ]
)


@dataclass(frozen=True)
class DedupSettings:
    """Distances are in bits: of 64 for pHash, of 256 for PDQ. docs/dedup.md says what each threshold does."""

    phash_duplicate: int = 8
    phash_related: int = 10
    pdq_duplicate: int = 40
    pdq_related: int = 47
    duplicate_share: float = 0.75  # of the frames of one video that have a look-alike in the other
    related_share: float = 0.4
    min_quality: int = 50  # of a frame's hash, 0 to 100; below it a frame matches nothing
    review: int = 96  # most videos on the sheets
    reveal: bool = False

    def problems(self) -> list[tuple[str, str]]:
        """What makes no sense, for `read_settings`."""
        found = []
        for kind, bits in (("phash", 64), ("pdq", 256)):
            tight, loose = getattr(self, f"{kind}_duplicate"), getattr(self, f"{kind}_related")
            if not 0 <= tight <= loose < bits // 2:
                found.append(
                    (f"{kind}_duplicate", f"{tight} and {kind}_related {loose} are not 0 <= {tight} <= {loose} < {bits // 2}")
                )
        for name in ("duplicate_share", "related_share"):
            if not 0 < getattr(self, name) <= 1:
                found.append((name, f"{getattr(self, name)} is not above 0 and at most 1"))
        if self.related_share > self.duplicate_share:
            found.append(("related_share", f"{self.related_share} is over duplicate_share ({self.duplicate_share})"))
        if not 0 <= self.min_quality <= 100:
            found.append(("min_quality", f"{self.min_quality} is not from 0 to 100"))
        if self.review < 0:
            found.append(("review", f"{self.review} is below 0"))
        return found

    def thresholds(self, kind: str) -> tuple[Threshold, Threshold]:
        """(duplicate, related) for a kind of hash."""
        tight, loose = getattr(self, f"{kind}_duplicate"), getattr(self, f"{kind}_related")
        return Threshold(tight, self.duplicate_share), Threshold(loose, self.related_share)


@dataclass(frozen=True)
class DedupStage:
    """See `vision/duplicates.py` for what matches and who stays."""

    name: str = "dedup"
    version: int = 1
    needs: tuple[str, ...] = ("quality", "probe", "ingest")
    settings: type[Any] = DedupSettings

    def files(self, settings: DedupSettings, base: Path) -> list[Path]:
        """None."""
        return []

    def run(self, context: Context) -> StageResult:
        """A row for each item, kept for keepers; a blurred sheet of the groups. Raises `InputError`, `MissingDependency`."""
        settings: DedupSettings = context.settings
        rows = probed(context, "quality", _COLUMNS).to_pylist()
        kinds = sorted({(row["hash_kind"], row["hash_version"]) for row in rows})
        if len(kinds) > 1:
            names = ", ".join(f"{kind} {version}" for kind, version in kinds)
            raise InputError(
                f"The probe holds hashes of several kinds ({names}), which can't be compared. Set `hash` in [probe], and run"
                " with --from probe."
            )
        kind = kinds[0][0] if kinds else "phash"
        duplicate, related = settings.thresholds(kind)
        items: dict[str, list[str]] = defaultdict(list)
        videos = {}
        for row in rows:
            items[row["video_id"]].append(row["item"])
        for row in rows:
            if row["item"] == min(items[row["video_id"]]):
                videos[row["video_id"]] = _hashed(row)
        matches = find_matches(list(videos.values()), duplicate, related, kind=kind, min_quality=settings.min_quality)
        groups = group(list(videos.values()), matches, duplicate, related)
        table = _table(rows, videos, groups)
        decided = table.to_pylist()
        prompts = _prompts(context)
        mixed = [name for name, same in items.items() if len({prompts.get(item) for item in same} - {None}) > 1]
        sizes = Counter(groups.duplicate.values())
        loose = Counter(groups.related.values())
        sheets, shown = _sheets(context, settings, videos, groups)
        report = {
            "items": len(rows),
            "kept": sum(row["kept"] for row in decided),
            "hash": kind,
            "thresholds": {
                "duplicate": [duplicate.distance, duplicate.share],
                "related": [related.distance, related.share],
                "min_quality": settings.min_quality,
            },
            "exact_duplicates": len(rows) - len(videos),
            "same_bytes_other_prompt": len(mixed),
            "near_duplicates": len(videos) - len(sizes),
            "duplicate_groups": sum(size > 1 for size in sizes.values()),
            "largest_duplicate_group": max(sizes.values(), default=0),
            "related_groups": sum(size > 1 for size in loose.values()),
            "largest_related_group": max(loose.values(), default=0),
            "chained": len(groups.chained),
            "without_usable_hash": sum(not _usable(video, settings.min_quality) for video in videos.values()),
            "just_below": _just_below(matches, duplicate),
            "sheets": {"files": sheets, "shown": shown, "in_groups": sum(size for size in loose.values() if size > 1)},
        }
        return StageResult(table, report)


def _hashed(row: dict[str, Any]) -> Hashed:
    return Hashed(
        video_id=row["video_id"],
        item=row["item"],
        pixels=row["width"] * row["height"],
        num_frames=row["num_frames"],
        num_bytes=row["num_bytes"],
        hashes=row["hashes"],
        quality=row["hash_quality"],
    )


def _usable(video: Hashed, least: int) -> bool:
    return any(quality >= least for quality in video.quality)


def _just_below(matches: list[Match], duplicate: Threshold) -> int:
    """Pairs that share frames as close as duplicates do, but fewer of them."""
    return sum(0 < match.duplicate_share < duplicate.share for match in matches)


def _table(rows: list[dict[str, Any]], videos: dict[str, Hashed], groups: Groups) -> pa.Table:
    found = []
    for row in rows:
        name = row["video_id"]
        keeper = videos[groups.keeper[name]]
        first, distance = videos[name].item, groups.distance[name]
        reason = None
        if row["item"] != first:
            reason, distance = f"same bytes as {first}", 0 if keeper.video_id == name else distance
        elif keeper.video_id != name:
            reason = f"near duplicate of {keeper.item} (closest frames {distance} bits apart)"
        found.append(
            {
                "item": row["item"],
                "kept": reason is None,
                "reason": reason,
                "video_id": name,
                "duplicate_group": groups.duplicate[name],
                "related_group": groups.related[name],
                "keeper": keeper.item,
                "distance": distance,
            }
        )
    return pa.Table.from_pylist(sorted(found, key=lambda row: row["item"]), schema=SCHEMA)


def _prompts(context: Context) -> dict[str, str | None]:
    table = context.table("ingest").select(["item", "prompt_id"])
    return dict(zip(table["item"].to_pylist(), table["prompt_id"].to_pylist(), strict=True))


def _sheets(context: Context, settings: DedupSettings, videos: dict[str, Hashed], groups: Groups) -> tuple[list[str], int]:
    """Sheets of the related groups of more than one video, largest first, and how many videos they show."""
    members: dict[str, list[str]] = defaultdict(list)
    for name, related in sorted(groups.related.items()):
        members[related].append(name)
    chosen: list[tuple[str, list[str]]] = []
    room = settings.review
    for related, names in sorted(members.items(), key=lambda one: (-len(one[1]), one[0])):
        if len(names) > 1 and room > 0:
            names = sorted(names, key=lambda name: (groups.duplicate[name], groups.keeper[name] != name, name))
            chosen.append((f"{related}: {len(names)} videos" + (f", {room} shown" if room < len(names) else ""), names[:room]))
            room -= len(names[:room])
    pictures = draw_strips(context, [videos[name].item for _, names in chosen for name in names], reveal=settings.reveal)
    sections = [(heading, [_tile(name, videos, groups, pictures) for name in names]) for heading, names in chosen]
    return write_sheets(context.folder, "groups", sections), settings.review - room


def _tile(name: str, videos: dict[str, Hashed], groups: Groups, pictures: dict[str, bytes]) -> Tile:
    video, keeper = videos[name], groups.keeper[name]
    what = "stays" if keeper == name else f"dropped for {keeper}, closest frames {groups.distance[name]} bits apart"
    lines = (f"{groups.duplicate[name]}: {what}", f"{name} {video.pixels} pixels, {video.num_frames} frames")
    return Tile(video.item, lines, pictures.get(video.item))


STAGE = DedupStage()
