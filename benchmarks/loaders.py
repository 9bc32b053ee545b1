"""docs/benchmarks.md: this package beside other loaders, with a profile, memory over epochs, and a million rows.

    python benchmarks/loaders.py out/bench --clips CLIPS --page docs/benchmarks.md

`unsafe-video bench` measures (see `unsafe_video_dataset/bench/`); this adds a release of a million rows without videos, and
writes tables and figures into the page, between its markers. `--from-json OUT/result.json` writes the page again without
measuring. Takes less than twelve minutes on two quiet cores.
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

from unsafe_video_dataset.bench import BenchSettings, run
from unsafe_video_dataset.bench.plot import write_plot
from unsafe_video_dataset.bench.report import fill, sections, to_text
from unsafe_video_dataset.bench.settings import fast_settings
from unsafe_video_dataset.cli_bench import ended_cleanly, parse_workers, write


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
    """Fill the markers of `page` and write the figures beside it; the paths. The same result gives the same page."""
    text = page.read_text(encoding="utf-8")
    for name, part in sections(result).items():
        text = fill(text, name, part)
    partial = page.with_name(f".{page.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(page)
    return [page, *write_plot(result, page.with_name("benchmarks-loaders"))]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write OUT, and with `--page` the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for result.json, tables.md and the figure")
    parser.add_argument("--clips", type=Path, metavar="DIR", help="folder of MP4 files (default: generated ones)")
    parser.add_argument("--workers", default="0,2")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the release that is opened and filtered; 0: none")
    parser.add_argument("--fast", action="store_true", help="less of everything: two minutes")
    parser.add_argument("--rounds", type=int, help="most rounds over the loaders")
    parser.add_argument("--copies", type=int, help="files made of each clip")
    parser.add_argument("--minutes", type=float, help="no further round over the loaders after this time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="the page to fill, e.g. docs/benchmarks.md")
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="write from this result; measure nothing")
    given = parser.parse_args(argv)
    if given.from_json is not None:
        result = json.loads(given.from_json.read_text(encoding="utf-8"))
    else:
        workers = parse_workers(given.workers)
        make = fast_settings if given.fast else BenchSettings
        settings = make(clips=given.clips, workers=workers, seed=given.seed)
        more = {name: value for name in ("rounds", "copies", "minutes") if (value := getattr(given, name)) is not None}
        with ended_cleanly(), tempfile.TemporaryDirectory(prefix="unsafe-video-twin-") as folder:
            rows = 20_000 if given.fast else given.rows
            made = twin(Path(folder), rows) if given.rows else None
            result = run(replace(settings, twin=made, **more))
    write(result, given.out)
    print(to_text(result))
    if given.page is not None:
        write_page(result, given.page)
    return 1 if result["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
