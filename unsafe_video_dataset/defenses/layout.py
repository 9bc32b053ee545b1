"""How a pipeline lays out the latents that its scheduler steps, and how many samples are in them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import DefenseNotAttached
from .tap import plain_class

_FRAMES_FIRST = ("CogVideoX", "ConsisID", "StableVideoDiffusion", "EasyAnimateControl")  # [B, T, C, H, W]


@dataclass(frozen=True)
class Layout:
    """`batch` samples of `rows` rows each on the first axis of what the scheduler steps; `split` makes a `kind` of each."""

    batch: int
    rows: int
    kind: Literal["CTHW", "CHW", "raw"]
    form: Literal["BCTHW", "BTCHW", "rows", "packed", "raw"]
    unpack: dict[str, int] = field(default_factory=dict)
    pipe: Any = None

    def split(self, x0: Tensor) -> list[Tensor]:
        """One tensor a sample, [C, T, H, W] for a video (views, not copies)."""
        if self.form == "packed":
            x0 = self.pipe._unpack_latents(x0, **self.unpack)
        elif self.form == "BTCHW":
            x0 = x0.transpose(1, 2)
        elif self.form == "rows":
            x0 = x0.reshape(self.batch, self.rows, *x0.shape[1:]).transpose(1, 2)
        return list(x0)

    def join(self, samples: list[Tensor]) -> Tensor:
        """The inverse of `split`."""
        x0 = torch.stack(samples)
        if self.form == "packed":
            return self.pipe._pack_latents(x0, self.unpack["patch_size"], self.unpack["patch_size_t"])  # type: ignore[no-any-return]
        if self.form == "BTCHW":
            x0 = x0.transpose(1, 2)
        elif self.form == "rows":
            x0 = x0.transpose(1, 2).flatten(0, 1)
        return x0

    def rows_of(self, samples: list[int]) -> list[int]:
        """The rows of these samples on the first axis."""
        return [sample * self.rows + row for sample in samples for row in range(self.rows)]


def bind_call(pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """The arguments of one `pipe(...)` by name, defaults filled in; only the given ones where the signature can't tell."""
    try:
        bound = inspect.signature(plain_class(pipe).__call__).bind_partial(pipe, *args, **kwargs)
    except (TypeError, ValueError):
        return dict(kwargs)
    bound.apply_defaults()
    return {**bound.arguments, **bound.arguments.get("kwargs", {})}


def prompts_of(call: dict[str, Any]) -> list[str] | None:
    """The prompts of a call, one a sample group; None where only embeddings (or nothing) were given."""
    prompt = call.get("prompt")
    if isinstance(prompt, str):
        return [prompt]
    if isinstance(prompt, dict):  # FreeNoise: a prompt for some frames; all of them are one video
        return [" ".join(map(str, prompt.values()))]
    return [str(item) for item in prompt] if prompt is not None else None


def groups_of(call: dict[str, Any]) -> int | None:
    """How many prompts (or prompt embeddings) a call has; None where it has neither."""
    prompts = prompts_of(call)
    if prompts is not None:
        return len(prompts)
    embeds = call.get("prompt_embeds")
    return None if embeds is None else len(embeds)


def layout_of(pipe: Any, sample: Tensor, call: dict[str, Any]) -> Layout:
    """The layout of the first sample that a scheduler gets. Raises `DefenseNotAttached` where samples can't be told apart."""
    rows, name = sample.shape[0], plain_class(pipe).__name__
    groups = groups_of(call)
    repeats = max(int(call.get(key) or 1) for key in ("num_videos_per_prompt", "num_images_per_prompt"))
    sizes = [rows] if groups is None else sorted({groups, groups * repeats}, reverse=True)
    if sample.ndim == 5 and (groups is None or rows % groups == 0):
        return Layout(rows, 1, "CTHW", "BTCHW" if name.startswith(_FRAMES_FIRST) else "BCTHW")
    if rows in sizes:
        packed = _packed(pipe, sample, call) if sample.ndim == 3 else None
        if packed is not None:
            return Layout(rows, 1, "CTHW", "packed", packed, pipe)
        return Layout(rows, 1, "CHW" if sample.ndim == 4 else "raw", "raw")
    if sample.ndim == 4:
        for size in sizes:
            if rows % size == 0:
                return Layout(size, rows // size, "CTHW", "rows")  # frames of a video side by side
    raise DefenseNotAttached(
        f"{name} steps latents of shape {list(sample.shape)} for {groups} prompts: samples can't be told apart. "
        "Generate one video a call, or extend unsafe_video_dataset.defenses.layout."
    )


def _packed(pipe: Any, sample: Tensor, call: dict[str, Any]) -> dict[str, int] | None:
    """Arguments of LTX's `_unpack_latents`, from the sizes asked for; None where they don't give this sample."""
    try:
        size = {
            "num_frames": (call["num_frames"] - 1) // pipe.vae_temporal_compression_ratio + 1,
            "height": call["height"] // pipe.vae_spatial_compression_ratio,
            "width": call["width"] // pipe.vae_spatial_compression_ratio,
            "patch_size": pipe.transformer_spatial_patch_size,
            "patch_size_t": pipe.transformer_temporal_patch_size,
        }
        unpacked = pipe._unpack_latents(sample[:1], **size)
    except (KeyError, AttributeError, TypeError, RuntimeError, ValueError):
        return None
    return size if unpacked.ndim == 5 else None
