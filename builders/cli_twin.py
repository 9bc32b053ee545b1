"""`unsafe-video-build twin`: harmless raw material of the paper's shape, to try a pipeline on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from unsafe_video_dataset._console import add_json, epilog, make_table, print_json, show, write_text
from unsafe_video_dataset.errors import InputError


def add_twin(commands: Any) -> None:
    """Add the command `twin`."""
    parser = commands.add_parser(
        "twin",
        help="draw harmless raw material of the paper's shape, its truth beside it",
        description=(
            "Draw raw material of the paper's shape: moving shapes from three generators and two prompt sources, broken, "
            "blurred, still and copied videos among them, simulated raters' votes, a recipe, and the truth beside it. "
            "A run that was stopped goes on where it was."
        ),
        **epilog("unsafe-video-build twin RAW --scale paper && unsafe-video-build run RAW/recipe.toml"),
    )
    parser.add_argument("raw", type=Path, metavar="RAW", help="folder of the new raw material")
    parser.add_argument(
        "--scale", default="paper", metavar="paper|N", help="paper (5,607 videos; the default), or how many videos"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other videos and votes with the same counts")
    parser.add_argument("--workers", type=int, default=None, help="processes that draw (default: one a CPU)")
    parser.add_argument("--overwrite", action="store_true", help="replace another twin in RAW")
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="PAGE",
        help="draw nothing: compare the run in RAW with the truth; exit code 1 where it misses a floor or a planned count",
    )
    add_json(parser)
    parser.set_defaults(call=_twin)


def _twin(arguments: argparse.Namespace) -> int:
    if arguments.compare is not None:
        return _compare(arguments)
    from .twin.make import make_twin

    report = make_twin(
        arguments.raw,
        videos=parse_scale(arguments.scale),
        seed=arguments.seed,
        overwrite=arguments.overwrite,
        workers=arguments.workers,
    )
    if arguments.json:
        print_json(report.to_dict())
        return 0
    counts = report.counts
    print(f"{counts['videos']} videos ({report.drawn} drawn now, {report.num_bytes / 1e6:.1f} MB) in {report.out}")
    rows = [("raw videos", counts["videos"])]
    rows += [(f"to drop in {stage}", number) for stage, number in counts["dropped"].items()]
    rows += [("reviewed", counts["reviewed"]), ("unsafe", counts["unsafe"]), *counts["categories"].items()]
    show(make_table(("planned", "videos"), rows))
    print(f"Next: unsafe-video-build run {report.recipe}")
    return 0


def _compare(arguments: argparse.Namespace) -> int:
    from .twin.compare import compare_run
    from .twin.compare_page import page

    if not arguments.compare.absolute().parent.is_dir():
        raise InputError(f"--compare {arguments.compare}: there is no folder {arguments.compare.parent}. Make it first.")
    found = compare_run(arguments.raw)
    write_text(arguments.compare, page(found))
    judged = found["verdict"]
    if arguments.json:
        print_json(found)
        return 0 if judged["ok"] else 1
    for sentence in judged["sentences"]:
        print(sentence)
    if judged["ok"]:
        print("The run has the planned counts, and every stage reaches its floors.")
    unvoted = sum(found["unvoted"].values())
    if unvoted:
        kinds = ", ".join(f"{kind} {number}" for kind, number in found["unvoted"].items())
        print(f"Of what the filters missed, {unvoted} videos left only because nobody voted on them: {kinds}.")
    print(f"{arguments.compare} compares every stage with the truth.")
    return 0 if judged["ok"] else 1


def parse_scale(text: str) -> int:
    """`paper`, or a number of videos as a text. Raises `InputError` for anything else."""
    from .twin.counts import PAPER_SCALE

    if text == "paper":
        return PAPER_SCALE
    if not text.isascii() or not text.isdigit():
        raise InputError(f"--scale {text!r} can't be used. Give paper, or a number of videos.")
    return int(text)
