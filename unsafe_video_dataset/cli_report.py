"""`unsafe-video report`: a static page about a release."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._console import add_json, epilog, load_module, print_json
from ._ending import ended_cleanly
from .cli_open import add_source, open_source
from .errors import InputError
from .release import SAMPLE, is_repo_id

_WARNING = (
    "--reveal writes CLEAR frames and prompts of unsafe videos into the page. They can disturb; who opens the page sees them.\n"
    "Keep the page to yourself, and delete it when you are done."
)


def add_commands(commands: Any) -> None:
    """Add `report`."""
    parser = commands.add_parser(
        "report",
        help="a page about a release: counts, votes, blurred frames, scores",
        description="Write a static page about a release: charts and a browser of its videos. It opens from disk. "
        "Frames are small, grey and blurred, and prompts are left out, unless --reveal.",
        **epilog("unsafe-video report sample --out report --predictions a.jsonl b.jsonl"),
    )
    parser.add_argument(
        "release", nargs="?", default=SAMPLE, metavar="RELEASE", help="'sample' (default), a folder or org/repo"
    )
    parser.add_argument("--out", type=Path, default=Path("out/report"), help="a new folder (default out/report)")
    parser.add_argument(
        "--predictions", type=Path, nargs="+", default=[], metavar="FILE", help="predictions files: scores beside votes"
    )
    parser.add_argument("--no-thumbnails", action="store_true", help="no pictures at all: nothing is decoded")
    parser.add_argument("--reveal", action="store_true", help="clear frames and prompts: you will see the content; asks first")
    parser.add_argument("--yes", action="store_true", help="answer the question of --reveal with yes (for scripts)")
    parser.add_argument("--overwrite", action="store_true", help="replace the report that OUT holds")
    add_source(parser)
    add_json(parser)
    parser.set_defaults(call=_report)


def _report(arguments: argparse.Namespace) -> int:
    report = load_module("report")
    refuse_releases(arguments.predictions)
    if arguments.reveal:
        ask_to_reveal(yes=arguments.yes)
    thumbnails = not arguments.no_thumbnails
    release = open_source(arguments, config="all" if thumbnails else "annotations")  # votes are shown too
    with ended_cleanly():
        page = report.write_report(
            release,
            arguments.out,
            predictions=arguments.predictions,
            thumbnails=thumbnails,
            reveal=arguments.reveal,
            overwrite=arguments.overwrite,
            progress=not arguments.json,
        )
    if arguments.json:
        print_json({"page": str(page), "revealed": arguments.reveal})
    else:
        print(f"Wrote {page}. Open it in a browser.")
    return 0


def refuse_releases(files: Sequence[Path]) -> None:
    """Raise `InputError` where `--predictions`, which takes all words that follow, has taken the release for a file."""
    for path in files:
        named = path.name != path.stem or path.is_file()  # `a.jsonl`, and anything that is there as a file
        if path.is_dir() or (not named and (str(path) == SAMPLE or is_repo_id(path))):
            raise InputError(
                f"--predictions takes the words that follow it, so {path} was taken for a file of predictions. Give RELEASE "
                f"first: unsafe-video report {path} --predictions …"
            )


def ask_to_reveal(*, yes: bool) -> None:
    """Ask once on the terminal. Raises `InputError` unless the answer is yes; without a terminal `yes` is needed."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("--reveal asks before it shows clear frames and prompts, and nobody can answer here. Add --yes.")
    print(_WARNING, file=sys.stderr)
    print("Type yes to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() != "yes":
        raise InputError("Nothing was written: the answer was not 'yes'. Without --reveal the page is blurred.")
