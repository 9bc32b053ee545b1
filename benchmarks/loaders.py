"""docs/benchmarks.md: this package beside other loaders, with a profile, memory over epochs, and a million rows.

    python benchmarks/loaders.py out/bench --clips CLIPS --page docs/benchmarks.md

`unsafe-video bench` measures (see `unsafe_video_dataset/bench/`); this adds a release of a million rows without videos, and
writes tables and figures into the page, between its markers, and the result beside it (`docs/benchmarks.json`), from which
`--from-json docs/benchmarks.json` writes the page again without measuring. A page needs three rounds at least: fewer have no
quartiles. Takes about a quarter of an hour on two quiet cores.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from unsafe_video_dataset._console import usable_folder
from unsafe_video_dataset.bench import BenchSettings, run
from unsafe_video_dataset.bench.plot import write_plot
from unsafe_video_dataset.bench.report import fill, sections, to_text
from unsafe_video_dataset.bench.settings import fast_settings
from unsafe_video_dataset.bench.targets import LEAST_ROUNDS
from unsafe_video_dataset.cli_bench import ended_cleanly, parse_workers, write
from unsafe_video_dataset.errors import InputError


def twin(folder: Path, rows: int) -> Path:
    """A release of `rows` rows of metadata, by `metadata_twin.py` beside this file."""
    spec = importlib.util.spec_from_file_location("metadata_twin", Path(__file__).with_name("metadata_twin.py"))
    if spec is None or spec.loader is None:
        raise FileNotFoundError("metadata_twin.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made: Path = module.make(folder / "twin", rows=rows)
    return made


def write_page(result: Mapping[str, Any], page: Path) -> list[Path]:
    """Fill the markers of `page`, and write the result and the figures beside it; the paths. The same result, the same bytes.

    Raises `InputError` for a result of fewer than three rounds.
    """
    _enough(result["rounds"])
    text = page.read_text(encoding="utf-8")
    for name, part in sections(result).items():
        text = fill(text, name, part)
    kept = page.with_suffix(".json")
    for path, content in ((page, text), (kept, json.dumps(result, indent=1, allow_nan=False) + "\n")):
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(content, encoding="utf-8")
        partial.replace(path)
    return [page, kept, *write_plot(result, page.with_name("benchmarks-loaders"))]


def _enough(rounds: int) -> None:
    if rounds < LEAST_ROUNDS:
        raise InputError(f"{rounds} rounds have no quartiles: the page takes {LEAST_ROUNDS} or more. Give more --minutes.")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write OUT, and with `--page` the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for result.json, tables.md and the figure")
    parser.add_argument("--clips", type=Path, metavar="DIR", help="folder of MP4 files (default: generated ones)")
    parser.add_argument("--workers", default="0,2")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the release that is opened and filtered; 0: none")
    parser.add_argument("--fast", action="store_true", help="less of everything: two minutes")
    parser.add_argument("--rounds", type=int, help="most rounds over the loaders")
    parser.add_argument("--copies", type=int, default=1, help="files made of each clip (default: 1)")
    parser.add_argument("--minutes", type=float, default=60.0, help="no further round over the loaders after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="the page to fill, e.g. docs/benchmarks.md")
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="write from this result; measure nothing")
    given = parser.parse_args(argv)
    try:
        return _run(given)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _run(given: argparse.Namespace) -> int:
    usable_folder(given.out, "OUT")
    if given.from_json is not None:
        result = json.loads(given.from_json.read_text(encoding="utf-8"))
    else:
        workers = parse_workers(given.workers)
        make = fast_settings if given.fast else BenchSettings
        settings = make(clips=given.clips, workers=workers, seed=given.seed)
        more = {name: value for name in ("rounds", "copies", "minutes") if (value := getattr(given, name)) is not None}
        if given.page is not None:
            _enough(replace(settings, **more).rounds)
        with ended_cleanly(), tempfile.TemporaryDirectory(prefix="unsafe-video-twin-") as folder:
            rows = 20_000 if given.fast else given.rows
            made = twin(Path(folder), rows) if given.rows else None
            result = run(replace(settings, twin=made, **more))
    print(to_text(result))
    write(result, given.out)
    if given.page is not None:
        write_page(result, given.page)
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
