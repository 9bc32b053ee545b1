"""What negatives from another prompt source do to a detector: an experiment on a twin (harmless moving shapes).

    python benchmarks/negatives.py DIR --page docs/negatives.md

makes a twin of 400 videos in the new folder DIR, builds its release, runs the experiment on it, and writes the page between its
markers and the result beside it (`docs/negatives.json`). `--release FOLDER` takes a release that is there instead.

A linear probe on the weight-free descriptor learns unsafe against not unsafe. Positives are unsafe videos of source A. Its
negatives are reviewed videos of the same source (in-domain), or of source B. Videos are scored out of fold (groups are kept
together). The twin draws both sources alike; the rows 'tinted' add a look of the source in this script: videos of source B
are 10% bluer and less red. That is the cue that real sources have in subjects and style. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from unsafe_video_dataset import Release, UniformFrames, UnsafeVideoDataset
from unsafe_video_dataset.builders.vision.embed import ShapeDescriptor

SOURCES = ("4chan", "lexica")
TINTS = (0.0, 0.1, 0.25, 0.5)  # less red and more blue, as a share
FOLDS, REPEATS, BOOTSTRAP = 5, 5, 300
Numbers = NDArray[np.float64]


def features_of(dataset: UnsafeVideoDataset, tinted: NDArray[np.bool_], tint: float) -> Numbers:
    """One descriptor a video; those of `tinted` videos with the tint."""
    colours = np.array([1 - tint, 1, 1 + tint])[:, None, None]
    embedder = ShapeDescriptor()
    rows = []
    for index in tqdm(range(len(dataset)), desc="embedding", unit="video", leave=False):
        frames = dataset[index]["video"].numpy()
        if tint and tinted[index]:
            frames = np.clip(frames * colours, 0, 255).astype(np.uint8)
        rows.append(embedder.embed(frames))
    return np.array(rows, dtype=np.float64)


def out_of_fold(features: Numbers, unsafe: Any, source: Any, groups: Any, negatives: str, *, repeat: int) -> Numbers:
    """Scores of all videos by detectors that saw none of their groups. As many negatives of either source are learned from."""
    scores = np.zeros(len(features))
    positive = unsafe & (source == SOURCES[0])
    negative = ~unsafe & (source == negatives)
    fewest = min(int((~unsafe & (source == name)).sum()) for name in SOURCES) * (FOLDS - 1) // FOLDS - 4
    folds = GroupKFold(FOLDS, shuffle=True, random_state=repeat).split(features, groups=groups)
    for fold, (learn, score) in enumerate(folds):
        chosen = np.random.default_rng([repeat, fold]).permutation(learn[negative[learn]])[:fewest]
        rows = np.concatenate([learn[positive[learn]], chosen])
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000))
        scores[score] = model.fit(features[rows], unsafe[rows]).decision_function(features[score])
    return scores


def area(truth: Any, scores: list[Numbers], chosen: Any, groups: Any) -> tuple[float, float, float]:
    """AUROC, the mean over repeats, with a 95% interval by bootstrap over groups."""

    def mean(rows: Any) -> float:
        return float(np.mean([roc_auc_score(truth[rows], one[rows]) for one in scores]))

    rows = np.flatnonzero(chosen)
    names = np.unique(groups[rows])
    members = {name: rows[groups[rows] == name] for name in names}
    rng = np.random.default_rng(0)
    drawn = []
    while len(drawn) < BOOTSTRAP:
        sample = np.concatenate([members[name] for name in rng.choice(names, len(names))])
        if 0 < truth[sample].sum() < len(sample):
            drawn.append(mean(sample))
    low, high = np.quantile(drawn, (0.025, 0.975))
    return mean(rows), float(low), float(high)


def experiment(release: Release) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """The counts of videos, and a row for each look and kind of negatives."""
    dataset = UnsafeVideoDataset(release, config="reviewed", split=None, target="binary", clip=UniformFrames(8))
    table = {row["video_id"]: row for row in release.metadata(columns=["video_id", "prompt_source"]).to_pylist()}
    source = np.array([table[video_id]["prompt_source"] for video_id in dataset.video_ids])
    unsafe, groups = dataset.targets.numpy() > 0, np.array(dataset.group_ids)
    first, second = (source == name for name in SOURCES)
    counts = {
        f"{name} {kind}": int(((source == name) & (unsafe == flag)).sum())
        for name in SOURCES
        for kind, flag in (("unsafe", True), ("not", False))
    }
    rows = []
    for tint in TINTS:
        features = features_of(dataset, second, tint)
        for kind, negatives in (("in-domain", SOURCES[0]), ("another source", SOURCES[1])):
            scores = [out_of_fold(features, unsafe, source, groups, negatives, repeat=repeat) for repeat in range(REPEATS)]
            rows.append(
                {
                    "look": f"tint {tint:.0%}" if tint else "as drawn",
                    "negatives": kind,
                    "own": area(unsafe, scores, (unsafe & first) | (~unsafe & (source == negatives)), groups),
                    "reviewed": area(unsafe, scores, first, groups),
                    "source": area(first, scores, ~unsafe, groups),
                }
            )
    return counts, rows


def make(folder: Path, *, scale: int) -> Path:
    """A twin of `scale` videos in a new folder, and the release that its recipe makes; the release's folder."""
    for command in (["twin", str(folder), "--scale", str(scale)], ["run", str(folder / "recipe.toml")]):
        subprocess.run([sys.executable, "-m", "unsafe_video_dataset.builders.cli", *command], check=True)
    return folder / "release"


