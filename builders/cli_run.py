"""The command `run` of `unsafe-video-build`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unsafe_video_dataset._console import Table, add_json, epilog, make_table, print_json, show

if TYPE_CHECKING:
    from .pipeline.run import RunReport


def add_run(commands: Any) -> None:
    """Add the command to a parser's `add_subparsers()`."""
    from .pipeline.engine import ENGINES

    parser = commands.add_parser(
        "run",
        help="a recipe: raw videos and votes -> a release, stage by stage",
        description="Run the stages of a recipe. What is done and did not change is skipped; a run that was stopped goes "
        "on. Exit code 1 where the process of a video died each time it was tried: the next run tries those again.",
        **epilog(
            "unsafe-video-build run recipe.toml\n"
            "  unsafe-video-build run recipe.toml --dry-run\n"
            "  unsafe-video-build run recipe.toml --from dedup --engine ray"
        ),
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="the recipe, a TOML file")
    parser.add_argument("--from", dest="start", metavar="STAGE", help="do this stage and all later ones anew")
    parser.add_argument("--only", metavar="STAGE", help="run this stage and no other")
    parser.add_argument("--dry-run", action="store_true", help="say what would run, and why")
    parser.add_argument(
        "--engine", choices=ENGINES, default="process", help="processes on this machine, or Ray (RAY_ADDRESS, else a local one)"
    )
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core)")
    add_json(parser)
    parser.set_defaults(call=_run)


def _run(arguments: argparse.Namespace) -> int:
    from .pipeline.run import run_recipe

    with contextlib.redirect_stdout(sys.stderr):  # Ray tells of lost nodes there, and standard output is for the result
        report = run_recipe(
            arguments.recipe,
            start=arguments.start,
            only=arguments.only,
            dry_run=arguments.dry_run,
            engine=arguments.engine,
            workers=arguments.workers,
            progress=not arguments.json,
        )
    if arguments.json:
        print_json(report.to_dict())
    else:
        show(*_blocks(report, dry_run=arguments.dry_run))
    return 1 if any(one.died for one in report.stages) and not arguments.dry_run else 0


def _blocks(report: RunReport, *, dry_run: bool) -> list[Table | str]:
    header = ("stage", "what", "in", "kept", "dropped", "seconds", "why")
    rows = [
        (one.stage, one.action, *_counts(one.rows, one.kept), f"{one.seconds:.1f}" if one.action == "ran" else "-", one.why)
        for one in report.stages
    ]
    lines = []
    for one in report.stages:
        if one.reused:
            lines.append(f"{one.stage}: {one.worked} worked out, {one.reused} were done before")
        if one.failures:
            lines.append(f"{one.stage}: {one.failures} items made a process die or raised; see their reasons in its table")
        if one.died and not dry_run:
            lines.append(
                f"{one.stage}: the process of {one.died} items died each time, so nothing is known of them. Run again to try "
                "just these (with more memory, or fewer --workers); take a file away that always does it."
            )
    if not dry_run:
        lines.append(
            f"Every video and what became of it: {report.work / 'candidates.parquet'}; counts: {report.work / 'report.md'}"
        )
    return [make_table(header, rows), *(["\n".join(lines)] if lines else [])]


def _counts(rows: int | None, kept: int | None) -> tuple[str, str, str]:
    if rows is None or kept is None:
        return "-", "-", "-"
    return str(rows), str(kept), str(rows - kept)
