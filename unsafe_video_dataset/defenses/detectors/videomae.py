"""The paper's layout: for each step and category one VideoMAE that looks at the decoded frames of x0.

"Towards Understanding Unsafe Video Generation" (arXiv 2407.12581) trains `VideoMAEForVideoClassification` for each of the first
steps and each category. It costs a decode of the VAE and K classifiers a step; `LatentNet` needs neither. Here for parity.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import InputError, MissingDependency
from .card import Card

Decode = Callable[[Tensor], Tensor]
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as in VideoMAEImageProcessor
_KEPT = (  # of a VideoMAEConfig: what makes the network; no path, no id of an upload
    *("image_size", "patch_size", "num_channels", "num_frames", "tubelet_size", "hidden_size", "num_hidden_layers"),
    *("num_attention_heads", "intermediate_size", "hidden_act", "hidden_dropout_prob", "attention_probs_dropout_prob"),
    *("initializer_range", "layer_norm_eps", "qkv_bias", "qv_bias", "use_mean_pooling"),
)


class PerStepVideoMAE(nn.Module):
    """One binary classifier a step and category; the logit is that of 'unsafe' less that of 'safe'.

    `decode` makes frames float [T, 3, H, W] in [0, 1] of one x0 [C, T, H, W]: see `frames_decoder`. It isn't stored.
    """

    def __init__(self, config: Mapping[str, Any], *, steps: Sequence[int], categories: Sequence[str], decode: Decode) -> None:
        super().__init__()
        transformers = _transformers()
        if not steps or not categories or min(steps) < 1:
            raise InputError("Give at least one step (from 1) and one category.")
        self.steps, self.categories, self.decode = tuple(sorted(set(steps))), tuple(categories), decode
        made = transformers.VideoMAEConfig(**{name: config[name] for name in _KEPT if name in config}, num_labels=2)
        self.settings = {name: value for name, value in made.to_dict().items() if name in _KEPT}
        self.config = made
        self.models = nn.ModuleDict(
            {
                f"step{step}": nn.ModuleList([transformers.VideoMAEForVideoClassification(made) for _ in self.categories])
                for step in self.steps
            }
        )

    @classmethod
    def from_checkpoint(
        cls, folder: str | os.PathLike[str], *, steps: Sequence[int], categories: Sequence[str], decode: Decode
    ) -> PerStepVideoMAE:
        """Every classifier starts from a local VideoMAE checkpoint (safetensors only); its head is new.

        Nothing is downloaded. Raises `InputError` where the folder holds no such checkpoint.
        """
        transformers = _transformers()
        where = Path(folder)
        try:
            config = transformers.VideoMAEConfig.from_pretrained(where, local_files_only=True)
            body = transformers.VideoMAEModel.from_pretrained(where, local_files_only=True, use_safetensors=True)
        except (OSError, ValueError) as error:
            raise InputError(f"{where} is no VideoMAE checkpoint with safetensors weights ({type(error).__name__}).") from None
        made = cls(config.to_dict(), steps=steps, categories=categories, decode=decode)
        state = {name: value for name, value in body.state_dict().items() if not name.startswith("layernorm")}
        for models in made.models.values():
            for model in models:  # type: ignore[attr-defined]
                model.videomae.load_state_dict(state, strict=False)
        return made

    @classmethod
    def from_dict(cls, config: Mapping[str, Any], *, decode: Decode) -> PerStepVideoMAE:
        """From `Card.config`, with first weights."""
        return cls(config["model"], steps=config["steps"], categories=config["categories"], decode=decode)

    def card(self, kind: Mapping[str, Any]) -> Card:
        """The card to train it with; `kind` is `Traces.kind()`."""
        config = {"model": self.settings, "steps": list(self.steps), "categories": list(self.categories)}
        return Card("videomae", self.categories, dict(kind), config, self.steps)

    def forward(self, x0: Tensor, *, step: Tensor, log_snr: Tensor | None = None) -> Tensor:
        """Logits float [B, categories] of x0 [B, C, T, H, W]; `step` int [B]; `log_snr` isn't read.

        Raises `InputError` for a step that it has no classifier for.
        """
        unknown = sorted(set(step.tolist()) - set(self.steps))
        if unknown:
            raise InputError(f"No classifier for steps {unknown}, only for {list(self.steps)}. Use a rule with a smaller eta.")
        with torch.no_grad():
            pixels = torch.stack([self._pixels(self.decode(one)) for one in x0]).to(x0.device)
        made = torch.empty(len(x0), len(self.categories), device=x0.device)
        for number in sorted(set(step.tolist())):
            at = (step == number).nonzero()[:, 0]
            models: Any = self.models[f"step{number}"]
            logits = torch.stack([model(pixel_values=pixels[at]).logits for model in models], dim=1)
            made = made.index_put((at,), logits[..., 1] - logits[..., 0])
        return made

    def _pixels(self, frames: Tensor) -> Tensor:
        """float [T, 3, H, W] in [0, 1] -> normalised [num_frames, 3, size, size]; frames spread evenly over the clip."""
        if frames.ndim != 4 or frames.shape[1] != 3:
            raise InputError(f"decode gave {list(frames.shape)}; return frames [T, 3, H, W] in [0, 1].")
        count, size = self.config.num_frames, self.config.image_size
        at = torch.linspace(0, len(frames) - 1, count, device=frames.device).round().long()
        frames = nn.functional.interpolate(frames[at].float().clamp(0, 1), (size, size), mode="bilinear", antialias=True)
        shape = (1, 3, 1, 1)
        return (frames - frames.new_tensor(_MEAN).view(shape)) / frames.new_tensor(_STD).view(shape)


_CLIPS = ("CogVideoX", "Wan", "LTX", "HunyuanVideo", "Mochi", "Allegro", "Magvit", "Cosmos", "Temporal")


def frames_decoder(vae: Any) -> Decode:
    """x0 [C, T, H, W] in the pipeline's latent scale -> frames float [T, 3, H, W] in [0, 1], by diffusers' VAE.

    Image VAEs decode frame by frame; video VAEs (by the name of their class) take the clip as a whole, with their channel means
    where the config has them (Wan, LTX). Latents of other scales (packed ones) need a callable of your own.
    """
    config = vae.config
    scale = getattr(config, "scaling_factor", None) or 1.0

    @torch.no_grad()
    def decode(x0: Tensor) -> Tensor:
        weight = next(vae.parameters())
        latents = x0.to(weight.device, weight.dtype)
        mean, std = _means(vae)
        if mean is not None and std is not None:
            at = (-1, 1, 1, 1)
            mean, std = (torch.as_tensor(value, device=latents.device, dtype=latents.dtype).view(at) for value in (mean, std))
            latents = latents * std / scale + mean
        else:
            latents = latents / scale + (getattr(config, "shift_factor", None) or 0.0)
        if any(name in type(vae).__name__ for name in _CLIPS):
            frames = vae.decode(latents[None]).sample[0].transpose(0, 1)
        else:
            frames = vae.decode(latents.transpose(0, 1)).sample
        return (frames.float() / 2 + 0.5).clamp(0, 1).to(x0.device)  # type: ignore[no-any-return]

    return decode


def _means(vae: Any) -> tuple[Any, Any]:
    """Channel means and deviations of the latents, from the config (Wan) or the weights (LTX); (None, None) without any."""
    buffers = dict(vae.named_buffers())
    mean, std = (buffers.get(name, getattr(vae.config, name, None)) for name in ("latents_mean", "latents_std"))
    return mean, std


def _transformers() -> Any:
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise MissingDependency("VideoMAE needs transformers: pip install 'unsafe-video-dataset[defenses]'") from error
    return transformers
