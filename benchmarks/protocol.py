"""The figures of docs/protocol.md: how often the intervals cover, and an example on the sample.

`python benchmarks/protocol.py [--simulations 1000]` computes them and writes them into docs/protocol.md between markers. The
detectors of the example are toys: the raters' shares blurred with noise. They are no result.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from tqdm import tqdm

from unsafe_video_dataset.estimates import evaluate_arrays
from unsafe_video_dataset.evaluate import evaluate
from unsafe_video_dataset.leaderboard import leaderboard
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.report_text import markdown_table, notes, tables
from unsafe_video_dataset.taxonomy import CATEGORIES

PAGE = Path(__file__).resolve().parent.parent / "docs" / "protocol.md"
SIMULATIONS, REPLICATES = 1000, 400
SHIFT, CUT = 1.0, 0.5  # scores of negatives are normal (0, 1), of positives normal (SHIFT, 1); F1 takes what is above CUT
METRICS = ("ap", "auroc", "f1", "tpr_at_5_fpr")
NORMAL = NormalDist()


@dataclass(frozen=True)
class Case:
    """A population to draw test sets from: `n` videos in groups of `size`, which share their label and half the variance of
    their score; the bootstrap draws groups, or videos where `by_video`."""

    n: int
    prevalence: float
    size: int = 1
    by_video: bool = False


CASES = (
    Case(20, 0.3),
    Case(100, 0.3),
    Case(937, 0.3),
    Case(937, 39 / 937),  # the paper's rarest category
    Case(400, 0.3, size=4),
    Case(400, 0.3, size=4, by_video=True),
)


def population(prevalence: float) -> dict[str, float]:
    """The metrics of infinitely many videos: what an interval should cover."""
    grid = np.linspace(-8, 8, 20_001)  # thresholds; beyond them the tails are too thin to divide
    negatives = np.array([1 - NORMAL.cdf(x) for x in grid])
    positives = np.array([1 - NORMAL.cdf(x - SHIFT) for x in grid])
    precision = prevalence * positives / (prevalence * positives + (1 - prevalence) * negatives)
    middle = (precision[1:] + precision[:-1]) / 2
    taken = 1 - NORMAL.cdf(CUT - SHIFT), 1 - NORMAL.cdf(CUT)
    return {
        "ap": float((middle * -np.diff(positives)).sum()),
        "auroc": NORMAL.cdf(SHIFT / 2**0.5),
        "f1": 2 * prevalence * taken[0] / (prevalence * taken[0] + (1 - prevalence) * taken[1] + prevalence),
        "tpr_at_5_fpr": 1 - NORMAL.cdf(NORMAL.inv_cdf(0.95) - SHIFT),
    }


def draw(case: Case, seed: int) -> tuple[Any, Any, list[str]]:
    """One test set: labels [n], scores [n] in [0, 1] (a rising function of the normal ones), groups [n]."""
    rng = np.random.default_rng([seed, case.n, case.size])
    groups = case.n // case.size
    of = np.repeat(np.arange(groups), case.size)
    label = (rng.random(groups) < case.prevalence).astype(int)[of]
    noise = rng.standard_normal(case.n)
    if case.size > 1:
        noise = (rng.standard_normal(groups)[of] + noise) / 2**0.5
    score = 1 / (1 + np.exp(-(noise + SHIFT * label - CUT)))  # CUT becomes 0.5
    return label, score, [f"{number:05d}" for number in (np.arange(case.n) if case.by_video else of)]


def coverage(case: Case, simulations: int = SIMULATIONS, *, progress: bool = True) -> list[dict[str, Any]]:
    """One row a metric: its true value, the mean estimate, and how many of the intervals hold the true value."""
    truth = population(case.prevalence)
    found: dict[str, list[Any]] = {metric: [] for metric in METRICS}
    title = f"n={case.n}, groups of {case.size}"
    for seed in tqdm(range(simulations), desc=title, disable=not progress):
        label, score, groups = draw(case, seed)
        ((row,), _) = evaluate_arrays(label, score, groups, bootstrap=REPLICATES, seed=seed)
        for metric in METRICS:
            found[metric].append(row.metrics[metric])
    rows = []
    for metric, estimates in found.items():
        given = [one for one in estimates if one.low is not None]
        held = sum(one.low <= truth[metric] <= one.high for one in given)
        mean = float(np.mean([one.value for one in given])) if given else None
        rows.append({"case": case, "metric": metric, "truth": truth[metric], "mean": mean, "held": held, "of": len(given)})
    return rows


def coverage_table(rows: Sequence[Mapping[str, Any]], simulations: int = SIMULATIONS) -> str:
    """`coverage` as Markdown."""
    lines = ["| videos | positive | bootstrap over | metric | true | mean estimate | 95% intervals that hold it |"]
    lines.append("|---|---:|---|---|---:|---:|---:|")
    for row in rows:
        if row["of"] < simulations / 2:
            continue  # too few negatives for the metric, in most test sets
        case = row["case"]
        videos = f"{case.n}" if case.size == 1 else f"{case.n} in {case.n // case.size} groups"
        over = "videos" if case.size == 1 or case.by_video else "groups"
        if case.by_video:
            over = "videos (wrong)"
        share = f"{row['held'] / row['of']:.1%} of {row['of']}"
        name = {"ap": "AP", "auroc": "AUROC", "f1": "F1", "tpr_at_5_fpr": "TPR at 5% FPR"}[row["metric"]]
        lines.append(
            f"| {videos} | {case.prevalence:.1%} | {over} | {name} | {row['truth']:.3f} | {row['mean']:.3f} | {share} |"
        )
    return "\n".join(lines) + "\n"


# --- the example ------------------------------------------------------------------------------------------------------


def toy(release: Release, split: str, noise: float, *, name: str) -> list[dict[str, Any]]:
    """Predictions of a toy: the raters' shares, blurred with noise that follows from the id and the name."""
    records = []
    for row in release.metadata(split, columns=["video_id", "soft_labels"], is_unsafe=True).to_pylist():
        rng = random.Random(f"{row['video_id']} {name}")
        scores = {c: (1 - noise) * row["soft_labels"][c] + noise * rng.random() for c in CATEGORIES}
        records.append({"video_id": row["video_id"], "scores": scores, "model": name})
    return records


