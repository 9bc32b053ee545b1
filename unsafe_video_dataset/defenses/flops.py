"""What the Latent Variable Defense costs at real sizes: FLOPs counted on the meta device, so no weights and no memory.

The models are diffusers' classes with the configurations of the published checkpoints. A generation that is stopped after eta
steps has paid eta denoiser steps and eta looks; a full one all steps and one decode. How a look is done decides what is saved:

- `decoder`: x0 decoded by the pipeline's own VAE, then a VideoMAE for each category, as the paper's published code does;
- `small decoder`: x0 decoded by a distilled decoder (TAESD's architecture), then the same VideoMAEs;
- `latent`: a small detector on x0 itself.

FLOPs are those of matrix products, convolutions and attention (a multiplication and an addition are two).
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

from ..errors import InputError, MissingDependency, one_of

Look = Literal["decoder", "small decoder", "latent"]
LOOKS: tuple[Look, ...] = get_args(Look)
CATEGORIES = 5
"""The paper trains a VideoMAE for each step and category."""


@dataclass(frozen=True)
class Size:
    """One model at its usual size. `latent` is [C, T, H, W]; `steps` its usual sampling; `passes` 2 with guidance."""

    name: str
    video: str
    steps: int
    passes: int
    latent: tuple[int, int, int, int]
    denoiser: Callable[[], Any]
    inputs: Callable[[tuple[int, int, int, int]], tuple[tuple[Any, ...], dict[str, Any]]]
    decoder: Callable[[], Any]
    frames: int
    frames_beside: bool
    """Whether the decoder takes frames as a batch of images, [T, C, H, W], and not as a video."""
    upscale: int


@dataclass(frozen=True)
class Cost:
    """FLOPs of the parts of one generation: one denoiser step (all its passes), one decode, one look of each kind."""

    name: str
    video: str
    steps: int
    denoise_step: int
    decode: int
    small_decode: int
    videomae: int
    latent_detector: int

    @property
    def full(self) -> int:
        """All of an unguarded generation: every step and the decode."""
        return self.steps * self.denoise_step + self.decode

    def look(self, how: Look) -> int:
        """One look at x0, the detectors included."""
        one_of(how, LOOKS, "look")
        if how == "latent":
            return self.latent_detector
        return (self.decode if how == "decoder" else self.small_decode) + CATEGORIES * self.videomae

    def saving(self, eta: int, how: Look) -> float:
        """How many times cheaper a generation stopped after `eta` steps is than a full one, the looks counted.

        Raises `InputError` unless 1 <= eta <= steps.
        """
        if not 1 <= eta <= self.steps:
            raise InputError(f"eta={eta}: {self.name} samples in {self.steps} steps. Give 1 to {self.steps}.")
        return self.full / (eta * (self.denoise_step + self.look(how)))

    def overhead(self, eta: int, how: Look) -> float:
        """Share by which an allowed generation, looked at `eta` times, costs more than an unguarded one."""
        return eta * self.look(how) / self.full

    def most_steps(self, times: float, how: Look) -> int:
        """The largest eta at which a stopped generation is at least `times` cheaper; 0 where none is."""
        exact = Fraction(self.full) / (Fraction(times) * (self.denoise_step + self.look(how)))
        return min(self.steps, math.floor(exact))


def measure(size: Size, *, detector: Callable[[tuple[int, int, int, int]], Any] | None = None) -> Cost:
    """Count one size on the meta device; seconds. `detector` makes the latent detector for a latent of a shape.

    A detector is called as `detector(x0 [1, C, T, H, W], log_snr [1])`; without one its FLOPs are 0. Raises `MissingDependency`
    without diffusers and transformers.
    """
    try:
        import torch

        diffusers: Any = importlib.import_module("diffusers")
        transformers: Any = importlib.import_module("transformers")
    except ImportError as error:
        raise MissingDependency("Counting FLOPs needs diffusers: pip install 'unsafe-video-dataset[defenses]'") from error

    channels, frames, height, width = size.latent
    arguments, named = size.inputs(size.latent)
    latent = _empty(frames, channels, height, width) if size.frames_beside else _empty(1, *size.latent)
    tiny = _empty(size.frames, 4, height * size.upscale // 8, width * size.upscale // 8)
    clip = _empty(1, 16, 3, 224, 224)
    looked = 0
    if detector is not None:
        looked = count(lambda: detector(size.latent), _empty(1, *size.latent), _empty(1))
    with torch.device("meta"):
        videomae = transformers.VideoMAEConfig(num_labels=2)
    return Cost(
        name=size.name,
        video=size.video,
        steps=size.steps,
        denoise_step=size.passes * count(size.denoiser, *arguments, **named),
        decode=count(size.decoder, latent, method="decode"),
        small_decode=count(diffusers.AutoencoderTiny, tiny, method="decode"),
        videomae=count(lambda: transformers.VideoMAEForVideoClassification(videomae), clip),
        latent_detector=looked,
    )


def count(make: Callable[[], Any], *arguments: Any, method: str = "forward", **named: Any) -> int:
    """FLOPs of one call of a module that `make` builds; on the meta device, with nothing computed."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        module = make().eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            getattr(module, method)(*arguments, **named) if method != "forward" else module(*arguments, **named)
    return int(counter.get_total_flops())


