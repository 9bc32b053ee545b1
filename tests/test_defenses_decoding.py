"""Detectors that look at frames: they decode x0 with the guarded pipeline's own VAE, which must not disturb the guard."""

from __future__ import annotations

import contextvars
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from pipes import NAMES, STEPS, generate, pipeline  # noqa: E402

from unsafe_video_dataset.defenses import LatentVariableDefense, as_latent_defense, guard  # noqa: E402
from unsafe_video_dataset.defenses.detectors.videomae import PerStepVideoMAE, frames_decoder  # noqa: E402
from unsafe_video_dataset.errors import GenerationBlocked  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # diffusers under NumPy 2

TINY: dict[str, Any] = {
    **{"image_size": 16, "patch_size": 8, "num_frames": 4, "tubelet_size": 2, "hidden_size": 16},
    **{"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
}


def looking(pipe: Any, score: float, spread: list[float]) -> LatentVariableDefense:
    """An LVD over three steps in the paper's layout; `spread` gets the deviation of the frames that each vote saw."""
    decode = frames_decoder(pipe.vae)

    def noted(x0: Any) -> Any:
        frames = decode(x0)
        spread.append(float(frames.std()))
        return frames

    net = PerStepVideoMAE(TINY, steps=[1, 2, 3], categories=["x"], decode=noted).eval()

    def detector(x0: Any, *, step: int) -> float:
        assert torch.isfinite(net(x0[None], step=torch.tensor([step]))).all()
        return score

    return LatentVariableDefense(detector, eta=3, lam=1)


@pytest.mark.parametrize("on_block", ["raise", "blank"])
@pytest.mark.parametrize("name", NAMES)
def test_the_pipelines_own_vae_shows_a_detector_frames(name: str, on_block: Any) -> None:
    pipe = pipeline(name)
    seen: list[float] = []
    with guard(pipe, as_latent_defense(lambda x0: 0.0)) as bare:
        plain = generate(pipe)
    defense = looking(pipe, 0.0, seen)
    defense.rule = _Patient()
    with defense.guard(pipe, on_block=on_block) as one:
        assert np.array_equal(generate(pipe), plain)
    assert len(seen) == 3
    assert min(seen) > 0, "frames, and no stand-in for a blocked call's"
    assert (one.last.steps, one.last.decodes) == (STEPS, bare.last.decodes)
    verdict = one.last.verdicts[0]
    assert (verdict.action, verdict.step, verdict.note) == ("allow", 3, "")
    # and the same that blocks
    seen.clear()
    with looking(pipe, 1.0, seen).guard(pipe, on_block=on_block) as one:
        if on_block == "raise":
            with pytest.raises(GenerationBlocked, match="step 3"):
                generate(pipe)
        else:
            assert not generate(pipe).any()
    assert len(seen) == 3
    assert min(seen) > 0
    assert one.last.verdicts[0].blocked
    assert (one.last.verdicts[0].step, one.last.decodes) == (3, 0)
    assert np.array_equal(generate(pipe), plain)


class _Patient:
    """Decides after three votes, never before: all of them are asked for."""

    def start(self, num_steps: int) -> tuple[int, int]:
        return 0, 0

    def update(self, state: tuple[int, int], *, vote: bool, score: float) -> tuple[tuple[int, int], bool | None]:
        state = (state[0] + vote, state[1] + 1)
        return state, None if state[1] < 3 else state[0] == 3

    def finish(self, state: tuple[int, int]) -> bool:
        return True


def test_a_detector_may_step_the_scheduler() -> None:
    pipe = pipeline("animatediff")  # its scheduler keeps nothing from step to step
    plain = generate(pipe)

    def detector(x0: Any, *, timestep: float) -> float:
        made = pipe.scheduler.step(torch.zeros_like(x0), int(timestep), x0).prev_sample
        return float(not torch.isfinite(made).all())

    with LatentVariableDefense(detector, eta=3, lam=1).guard(pipe) as one:
        assert np.array_equal(generate(pipe), plain)
    assert (one.last.steps, one.last.verdicts[0].action) == (STEPS, "allow")


def test_a_block_stands_whatever_the_detector_says_afterwards() -> None:
    """A detector that gets back into the guarded call, and so ends the sampling itself, can't then allow it."""
    pipe = pipeline("animatediff")
    inside: list[contextvars.Context] = []

    def note(*_: Any) -> None:
        inside[:] = [contextvars.copy_context()]

    def detector(x0: Any) -> float:
        frames = inside[0].run(frames_decoder(pipe.vae), x0)  # the guard takes this for the pipeline's decode
        assert not (frames - 0.5).any()
        return 0.0

    hook = pipe.unet.register_forward_hook(note)
    try:
        with LatentVariableDefense(detector, eta=1).guard(pipe, on_block="blank") as one:
            made = generate(pipe)
    finally:
        hook.remove()
    assert one.last.verdicts[0].blocked
    assert not made.any()
