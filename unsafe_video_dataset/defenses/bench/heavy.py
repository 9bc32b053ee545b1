"""A generator with the weight of a real one, to time a guard on: AnimateDiff's own UNet with its motion module, narrow, with
random weights. What it makes is noise; what it takes is what matters. The proxy's denoiser is a small MLP, next to which any
detector is large."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def heavy_call(*, seed: int = 0, steps: int = 10) -> tuple[Any, Any, tuple[int, int, int, int]]:
    """(pipeline, call, latent shape): `call()` makes 8 frames of 128x128 pixels in `steps` steps with guidance."""
    import torch

    from ..proxy.model import load_proxy

    d: Any = import_module("diffusers")
    t: Any = import_module("transformers")
    tokenizer = load_proxy().tokenizer
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        widths = (96, 192)
        unet = d.UNet2DConditionModel(
            sample_size=16,
            down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
            block_out_channels=widths,
            layers_per_block=2,
            cross_attention_dim=64,
            attention_head_dim=8,
        )
        adapter = d.MotionAdapter(block_out_channels=widths, motion_layers_per_block=2, motion_num_attention_heads=8)
        motion = d.UNetMotionModel.from_unet2d(unet, adapter)
        vae = d.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(32, 32, 64, 64),
            layers_per_block=1,
            latent_channels=4,
        )
        text = t.CLIPTextModel(
            t.CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=tokenizer.model_max_length,
            )
        )
    pipe = d.AnimateDiffPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=motion,
        motion_adapter=None,
        scheduler=d.DDIMScheduler(clip_sample=False, beta_schedule="linear"),
    )
    pipe.set_progress_bar_config(disable=True)

    def call() -> Any:
        return pipe(
            prompt="a shape moves",
            generator=torch.Generator().manual_seed(seed),
            height=128,
            width=128,
            num_frames=8,
            num_inference_steps=steps,
            guidance_scale=5.0,
            output_type="np",
        )

    return pipe, call, (4, 8, 16, 16)
