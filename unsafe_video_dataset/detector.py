"""The baseline's detector: its settings, its model, and its checkpoint file (tensors and plain values, no pickled code)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from .errors import InputError
from .ranks import find_device
from .taxonomy import CATEGORIES

FEATURES = 96  # of a clip, before the last layer
DROPOUT = 0.2
_NOT_OURS = "{path} is not a checkpoint of this package{why}. Train anew."
_PARTS = ("model", "optimizer", "schedule")


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

    @property
    def outputs(self) -> int:
        """Logits a clip: one a category, or one for 'unsafe'."""
        return len(CATEGORIES) if self.target == "multilabel" else 1


class Detector(nn.Module):
    """uint8 clips [B, T, 3, H, W] -> logits [B, outputs]. Strided 3D convolutions, group norm, mean over time and space."""

    def __init__(self, outputs: int, width: int = FEATURES // 4) -> None:
        super().__init__()
        widths = [3, width, 2 * width, 4 * width, 4 * width]
        strides: list[tuple[int, int, int]] = [(1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)]
        layers: list[nn.Module] = []
        for before, after, stride in zip(widths[:-1], widths[1:], strides, strict=True):
            layers += [nn.Conv3d(before, after, 3, stride, padding=1), nn.GroupNorm(8, after), nn.GELU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(widths[-1], outputs)

    def forward(self, video: torch.Tensor, chances: torch.Tensor | None = None) -> torch.Tensor:
        """Logits float [B, outputs]. `chances` float [B, FEATURES] in [0, 1[: features below `DROPOUT` are dropped.

        They come from outside (the function `chances`), so that what is dropped does not depend on the batch or the process.
        """
        clip = video.transpose(1, 2).float() / 127.5 - 1
        clip = clip - clip.mean(dim=(2, 3, 4), keepdim=True)  # colour and brightness of the ground say nothing
        features: torch.Tensor = self.body(clip)
        features = features.mean(dim=(2, 3, 4))
        if chances is not None:
            features = features * (chances >= DROPOUT) / (1 - DROPOUT)
        logits: torch.Tensor = self.head(features)
        return logits


def chances(seed: int, epoch: int, video_ids: Sequence[str]) -> torch.Tensor:
    """Random numbers float32 [B, 1 + FEATURES] in [0, 1[ for each video: a function of (seed, epoch, video_id) alone."""
    drawn = [np.random.default_rng([seed, epoch, int(video_id, 16), 1]).random(1 + FEATURES) for video_id in video_ids]
    return torch.tensor(np.array(drawn), dtype=torch.float32)


class Run:
    """What a training run carries from step to step: model, optimizer, learning-rate schedule, losses and place so far."""

    def __init__(
        self, settings: Settings, *, release_sha256: str, steps: int, prior: torch.Tensor, device: torch.device
    ) -> None:
        self.identity = {"settings": asdict(settings), "release": release_sha256}
        self.model = Detector(settings.outputs).to(device)
        self.model.head.bias.data = torch.logit(prior.clamp(0.02, 0.98)).reshape(-1).to(device)  # start at the prevalence
        weights = self.model.parameters()
        self.optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)
        self.settings = settings
        self.losses: list[float] = []
        self.partial: dict[str, Any] | None = None  # in mid-epoch: the loader's state, and the loss of this epoch so far
        self.device = device

    def save(self, path: Path) -> None:
        """Write the checkpoint; the file appears whole or not at all."""
        parts = {name: getattr(self, name).state_dict() for name in _PARTS}
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            torch.save({"identity": self.identity, "losses": self.losses, "partial": self.partial, **parts}, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @staticmethod
    def sweep(path: Path) -> None:
        """Remove what runs that were killed while they saved left beside a checkpoint. For the one process that saves there."""
        for partial in path.parent.glob(f".{path.name}.*"):
            partial.unlink(missing_ok=True)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint. Raises `InputError` if it is damaged or comes from other settings or another release."""
        state = _read_checkpoint(path, self.device)
        if state["identity"] != self.identity:
            raise InputError(
                f"{path} comes from another release or other settings. Use those, or another --out, or no --resume."
            )
        for name in _PARTS:
            getattr(self, name).load_state_dict(state[name])
        self.losses, self.partial = list(state["losses"]), state.get("partial")


def load(checkpoint: Path, *, device: str = "cpu") -> tuple[Detector, Settings]:
    """The model (in eval mode) and settings of a checkpoint. Raises `InputError` if there is none or it is damaged."""
    where = find_device(device)
    state = _read_checkpoint(checkpoint, where)
    try:
        settings = Settings(**state["identity"]["settings"])
        model = Detector(settings.outputs).to(where)
        model.load_state_dict(state["model"])
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:  # the file's parts don't fit one another
        raise InputError(_NOT_OURS.format(path=checkpoint, why=f" ({type(error).__name__})")) from error
    return model.eval(), settings


def _read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"There is no checkpoint {path}. `unsafe-video train` writes one.") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise InputError(_NOT_OURS.format(path=path, why=f" ({type(error).__name__})")) from error
    if not isinstance(state, dict) or not {"identity", "losses", *_PARTS} <= state.keys():
        raise InputError(_NOT_OURS.format(path=path, why=""))
    return state
