"""What a run costs as it grows: stages on twins of several sizes, their cores on synthetic input, and a plan for more videos.

    python benchmarks/scale.py OUT --scales 700,1402,2803,5607 --videos 10000000 --page docs/scale.md

Costs are CPU seconds (`process_cost.py`), as the machine may be shared. `scale_measure.py` measures the stages,
`scale_cores.py` the cores whose cost is not that of their rows; `scale_fit.py` makes laws of the figures, `scale_plan.py`
a plan, `scale_page.py` the page. Every single figure is kept in OUT and not measured again: remove its file to repeat it.
All go to a JSON file beside the page; `--render` writes the page from it without measuring.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path

from scale_cores import core_rows
from scale_measure import hashes_a_row, sheet_rows, stage_rows
from scale_page import page


def main(argv: Sequence[str] | None = None) -> int:
    """Measure what is not measured yet; write the figures and, with `--page`, the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the twins and the single figures")
    parser.add_argument("--scales", default="700,1402,2803,5607", help="numbers of videos, at least three")
    parser.add_argument("--videos", type=int, default=10_000_000, help="what to plan for")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--core-seconds", type=float, default=60, help="after a size that took longer no larger one is begun")
    parser.add_argument("--page", type=Path, help="write the page, and the figures beside it under the same name")
    parser.add_argument("--render", action="store_true", help="only write the page from the figures beside it")
    arguments = parser.parse_args(argv)
    if arguments.render:
        result = json.loads(arguments.page.with_suffix(".json").read_bytes())
    else:
        arguments.out.mkdir(parents=True, exist_ok=True)
        scales = sorted(int(one) for one in arguments.scales.split(","))
        result = {
            "target": arguments.videos,
            "workers": arguments.workers,
            "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
            "stages": stage_rows(arguments.out, scales, workers=arguments.workers),
            "sheets": sheet_rows(arguments.out, scales[-1], workers=arguments.workers),
            "hashes_a_row": round(hashes_a_row(arguments.out, scales[-1]), 3),
            "cores": core_rows(arguments.out, seconds=arguments.core_seconds),
        }
    if arguments.page:
        arguments.page.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        arguments.page.write_text(page(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
