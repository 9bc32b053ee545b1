"""The default detector's network: small, on latents, one for all steps and categories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError

_FREQUENCIES = 8
_RANGE = 12.0  # log-SNRs between -12 and 12 tell steps apart; beyond them all is noise, or all is signal


@dataclass(frozen=True)
class LatentConfig:
    """Sizes of a `LatentNet`. `halvings` says how often rows and columns are halved before the last layers."""

    channels: int
    categories: int
    width: int = 24
    halvings: int = 1

    def __post_init__(self) -> None:
        limits = {"channels": 4096, "categories": 1000, "width": 4096}
        bad = [name for name, most in limits.items() if not 1 <= getattr(self, name) <= most]
        if bad or not 0 <= self.halvings <= 6 or self.width % 8:
            raise InputError(
                f"LatentConfig({self}): {', '.join(bad) or 'width or halvings'} out of range; width is a multiple of 8, "
                "halvings from 0 to 6."
            )

    @classmethod
    def for_shape(cls, shape: Sequence[int], categories: int, *, width: int = 24) -> LatentConfig:
        """For x0 of this shape [C, T, H, W] (or [C, H, W]): maps of 8 to 15 rows reach the last layers."""
        smallest = min(shape[-2:])
        return cls(shape[0], categories, width, max(0, min(6, int(math.log2(max(1, smallest))) - 3)))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


class LatentNet(nn.Module):
    """x0 -> logits, for any number of frames, rows and columns.

    Factored convolutions (space, then time; Tran et al. 2018) whose features are scaled and shifted by an embedding of the
    log-SNR (FiLM; Perez et al. 2018): the blurred guess of an early step is read in another way than the sharp one of a late
    step. The mean and the maximum over time and space go to the last layers, so that a small thing counts where it is.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: LatentConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("mean", torch.zeros(config.channels))
        self.register_buffer("std", torch.ones(config.channels))
        self.embed = nn.Sequential(nn.Linear(2 * _FREQUENCIES + 1, 2 * width), nn.SiLU(), nn.Linear(2 * width, 2 * width))
        self.stem = nn.Conv3d(config.channels, width, (1, 3, 3), padding=(0, 1, 1))
        self.blocks = nn.ModuleList(
            [_Block(width, 2 if i < config.halvings else 1, 2 * width) for i in range(config.halvings + 2)]
        )
        self.head = nn.Sequential(nn.Linear(2 * width, 2 * width), nn.SiLU(), nn.Linear(2 * width, config.categories))

    def set_scale(self, mean: Tensor, std: Tensor) -> None:
        """The mean and standard deviation of each channel of x0, float [C]: what the network sees as 0 and 1."""
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=1e-4))

    def set_prior(self, share: Tensor) -> None:
        """Start at these shares of positives, float [categories]."""
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        with torch.no_grad():
            last.bias.copy_(torch.logit(share.clamp(0.02, 0.98)))

    def forward(self, x0: Tensor, *, log_snr: Tensor, step: Tensor | None = None) -> Tensor:
        """Logits float [B, categories] of x0 float [B, C, T, H, W] (or [B, C, H, W]); `log_snr` float [B]; `step` isn't read.

        Raises `InputError` for another number of channels.
        """
        if x0.ndim == 4:
            x0 = x0.unsqueeze(2)
        if x0.ndim != 5 or x0.shape[1] != self.config.channels:
            raise InputError(
                f"x0 of shape {list(x0.shape)}: this detector reads [B, {self.config.channels}, T, H, W]. It was trained on "
                "another model's latents."
            )
        at = (1, -1, 1, 1, 1)
        x = ((x0.float() - self.mean.view(at)) / self.std.view(at)).clamp(-30, 30)
        condition = self.embed(_waves(log_snr))
        x = self.stem(x)
        for block in self.blocks:
            x = block(x, condition)
        pooled = torch.cat([x.mean(dim=(2, 3, 4)), x.amax(dim=(2, 3, 4))], dim=1)
        logits: Tensor = self.head(pooled)
        return logits


class _Block(nn.Module):
    """One residual step: 3x3 in space (halving it where stride is 2), 3 in time, scaled and shifted by the condition."""

    def __init__(self, width: int, stride: int, condition: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.film = nn.Linear(condition, 2 * width)
        self.space = nn.Conv3d(width, width, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1))
        self.time = nn.Conv3d(width, width, (3, 1, 1), padding=(1, 0, 0))
        self.stride = stride

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition)[:, :, None, None, None].chunk(2, dim=1)
        inner = nn.functional.silu(self.norm(x) * (1 + scale) + shift)
        inner = self.time(nn.functional.silu(self.space(inner)))
        if self.stride > 1:
            x = nn.functional.avg_pool3d(x, (1, self.stride, self.stride), ceil_mode=True)
        result: Tensor = x + inner
        return result


def _waves(log_snr: Tensor) -> Tensor:
    """float [B, 17]: the log-SNR itself and sines and cosines of it."""
    at = (log_snr.float() / _RANGE).clamp(-1, 1)[:, None]
    rates = math.pi / 2 * 2.0 ** (torch.arange(_FREQUENCIES, device=at.device, dtype=at.dtype) / 2)
    return torch.cat([at, (at * rates).sin(), (at * rates).cos()], dim=1)
