"""Train on what raters said (shares of votes) or on what the majority said, and ask both what other raters say.

    python examples/soft_labels.py --release sample

The same linear model on the same weight-free descriptor is trained twice. Both are compared with votes they have not seen: the
shares of raters on the test split. A model of the majority may be as accurate and still be too sure of itself: cross-entropy
and Brier score show that, accuracy does not. Needs a release with votes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import torch
from linear_probe import embed

from unsafe_video_dataset import Release, UniformFrames, UnsafeVideoDataset
from unsafe_video_dataset._console import run
from unsafe_video_dataset.builders.vision.embed import ShapeDescriptor
from unsafe_video_dataset.taxonomy import CATEGORIES


def fit(features: torch.Tensor, targets: torch.Tensor, *, decay: float, steps: int) -> torch.nn.Linear:
    """Logistic regression on targets from 0 to 1 [N, 5]: full batches, from zero weights, so nothing is random."""
    model = torch.nn.Linear(features.shape[1], targets.shape[1])
    torch.nn.init.zeros_(model.weight)
    torch.nn.init.zeros_(model.bias)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, weight_decay=decay)
    for _ in range(steps):
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(features), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


@torch.no_grad()
def compare(model: torch.nn.Linear, features: torch.Tensor, shares: torch.Tensor) -> dict[str, float]:
    """Scores against shares of votes [N, 5], means over videos and categories; lower is better but for `agrees`."""
    given = torch.sigmoid(model(features)).clamp(1e-6, 1 - 1e-6)
    cross = -(shares * given.log() + (1 - shares) * (1 - given).log())
    brier = (given - shares) ** 2
    agrees = ((given > 0.5) == (shares > 0.5)).double()
    return {"cross-entropy": float(cross.mean()), "Brier": float(brier.mean()), "agrees": float(agrees.mean())}


def main(argv: Sequence[str] | None = None) -> int:
    """Train twice, print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", default="sample")
    parser.add_argument("--config", choices=("unsafe", "reviewed"), default="reviewed")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--num-frames", type=int, default=16)
    arguments = parser.parse_args(argv)

    release = Release.open(arguments.release, config=arguments.config)

    def load(split: str, target: str) -> UnsafeVideoDataset:
        how = {"config": arguments.config, "split": split, "min_raters": 1}
        return UnsafeVideoDataset(release, clip=UniformFrames(arguments.num_frames), target=target, **how)

    raw = {split: embed(load(split, "soft"), ShapeDescriptor()) for split in ("train", "validation", "test")}
    middle, width = raw["train"].mean(axis=0), raw["train"].std(axis=0) + 1e-6
    features = {split: torch.from_numpy(((part - middle) / width).astype(np.float32)) for split, part in raw.items()}
    votes = {split: load(split, "soft").targets for split in raw}
    targets = {"votes": votes["train"], "majority": load("train", "multilabel").targets}

    print(f"{len(features['train'])} videos to train on, {len(features['test'])} to compare; {len(CATEGORIES)} categories\n")
    print(f"{'trained on':<12}{'decay':>8}{'cross-entropy':>16}{'Brier':>10}{'agrees':>10}")
    for name, target in targets.items():
        tried = {decay: fit(features["train"], target, decay=decay, steps=arguments.steps) for decay in (0.3, 3.0, 10.0, 30.0)}
        # Each kind of training gets the decay that is best for it on validation, against the votes there.
        losses = {decay: compare(model, features["validation"], votes["validation"]) for decay, model in tried.items()}
        best = min(losses, key=lambda decay: losses[decay]["cross-entropy"])
        found = compare(tried[best], features["test"], votes["test"])
        print(f"{name:<12}{best:>8}{found['cross-entropy']:>16.4f}{found['Brier']:>10.4f}{found['agrees']:>10.3f}")
    shares = votes["test"].clamp(1e-6, 1 - 1e-6)
    floor = float(-(shares * shares.log() + (1 - shares) * (1 - shares).log()).mean())
    print(
        f"\nNo model can have a cross-entropy below {floor:.4f}: raters disagree that much. `agrees`: the same side of a half."
    )
    print(
        "Next: evaluate(..., target='soft') for reports with intervals; target='soft' in UnsafeVideoDataset for your own model."
    )
    return 0


if __name__ == "__main__":
    sys.exit(run(lambda _: main(), argparse.Namespace()))  # a mistake in a flag is a sentence, not a traceback
