"""One readable training loop: what a first experiment on a release looks like.

    python -m unsafe_video_dataset.baseline --release sample --epochs 60

Everything that happens is a function of the release and the settings: same machine, same settings, same scores. It is a
yardstick, not the state of the art.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ._console import run as console_run
from .clips import UniformFrames
from .detector import Detector, Run, Settings, find_device
from .errors import InputError, one_of
from .evaluate import evaluate
from .predictions import write_predictions
from .release import SAMPLE, Release
from .scores import EvalReport
from .taxonomy import CATEGORIES
from .torch import UnsafeVideoDataset, collate

AnyRelease = Release | str | os.PathLike[str]


@dataclass
class Trained:
    """What a run gives: the model in eval mode, the mean loss of each epoch, and the checkpoint file."""

    model: Detector
    settings: Settings
    losses: list[float]
    checkpoint: Path


def train(
    release: AnyRelease = SAMPLE,
    *,
    out: Path,
    settings: Settings | None = None,
    device: str = "cpu",
    amp: bool = False,
    num_workers: int = 0,
    resume: bool = False,
    progress: bool = True,
) -> Trained:
    """Train the detector on the train split; a checkpoint is written to `out/checkpoint.pt` after every epoch.

    `resume` goes on from that checkpoint and ends with the same weights as a run that was not stopped. `amp` computes in
    bfloat16. Raises `InputError` for a checkpoint of other settings or another release, or a device that is not there.
    """
    settings = settings or Settings()
    release = release if isinstance(release, Release) else Release.open(release, config=settings.config)
    where = find_device(device)
    dataset = _dataset(release, settings, "train")
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    with torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):  # the caller's randomness stays as it was
        torch.manual_seed(settings.seed)  # the weights' first values
        steps = settings.epochs * -(-len(dataset) // settings.batch_size)
        prior = dataset.targets.mean(dim=0)
        run = Run(settings, release_sha256=release.manifest_sha256, steps=steps, prior=prior, device=where)
        if resume and checkpoint.is_file():
            run.restore(checkpoint)
        bar = tqdm(range(len(run.losses), settings.epochs), desc="training", unit="epoch", disable=not progress)
        for epoch in bar:
            # Order, dropout and flips follow from (seed, epoch) alone, so that a resumed run is the same run.
            torch.manual_seed(settings.seed * 1_000_003 + epoch + 1)
            dataset.set_epoch(epoch)
            loader = _loader(dataset, settings, num_workers, shuffle=True)
            run.losses.append(_train_epoch(run, loader, amp=amp) / len(dataset))
            run.save(checkpoint)
            bar.set_postfix(loss=f"{run.losses[-1]:.3f}")
    return Trained(run.model.eval(), settings, run.losses, checkpoint)


def _train_epoch(run: Run, loader: Any, *, amp: bool) -> float:
    """One pass over the loader; returns the summed loss."""
    run.model.train()
    total = 0.0
    for batch in loader:
        video = _flip(batch["video"]).to(run.device)
        with torch.autocast(run.device.type, dtype=torch.bfloat16, enabled=amp):
            logits = run.model(video)
        target = batch["target"].reshape(logits.shape).to(run.device)
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
        run.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step()
        run.schedule.step()
        total += loss.item() * len(target)
    return total


def _flip(video: torch.Tensor) -> torch.Tensor:
    """Mirror each clip left to right with probability a half, the same for all its frames."""
    mirrored = torch.rand(len(video)) < 0.5
    return torch.where(mirrored[:, None, None, None, None], video.flip(-1), video)


@torch.no_grad()
def predict(
    model: Detector,
    release: AnyRelease = SAMPLE,
    *,
    split: str = "test",
    settings: Settings | None = None,
    device: str = "cpu",
    num_workers: int = 0,
    progress: bool = True,
) -> list[dict[str, Any]]:
    """Prediction records (`prediction.schema.json`) of every video of the split, each once."""
    settings = settings or Settings()
    dataset = _dataset(release, settings, split)
    where = find_device(device)
    model = model.to(where).eval()
    records: list[dict[str, Any]] = []
    loader = _loader(dataset, settings, num_workers, shuffle=False)
    for batch in tqdm(loader, desc=f"scoring {split}", unit="batch", disable=not progress):
        scores = torch.sigmoid(model(batch["video"].to(where)).float()).cpu().tolist()
        records += [_record(video_id, row, settings) for video_id, row in zip(batch["video_id"], scores, strict=True)]
    return records


def run(
    release: AnyRelease = SAMPLE,
    *,
    out: Path,
    settings: Settings | None = None,
    device: str = "cpu",
    amp: bool = False,
    num_workers: int = 0,
    resume: bool = False,
    bootstrap: int = 1000,
    progress: bool = True,
) -> EvalReport:
    """Train, score the test split, and write `checkpoint.pt`, `predictions.jsonl` and `metrics.json` into `out`.

    Raises `FilterError` before any training if a split that is needed has no video.
    """
    settings = settings or Settings()
    release = release if isinstance(release, Release) else Release.open(release, config=settings.config)
    _dataset(release, settings, "test")
    how: dict[str, Any] = {"settings": settings, "device": device, "num_workers": num_workers, "progress": progress}
    trained = train(release, out=out, amp=amp, resume=resume, **how)
    records = predict(trained.model, release, **how)
    write_predictions(out / "predictions.jsonl", records)
    asked: dict[str, Any] = {"config": settings.config, "target": settings.target, "seed": settings.seed}
    report = evaluate(records, release, bootstrap=bootstrap, **asked)
    partial = out / f".metrics.json.{os.getpid()}"
    partial.write_text(report.to_json(), encoding="utf-8")
    partial.replace(out / "metrics.json")
    return report


def _record(video_id: str, scores: list[float], settings: Settings) -> dict[str, Any]:
    if settings.target == "binary":
        return {"video_id": video_id, "unsafe_score": scores[0], "model": "baseline"}
    return {"video_id": video_id, "scores": dict(zip(CATEGORIES, scores, strict=True)), "model": "baseline"}


def _dataset(release: AnyRelease, settings: Settings, split: str) -> UnsafeVideoDataset:
    return UnsafeVideoDataset(
        release,
        config=settings.config,
        split=split,
        clip=UniformFrames(settings.num_frames),
        size=settings.size,
        target=settings.target,
        seed=settings.seed,
    )


def _loader(dataset: UnsafeVideoDataset, settings: Settings, num_workers: int, *, shuffle: bool) -> Any:
    return DataLoader(dataset, settings.batch_size, shuffle=shuffle, num_workers=num_workers, collate_fn=collate)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a training run, for `unsafe-video train` and `python -m unsafe_video_dataset.baseline`."""
    default = Settings()
    parser.add_argument("--release", default=SAMPLE, help="'sample' (default) or a release folder")
    parser.add_argument("--out", type=Path, default=Path("out/train"), help="folder for checkpoint, predictions, metrics")
    parser.add_argument("--target", choices=("multilabel", "binary"), default=default.target)
    parser.add_argument("--epochs", type=int, default=default.epochs)
    parser.add_argument("--batch-size", type=int, default=default.batch_size)
    parser.add_argument("--size", type=int, default=default.size, help="frames are resized to SIZE x SIZE pixels")
    parser.add_argument("--num-frames", type=int, default=default.num_frames, help="frames a clip")
    parser.add_argument("--learning-rate", type=float, default=default.learning_rate)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:0, …")
    parser.add_argument("--amp", action="store_true", help="compute in bfloat16")
    parser.add_argument("--num-workers", type=int, default=0, help="processes that decode")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")


