"""The paper's layout: one VideoMAE a step and category, on the decoded frames of x0."""

from __future__ import annotations

import pipes
from pathlib import Path
from typing import Any

import pytest
import torch
from trace_support import planted

from unsafe_video_dataset.defenses.detectors import Detector
from unsafe_video_dataset.defenses.detectors.train import Settings, train
from unsafe_video_dataset.defenses.detectors.videomae import PerStepVideoMAE, frames_decoder
from unsafe_video_dataset.errors import InputError

TINY: dict[str, Any] = {
    "image_size": 16,
    "patch_size": 8,
    "num_frames": 4,
    "tubelet_size": 2,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


def decode(x0: torch.Tensor) -> torch.Tensor:
    """The first three channels as colours."""
    return (x0[:3].transpose(0, 1) / 4 + 0.5).clamp(0, 1)


def net(steps: Any = (1, 2), categories: Any = ("bright", "wide")) -> PerStepVideoMAE:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PerStepVideoMAE(TINY, steps=steps, categories=categories, decode=decode).eval()


def test_each_step_and_category_has_its_own_classifier() -> None:
    made, x0 = net(), torch.randn(3, 4, 5, 8, 8)
    logits = made(x0, step=torch.tensor([1, 2, 1]))
    assert logits.shape == (3, 2)
    torch.testing.assert_close(made(x0[1:2], step=torch.tensor([2]))[0], logits[1])
    model = made.models["step2"][1]
    frames = torch.stack([decode(x0[1])[[0, 1, 3, 4]]])  # 4 of 5 frames, evenly spread
    frames = torch.nn.functional.interpolate(frames[0], (16, 16), mode="bilinear", antialias=True)[None]
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = (frames - mean.view(1, 1, 3, 1, 1)) / std.view(1, 1, 3, 1, 1)
    found = model(pixel_values=pixels).logits[0]
    torch.testing.assert_close(logits[1, 1], found[1] - found[0])
    with pytest.raises(InputError, match=r"No classifier for steps \[5\]"):
        made(x0, step=torch.tensor([5, 1, 2]))


def test_it_is_trained_saved_and_loaded_like_the_other(tmp_path: Path) -> None:
    traces, made = planted(tmp_path / "t", 24, groups=8), net((2, 4))
    settings = Settings(epochs=2, steps=(2, 4))
    trained = train(traces, out=tmp_path / "d", settings=settings, net=made, card=made.card(traces.kind()), progress=False)
    assert trained.losses[1] < trained.losses[0]
    loaded = Detector.load(tmp_path / "d", decode=decode)
    assert loaded.card.config["steps"] == [2, 4]
    one = traces.x0([0], [4])[0]
    assert loaded(one, step=4, log_snr=0.0) == pytest.approx(trained.detector(one, step=4, log_snr=0.0))
    with pytest.raises(InputError, match="pass decode="):
        Detector.load(tmp_path / "d")


def test_it_starts_from_a_local_checkpoint(tmp_path: Path) -> None:
    from transformers import VideoMAEConfig, VideoMAEModel

    body = VideoMAEModel(VideoMAEConfig(**TINY))
    body.save_pretrained(tmp_path / "checkpoint")
    made = PerStepVideoMAE.from_checkpoint(tmp_path / "checkpoint", steps=[1, 3], categories=["red"], decode=decode)
    weight = "encoder.layer.0.attention.attention.query.weight"
    expected = body.state_dict()
    key = weight if weight in expected else next(name for name in expected if "encoder" in name and name.endswith("weight"))
    for step in (1, 3):
        assert torch.equal(made.models[f"step{step}"][0].videomae.state_dict()[key], expected[key])
    with pytest.raises(InputError, match="no VideoMAE checkpoint"):
        PerStepVideoMAE.from_checkpoint(tmp_path, steps=[1], categories=["red"], decode=decode)


@pytest.mark.parametrize("name", ["animatediff", "wan", "cogvideox", "ltx"])
def test_frames_are_those_of_the_pipelines_own_decode(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = pipes.pipeline(name)
    if name == "ltx":  # as in trained weights, where these are not 0 and 1
        monkeypatch.setitem(pipe.vae._buffers, "latents_mean", pipe.vae.latents_mean + 0.1)
        monkeypatch.setitem(pipe.vae._buffers, "latents_std", pipe.vae.latents_std * 2)
    latents: list[torch.Tensor] = []
    plain, seen = type(pipe.vae).decode, latents.append

    def watched(z: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        seen(z.clone())
        return plain(pipe.vae, z, *args, **kwargs)

    pipe.vae.decode = watched
    try:
        frames = pipes.generate(pipe, steps=2)[0]
    finally:
        del pipe.vae.decode
    z = latents[0].transpose(0, 1)[None] if latents[0].ndim == 4 else latents[0]
    x0 = _scaled(pipe.vae, z[0])
    torch.testing.assert_close(frames_decoder(pipe.vae)(x0).permute(0, 2, 3, 1), torch.as_tensor(frames), rtol=1e-3, atol=1e-3)


def _scaled(vae: Any, z: torch.Tensor) -> torch.Tensor:
    """What a pipeline undoes before it decodes."""
    shape = (-1, 1, 1, 1)
    if type(vae).__name__ == "AutoencoderKLWan":
        return (z - torch.tensor(vae.config.latents_mean).view(shape)) / torch.tensor(vae.config.latents_std).view(shape)
    if type(vae).__name__ == "AutoencoderKLLTXVideo":
        return (z - vae.latents_mean.view(shape)) / vae.latents_std.view(shape) * vae.config.scaling_factor
    return z * vae.config.scaling_factor


def test_decoders_that_give_no_frames_are_refused() -> None:
    made = PerStepVideoMAE(TINY, steps=[1], categories=["red"], decode=lambda x0: x0)
    with pytest.raises(InputError, match="return frames"):
        made(torch.zeros(1, 4, 2, 8, 8), step=torch.tensor([1]))
