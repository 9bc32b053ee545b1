"""`unsafe-video-build tombstone`: a new release without some videos: without their bytes, prompts, labels and votes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard

from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.parquet import read_file
from unsafe_video_dataset.records import Record, from_table
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES

from .assemble import Assembled
from .extras import read_extras
from .folder import refuse_existing
from .write import ReleaseInfo, is_harmless, write_release

_VERSION = re.compile(r"\d+\.\d+(\.\d+)?")


def tombstone(
    release: Release,
    out: Path,
    video_ids: Sequence[str],
    *,
    reason: str,
    release_version: str,
    day: date,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Write the release again without `video_ids`, with a tombstone for each; returns the new manifest.

    A tombstone holds the id, `reason` (general: no content, no name of who asked) and the day. The old release is checked
    first and not changed. Raises `FaultsError` for an old release that is not sound, `InputError` for an id that is not in
    it, no reason, a version that is not higher, or an `out` that may not be replaced.
    """
    refuse_existing(out, overwrite=overwrite)
    if out.resolve().is_relative_to(release.path.resolve()) or release.path.resolve().is_relative_to(out.resolve()):
        raise InputError(f"{out} holds, or lies in, the release that it is made from. Give another folder.")
    _check(release, video_ids, reason, release_version)
    release.verify().raise_for_faults()
    gone = set(video_ids)
    kept = [record for record in from_table("metadata", release.metadata()) if record["video_id"] not in gone]
    kept.sort(key=lambda record: str(record["video_id"]))
    assembled = Assembled(
        videos=[(record, partial(release.video_bytes, record["video_id"])) for record in kept],
        annotations=_annotations(release, gone),
        left_out=[entry for entry in release.manifest["left_out"] if entry["video_id"] not in gone],
        votes_left_out=dict(release.manifest["counts"]["votes_left_out"]),
        ties=_ties(kept),
    )
    info = ReleaseInfo(
        name=release.name,
        builder=release.manifest["builder"],
        release_version=release_version,
        license=DatasetCard.load(release.path / "README.md").data.get("license"),
        harmless=is_harmless(release.manifest),
        settings={**release.manifest["settings"], "withdrawn_from": release.manifest_sha256},
        inputs=[entry for entry in release.manifest["inputs"] if entry["sha256"][:16] not in gone],
        created_by=release.manifest["created_by"],
        tombstones=_tombstones(release, gone, reason, day),
        extras=read_extras(release, without=gone),
        datasheet=(release.path / "DATASHEET.md").read_text(encoding="utf-8"),
    )
    return write_release(out, assembled, info, overwrite=overwrite, progress=progress)


def related(release: Release, video_ids: Sequence[str]) -> list[str]:
    """The other videos of the same groups: the same prompt or look, so they may show what the withdrawn ones show."""
    table = release.metadata(columns=["video_id", "group_id"])
    group_of = dict(zip(table["video_id"].to_pylist(), table["group_id"].to_pylist(), strict=True))
    groups = {group_of[video_id] for video_id in video_ids if video_id in group_of}
    return sorted(video_id for video_id, group in group_of.items() if group in groups and video_id not in set(video_ids))


def _check(release: Release, video_ids: Sequence[str], reason: str, release_version: str) -> None:
    problems = []
    known = set(release.metadata(columns=["video_id"])["video_id"].to_pylist())
    for video_id in dict.fromkeys(video_ids):
        if video_id in release.tombstones:
            problems.append(f"{video_id} is withdrawn already ({release.tombstones[video_id]}).")
        elif video_id not in known:
            problems.append(f"{video_id!r} is no video of {release.name} {release.version}.")
    if not video_ids:
        problems.append("Give one video_id at least.")
    if not reason.strip():
        problems.append("Give a reason that holds no content and no name of who asked, such as 'withdrawn on request'.")
    if not _VERSION.fullmatch(release_version) or _numbers(release_version) <= _numbers(release.version):
        major, minor, _ = _numbers(release.version)
        problems.append(f"Version {release_version!r} must be higher than {release.version}, such as {major}.{minor + 1}.")
    if problems:
        raise InputError(" ".join(problems))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, f"{version}.0".split(".")[:3]))


def _annotations(release: Release, gone: set[str]) -> list[Record]:
    if "annotations" not in release.manifest["configs"]:
        return []
    rows = [row for row in from_table("annotation", release.annotations()) if row["video_id"] not in gone]
    return sorted(rows, key=lambda row: (str(row["video_id"]), str(row["rater_id"])))


def _tombstones(release: Release, gone: set[str], reason: str, day: date) -> list[dict[str, str]]:
    old = read_file(release.path / "tombstones.parquet").to_pylist()
    new = [{"video_id": video_id, "reason": reason.strip(), "date": day.isoformat()} for video_id in gone]
    return sorted([*old, *new], key=lambda row: str(row["video_id"]))


def _ties(records: Sequence[Record]) -> int:
    """Categories that exactly half of a video's raters chose."""
    voted = [record for record in records if record["votes"]]
    return sum(2 * record["vote_counts"][name] == record["num_raters"] for record in voted for name in CATEGORIES)