def measured(release: Release) -> dict[str, Any]:
    """The experiment as plain JSON values, with what it stands on."""
    counts, rows = experiment(release)
    about = {"release": release.name, "release_version": release.version, "manifest_sha256": release.manifest_sha256}
    found: dict[str, Any] = json.loads(
        json.dumps({**about, "counts": counts, "folds": FOLDS, "repeats": REPEATS, "bootstrap": BOOTSTRAP, "rows": rows})
    )
    return found


def to_markdown(result: dict[str, Any]) -> str:
    """The table and what it stands on. The same result, the same text."""
    lines = [
        "| look of the sources | trained with negatives | AUROC on a test made the same way | AUROC on reviewed videos of one "
        "source | tells the source of harmless videos (0.5: no) |",
        "|---|---|---:|---:|---:|",
    ]
    for row in result["rows"]:
        cells = ["{:.3f} [{:.3f}, {:.3f}]".format(*row[name]) for name in ("own", "reviewed", "source")]
        lines.append(f"| {row['look']} | {row['negatives']} | {' | '.join(cells)} |")
    said = ", ".join(f"{count} {name}" for name, count in result["counts"].items())
    return "\n".join(
        [
            *lines,
            "",
            f"Release {result['release']} {result['release_version']} (manifest {result['manifest_sha256'][:12]}): {said}. "
            f"{result['folds']} folds over groups, {result['repeats']} repeats; 95% intervals from {result['bootstrap']} "
            "bootstrap samples of groups.",
        ]
    )


def put(page: Path, text: str) -> None:
    """Put the text between the markers of a page."""
    begin, end = "<!-- experiment -->", "<!-- /experiment -->"
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    partial = page.with_name(f".{page.name}")
    partial.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
    partial.replace(page)


def main(argv: Sequence[str] | None = None) -> int:
    """Make the twin, run the experiment, print the table, and write page and result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", metavar="DIR", help="new folder for the twin and its release")
    parser.add_argument("--scale", type=int, default=400, help="videos of the twin (default: 400)")
    parser.add_argument("--release", type=Path, metavar="FOLDER", help="a release that is there, in place of a twin")
    parser.add_argument("--page", type=Path, help="a page with the markers <!-- experiment --> and <!-- /experiment -->")
    arguments = parser.parse_args(argv)
    if (arguments.folder is None) == (arguments.release is None):
        parser.error("give DIR for a new twin, or --release, and not both")
    result = measured(Release.open(arguments.release or make(arguments.folder, scale=arguments.scale)))
    print(to_markdown(result))
    if arguments.page:
        put(arguments.page, to_markdown(result))
        kept = arguments.page.with_suffix(".json")
        kept.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
