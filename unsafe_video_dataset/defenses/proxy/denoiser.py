"""The proxy's denoiser, in the place of a UNet with its motion module: the best linear guess of x0, and what an MLP adds.

The latents of all videos of this world lie near a linear subspace of 128 dimensions. The noisy latent is projected on it; the
best linear guess of x0 (Wiener's, known in closed form) is taken, and a residual MLP, told the noise level and the text, adds
what is not linear. It predicts v (Salimans & Ho 2022).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from ...errors import InputError
from .shapes import FRAMES, SIZE
from .vae import PATCH

NOISE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
}
"""The noise schedule, Stable Diffusion's."""


class SubspaceDenoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Predicts v of a noisy latent; see the module. Takes what pipelines give a `UNetMotionModel`.

    Buffers: `basis` [rank, C*T*h*w] orthonormal rows, `centre` [C*T*h*w] and `spread` [rank], the mean and the variances of
    training latents along the basis.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        in_channels: int = 12,
        sample_size: int = SIZE // PATCH,
        num_frames: int = FRAMES,
        rank: int = 128,
        width: int = 256,
        hidden: int = 256,
        depth: int = 3,
        text_width: int = 64,
        cond_width: int = 96,
    ) -> None:
        super().__init__()
        size = in_channels * num_frames * sample_size**2
        self.basis: Tensor
        self.centre: Tensor
        self.spread: Tensor
        self.register_buffer("basis", torch.zeros(rank, size))
        self.register_buffer("centre", torch.zeros(size))
        self.register_buffer("spread", torch.ones(rank))
        betas = torch.linspace(NOISE["beta_start"] ** 0.5, NOISE["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2
        cumulative = torch.cumprod(1 - betas, 0)
        self.half_log_snr: Tensor
        self.register_buffer("half_log_snr", (0.5 * torch.log(cumulative / (1 - cumulative))).float(), persistent=False)
        self.register_buffer("frequencies", torch.exp(torch.linspace(math.log(2), math.log(0.04), 16)), persistent=False)
        self.condition = nn.Sequential(nn.Linear(text_width + 32, cond_width), nn.SiLU())
        self.enter = nn.Linear(rank, width)
        self.modulate = nn.ModuleList(nn.Linear(cond_width, 2 * width) for _ in range(depth))
        self.up = nn.ModuleList(nn.Linear(width, hidden) for _ in range(depth))
        self.down = nn.ModuleList(nn.Linear(hidden, width) for _ in range(depth))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.leave = nn.Linear(width, rank)
        for layer in (*self.down, self.leave):  # the closed form alone, to begin with
            nn.init.zeros_(layer.weight)

    def level(self, timestep: Tensor) -> Tensor:
        """ln(alpha / sigma) at training timesteps [N] (fractions are interpolated): [N]."""
        t = timestep.to(torch.float32).clamp(0, len(self.half_log_snr) - 1)
        low = t.floor().long()
        high = (low + 1).clamp(max=len(self.half_log_snr) - 1)
        return torch.lerp(self.half_log_snr[low], self.half_log_snr[high], t - low)

    def guess(self, z: Tensor, level: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """x0 in the subspace and the spread of what is not linear in it, both [N, rank]; `z` [N, rank] noisy coordinates about
        alpha times the centre, `level` [N] = ln(alpha / sigma), `text` [N, text_width]."""
        alpha = torch.sigmoid(2 * level).sqrt()[:, None]
        sigma = torch.sigmoid(-2 * level).sqrt()[:, None]
        total = alpha**2 * self.spread + sigma**2
        angle = level[:, None] * self.frequencies
        told = self.condition(torch.cat([angle.sin(), angle.cos(), text], dim=1))
        h = self.enter(z / total.sqrt())
        for modulate, up, down in zip(self.modulate, self.up, self.down, strict=True):
            scale, shift = modulate(told).chunk(2, dim=1)
            h = h + down(nn.functional.gelu(up(self.norm(h) * (1 + scale) + shift)))
        bend = sigma * (self.spread / total).sqrt()
        return alpha * self.spread / total * z + bend * self.leave(self.norm(h)), bend

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor | float | int,
        encoder_hidden_states: Tensor,
        timestep_cond: Any = None,
        attention_mask: Any = None,
        cross_attention_kwargs: Any = None,
        added_cond_kwargs: Any = None,
        return_dict: bool = True,
        **unused: Any,
    ) -> Any:
        """v of `sample` [B, C, T, h, w] at `timestep`; `encoder_hidden_states` [B, L, D] or, as pipelines repeat it for every
        frame, [B*T, L, D]. Raises `InputError` for a size that it was not trained for."""
        from diffusers.models.unets.unet_motion_model import UNetMotionOutput

        batch, frames = sample.shape[0], sample.shape[2]
        if sample[0].numel() != self.basis.shape[1]:
            raise InputError(
                f"The proxy makes {self.config.num_frames} frames of {self.config.sample_size * PATCH} pixels; got a latent "
                f"of {tuple(sample.shape[1:])}. Call the pipeline with the arguments of defenses.proxy.settings()."
            )
        text = encoder_hidden_states[:, -1]
        if len(text) != batch:
            text = text[::frames]
        t = torch.as_tensor(timestep, device=sample.device).reshape(-1).expand(batch)
        level = self.level(t)
        alpha = torch.sigmoid(2 * level).sqrt()[:, None]
        sigma = torch.sigmoid(-2 * level).sqrt()[:, None]
        flat = sample.flatten(1)
        x0, _ = self.guess((flat - alpha * self.centre) @ self.basis.T, level, text)
        v = (alpha * flat - self.centre - x0 @ self.basis) / sigma
        v = v.reshape(sample.shape)
        return UNetMotionOutput(sample=v) if return_dict else (v,)
