"""`unsafe-video bench`: how fast clips come out of this package, beside the other loaders that are installed."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from pathlib import Path
from typing import Any

from ._console import add_json, epilog, print_json, show, usable_folder
from ._ending import ended_cleanly
from .errors import InputError


def add_bench(commands: Any) -> None:
    """Add the command to a parser's `add_subparsers()`."""
    parser = commands.add_parser(
        "bench",
        help="speed of this package beside other loaders, on the same clips",
        description="Measure this package and the other loaders that are installed on the same clips: clips a second, CPU time "
        "a clip, time to the first batch, memory; medians over alternating rounds, and ratios. Ten minutes; one with --fast.",
        **epilog("unsafe-video bench --fast --clips path/to/clips --out out/bench"),
    )
    parser.add_argument("--fast", action="store_true", help="one round over a few clips: shows that it works, not how fast")
    parser.add_argument("--clips", type=Path, metavar="DIR", help="folder of MP4 files (default: harmless generated clips)")
    parser.add_argument("--workers", help="numbers of loader processes (default: 0,2; 0 with --fast)", metavar="0,2")
    parser.add_argument("--peers", help="loaders to measure, by comma (default: all that are installed)", metavar="NAMES")
    parser.add_argument("--seed", type=int, default=0, help="of the order of measurements and the generated clips")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write result.json, tables.md and a figure")
    add_json(parser)
    parser.set_defaults(call=_bench)


def _bench(arguments: argparse.Namespace) -> int:
    from .bench import BenchSettings, run
    from .bench.report import blocks
    from .bench.settings import fast_settings

    workers = parse_workers(arguments.workers or ("0" if arguments.fast else "0,2"))
    if arguments.fast:
        settings = fast_settings(clips=arguments.clips, workers=workers, seed=arguments.seed)
    else:
        settings = BenchSettings(clips=arguments.clips, workers=workers, seed=arguments.seed)
    if arguments.peers is not None:
        names = tuple(name.strip() for name in arguments.peers.split(",") if name.strip())
        settings = BenchSettings(**{**vars(settings), "peers": names})
    if arguments.out is not None:
        usable_folder(arguments.out, "--out")
    with ended_cleanly():
        result = run(settings, progress=not arguments.json)
    if arguments.json:  # printed first: what was measured is there whatever becomes of the files
        print_json(result)
    else:
        show(*blocks(result))
    written = write(result, arguments.out) if arguments.out is not None else []
    if written and not arguments.json:
        print(f"\nWritten to {arguments.out}: {', '.join(path.name for path in written)}")
    return 1 if result["failed"] else 0


def parse_workers(text: str) -> tuple[int, ...]:
    """`"0,2"` as (0, 2). Raises `InputError` for anything but different numbers from 0 on."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts) or len(set(map(int, parts))) < len(parts):
        raise InputError(f"--workers {text!r}: give different numbers from 0 on, by comma, e.g. --workers 0,2")
    return tuple(int(part) for part in parts)


def write(result: dict[str, Any], out: Path) -> list[Path]:
    """Write the result and its tables to a folder, each file under a temporary name first; the paths.

    The figure is left out without matplotlib.
    """
    from .bench.plot import write_plot
    from .bench.report import sections
    from .errors import MissingDependency

    out.mkdir(parents=True, exist_ok=True)
    texts = {
        "result.json": json.dumps(result, indent=1, allow_nan=False) + "\n",
        "tables.md": "\n".join(f"## {name}\n\n{text}" for name, text in sections(result).items()),
    }
    paths = []
    for name, text in texts.items():
        partial = out / f".{name}.{os.getpid()}"
        partial.write_text(text, encoding="utf-8")
        partial.replace(out / name)
        paths.append(out / name)
    with contextlib.suppress(MissingDependency):
        paths += write_plot(result, out / "loaders")
    return paths
