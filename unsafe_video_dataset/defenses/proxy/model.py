"""The proxy generator inside diffusers' own `AnimateDiffPipeline`: a linear VAE, a small CLIP text encoder, a denoiser.

- **VAE** (`PatchVAE`): each 8x8 patch of pixels becomes 12 numbers by principal components, and back. Linear, fitted in closed
  form. A video of 8 frames of 32x32 pixels has a latent [12, 8, 4, 4], scaled to unit variance as Stable Diffusion's is.
- **Text**: `CLIPTextModel` (64 wide, two layers) with byte-pair tokens of its own. The denoiser reads the last position of the
  sequence, which in CLIP's causal attention has seen all others.
- **Denoiser** (`SubspaceDenoiser`): a closed-form guess and a small MLP, in the place of the UNet with its motion module.

Everything is built from a JSON of settings and one safetensors file, without a network.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import InputError, one_of
from .denoiser import NOISE, SubspaceDenoiser
from .language import MAX_TOKENS
from .shapes import FRAMES, SIZE
from .vae import PatchVAE

WEIGHTS = Path(__file__).parent / "world"
"""Folder of the shipped generator: `proxy.safetensors` and `proxy.json`."""
STEPS = 20
GUIDANCE = 2.0
SCHEDULERS = ("ddim", "ddpm", "euler", "dpm++", "unipc")


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
    return getattr(diffusers, classes[name])(**NOISE, prediction_type="v_prediction", timestep_spacing="trailing", **extra)


def make_tokenizer(vocabulary: dict[str, int], merges: Sequence[Sequence[str]]) -> Any:
    """A `CLIPTokenizer` with these tokens, `MAX_TOKENS` long."""
    from transformers import CLIPTokenizer

    pairs: Any = [tuple(pair) for pair in merges]
    return CLIPTokenizer(vocab=vocabulary, merges=pairs, model_max_length=MAX_TOKENS)


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


@contextmanager
def _no_word_of_torchvision() -> Iterator[None]:
    """transformers tells who imports this pipeline to install torchvision, for image processors that the proxy hasn't."""
    logger = logging.getLogger("transformers.utils.import_utils")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def load_proxy(*, scheduler: str = "ddim", folder: Path | None = None) -> Any:
    """The proxy as an `AnimateDiffPipeline` on the CPU in float32, ready for `pipe(prompt, **settings())`.

    `scheduler`: see `make_scheduler`. `folder`: another one that the training script wrote, None for the shipped one.
    Raises `InputError` where its two files are missing or don't fit.
    """
    with _no_word_of_torchvision():
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
