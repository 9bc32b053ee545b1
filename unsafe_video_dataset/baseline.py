"""One readable training loop: what a first experiment on a release looks like.

    python -m unsafe_video_dataset.baseline --release sample --epochs 60
    torchrun --nproc-per-node 2 -m unsafe_video_dataset.baseline --release sample --epochs 60

Everything that happens is a function of the release and the settings: same machine, same settings, same scores. It is a
yardstick, not the state of the art.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from ._console import run as console_run
from ._console import tell
from .clips import UniformFrames
from .detector import Detector, Run, Settings, chances
from .errors import FilterError, InputError, one_of
from .evaluate import evaluate
from .loader import ResumableLoader
from .outputs import make_out, refuse_out
from .predictions import write_predictions
from .ranks import gather, here, process_group, total, wait
from .release import SAMPLE, Release
from .samplers import ShuffleSampler
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
    save_steps: int | None = None,
    progress: bool = True,
) -> Trained:
    """Train the detector on the train split; a checkpoint is written to `out/checkpoint.pt` after every epoch.

    `save_steps` writes it after every so many steps too. `resume` goes on from it, in mid-epoch where it was, and ends with
    the same weights as a run that was not stopped. `amp` computes in bfloat16. Under torchrun every process takes its part
    of each batch (`settings.batch_size` is that of all together), and the weights are those of one process but for rounding.
    Raises `InputError` for a checkpoint of other settings or another release, a device that is not there, or an `out` that is
    a release or no folder.
    """
    settings = settings or Settings()
    release = release if isinstance(release, Release) else Release.open(release, config=settings.config)
    with process_group(device) as where, torch.random.fork_rng(devices=[where] if where.type == "cuda" else []):
        replicas, rank = here()
        if settings.batch_size % replicas:
            raise InputError(f"batch_size={settings.batch_size} can't be dealt out to {replicas} processes: give a multiple.")
        dataset = _dataset(release, settings, "train")
        make_out(out)
        checkpoint = out / "checkpoint.pt"
        torch.manual_seed(settings.seed)  # the weights' first values; the caller's randomness stays as it was
        steps = settings.epochs * -(-len(dataset) // settings.batch_size)
        prior = dataset.targets.mean(dim=0)
        run = Run(settings, release_sha256=release.manifest_sha256, steps=steps, prior=prior, device=where)
        if rank == 0:
            run.sweep(checkpoint)
        if resume and checkpoint.is_file():
            run.restore(checkpoint)
        elif resume and rank == 0:  # no error: a job that is started again and again asks to resume the first time too
            tell("warning", f"There is no {checkpoint} to go on from: training starts at the first epoch.")
        wait()  # a slow process must not read what a fast one has written since
        sampler = ShuffleSampler(dataset, seed=settings.seed, uneven="pad")
        loader = ResumableLoader(dataset, sampler=sampler, batch_size=settings.batch_size // replicas, num_workers=num_workers)
        if run.partial:
            loader.load_state_dict(run.partial["loader"])
        model: nn.Module = run.model
        if replicas > 1:
            model = DistributedDataParallel(model, device_ids=[where] if where.type == "cuda" else None)
        save = checkpoint if rank == 0 else None
        epochs = range(len(run.losses), settings.epochs)
        bar = tqdm(epochs, desc="training", unit="epoch", disable=not progress or rank > 0)
        for epoch in bar:
            # Order, flips and dropout follow from (seed, epoch, video) alone: a resumed run is the same run, and so is one of
            # two processes with half a batch each.
            loader.set_epoch(epoch)
            run.losses.append(_train_epoch(run, model, loader, save, amp=amp, save_steps=save_steps) / len(dataset))
            run.partial = None
            if save:
                run.save(save)
            bar.set_postfix(loss=f"{run.losses[-1]:.3f}")
        wait()  # whoever returns finds the checkpoint
    return Trained(run.model.eval(), settings, run.losses, checkpoint)


def _train_epoch(
    run: Run, model: nn.Module, loader: ResumableLoader, save: Path | None, *, amp: bool, save_steps: int | None
) -> float:
    """One pass over the loader; returns the summed loss of all processes."""
    replicas, rank = here()
    model.train()
    summed = run.partial["loss"] if run.partial and rank == 0 else 0.0
    for step, batch in enumerate(loader, start=1):
        drawn = chances(run.settings.seed, len(run.losses), batch["video_id"])
        video = _flip(batch["video"], drawn[:, 0]).to(run.device)
        with torch.autocast(run.device.type, dtype=torch.bfloat16, enabled=amp):
            logits = model(video, drawn[:, 1:].to(run.device))
        target, real = batch["target"].reshape(logits.shape).to(run.device), batch["real"].to(run.device)
        losses = nn.functional.binary_cross_entropy_with_logits(logits.float(), target, reduction="none").mean(dim=1) * real
        # Processes' gradients are averaged: this makes it the mean over the real videos of all of them.
        loss = losses.sum() * replicas / total(int(real.sum()), run.device)
        run.optimizer.zero_grad()
        loss.backward()
        run.optimizer.step()
        run.schedule.step()
        summed += float(losses.detach().sum())
        if save_steps and step % save_steps == 0:
            run.partial = {"loader": loader.state_dict(), "loss": total(summed, run.device)}
            if save:
                run.save(save)
    return total(summed, run.device)


def _flip(video: torch.Tensor, chance: torch.Tensor) -> torch.Tensor:
    """Mirror each clip left to right with probability a half, the same for all its frames."""
    return torch.where((chance < 0.5)[:, None, None, None, None], video.flip(-1), video)


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
    """Prediction records (`prediction.schema.json`) of every video of the split, each once, sorted by `video_id`.

    Under torchrun the processes share the work and each returns all records.
    """
    settings = settings or Settings()
    dataset = _dataset(release, settings, split)
    records: list[dict[str, Any]] = []
    with process_group(device) as where:
        model = model.to(where).eval()
        sampler = ShuffleSampler(dataset, shuffle=False, uneven="keep")  # no video twice, whatever the number of processes
        loader = DataLoader(dataset, settings.batch_size, sampler=sampler, num_workers=num_workers, collate_fn=collate)
        for batch in tqdm(loader, desc=f"scoring {split}", unit="batch", disable=not progress or here()[1] > 0):
            scores = torch.sigmoid(model(batch["video"].to(where)).float()).cpu().tolist()
            records += [_record(video_id, row, settings) for video_id, row in zip(batch["video_id"], scores, strict=True)]
        return sorted(gather(records), key=lambda record: str(record["video_id"]))


def run(
    release: AnyRelease = SAMPLE,
    *,
    out: Path,
    settings: Settings | None = None,
    device: str = "cpu",
    amp: bool = False,
    num_workers: int = 0,
    resume: bool = False,
    save_steps: int | None = None,
    bootstrap: int = 1000,
    progress: bool = True,
) -> EvalReport:
    """Train, score the test split, and write `checkpoint.pt`, `predictions.jsonl` and `metrics.json` into `out`.

    `validation.jsonl` has the scores of the validation split, if it holds videos: thresholds may be chosen on them.
    Raises `FilterError` before any training if a split that is needed has no video.
    """
    settings = settings or Settings()
    release = release if isinstance(release, Release) else Release.open(release, config=settings.config)
    _dataset(release, settings, "test")
    refuse_out(out)
    how: dict[str, Any] = {"settings": settings, "device": device, "num_workers": num_workers, "progress": progress}
    with process_group(device):
        trained = train(release, out=out, amp=amp, resume=resume, save_steps=save_steps, **how)
        records = predict(trained.model, release, **how)
        validation: list[dict[str, Any]] = []
        with suppress(FilterError):  # a small release may have no video to validate on
            validation = predict(trained.model, release, split="validation", **how)
        asked: dict[str, Any] = {"config": settings.config, "target": settings.target, "seed": settings.seed}
        report = evaluate(records, release, bootstrap=bootstrap, **asked)
        if here()[1] == 0:
            write_predictions(out / "predictions.jsonl", records)
            if validation:
                write_predictions(out / "validation.jsonl", validation)
            partial = out / f".metrics.json.{os.getpid()}"
            partial.write_text(report.to_json(), encoding="utf-8")
            partial.replace(out / "metrics.json")
        wait()
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a training run, for `unsafe-video train` and `python -m unsafe_video_dataset.baseline`."""
    default = Settings()
    parser.add_argument("--release", default=SAMPLE, help="'sample' (default), a release folder or org/repo")
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
    parser.add_argument("--save-steps", type=int, help="write the checkpoint every so many steps too, not only every epoch")


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
    if arguments.save_steps is not None and arguments.save_steps < 1:
        raise InputError(f"--save-steps is {arguments.save_steps}; it must be at least 1.")
    if arguments.num_workers < 0:
        raise InputError(f"--num-workers is {arguments.num_workers}; it must be at least 0.")
    return Settings(**given)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m unsafe_video_dataset.baseline`; the same flags as `unsafe-video train`."""
    parser = argparse.ArgumentParser(prog="python -m unsafe_video_dataset.baseline", description=__doc__)
    add_arguments(parser)
    return console_run(_main, parser.parse_args(argv))


def _main(arguments: argparse.Namespace) -> int:
    options = {name: getattr(arguments, name) for name in ("out", "device", "amp", "num_workers", "resume", "save_steps")}
    settings = settings_from(arguments)
    with process_group(arguments.device):
        report = run(arguments.release, settings=settings, **options)
        if here()[1] == 0:
            print(report.to_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
