"""The proxy generator inside diffusers' own `AnimateDiffPipeline`: a linear VAE, a small CLIP text encoder, a denoiser.

- **VAE** (`PatchVAE`): each 8x8 patch of pixels becomes 12 numbers by principal components, and back. Linear, fitted in closed
  form. A video of 8 frames of 32x32 pixels has a latent [12, 8, 4, 4], scaled to unit variance as Stable Diffusion's is.
- **Text**: `CLIPTextModel` (64 wide, two layers) with byte-pair tokens of its own. The denoiser reads the last position of the
  sequence, which in CLIP's causal attention has seen all others.
- **Denoiser** (`SubspaceDenoiser`, stands in for the UNet with its motion module): the latents of all videos of this world lie
  near a linear subspace of 128 dimensions. The noisy latent is projected on it; the best linear guess of x0 (Wiener's, known in
  closed form) is taken, and a residual MLP, told the noise level and the text, adds what is not linear. It predicts v
  (Salimans & Ho 2022). A DiT of the same size on the same latents learned far less in the same minutes on a CPU.

Everything is built from a JSON of settings and one safetensors file, without a network.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from numpy.typing import NDArray
from torch import Tensor, nn

from ...errors import InputError, one_of
from .language import MAX_TOKENS
from .shapes import FRAMES, SIZE

WEIGHTS = Path(__file__).parent / "world"
"""Folder of the shipped generator: `proxy.safetensors` and `proxy.json`."""
STEPS = 20
GUIDANCE = 2.0
PATCH = 8
SCHEDULERS = ("ddim", "ddpm", "euler", "dpm++", "unipc")
_NOISE = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
_PREFIXES = ("vae", "text_encoder", "unet")


class PatchVAE(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Principal components of 8x8 RGB patches, laid out as diffusers' `AutoencoderKL`: `encode` and `decode` of [N, C, h, w].

    Pixels are in [-1, 1]. `components` [C, 3, 8, 8] are orthonormal, `mean` is [3, 8, 8]; both are buffers.
    """

    @register_to_config
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


class SubspaceDenoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Predicts v of a noisy latent; see the module. Takes what pipelines give a `UNetMotionModel`.

    Buffers: `basis` [rank, C*T*h*w] orthonormal rows, `centre` [C*T*h*w] and `spread` [rank], the mean and the variances of
    training latents along the basis.
    """

    @register_to_config
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
        betas = torch.linspace(_NOISE["beta_start"] ** 0.5, _NOISE["beta_end"] ** 0.5, 1000, dtype=torch.float64) ** 2  # type: ignore[operator]
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
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]

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


def settings(*, steps: int = STEPS) -> dict[str, Any]:
    """Arguments for every call of the proxy's pipeline: size, frames, guidance, steps, numpy frames out."""
    return {
        "height": SIZE,
        "width": SIZE,
        "num_frames": FRAMES,
        "guidance_scale": GUIDANCE,
        "num_inference_steps": steps,
        "output_type": "np",
    }


def make_scheduler(name: str = "ddim") -> Any:
    """One of diffusers' schedulers set up for the proxy (v-prediction, Stable Diffusion's betas): `ddim`, `ddpm`, `euler`,
    `dpm++` or `unipc`. Steps are spaced `trailing`: the first is at pure noise, where sampling starts."""
    import diffusers

    one_of(name, SCHEDULERS, "make_scheduler(name)")
    classes = {
        "ddim": "DDIMScheduler",
        "ddpm": "DDPMScheduler",
        "euler": "EulerDiscreteScheduler",
        "dpm++": "DPMSolverMultistepScheduler",
        "unipc": "UniPCMultistepScheduler",
    }
    extra = {"clip_sample": False} if name in ("ddim", "ddpm") else {}
    if name == "ddim":
        extra["set_alpha_to_one"] = True
    return getattr(diffusers, classes[name])(**_NOISE, prediction_type="v_prediction", timestep_spacing="trailing", **extra)


def make_tokenizer(vocabulary: dict[str, int], merges: Sequence[Sequence[str]]) -> Any:
    """A `CLIPTokenizer` with these tokens, `MAX_TOKENS` long."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer(vocab=vocabulary, merges=[tuple(pair) for pair in merges], model_max_length=MAX_TOKENS)


def make_text_encoder(tokens: int, *, width: int = 64) -> Any:
    """An untrained `CLIPTextModel` of `width`, two layers, for a vocabulary of so many tokens (the last two begin and end)."""
    from transformers import CLIPTextConfig, CLIPTextModel

    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=tokens,
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            projection_dim=width,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokens - 2,
            eos_token_id=tokens - 1,
            pad_token_id=tokens - 1,
        )
    )


def load_proxy(*, scheduler: str = "ddim", folder: Path | None = None) -> Any:
    """The proxy as an `AnimateDiffPipeline` on the CPU in float32, ready for `pipe(prompt, **settings())`.

    `scheduler`: see `make_scheduler`. `folder`: another one that the training script wrote, None for the shipped one.
    Raises `InputError` where its two files are missing or don't fit.
    """
    from diffusers import AnimateDiffPipeline
    from safetensors.torch import load_file

    folder = folder or WEIGHTS
    if not (folder / "proxy.json").is_file() or not (folder / "proxy.safetensors").is_file():
        raise InputError(
            f"No proxy.json and proxy.safetensors in {folder.name}/; make them with "
            "python -m unsafe_video_dataset.defenses.proxy.train_proxy OUT."
        )
    about = json.loads((folder / "proxy.json").read_text(encoding="utf-8"))
    models = {
        "vae": PatchVAE(**about["vae"]),
        "text_encoder": make_text_encoder(len(about["vocabulary"]), width=about["text_width"]),
        "unet": SubspaceDenoiser(**about["unet"]),
    }
    tensors = {name: value.float() for name, value in load_file(folder / "proxy.safetensors").items()}
    for prefix, model in models.items():
        part = {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}
        try:
            model.load_state_dict(part)
        except RuntimeError as error:
            raise InputError(f"The weights in {folder.name}/ don't fit its proxy.json; write both anew: {error}") from error
        model.eval().requires_grad_(False)
    pipe = AnimateDiffPipeline(
        **models,
        tokenizer=make_tokenizer(about["vocabulary"], about["merges"]),
        motion_adapter=None,
        scheduler=make_scheduler(scheduler),
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate(
    pipe: Any, prompts: Sequence[str], *, seeds: Sequence[int], steps: int = STEPS, batch_size: int = 32, **call: Any
) -> NDArray[np.uint8]:
    """One video a prompt, each from its own seed: uint8 [N, FRAMES, SIZE, SIZE, 3].

    A video depends on its prompt and seed alone but for rounding, whatever else is in its batch. `call` goes to the pipeline.
    """
    if len(prompts) != len(seeds):
        raise InputError(f"{len(prompts)} prompts and {len(seeds)} seeds: give a seed for each prompt.")
    out = []
    for start in range(0, len(prompts), batch_size):
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds[start : start + batch_size]]
        made = pipe(list(prompts[start : start + batch_size]), generator=generators, **{**settings(steps=steps), **call})
        out.append(np.rint(np.asarray(made.frames) * 255).astype(np.uint8))
    return np.concatenate(out) if out else np.empty((0, FRAMES, SIZE, SIZE, 3), dtype=np.uint8)
