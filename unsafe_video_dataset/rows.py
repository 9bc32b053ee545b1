"""The rows of a release, checked against their schema, each other, their MP4 bytes, their votes and the manifest's counts."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .errors import DecodeError, Fault, IntegrityError
from .extras import extra_faults
from .filters import NOT_STATED
from .footer import read_footer
from .mp4 import inspect_mp4
from .parquet import read_file, read_group, reading
from .records import Record, arrow_schema, from_table, validate
from .taxonomy import CATEGORIES, SPLITS
from .votes import in_order, label_votes

if TYPE_CHECKING:
    from .integrity import VerifyReport
    from .release import Release

_FACTS = ("num_frames", "fps", "width", "height", "duration_seconds", "codec", "num_bytes")
_SHARES = ("vote_counts", "num_raters", "soft_labels", "agreement")
_LABEL = ("categories", *_SHARES)


@dataclass
class _Seen:
    """What has been read so far, over all splits: the data-file row of each id, and every annotation."""

    records: dict[str, Record] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    raters: list[str] = field(default_factory=list)


def row_faults(release: Release, report: VerifyReport, unreadable: set[str], *, decode: bool) -> list[Fault]:
    """Every fault of every row. Files in `unreadable` are known to be bad and are left out."""
    faults: list[Fault] = []
    seen = _Seen()
    for split in SPLITS:
        metadata, complete = _stored(release, "metadata", split, unreadable, faults)
        by_id = {row["video_id"]: row for row in metadata}
        here: set[str] = set()
        for file in _files(release, ("unsafe", "not_unsafe"), split):
            if file in unreadable:
                complete = False
                continue
            try:
                for record, data in _videos(release, file, faults):
                    here.add(record["video_id"])
                    report.videos += 1
                    faults += _video_row_faults(record, data, file, split, by_id, seen, decode=decode)
                    report.decoded += decode
            except IntegrityError as error:
                faults.append(_unreadable(file, error))
                complete = False
        if complete:
            name = f"data/metadata/{split}.parquet"
            faults += [Fault(name, f"video {video_id} is in no data file") for video_id in sorted(by_id.keys() - here)]
        if "annotations" in release.manifest["configs"]:
            faults += _annotation_faults(release, split, by_id, seen, report, unreadable)
    faults += _label_faults(release, seen)
    faults += _tombstone_faults(release, seen, unreadable)
    faults += _group_faults(seen)
    if not unreadable:  # what follows compares with all rows
        faults += extra_faults(release, seen.records)
        faults += _count_faults(release, seen, report)
    return faults


def _files(release: Release, folders: tuple[str, ...], split: str) -> list[str]:
    names = sorted(entry["path"] for entry in release.manifest["files"])
    return [
        name for name in names for folder in folders if name.startswith((f"data/{folder}/{split}-", f"data/{folder}/{split}."))
    ]


def _unreadable(name: str, error: Exception) -> Fault:
    return Fault(name, f"can't be read: {error.__cause__ or error}".splitlines()[0])


def _stored(release: Release, config: str, split: str, unreadable: set[str], faults: list[Fault]) -> tuple[list[Record], bool]:
    """Checked rows of the `metadata` or `annotations` files of a split, and whether all of them could be read."""
    records: list[Record] = []
    table: Any = "metadata" if config == "metadata" else "annotation"
    names = _files(release, (config,), split)
    complete = bool(names)
    if not names:
        faults.append(Fault("manifest.json", f"lists no data/{config}/{split}.parquet", field="files", expected="one"))
    for name in names:
        try:
            if name in unreadable:
                raise IntegrityError("listed already")
            stored = read_file(release.path / name)
        except IntegrityError as error:
            complete = False
            faults += [] if name in unreadable else [_unreadable(name, error)]
            continue
        if not _schema_fits(stored.schema, table, name, faults):
            complete = False
            continue
        rows = from_table(table, stored)
        kind: Any = "video" if table == "metadata" else "annotation"
        invalid = validate(kind, list(enumerate(rows, start=1)), file=name)
        faults += invalid
        bad = {fault.line for fault in invalid}  # what follows relies on the schema
        rows = [row for number, row in enumerate(rows, start=1) if number not in bad]
        records += rows
        keys = [(row["video_id"], row.get("rater_id")) for row in rows]
        for key, number in Counter(keys).items():
            if number > 1:
                what = " of rater ".join(str(part) for part in key if part is not None)
                faults.append(Fault(name, f"{what} stands {number} times", field="video_id", expected="once"))
    return records, complete


def _videos(release: Release, name: str, faults: list[Fault]) -> Iterator[tuple[Record, bytes | None]]:
    """Every row of a data file, one row group in memory at a time."""
    path = release.path / name
    with reading(path):
        footer = read_footer(path)
        schema = footer.arrow.schema.to_arrow_schema()
    if not _schema_fits(schema, "video", name, faults):
        return
    before = ""
    for group in range(len(footer.row_groups)):
        rows = read_group(path, footer, group)
        records = from_table("metadata", rows.drop(["video"]))
        for record, video in zip(records, rows["video"].to_pylist(), strict=True):
            video_id = record["video_id"]
            if video_id is None:
                faults.append(Fault(name, "a row has no video_id", field="video_id", expected="an id"))
                continue
            if path.parent.name != ("unsafe" if record["is_unsafe"] else "not_unsafe"):
                faults.append(Fault(name, f"video {video_id} does not belong here", field="is_unsafe"))
            if video is None or video["path"] != f"{video_id}.mp4":
                faults.append(Fault(name, f"video {video_id} has another file name", field="video.path"))
            if video_id < before:
                faults.append(Fault(name, f"video {video_id} stands after {before}", expected="rows sorted by video_id"))
            before = video_id
            yield record, video["bytes"] if video else None


def _video_row_faults(
    record: Record, data: bytes | None, file: str, split: str, metadata: dict[str, Record], seen: _Seen, *, decode: bool
) -> list[Fault]:
    faults: list[Fault] = []
    video_id = record["video_id"]
    stored = metadata.get(video_id)
    if stored != record and (invalid := validate("video", [(None, record)], file=file)):
        return invalid  # what follows relies on the schema
    if video_id in seen.records:
        message = f"video {video_id} stands twice, first in {seen.places[video_id]}"
        faults.append(Fault(file, message, field="video_id", expected="each id once"))
    seen.records[video_id], seen.places[video_id], seen.splits[video_id] = record, file, split
    if stored is None:
        faults.append(Fault(file, f"video {video_id} is not in data/metadata/{split}.parquet"))
    elif stored != record:
        fields = ", ".join(name for name in record if record[name] != stored[name])
        faults.append(Fault(file, f"video {video_id} differs from data/metadata/{split}.parquet", field=fields))
    return faults + video_faults(record, data, file=file, decode=decode)


def _schema_fits(found: pa.Schema, table: Any, name: str, faults: list[Fault]) -> bool:
    expected = arrow_schema(table)
    if found.remove_metadata().equals(expected):
        return True
    before = len(faults)
    for column in expected:
        there = found.field(column.name).type if column.name in found.names else "missing"
        if there != column.type:
            faults.append(Fault(name, f"column is {there}", field=column.name, expected=str(column.type)))
    for extra in [column for column in found.names if column not in expected.names]:
        faults.append(Fault(name, "column is not in the schema", field=extra))
    if len(faults) == before:
        faults.append(Fault(name, "columns stand in another order", expected=", ".join(expected.names)))
    return False


def video_faults(record: Record, data: bytes | None, *, file: str, decode: bool = False) -> list[Fault]:
    """Faults of one video: its bytes against the recorded size, sha256 and id, its MP4 header against the recorded facts."""
    video_id = record["video_id"]
    if data is None:
        return [Fault(file, f"video {video_id} has no bytes", field="video.bytes")]
    found = hashlib.sha256(data).hexdigest()
    if found != record["sha256"] or not found.startswith(video_id):
        return [Fault(file, f"video {video_id} has sha256 {found}", field="sha256", expected=record["sha256"])]
    try:
        if decode:
            from .video import probe_video

            info = probe_video(data, name=video_id, isolate=True)
        else:
            info = inspect_mp4(data, name=video_id)
    except DecodeError as error:
        return [Fault(file, str(error), field="video.bytes", expected="an MP4 that decodes")]
    return [
        Fault(file, f"video {video_id} says {record[fact]}", field=fact, expected=str(getattr(info, fact)))
        for fact in _FACTS
        if record[fact] != getattr(info, fact)
    ]


def _annotation_faults(
    release: Release, split: str, videos: dict[str, Record], seen: _Seen, report: VerifyReport, unreadable: set[str]
) -> list[Fault]:
    faults: list[Fault] = []
    voted: dict[str, dict[str, list[str]]] = defaultdict(dict)
    rows, complete = _stored(release, "annotations", split, unreadable, faults)
    report.annotations += len(rows)
    for row in rows:
        voted[row["video_id"]][row["rater_id"]] = in_order(row["categories"] or [])
        seen.raters.append(row["rater_id"])
    for video_id in sorted(voted.keys() | videos.keys()) if complete and videos else ():
        votes = {vote["rater_id"]: vote["categories"] for vote in (videos.get(video_id, {}).get("votes") or ())}
        if voted.get(video_id, {}) != votes:
            message = f"the annotations of video {video_id} are not its votes"
            faults.append(Fault(f"data/annotations/{split}.parquet", message, expected=f"those of {len(votes)} raters"))
    return faults


def _label_faults(release: Release, seen: _Seen) -> list[Fault]:
    """Labels by majority must follow from the votes, and what is counted whatever the method."""
    tie = release.manifest["settings"].get("tie", "negative")
    faults = []
    for video_id, record in sorted(seen.records.items()):
        method = record["label_method"]
        if method == "upstream" or tie not in ("negative", "positive"):
            continue
        try:
            label = vars(label_votes(record["votes"] or [], tie=tie))
        except IntegrityError as error:
            faults.append(Fault(seen.places[video_id], f"video {video_id}: {error}".replace("\n", " "), field="votes"))
            continue
        for name in _LABEL if method == "majority" else _SHARES:
            if record[name] != label[name]:
                message = f"video {video_id} says {record[name]}"
                faults.append(Fault(seen.places[video_id], message, field=name, expected=f"{label[name]}, by its votes"))
    return faults


def _tombstone_faults(release: Release, seen: _Seen, unreadable: set[str]) -> list[Fault]:
    if "tombstones.parquet" in unreadable:
        return []
    try:
        withdrawn = seen.records.keys() & release.tombstones.keys()
    except IntegrityError as error:
        return [_unreadable("tombstones.parquet", error)]
    return [Fault("tombstones.parquet", f"video {id_} was withdrawn, but is still there") for id_ in sorted(withdrawn)]


def _group_faults(seen: _Seen) -> list[Fault]:
    """Leaks: a group, or a prompt, that is in more than one split."""
    faults = []
    for what, key in (("group", "group_id"), ("prompt", "prompt_id")):
        splits: dict[str, set[str]] = defaultdict(set)
        for video_id, record in seen.records.items():
            if record[key] is not None:
                splits[record[key]].add(seen.splits[video_id])
        faults += [
            Fault("data", f"{what} {name} is in {', '.join(sorted(found))}", expected="one split")
            for name, found in sorted(splits.items())
            if len(found) > 1
        ]
    return faults


def _count_faults(release: Release, seen: _Seen, report: VerifyReport) -> list[Fault]:
    """The manifest's counts against the rows; `ties` and `votes_left_out` can't be told from them."""
    records = list(seen.records.values())
    unsafe = sum(record["is_unsafe"] for record in records)
    found: dict[str, Any] = {
        "videos": report.videos,
        "unsafe": unsafe,
        "not_unsafe": len(records) - unsafe,
        "prompts": len({record["prompt_id"] for record in records} - {None}),
        "groups": len({record["group_id"] for record in records}),
        "raters": len(set(seen.raters)),
        "votes": report.annotations,
        "categories": {name: sum(name in record["categories"] for record in records) for name in CATEGORIES},
        "generators": dict(Counter(record["generator"] for record in records)),
        "prompt_sources": dict(Counter(record["prompt_source"] or NOT_STATED for record in records)),
        "splits": {split: {"unsafe": 0, "not_unsafe": 0} for split in SPLITS},
    }
    for video_id, record in seen.records.items():
        found["splits"][seen.splits[video_id]]["unsafe" if record["is_unsafe"] else "not_unsafe"] += 1
    counts = release.manifest["counts"]
    return [
        Fault("manifest.json", f"counts {counts[key]}", field=f"counts.{key}", expected=str(value))
        for key, value in found.items()
        if counts[key] != value
    ]