def settings_from(arguments: argparse.Namespace) -> Settings:
    """The settings that the flags of `add_arguments` give. Raises `InputError` for values that can't work."""
    names = ("target", "epochs", "batch_size", "size", "num_frames", "learning_rate", "seed")
    given = {name: getattr(arguments, name) for name in names}
    one_of(given["target"], ("multilabel", "binary"), "target")
    limits: dict[str, tuple[float, float]] = {
        "epochs": (1, 100_000),
        "batch_size": (1, 4096),
        "num_frames": (1, 4096),
        "size": (16, 4096),
    }
    limits |= {"learning_rate": (1e-9, 10.0), "seed": (0, 2**31 - 1)}
    for name, (least, most) in limits.items():
        if not least <= given[name] <= most:  # NaN too
            raise InputError(f"--{name.replace('_', '-')} is {given[name]}; it must be from {least} to {most}.")
    if arguments.num_workers < 0:
        raise InputError(f"--num-workers is {arguments.num_workers}; it must be at least 0.")
    return Settings(**given)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m unsafe_video_dataset.baseline`; the same flags as `unsafe-video train`."""
    parser = argparse.ArgumentParser(prog="python -m unsafe_video_dataset.baseline", description=__doc__)
    add_arguments(parser)
    return console_run(_main, parser.parse_args(argv))


def _main(arguments: argparse.Namespace) -> int:
    options = {name: getattr(arguments, name) for name in ("out", "device", "amp", "num_workers", "resume")}
    print(run(arguments.release, settings=settings_from(arguments), **options).to_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
