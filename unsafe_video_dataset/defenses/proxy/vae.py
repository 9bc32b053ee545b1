"""The proxy's VAE: each 8x8 patch of pixels becomes 12 numbers by principal components, and back. Linear."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

PATCH = 8


class PatchVAE(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Principal components of 8x8 RGB patches, laid out as diffusers' `AutoencoderKL`: `encode` and `decode` of [N, C, h, w].

    Pixels are in [-1, 1]. `components` [C, 3, 8, 8] are orthonormal, `mean` is [3, 8, 8]; both are buffers.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 12,
        scaling_factor: float = 1.0,
        block_out_channels: tuple[int, ...] = (12, 12, 12, 12),  # 2 ** (4 - 1) = 8: how pipelines read the patch size
    ) -> None:
        super().__init__()
        self.components: Tensor
        self.mean: Tensor
        self.register_buffer("components", torch.zeros(latent_channels, 3, PATCH, PATCH))
        self.register_buffer("mean", torch.zeros(3, PATCH, PATCH))

    @property
    def dtype(self) -> torch.dtype:
        """That of the components (there are no parameters)."""
        return self.components.dtype

    def encode(self, x: Tensor, return_dict: bool = True) -> Any:
        """Pixels [N, 3, H, W] to a latent [N, C, H/8, W/8], not yet scaled. `latent_dist` has no spread."""
        from diffusers.models.modeling_outputs import AutoencoderKLOutput

        centred = x - self.mean.repeat(1, x.shape[2] // PATCH, x.shape[3] // PATCH)
        latent = nn.functional.conv2d(centred, self.components, stride=PATCH)
        spread = _Point(latent)
        return AutoencoderKLOutput(latent_dist=spread) if return_dict else (spread,)

    def decode(self, z: Tensor, return_dict: bool = True, generator: Any = None) -> Any:
        """Latents [N, C, h, w], unscaled, to pixels [N, 3, 8h, 8w]."""
        from diffusers.models.autoencoders.vae import DecoderOutput

        pixels = nn.functional.conv_transpose2d(z, self.components, stride=PATCH)
        pixels = pixels + self.mean.repeat(1, z.shape[2], z.shape[3])
        return DecoderOutput(sample=pixels) if return_dict else (pixels,)


class _Point:
    """A distribution that is one value, with the methods of diffusers' Gaussian one."""

    def __init__(self, value: Tensor) -> None:
        self.mean = value

    def mode(self) -> Tensor:
        return self.mean

    def sample(self, generator: Any = None) -> Tensor:
        return self.mean
