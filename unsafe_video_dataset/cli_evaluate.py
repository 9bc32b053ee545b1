"""`unsafe-video evaluate` and `leaderboard`: score predictions files against a release."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ._console import add_json, epilog, load_module, print_json, show_report, usable_folder, write_text
from .cli_open import add_source, open_source
from .errors import InputError
from .release import SAMPLE
from .taxonomy import SPLITS


def add_commands(commands: Any) -> None:
    """Add `evaluate` and `leaderboard`."""
    parser = commands.add_parser(
        "evaluate",
        help="score a predictions file against a release",
        description="Scores a category, macro and micro, with 95%% intervals (bootstrap over groups) and a human ceiling.",
        **epilog("unsafe-video evaluate predictions.jsonl --release path/to/release --split test"),
    )
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS", help="JSON lines or Parquet, one record a video")
    _add_options(parser)
    parser.add_argument("--threshold", type=float, help="fixed threshold of F1, 0 to 1 (default 0.5)")
    parser.add_argument("--validation", type=Path, metavar="FILE", help="predictions for validation: thresholds come from it")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="predictions of a second model, compared in pairs")
    parser.add_argument("--baseline-validation", type=Path, metavar="FILE", help="the second model's, for validation")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write plots as PNG and SVG (needs the extra 'plots')")
    add_json(parser)
    parser.set_defaults(call=_evaluate)

    parser = commands.add_parser(
        "leaderboard",
        help="one table of several predictions files",
        description="Score several predictions files on the same videos and replicates, and rank them.",
        **epilog("unsafe-video leaderboard a.jsonl b.jsonl --release path/to/release --markdown leaderboard.md"),
    )
    parser.add_argument("predictions", type=Path, nargs="+", metavar="PREDICTIONS", help="one file a model")
    _add_options(parser)
    parser.add_argument("--threshold", type=float, help="fixed threshold of F1, 0 to 1 (default 0.5)")
    parser.add_argument(
        "--validation", type=Path, nargs="+", metavar="FILE", help="a file a model, in the same order: thresholds come from it"
    )
    add_json(parser)
    parser.set_defaults(call=_leaderboard)


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--release", default=SAMPLE, help="'sample' (default), a release folder or org/repo")
    parser.add_argument("--config", choices=("unsafe", "reviewed"), help="default: unsafe, or reviewed for --target binary")
    parser.add_argument("--split", choices=SPLITS, default="test")
    parser.add_argument("--target", choices=("multilabel", "binary", "soft"), default="multilabel")
    parser.add_argument("--bootstrap", type=int, default=1000, help="replicates for the intervals")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown too")
    add_source(parser)


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.bootstrap < 0 or arguments.seed < 0:
        raise InputError("--bootstrap and --seed must be at least 0.")
    names = ("split", "target", "bootstrap", "seed", "threshold")
    config = arguments.config or ("reviewed" if arguments.target == "binary" else "unsafe")
    return {"config": config, **{name: getattr(arguments, name) for name in names}}


def _evaluate(arguments: argparse.Namespace) -> int:
    if arguments.plots is not None:
        usable_folder(arguments.plots, "--plots")
    options = _options(arguments)
    release = open_source(arguments, config="metadata")
    options["validation"] = arguments.validation
    pair = {"baseline": arguments.baseline, "baseline_validation": arguments.baseline_validation}
    report = load_module("evaluate").evaluate(arguments.predictions, release, **options, **pair)
    _show(report, arguments)
    if arguments.plots is not None:
        files = load_module("plots").write_plots(arguments.predictions, release, arguments.plots, **options)
        if not arguments.json:
            print(f"Wrote {len(files)} plots to {arguments.plots}: {', '.join(path.name for path in files)}")
    return 0


def _leaderboard(arguments: argparse.Namespace) -> int:
    files, held_out = arguments.predictions, arguments.validation
    if held_out is not None and len(held_out) != len(files):
        raise InputError(f"--validation has {len(held_out)} files for {len(files)} predictions: give one each, in order.")
    names = [path.stem for path in files]
    if len(set(names)) != len(names):
        names = [str(path) for path in files]
    if len(set(names)) != len(names):
        raise InputError("A leaderboard compares models: the same file twice is one. Give each file once.")
    board = load_module("leaderboard").leaderboard(
        dict(zip(names, files, strict=True)),
        open_source(arguments, config="metadata"),
        validation=None if held_out is None else dict(zip(names, held_out, strict=True)),
        **_options(arguments),
    )
    _show(board, arguments)
    return 0


def _show(report: Any, arguments: argparse.Namespace) -> None:
    if arguments.markdown is not None:
        arguments.markdown.parent.mkdir(parents=True, exist_ok=True)
        write_text(arguments.markdown, report.to_markdown())
    if arguments.json:
        print_json(report.to_dict())
        return
    show_report(report)
    if arguments.markdown is not None:
        print(f"Wrote {arguments.markdown}")
