"""Commands of `unsafe-video-build` about releases that are there: check, diff, tombstone."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import Any

from unsafe_video_dataset._console import add_json, epilog, print_json, show
from unsafe_video_dataset.cli_hub import show_verified
from unsafe_video_dataset.errors import InputError


def add_release(commands: Any) -> None:
    """Add the commands to a parser's `add_subparsers()`."""
    _add_check(commands)
    _add_diff(commands)
    _add_tombstone(commands)


def _add_check(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="prove a release: files, schema, checksums, splits, every video decoded",
        description="Check every file and row of a release against its manifest and schema, that no group or prompt is in two "
        "splits or folds, and decode every video.",
        **epilog("unsafe-video-build check OUT"),
    )
    parser.add_argument("release", type=Path, metavar="RELEASE")
    parser.add_argument("--no-decode", action="store_true", help="check MP4 headers only")
    add_json(parser)
    parser.set_defaults(call=_check)


def _check(arguments: argparse.Namespace) -> int:
    from unsafe_video_dataset.release import Release

    report = Release.open(arguments.release).verify(decode=not arguments.no_decode)
    if arguments.json:
        print_json(report.to_dict())
    else:
        show_verified(arguments.release, report)
    return 0 if report.ok else 1


def _add_diff(commands: Any) -> None:
    parser = commands.add_parser(
        "diff",
        help="what changed from one release to the next",
        description="Compare two releases by video_id: added, removed, withdrawn, relabelled, in another split. Exit code 0 if "
        "they hold the same, 1 if not.",
        **epilog("unsafe-video-build diff release-1.0 release-1.1"),
    )
    parser.add_argument("old", metavar="OLD", help="a release folder, org/repo, or 'sample'")
    parser.add_argument("new", metavar="NEW")
    add_json(parser)
    parser.set_defaults(call=_diff)


def _diff(arguments: argparse.Namespace) -> int:
    from unsafe_video_dataset.release import Release

    from .diff import diff

    found = diff(Release.open(arguments.old), Release.open(arguments.new))
    if arguments.json:
        print_json(found.to_dict())
    else:
        show(*found.blocks())
    return 0 if found.same else 1


def _add_tombstone(commands: Any) -> None:
    parser = commands.add_parser(
        "tombstone",
        help="withdraw videos: a new release without their bytes, prompts and votes",
        description="Write a release again without some videos. Their ids stay as tombstones, with a reason and a date; OLD is "
        "not changed. The command also lists the videos of the same groups: look whether they show the same.",
        **epilog(
            "unsafe-video-build tombstone release-1.0 release-1.1 0123456789abcdef --reason 'withdrawn on request' "
            "--release-version 1.1"
        ),
    )
    parser.add_argument("old", type=Path, metavar="OLD")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("video_ids", nargs="+", metavar="VIDEO_ID")
    parser.add_argument("--reason", required=True, help="general; no content, no name of who asked")
    parser.add_argument("--release-version", required=True, help="version of the new release")
    parser.add_argument("--date", help="day of the withdrawal, YYYY-MM-DD (default: today)")
    parser.add_argument("--overwrite", action="store_true", help="replace the release that OUT holds")
    add_json(parser)
    parser.set_defaults(call=_tombstone)


def _tombstone(arguments: argparse.Namespace) -> int:
    from unsafe_video_dataset.release import Release

    from .tombstone import related, tombstone

    try:
        day = date.fromisoformat(arguments.date) if arguments.date else date.today()
    except ValueError:
        raise InputError(f"--date {arguments.date!r} is no day. Give YYYY-MM-DD.") from None
    old = Release.open(arguments.old)
    manifest = tombstone(
        old,
        arguments.out,
        arguments.video_ids,
        reason=arguments.reason,
        release_version=arguments.release_version,
        day=day,
        overwrite=arguments.overwrite,
        progress=not arguments.json,
    )
    near = related(old, arguments.video_ids)
    if arguments.json:
        print_json({"out": str(arguments.out), "counts": manifest["counts"], "same_groups": near})
        return 0
    count, left = len(set(arguments.video_ids)), manifest["counts"]["videos"]
    print(f"Withdrew {count} video{'' if count == 1 else 's'}: {left} {'is' if left == 1 else 'are'} left, in {arguments.out}")
    if near:
        print(f"Of the same groups, and still there: {', '.join(near)}. Look whether they must go too.")
    print(
        "Next: if a recipe makes this release, copy its tombstones.parquet beside the recipe and write into it: [release] "
        'tombstones = "tombstones.parquet". Else the next run brings the videos back.'
    )
    print(f"Then: unsafe-video-build publish {arguments.out} org/repo")
    print("Last: take the old versions out of the repository's history, where the video still is (docs/build.md says how).")
    return 0