def example() -> str:
    """A report of the sample's test split as Markdown: the model's tables, the human's, the tests, and the notes."""
    release = Release.open()
    report = evaluate(
        toy(release, "test", 0.6, name="toy A"),
        release,
        validation=toy(release, "validation", 0.6, name="toy A"),
        baseline=toy(release, "test", 0.8, name="toy B"),
        baseline_validation=toy(release, "validation", 0.8, name="toy B"),
    )
    parts = []
    for table in tables(report):
        if table.title.startswith("by "):
            continue
        parts.append((f"**{table.title}**\n\n" if table.title else "") + markdown_table(table))
    return "\n\n".join([*parts, "\n".join(f"- {note}" for note in notes(report))]) + "\n"


def board() -> str:
    """A leaderboard of three toys on the sample, as Markdown, without the manifest's hash, which moves."""
    release = Release.open()
    noises = {"toy A": 0.6, "toy B": 0.8, "toy C": 0.65}
    files, held_out = (
        {name: toy(release, split, noise, name=name) for name, noise in noises.items()} for split in ("test", "validation")
    )
    return leaderboard(files, release, validation=held_out).to_markdown().split("\n> ")[0]


def fill(page: str, name: str, text: str) -> str:
    """The page with the text between `<!-- name -->` and `<!-- /name -->` replaced."""
    start, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, rest = page.split(start)
    return before + start + text + end + rest.split(end, 1)[1]


def main() -> None:
    """Compute, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=SIMULATIONS, help="test sets a case; 0 leaves the table as it is")
    arguments = parser.parse_args()
    page = fill(fill(PAGE.read_text(encoding="utf-8"), "example", example()), "leaderboard", board())
    if arguments.simulations:
        rows = [row for case in CASES for row in coverage(case, arguments.simulations)]
        page = fill(page, "coverage", coverage_table(rows, arguments.simulations))
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
