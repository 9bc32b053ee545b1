"""Verify a release: every file against the manifest, every row against its schema, every video against its sha256."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from .errors import DecodeError, Fault, FaultsError, UnsafeVideoError
from .records import arrow_schema, from_table, validate
from .taxonomy import SPLITS

if TYPE_CHECKING:
    from .release import Release


@dataclass
class VerifyReport:
    """What a check saw. `ok` when nothing is wrong; `faults` lists everything that is."""

    release: str
    files: int = 0
    videos: int = 0
    annotations: int = 0
    decoded: int = 0
    faults: list[Fault] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when no fault was found."""
        return not self.faults

    def raise_for_faults(self) -> None:
        """Raise `FaultsError` with all faults, if there are any."""
        if self.faults:
            raise FaultsError(f"Release {self.release} is not sound", self.faults, fix="Get or build the release anew.")

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {**vars(self), "ok": self.ok, "faults": [fault.to_dict() for fault in self.faults]}


def sha256_file(path: Path) -> str:
    """sha256 of a file, in hex, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def verify(release: Release, *, decode: bool = False) -> VerifyReport:
    """Check a release and report every fault.

    Files: all there, none extra, size and sha256 as in the manifest. Rows: schema, ids unique, MP4 bytes against sha256,
    MP4 structure, the same facts in data and metadata files, no withdrawn video, no group in two splits, counts as in the
    manifest. `decode` also decodes each video and compares its frames (needs the `video` extra).
    """
    report = VerifyReport(release=str(release.path))
    report.faults += _file_faults(release, report)
    if any(fault.message.startswith("missing") for fault in report.faults):
        return report  # the tables can't be read; the list says why
    try:
        report.faults += _row_faults(release, report, decode=decode)
    except (pa.ArrowException, OSError, UnsafeVideoError) as error:
        report.faults.append(Fault("data", f"can't be read: {str(error).splitlines()[0]}"))
    return report


def _file_faults(release: Release, report: VerifyReport) -> list[Fault]:
    faults: list[Fault] = []
    listed = {entry["path"]: entry for entry in release.manifest["files"]}
    for name, entry in sorted(listed.items()):
        path = release.path / name
        if path.is_symlink() or not path.resolve().is_relative_to(release.path.resolve()):
            faults.append(Fault(name, "is a link or leads out of the release", expected="a plain file"))
        elif not path.is_file():
            faults.append(Fault(name, "missing", expected=f"{entry['bytes']} bytes"))
        else:
            report.files += 1
            if path.stat().st_size != entry["bytes"]:
                faults.append(Fault(name, f"{path.stat().st_size} bytes", expected=f"{entry['bytes']} bytes"))
            elif (found := sha256_file(path)) != entry["sha256"]:
                faults.append(Fault(name, f"sha256 {found}", expected=f"sha256 {entry['sha256']}"))
    for path in sorted(release.path.rglob("*")):
        name = path.relative_to(release.path).as_posix()
        if path.is_file() and name not in listed and name != "manifest.json" and not _ignored(name):
            faults.append(Fault(name, "is not in the manifest", expected="no file that the manifest does not list"))
    return faults


def _ignored(name: str) -> bool:
    """Files that Git and the Hub's client put beside a release."""
    return name == ".gitattributes" or name.startswith((".git/", ".cache/"))


def _row_faults(release: Release, report: VerifyReport, *, decode: bool) -> list[Fault]:
    faults: list[Fault] = []
    groups: dict[str, set[str]] = defaultdict(set)
    for split in SPLITS:
        stored = _by_id(release, "metadata", split, faults)
        seen: set[str] = set()
        for file, record, data in _videos(release, split, faults):
            video_id = record["video_id"]
            report.videos += 1
            groups[record["group_id"]].add(split)
            if video_id in seen:
                faults.append(Fault(file, f"video {video_id} stands twice", field="video_id", expected="each id once"))
            seen.add(video_id)
            if stored.get(video_id) != record:
                faults.append(Fault(file, f"video {video_id} differs from data/metadata/{split}.parquet"))
            faults += video_faults(record, data, file=file, decode=decode)
            report.decoded += decode
        for video_id in sorted(stored.keys() - seen):
            faults.append(Fault(f"data/metadata/{split}.parquet", f"video {video_id} is in no data file"))
        for video_id in sorted((stored.keys() | seen) & release.tombstones.keys()):
            faults.append(Fault("tombstones.parquet", f"video {video_id} was withdrawn, but is still there"))
        if "annotations" in release.manifest["configs"]:
            faults += _annotation_faults(release, split, stored, report)
    for group, splits in sorted(groups.items()):
        if len(splits) > 1:
            faults.append(Fault("data", f"group {group} is in {', '.join(sorted(splits))}", expected="one split"))
    return faults + _count_faults(release, report)


