"""What a report weighs and how soon its first rows are there, in a real Chromium, opened from disk.

    python benchmarks/report.py OUT [--release FOLDER ...] [--rounds 9] [--write docs/report.md]

The sample, each given release, and a twin of metadata alone with 10,000 videos (`metadata_twin.py`, no pictures) become
reports. The pages are opened in turn, round after round, each in a new
context, so that a busy moment hits all alike; medians, and ratios to the sample's page. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import metadata_twin
from playwright.sync_api import sync_playwright

from unsafe_video_dataset.release import Release
from unsafe_video_dataset.report import write_report

START, END = "<!-- costs: written by benchmarks/report.py -->", "<!-- /costs -->"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]
ROWS, PAINT = (f"performance.getEntriesByName('{name}')" for name in ("first-rows", "first-contentful-paint"))


def main() -> None:
    """Build the pages, open them, print the table, and write it into a document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--release", action="append", default=[], help="another release, several times")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    twin = arguments.out / "metadata-twin"
    if not twin.exists():
        metadata_twin.make(twin, rows=10_000)
    pages = []
    for number, name in enumerate(["sample", *arguments.release, str(twin)]):
        release = Release.open(name)
        pictures = "reviewed" in release.manifest["configs"]
        place = arguments.out / f"report-{number}"
        page = write_report(release, place, thumbnails=pictures, overwrite=True, progress=True, bootstrap=0)
        pages.append((release, page))
    text = table(pages, times([page for _, page in pages], arguments.rounds), arguments.rounds)
    print(text)
    if arguments.write is not None:
        document = arguments.write.read_text(encoding="utf-8")
        before, after = document.split(START)[0], document.split(END)[1]
        arguments.write.write_text(f"{before}{START}\n{text}{END}{after}", encoding="utf-8")


def times(pages: list[Path], rounds: int) -> list[tuple[float, float]]:
    """Medians of milliseconds until the first rows, and until the first paint, a page each."""
    found: list[list[tuple[float, float]]] = [[] for _ in pages]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        for number in range(rounds + 1):
            for place, page in enumerate(pages):
                rows, paint = first_view(browser, page)
                if number:  # the first round warms the disk's cache
                    found[place].append((rows, paint))
        browser.close()
    return [(statistics.median(rows), statistics.median(paint)) for rows, paint in (zip(*one, strict=True) for one in found)]


def first_view(browser: Any, page: Path) -> tuple[float, float]:
    """Milliseconds from the start of the navigation."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    opened = context.new_page()
    opened.goto(page.resolve().as_uri())
    opened.wait_for_function(f"() => {ROWS}.length && {PAINT}.length")
    rows, paint = opened.evaluate(f"() => [{ROWS}[0].startTime, {PAINT}[0].startTime]")
    context.close()
    return rows, paint


def table(pages: list[tuple[Release, Path]], medians: list[tuple[float, float]], rounds: int) -> str:
    """Markdown: a line a page."""
    head = (
        "release",
        "videos",
        "pictures",
        "to start, kB",
        "all data, kB",
        "first paint, ms",
        "first rows, ms",
        "to the sample's",
    )
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for (release, page), (rows, paint) in zip(pages, medians, strict=True):
        data = {path.name: path.stat().st_size for path in (page.parent / "data").iterdir()}
        sheets = [path.stat().st_size for path in (page.parent / "thumbs").glob("*.jpg")]
        start = sum(path.stat().st_size for path in page.parent.iterdir() if path.is_file())
        start += data["release.js"] + data["rows-0000.js"]
        pictures = f"{len(sheets)} sheets, {sum(sheets) / 1000:.0f} kB" if sheets else "none"
        sizes = f"{start / 1000:.0f} | {sum(data.values()) / 1000:.0f}"
        videos = release.manifest["counts"]["videos"]
        took = f"{paint:.0f} | {rows:.0f} | {rows / medians[0][0]:.2f}"
        lines.append(f"| {release.name} {release.version} | {videos:,} | {pictures} | {sizes} | {took} |")
    note = (
        f"Medians of {rounds} rounds in headless Chromium on 2 busy cores; pages were opened in turn, from disk. Measured by\n"
        "`python benchmarks/report.py OUT --release twin/release --write docs/report.md`, after `unsafe-video-build twin twin` "
        "and\n`unsafe-video-build run twin/recipe.toml` ([the twin](twin.md)); the 10,000 videos are metadata alone."
    )
    return "\n".join(["", *lines, "", note, "", ""])


if __name__ == "__main__":
    main()
