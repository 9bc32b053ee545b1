"""A small detector and one readable training loop: what a first experiment on a release looks like.

    python -m unsafe_video_dataset.baseline --release sample --epochs 60

The model is a 3D CNN of about 0.3 million weights on clips of 16 frames. Everything that happens is a function of the
release and the settings: same machine, same settings, same scores. It is a yardstick, not the state of the art.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from ._console import run as console_run
from .clips import UniformFrames
from .errors import InputError, one_of
from .evaluate import evaluate
from .predictions import write_predictions
from .release import SAMPLE, Release
from .scores import EvalReport
from .taxonomy import CATEGORIES
from .torch import UnsafeVideoDataset, collate

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Settings:
    """Everything that shapes a run. `target` `multilabel` trains on config `unsafe`, `binary` on `reviewed`."""

    target: Literal["multilabel", "binary"] = "multilabel"
    epochs: int = 60
    batch_size: int = 8
    size: int = 64
    num_frames: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    seed: int = 0

    @property
    def config(self) -> Literal["unsafe", "reviewed"]:
        """The config that the target is learned on."""
        return "unsafe" if self.target == "multilabel" else "reviewed"


class Detector(nn.Module):
    """uint8 clips [B, T, 3, H, W] -> logits [B, outputs]. Strided 3D convolutions, group norm, mean over time and space."""

    def __init__(self, outputs: int, width: int = 24) -> None:
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 4 * width]
        strides: list[tuple[int, int, int]] = [(1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)]
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True):
            layers += [nn.Conv3d(before, after, 3, stride, padding=1), nn.GroupNorm(8, after), nn.GELU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(widths[-1], outputs))

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        """Logits float [B, outputs]."""
        clip = video.transpose(1, 2).float() / 127.5 - 1
        clip = clip - clip.mean(dim=(2, 3, 4), keepdim=True)  # colour and brightness of the ground say nothing
        features: torch.Tensor = self.body(clip)
        logits: torch.Tensor = self.head(features.mean(dim=(2, 3, 4)))
        return logits


@dataclass
class Trained:
    """What a run gives: the model in eval mode, the loss of each epoch, and the checkpoint file."""

    model: Detector
    settings: Settings
    losses: list[float]
    checkpoint: Path


def train(
    release: Release | str | os.PathLike[str] = SAMPLE,
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
    one_of(settings.target, ("multilabel", "binary"), "target")
    release = release if isinstance(release, Release) else Release.open(release)
    where = _device(device)
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / CHECKPOINT
    dataset = _dataset(release, settings, "train")
    positive = dataset.targets.mean(dim=0).clamp(0.02, 0.98)

    torch.manual_seed(settings.seed)  # the weights' first values
    model = Detector(_outputs(settings)).to(where)
    model.head[1].bias.data = torch.logit(positive).reshape(-1).to(where)
    steps = settings.epochs * -(-len(dataset) // settings.batch_size)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    identity = {"settings": asdict(settings), "release": release.manifest_sha256}
    losses: list[float] = []
    if resume and checkpoint.is_file():
        losses = _restore(checkpoint, identity, model, optimizer, schedule, where)

    model.train()
    bar = tqdm(range(len(losses), settings.epochs), desc="training", unit="epoch", disable=not progress)
    for epoch in bar:
        total = 0.0
        # Order, dropout and flips follow from (seed, epoch) alone, so that a resumed run is the same run.
        torch.manual_seed(settings.seed * 1_000_003 + epoch + 1)
        dataset.set_epoch(epoch)
        loader = _loader(dataset, settings, num_workers, shuffle=True)
        for batch in loader:
            video = _flip(batch["video"]).to(where)
            with torch.autocast(where.type, dtype=torch.bfloat16, enabled=amp):
                logits = model(video)
            target = batch["target"].reshape(logits.shape).to(where)
            loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), target)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            total += loss.item() * len(target)
        losses.append(total / len(dataset))
        bar.set_postfix(loss=f"{losses[-1]:.3f}")
        _save(checkpoint, identity, losses, model, optimizer, schedule)
    model.eval()
    return Trained(model, settings, losses, checkpoint)


@torch.no_grad()
def predict(
    model: Detector,
    release: Release | str | os.PathLike[str] = SAMPLE,
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
    where = _device(device)
    model = model.to(where).eval()
    records: list[dict[str, Any]] = []
    for batch in tqdm(_loader(dataset, settings, num_workers, shuffle=False), desc=f"scoring {split}", disable=not progress):
        scores = torch.sigmoid(model(batch["video"].to(where)).float()).cpu().tolist()
        records += [_record(video_id, row, settings) for video_id, row in zip(batch["video_id"], scores, strict=True)]
    return records


def load(checkpoint: Path, *, device: str = "cpu") -> tuple[Detector, Settings]:
    """The model and settings of a checkpoint; only tensors and plain values are read, no pickled code."""
    state = _read(checkpoint, _device(device))
    settings = Settings(**state["identity"]["settings"])
    model = Detector(_outputs(settings)).to(_device(device))
    model.load_state_dict(state["model"])
    return model.eval(), settings


def _record(video_id: str, scores: list[float], settings: Settings) -> dict[str, Any]:
    if settings.target == "binary":
        return {"video_id": video_id, "unsafe_score": scores[0], "model": "baseline"}
    return {"video_id": video_id, "scores": dict(zip(CATEGORIES, scores, strict=True)), "model": "baseline"}


def _outputs(settings: Settings) -> int:
    return len(CATEGORIES) if settings.target == "multilabel" else 1


def _dataset(release: Release | str | os.PathLike[str], settings: Settings, split: str) -> UnsafeVideoDataset:
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


def _flip(video: torch.Tensor) -> torch.Tensor:
    """Mirror each clip left to right with probability a half, the same for all its frames."""
    mirrored = torch.rand(len(video)) < 0.5
    return torch.where(mirrored[:, None, None, None, None], video.flip(-1), video)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device={name!r} is not known to torch. Use cpu, cuda or cuda:0.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda', but torch sees no GPU here. Use --device cpu, or install a CUDA build of torch.")
    return device


def _save(path: Path, identity: dict[str, Any], losses: list[float], model: Any, optimizer: Any, schedule: Any) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    torch.save({"identity": identity, "losses": losses, **parts}, partial)
    partial.replace(path)


def _restore(path: Path, identity: dict[str, Any], model: Any, optimizer: Any, schedule: Any, where: Any) -> list[float]:
    state = _read(path, where)
    if state["identity"] != identity:
        raise InputError(f"{path} comes from another release or other settings; use those, or another --out, or no --resume.")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return list(state["losses"])


def _read(path: Path, where: torch.device) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location=where, weights_only=True)
        return state
    except FileNotFoundError as error:
        raise InputError(f"There is no checkpoint {path}. `unsafe-video train` writes one.") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise InputError(f"{path} is not a checkpoint of this package ({type(error).__name__}). Train anew.") from error


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
    """The settings that the flags of `add_arguments` give. Raises `InputError` for values below 1."""
    names = ("target", "epochs", "batch_size", "size", "num_frames", "learning_rate", "seed")
    given = {name: getattr(arguments, name) for name in names}
    for name in ("epochs", "batch_size", "num_frames"):
        if given[name] < 1:
            raise InputError(f"--{name.replace('_', '-')} is {given[name]}; it must be at least 1.")
    if given["size"] < 16:
        raise InputError(f"--size is {given['size']}; the detector halves it four times, so it must be at least 16.")
    return Settings(**given)


def run(
    release: Release | str | os.PathLike[str] = SAMPLE,
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
    """Train, score the test split, and write `checkpoint.pt`, `predictions.jsonl` and `metrics.json` into `out`."""
    settings = settings or Settings()
    release = release if isinstance(release, Release) else Release.open(release)
    trained = train(
        release,
        out=out,
        settings=settings,
        device=device,
        amp=amp,
        num_workers=num_workers,
        resume=resume,
        progress=progress,
    )
    records = predict(trained.model, release, settings=settings, device=device, num_workers=num_workers, progress=progress)
    write_predictions(out / "predictions.jsonl", records)
    report = evaluate(records, release, config=settings.config, target=settings.target, bootstrap=bootstrap, seed=settings.seed)
    partial = out / f".metrics.json.{os.getpid()}"
    partial.write_text(report.to_json(), encoding="utf-8")
    partial.replace(out / "metrics.json")
    return report


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