def sizes() -> Mapping[str, Size]:
    """Name -> the sizes of the table: those that the paper's successors would guard."""
    d: Any = importlib.import_module("diffusers")

    def animatediff() -> Any:
        unet = d.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        return d.UNetMotionModel.from_unet2d(unet, d.MotionAdapter(use_motion_mid_block=False), load_weights=False)

    def sd_decoder() -> Any:
        return d.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
            sample_size=512,
        )

    def wan(heads: int, hidden: int, layers: int) -> Callable[[], Any]:
        return lambda: d.WanTransformer3DModel(num_attention_heads=heads, ffn_dim=hidden, num_layers=layers)

    made = [
        Size(
            name="SD 1.5 + AnimateDiff",
            video="16 frames, 512x512",
            steps=50,
            passes=2,
            latent=(4, 16, 64, 64),
            denoiser=animatediff,
            inputs=lambda shape: ((_empty(1, *shape), _empty(1)), {"encoder_hidden_states": _empty(shape[1], 77, 768)}),
            decoder=sd_decoder,
            frames=16,
            frames_beside=True,
            upscale=8,
        ),
        Size(
            name="CogVideoX-2b",
            video="49 frames, 720x480",
            steps=50,
            passes=2,
            latent=(16, 13, 60, 90),
            denoiser=d.CogVideoXTransformer3DModel,
            inputs=lambda shape: ((_empty(1, shape[1], shape[0], *shape[2:]), _empty(1, 226, 4096), _empty(1)), {}),
            decoder=d.AutoencoderKLCogVideoX,
            frames=49,
            frames_beside=False,
            upscale=8,
        ),
    ]
    for label, heads, hidden, layers in (("1.3B", 12, 8960, 30), ("14B", 40, 13824, 40)):
        made.append(
            Size(
                name=f"Wan 2.1 {label}",
                video="81 frames, 832x480",
                steps=50,
                passes=2,
                latent=(16, 21, 60, 104),
                denoiser=wan(heads, hidden, layers),
                inputs=lambda shape: ((_empty(1, *shape), _empty(1), _empty(1, 512, 4096)), {}),
                decoder=d.AutoencoderKLWan,
                frames=81,
                frames_beside=False,
                upscale=8,
            )
        )
    return {size.name: size for size in made}


def table(costs: Sequence[Cost], *, etas: Sequence[int] = (1, 3, 5, 10, 20), times: float = 10) -> list[dict[str, object]]:
    """One row a model and way to look: TFLOPs of the parts, saving and overhead by eta, the largest eta that saves `times`."""
    rows: list[dict[str, object]] = []
    for cost in costs:
        for how in LOOKS:
            rows.append(
                {
                    "model": cost.name,
                    "video": cost.video,
                    "steps": cost.steps,
                    "look": how,
                    "denoise_step_tflops": cost.denoise_step / 1e12,
                    "decode_tflops": cost.decode / 1e12,
                    "look_tflops": cost.look(how) / 1e12,
                    "full_tflops": cost.full / 1e12,
                    "saving": {eta: cost.saving(eta, how) for eta in etas if eta <= cost.steps},
                    "overhead": {eta: cost.overhead(eta, how) for eta in etas if eta <= cost.steps},
                    "most_steps": cost.most_steps(times, how),
                }
            )
    return rows


def _empty(*shape: int) -> Any:
    import torch

    return torch.empty(*shape, device="meta")