def _by_id(release: Release, config: str, split: str, faults: list[Fault]) -> dict[str, dict[str, Any]]:
    records: dict[str, dict[str, Any]] = {}
    for path in release.data_files(config, split):
        name = path.relative_to(release.path.resolve()).as_posix()
        table = pq.read_table(path, page_checksum_verification=True)
        if not _schema_fits(table.schema, "metadata", name, faults):
            continue
        rows = from_table("metadata", table)
        faults += validate("video", [(None, row) for row in rows], file=name)
        records |= {row["video_id"]: row for row in rows}
    return records


def _videos(release: Release, split: str, faults: list[Fault]) -> Iterator[tuple[str, dict[str, Any], bytes]]:
    """Every row of the data files of a split, one row group in memory at a time."""
    for path in release.data_files("reviewed", split):
        name = path.relative_to(release.path.resolve()).as_posix()
        file = pq.ParquetFile(path, page_checksum_verification=True)
        if not _schema_fits(file.schema_arrow, "video", name, faults):
            continue
        for group in range(file.num_row_groups):
            rows = file.read_row_group(group)
            videos = rows["video"].to_pylist()
            for record, video in zip(from_table("metadata", rows.drop(["video"])), videos, strict=True):
                if path.parent.name != ("unsafe" if record["is_unsafe"] else "not_unsafe"):
                    faults.append(Fault(name, f"video {record['video_id']} does not belong here", field="is_unsafe"))
                if video["path"] != f"{record['video_id']}.mp4":
                    faults.append(Fault(name, f"video {record['video_id']} has another file name", field="video.path"))
                yield name, record, video["bytes"]


def _schema_fits(found: pa.Schema, table: Any, name: str, faults: list[Fault]) -> bool:
    expected = arrow_schema(table)
    if found.remove_metadata().equals(expected):
        return True
    for column in expected:
        there = found.field(column.name).type if column.name in found.names else "missing"
        if there != column.type:
            faults.append(Fault(name, f"column is {there}", field=column.name, expected=str(column.type)))
    for extra in [column for column in found.names if column not in expected.names]:
        faults.append(Fault(name, "column is not in the schema", field=extra))
    if not any(fault.file == name for fault in faults):
        faults.append(Fault(name, "columns stand in another order", expected=", ".join(expected.names)))
    return False


def video_faults(record: dict[str, Any], data: bytes | None, *, file: str, decode: bool = False) -> list[Fault]:
    """Faults of one video: its bytes against the recorded size, sha256 and id, its MP4 header against the recorded facts."""
    from .mp4 import inspect_mp4

    video_id = record["video_id"]
    if data is None:
        return [Fault(file, f"video {video_id} has no bytes", field="video.bytes")]
    found = hashlib.sha256(data).hexdigest()
    if found != record["sha256"] or not found.startswith(video_id):
        return [Fault(file, f"video {video_id} has sha256 {found}", field="sha256", expected=record["sha256"])]
    try:
        if decode:
            from .video import probe_video

            info = probe_video(data, name=video_id)
        else:
            info = inspect_mp4(data, name=video_id)
    except DecodeError as error:
        return [Fault(file, str(error), field="video.bytes", expected="an MP4 that decodes")]
    facts = ("num_frames", "fps", "width", "height", "codec", "num_bytes")
    return [
        Fault(file, f"video {video_id} says {record[fact]}", field=fact, expected=str(getattr(info, fact)))
        for fact in facts
        if record[fact] != getattr(info, fact)
    ]


def _annotation_faults(release: Release, split: str, videos: dict[str, Any], report: VerifyReport) -> list[Fault]:
    faults: list[Fault] = []
    voted: dict[str, int] = defaultdict(int)
    for path in release.data_files("annotations", split):
        name = path.relative_to(release.path.resolve()).as_posix()
        table = pq.read_table(path, page_checksum_verification=True)
        if not _schema_fits(table.schema, "annotation", name, faults):
            continue
        rows = from_table("annotation", table)
        report.annotations += len(rows)
        faults += validate("annotation", [(None, row) for row in rows], file=name)
        for row in rows:
            voted[row["video_id"]] += 1
    for video_id in sorted(voted.keys() | videos.keys()):
        expected = videos[video_id]["num_raters"] if video_id in videos else 0
        if voted[video_id] != expected:
            message = f"video {video_id} has {voted[video_id]} annotations"
            faults.append(Fault(f"data/annotations/{split}.parquet", message, expected=f"num_raters, {expected}"))
    return faults


def _count_faults(release: Release, report: VerifyReport) -> list[Fault]:
    counts = release.manifest["counts"]
    found = {"videos": report.videos}
    if "annotations" in release.manifest["configs"]:
        found["votes"] = report.annotations
    return [
        Fault("manifest.json", f"counts {counts[key]}", field=f"counts.{key}", expected=str(value))
        for key, value in found.items()
        if counts[key] != value
    ]
