"""`unsafe-video export`: a selection of a release in another tool's format."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ._console import Line, add_json, epilog, make_table, print_json, show
from ._ending import ended_cleanly
from .cli_open import add_source, open_source
from .release import SAMPLE
from .taxonomy import CATEGORIES, SPLITS

FORMATS = ("fiftyone", "labelstudio", "webdataset", "lance", "csv")
_OPTIONS = (
    "to", "config", "split", "categories", "generators", "prompt_sources", "min_raters", "min_agreement", "prompts",
    "overwrite",
)  # fmt: skip


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
    parser.add_argument("--prompt-sources", nargs="+", metavar="NAME", help="videos whose prompt is from any of these")
    parser.add_argument("--min-raters", type=int, metavar="N")
    parser.add_argument("--min-agreement", type=float, metavar="A", help="0 to 1; leaves out videos with fewer than two votes")
    parser.add_argument("--no-media", action="store_true", help="metadata and votes only")
    parser.add_argument("--prompts", action="store_true", help="the prompts' text too: it may be offensive")
    parser.add_argument("--overwrite", action="store_true", help="replace the export that OUT holds")
    add_source(parser)
    add_json(parser)
    parser.set_defaults(call=_export)


def _export(arguments: argparse.Namespace) -> int:
    from .export import export

    options = {name: getattr(arguments, name) for name in _OPTIONS}
    media, quiet = not arguments.no_media, arguments.json
    config = arguments.config if media and arguments.to != "csv" else "metadata"
    release = open_source(arguments, config=config, split=arguments.split)
    with ended_cleanly():
        report = export(release, arguments.out, media=media, progress=not quiet, **options)
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
