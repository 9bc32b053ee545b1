"""A real AnimateDiffPipeline with tiny random weights, and traces whose concept is planted: no model is downloaded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import torch

from unsafe_video_dataset.defenses.trace_store import TraceStore
from unsafe_video_dataset.defenses.traces import Traces

FRAMES, SIZE, STEPS = 2, 32, 4
CALL = {"num_frames": FRAMES, "height": SIZE, "width": SIZE, "num_inference_steps": STEPS, "guidance_scale": 1.0}


class Tokens:
    """A tokenizer in the shape that a pipeline asks of CLIP's: letters as ids."""

    model_max_length = 8
    added_tokens_encoder: ClassVar[dict[str, int]] = {}

    def tokenize(self, text: str) -> list[str]:
        return text.split()

    def __call__(self, text: str | list[str], **_: Any) -> Any:
        from transformers import BatchEncoding

        rows = [text] if isinstance(text, str) else text
        ids = [[1 + sum(map(ord, word)) % 90 for word in row.split()][: self.model_max_length] for row in rows]
        ids = [row + [0] * (self.model_max_length - len(row)) for row in ids]
        return BatchEncoding({"input_ids": torch.tensor(ids), "attention_mask": torch.ones(len(ids), self.model_max_length)})

    def batch_decode(self, ids: Any) -> list[str]:
        return ["" for _ in ids]


def animate_diff() -> Any:
    """AnimateDiffPipeline from configs: 2 frames of 32x32, latents [4, 2, 16, 16], random weights of a fixed seed."""
    from diffusers import AnimateDiffPipeline, AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            block_out_channels=(8, 16),
            layers_per_block=1,
            sample_size=16,
            in_channels=4,
            out_channels=4,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=8,
            norm_num_groups=2,
        )
        vae = AutoencoderKL(
            block_out_channels=[8, 8],
            in_channels=3,
            out_channels=3,
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            latent_channels=4,
            norm_num_groups=2,
        )
        text = CLIPTextConfig(
            hidden_size=8,
            intermediate_size=8,
            num_attention_heads=2,
            num_hidden_layers=1,
            vocab_size=100,
            projection_dim=8,
            bos_token_id=98,
            eos_token_id=99,
        )
        adapter = MotionAdapter(
            block_out_channels=(8, 16), motion_layers_per_block=1, motion_norm_num_groups=2, motion_num_attention_heads=2
        )
        scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="linear", clip_sample=False)
        parts = {
            "unet": unet,
            "vae": vae,
            "text_encoder": CLIPTextModel(text),
            "motion_adapter": adapter,
            "scheduler": scheduler,
        }
        pipe = AnimateDiffPipeline(tokenizer=None, **parts)
        pipe.tokenizer = Tokens()
    return pipe


def planted(
    folder: Path,
    samples: int = 96,
    *,
    groups: int = 24,
    steps: int = 4,
    channels: int = 4,
    size: int = 8,
    seed: int = 0,
    strength: float = 1.0,
) -> Traces:
    """Traces of noise in which `bright` samples have a patch in channel 0 and `wide` ones a stripe in channel 1.

    The patch is fainter at early steps, as in a real generation. Every fourth group is safe throughout; in the others a sample
    has each concept with probability 0.4, so that most groups are mixed.
    """
    settings = {
        "format": 1,
        "pipeline": "Planted",
        "model": "",
        "scheduler": "DDIMScheduler",
        "prediction_type": "epsilon",
        "x0_convention": "scheduler",
        "num_steps": steps,
        "steps": list(range(1, steps + 1)),
        "shape": [channels, 4, size, size],
        "layout": "CTHW",
        "precision": "fp16",
        "finished": True,
        "call": {},
    }
    store = TraceStore(folder, settings)
    draw = torch.Generator().manual_seed(seed)
    for number in range(samples):
        group = number % groups
        found = [name for name in ("bright", "wide") if group % 4 and float(torch.rand(1, generator=draw)) < 0.4]
        place = int(torch.randint(0, size - 3, (1,), generator=draw))
        x0 = torch.randn(steps, *settings["shape"], generator=draw) * 0.5
        facts: list[list[float]] = []
        for step in range(steps):
            added = strength * (0.5 + 1.5 * (step + 1) / steps)
            if "bright" in found:
                x0[step, 0, :, place : place + 3, place : place + 3] += added
            if "wide" in found:
                x0[step, 1, :, place, :] += added
            log_snr = -4.0 + 6.0 * step / steps
            facts.append([step + 1, 999.0 - 200 * step, log_snr, math.exp(-log_snr / 2)])
        sample = f"{number:016x}"
        store.add(
            {
                "sample_id": sample,
                "video_id": None,
                "prompt_sha256": f"{group:064x}",
                "group_id": f"g{group:02d}",
                "prompt_kind": ("direct", "under-specified")[group % 2],
                "split": None,
                "seed": number,
                **{name: settings[name] for name in ("pipeline", "scheduler", "prediction_type", "x0_convention", "num_steps")},
                "categories": sorted(found),
                "steps": facts,
            },
            x0.half(),
        )
    store.finish(shard_samples=40)
    return Traces.open(folder)
