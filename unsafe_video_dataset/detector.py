"""The baseline's detector: its settings, its model, and its checkpoint file (tensors and plain values, no pickled code)."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from .errors import InputError
from .taxonomy import CATEGORIES

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


class Run:
    """What a training run carries from epoch to epoch: model, optimizer, learning-rate schedule and losses so far."""

    def __init__(
        self, settings: Settings, *, release_sha256: str, steps: int, prior: torch.Tensor, device: torch.device
    ) -> None:
        self.identity = {"settings": asdict(settings), "release": release_sha256}
        self.model = Detector(settings.outputs).to(device)
        self.model.head[1].bias.data = torch.logit(prior.clamp(0.02, 0.98)).reshape(-1).to(device)  # start at the prevalence
        weights = self.model.parameters()
        self.optimizer = torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)
        self.losses: list[float] = []
        self.device = device

    def save(self, path: Path) -> None:
        """Write the checkpoint; the file appears whole or not at all."""
        parts = {name: getattr(self, name).state_dict() for name in _PARTS}
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            torch.save({"identity": self.identity, "losses": self.losses, **parts}, partial)
            partial.replace(path)
        finally:
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
        self.losses = list(state["losses"])


def load(checkpoint: Path, *, device: str = "cpu") -> tuple[Detector, Settings]:
    """The model (in eval mode) and settings of a checkpoint. Raises `InputError` if there is none or it is damaged."""
    where = find_device(device)
    state = _read_checkpoint(checkpoint, where)
    settings = Settings(**state["identity"]["settings"])
    model = Detector(settings.outputs).to(where)
    model.load_state_dict(state["model"])
    return model.eval(), settings


def find_device(name: str) -> torch.device:
    """The torch device of that name. Raises `InputError` for an unknown one, or a GPU that is not there."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device={name!r} is not known to torch. Use cpu, cuda or cuda:0.") from error
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device={name!r} is not supported here. Use cpu, cuda or cuda:0.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("device='cuda', but torch sees no GPU here. Use --device cpu, or install a CUDA build of torch.")
    return device


def _read_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except FileNotFoundError as error:
        raise InputError(f"There is no checkpoint {path}. `unsafe-video train` writes one.") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        raise InputError(f"{path} is not a checkpoint of this package ({type(error).__name__}). Train anew.") from error
    if not isinstance(state, dict) or not {"identity", "losses", *_PARTS} <= state.keys():
        raise InputError(f"{path} is not a checkpoint of this package. Train anew.")
    return state
