"""docs/defenses.md: prompt filters, the Latent Variable Defense, output filters and chains, on the shipped proxy.

    python benchmarks/defenses.py out/defenses --page docs/defenses.md

`unsafe-video defend bench` measures (see `unsafe_video_dataset/defenses/bench/`); this runs it in full, counts FLOPs at the
sizes of published models, and writes tables and figures into the page, between its markers. What is in OUT already is not made
again, so a run that was stopped goes on. `--from-json OUT/result.json` writes the page again without measuring. Takes about
a quarter of an hour on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unsafe_video_dataset.bench.report import fill
from unsafe_video_dataset.defenses.bench.plot import write_plots
from unsafe_video_dataset.defenses.bench.report import sections, to_text
from unsafe_video_dataset.defenses.bench.settings import BenchSettings, fast
from unsafe_video_dataset.defenses.bench.stages import run


def write_page(result: Mapping[str, Any], page: Path) -> list[Path]:
    """Fill the markers of `page` and write the figures beside it; the paths. The same result gives the same page."""
    text = page.read_text(encoding="utf-8")
    for name, part in sections(result).items():
        text = fill(text, name, part)
    partial = page.with_name(f".{page.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(page)
    return [page, *write_plots(result, page.with_suffix(""))]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure into OUT, and with `--page` write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the stages' files and result.json")
    parser.add_argument("--page", type=Path, help="the page to fill, e.g. docs/defenses.md")
    parser.add_argument("--fast", action="store_true", help="a quarter of the prompts, one training seed")
    parser.add_argument("--threads", type=int, default=1, help="of torch; more than free cores slows it down a lot")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from-json", type=Path, metavar="FILE", help="write from this result; measure nothing")
    given = parser.parse_args(argv)
    if given.from_json is not None:
        result = json.loads(given.from_json.read_text(encoding="utf-8"))
    else:
        settings = fast(seed=given.seed) if given.fast else BenchSettings(seed=given.seed)
        how: dict[str, Any] = {"real_sizes": True, "threads": given.threads}
        result = run(given.out, settings, say=lambda text: print(text, file=sys.stderr), **how)
    print(to_text(result))
    if given.page is not None:
        write_page(result, given.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
