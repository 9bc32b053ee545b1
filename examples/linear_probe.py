"""A linear probe on frozen embeddings: logistic regression a category, the usual first question to a representation.

    python examples/linear_probe.py --release sample
    python examples/linear_probe.py --release DIR --checkpoint FOLDER   # VideoMAE or CLIP, saved with save_pretrained

Without a checkpoint the embedding is the weight-free descriptor of the builders (colours, layout, edges, motion): a floor that
any learned representation should beat. Needs scikit-learn; the checkpoint needs transformers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from unsafe_video_dataset import Release, UniformFrames, UnsafeVideoDataset, evaluate
from unsafe_video_dataset._console import run
from unsafe_video_dataset.builders.vision.embed import Embedder, ShapeDescriptor, TransformersEmbedder
from unsafe_video_dataset.taxonomy import CATEGORIES


def embed(dataset: UnsafeVideoDataset, embedder: Embedder) -> NDArray[np.float32]:
    """One vector a video: float32 [N, dim], as `dataset.video_ids` are ordered."""
    vectors = []
    for index in tqdm(range(len(dataset)), desc="embedding", unit="video", leave=False):
        vectors.append(embedder.embed(dataset[index]["video"].numpy()))
    return np.stack(vectors)


def probe(features: NDArray[np.float32], labels: NDArray[np.float32], *, strength: float) -> Callable[[Any], Any]:
    """A function that scores features. Logistic regression; a category that is never (or always) there gets its share."""
    if len(set(labels.tolist())) < 2:
        return lambda other: np.full(len(other), labels.mean())
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=2000))
    model.fit(features, labels)
    return lambda other: model.predict_proba(other)[:, 1]


def main(argv: Sequence[str] | None = None) -> int:
    """Embed the splits, choose the strength on validation, score test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", default="sample")
    parser.add_argument("--checkpoint", type=Path, help="folder of a VideoMAE or CLIP model")
    parser.add_argument("--num-frames", type=int, default=16)
    parser.add_argument("--bootstrap", type=int, default=1000)
    arguments = parser.parse_args(argv)

    release = Release.open(arguments.release, config="unsafe")
    embedder: Embedder = TransformersEmbedder(arguments.checkpoint) if arguments.checkpoint else ShapeDescriptor()
    sets = {
        split: UnsafeVideoDataset(release, split=split, clip=UniformFrames(arguments.num_frames))
        for split in ("train", "validation", "test")
    }
    features = {split: embed(dataset, embedder) for split, dataset in sets.items()}
    labels = {split: dataset.targets.numpy() for split, dataset in sets.items()}

    scores = np.zeros((len(sets["test"]), len(CATEGORIES)))
    for column, category in enumerate(CATEGORIES):
        losses = {}
        for strength in (0.001, 0.01, 0.1, 1.0):
            given = probe(features["train"], labels["train"][:, column], strength=strength)(features["validation"])
            given = np.clip(given, 1e-6, 1 - 1e-6)
            truth = labels["validation"][:, column]
            losses[strength] = float(-(truth * np.log(given) + (1 - truth) * np.log(1 - given)).mean())
        best = min(losses, key=lambda strength: losses[strength])
        print(f"{category}: C = {best}, chosen on validation (log loss {losses[best]:.3f})")
        scores[:, column] = probe(features["train"], labels["train"][:, column], strength=best)(features["test"])

    records = [
        {"video_id": video_id, "scores": dict(zip(CATEGORIES, map(float, row), strict=True)), "model": "linear-probe"}
        for video_id, row in zip(sets["test"].video_ids, scores, strict=True)
    ]
    print(f"\nLinear probe on {embedder.name} ({embedder.dim} numbers a video)\n")
    print(evaluate(records, release, bootstrap=arguments.bootstrap).to_text())
    print("\nNext: --checkpoint with your own VideoMAE or CLIP folder; examples/videomae_trainer.py trains all of a model.")
    return 0


if __name__ == "__main__":
    sys.exit(run(lambda _: main(), argparse.Namespace()))  # a mistake in a flag is a sentence, not a traceback
