"""`unsafe-video train`: the baseline on a release."""

from __future__ import annotations

import argparse
from typing import Any

from ._console import add_json, epilog, load_module, print_json, show_report
from .cli_open import add_source, open_source
from .errors import MissingDependency


def add_commands(commands: Any, *, wanted: bool) -> None:
    """Add `train`; `wanted`: it is the command that was asked for."""
    parser = commands.add_parser(
        "train",
        help="train the baseline on a release and score its test split",
        description="Train the baseline detector, score the test split, write checkpoint, predictions and metrics to --out.",
        **epilog("unsafe-video train --release path/to/release --epochs 60 --device cuda --amp"),
    )
    # The flags are declared in `baseline`, which needs torch: no other command waits for it to load, and without torch the
    # command takes any flag and says what to install.
    try:
        if wanted:
            load_module("baseline").add_arguments(parser)
    except MissingDependency:
        parser.set_defaults(takes_all=True)
    add_source(parser)
    add_json(parser)
    parser.set_defaults(call=_train)


def _train(arguments: argparse.Namespace) -> int:
    baseline = load_module("baseline")
    options = {name: getattr(arguments, name) for name in ("out", "device", "amp", "num_workers", "resume", "save_steps")}
    settings = baseline.settings_from(arguments)
    release = open_source(arguments, config=settings.config)
    report = baseline.run(release, settings=settings, progress=not arguments.json, **options)
    if arguments.json:
        print_json({"out": str(arguments.out), "report": report.to_dict()})
    else:
        show_report(report)
        print(f"\nWritten to {arguments.out}: checkpoint.pt, predictions.jsonl, metrics.json, validation.jsonl")
    return 0
