"""`unsafe-video export`: a selection of a release in another tool's format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ._console import Line, add_json, epilog, make_table, print_json, show
from .cli_hub import ask_terms, refuse_token
from .errors import InputError
from .release import SAMPLE, Release, is_repo_id
from .taxonomy import CATEGORIES, SPLITS

FORMATS = ("fiftyone", "labelstudio", "webdataset", "lance", "csv")


def add_export(commands: Any) -> None:
    """Add the command to a parser's `add_subparsers()`."""
    parser = commands.add_parser(
        "export",
        help="a selection of a release for FiftyOne, Label Studio, WebDataset, Lance, or as CSV",
        description="Write a selection of a release to a new folder in another tool's format. With media this is a further "
        "copy of gated data, in clear: `purge` removes it with the download that it came from. CSV never holds media.",
        **epilog(
            "unsafe-video export sample out/shards --to webdataset --split train\n"
            "  unsafe-video export org/repo OUT --to labelstudio --categories terrifying"
        ),
    )
    parser.add_argument("release", metavar="RELEASE", help="'sample', a release folder, or org/repo on the Hub")
    parser.add_argument("out", type=Path, metavar="OUT", help="a new folder")
    parser.add_argument("--to", choices=FORMATS, required=True, help="the format")
    parser.add_argument("--config", choices=("unsafe", "reviewed"), default="unsafe", help="default: unsafe")
    parser.add_argument("--split", choices=SPLITS, help="default: all")
    parser.add_argument("--categories", nargs="+", choices=CATEGORIES, metavar="NAME", help="videos with any of these")
    parser.add_argument("--generators", nargs="+", metavar="NAME", help="videos of any of these")
    parser.add_argument("--min-raters", type=int, metavar="N")
    parser.add_argument("--min-agreement", type=float, metavar="A", help="0 to 1; leaves out videos with fewer than two votes")
    parser.add_argument("--no-media", action="store_true", help="metadata and votes only")
    parser.add_argument("--prompts", action="store_true", help="the prompts' text too: it may be offensive")
    parser.add_argument("--overwrite", action="store_true", help="replace the export that OUT holds")
    parser.add_argument("--revision", help="branch, tag or commit of a repository (default: main)")
    parser.add_argument("--cache-dir", type=Path)
    parser.add_argument("--accept-terms", action="store_true")
    add_json(parser)
    refuse_token(parser)
    parser.set_defaults(call=_export)


def _export(arguments: argparse.Namespace) -> int:
    from .export import export

    names = ("to", "config", "split", "categories", "generators", "min_raters", "min_agreement", "prompts", "overwrite")
    options = {name: getattr(arguments, name) for name in names}
    media, quiet = not arguments.no_media, arguments.json
    report = export(_open(arguments, media=media), arguments.out, media=media, progress=not quiet, **options)
    if quiet:
        print_json(report.to_dict())
        return 0
    from .hub.store import size_text

    rows = [("videos", report.videos), ("votes", report.votes), ("files", report.files), ("size", size_text(report.bytes))]
    rows.append(("media", size_text(report.media_bytes) if report.media else "left out"))
    rows.append(("prompts", "in it" if report.prompts else "left out"))
    held = " and ".join(word for word, there in (("videos in clear", report.media), ("prompts", report.prompts)) if there)
    gated = f"It holds {held}. Treat it as the release itself: don't share it, and remove it when you are done." if held else ""
    show(
        make_table((f"{report.release} {report.release_version} as {report.format}", ""), rows),
        f"Written to {report.out}",
        *([Line(gated, "bad")] if gated and arguments.release != SAMPLE else []),
        f"Next: {report.next_step}",
    )
    return 0


def _open(arguments: argparse.Namespace, *, media: bool) -> Release:
    if not is_repo_id(arguments.release):
        if arguments.revision:
            raise InputError("--revision is for repositories; a folder has only what is in it.")
        return Release.open(arguments.release)
    config = arguments.config if media and arguments.to != "csv" else "metadata"
    where = {"revision": arguments.revision, "cache_dir": arguments.cache_dir, "split": arguments.split, "config": config}
    return ask_terms(
        lambda accepted: Release.open(arguments.release, accept_terms=accepted, progress=not arguments.json, **where),
        accepted=arguments.accept_terms,
        quiet=arguments.json,
    )
