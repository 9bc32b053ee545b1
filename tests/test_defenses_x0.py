"""Reading x0: a model that knows x0 is read back at every step of every scheduler, whose own state stays as it was."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from unsafe_video_dataset.defenses import x0 as reading  # noqa: E402
from unsafe_video_dataset.errors import DefenseNotAttached  # noqa: E402

# diffusers under NumPy 2, and torchsde on rounding
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:Should have")

SHAPE = (2, 4, 3, 4, 4)
VP = ("epsilon", "v_prediction", "sample")
ALL = (*VP, "flow_prediction")
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}

# name of the class, prediction types, options
CASES: list[tuple[str, tuple[str, ...], dict[str, Any]]] = [
    ("DDIMScheduler", VP, {"clip_sample": False}),
    ("DDIMScheduler", VP, {"clip_sample": False, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
    ("DDPMScheduler", VP, {"clip_sample": False}),
    ("PNDMScheduler", ("epsilon", "v_prediction"), {"skip_prk_steps": True}),
    ("PNDMScheduler", ("epsilon", "v_prediction"), {"skip_prk_steps": False}),
    ("EulerDiscreteScheduler", VP, {}),
    ("EulerDiscreteScheduler", VP, {"use_karras_sigmas": True}),
    ("EulerAncestralDiscreteScheduler", ("epsilon", "v_prediction"), {}),
    ("HeunDiscreteScheduler", ("epsilon", "v_prediction"), {}),
    ("LMSDiscreteScheduler", VP, {}),
    ("DPMSolverMultistepScheduler", VP, {}),
    ("DPMSolverMultistepScheduler", VP, {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
    ("DPMSolverMultistepScheduler", VP, {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": True}),
    ("DPMSolverMultistepScheduler", ("flow_prediction",), FLOW),
    ("DPMSolverSinglestepScheduler", VP, {}),
    ("DPMSolverSinglestepScheduler", ("flow_prediction",), FLOW),
    ("DEISMultistepScheduler", VP, {}),
    ("UniPCMultistepScheduler", VP, {}),
    ("UniPCMultistepScheduler", VP, {"predict_x0": False, "final_sigmas_type": "sigma_min"}),
    ("UniPCMultistepScheduler", ("flow_prediction",), {**FLOW, "flow_shift": 3.0}),
    ("LCMScheduler", VP, {"clip_sample": False}),
    ("DPMSolverSDEScheduler", ("epsilon", "v_prediction"), {}),
    ("FlowMatchEulerDiscreteScheduler", ("flow_prediction",), {}),
    ("FlowMatchEulerDiscreteScheduler", ("flow_prediction",), {"shift": 5.0, "stochastic_sampling": True}),
    ("FlowMatchHeunDiscreteScheduler", ("flow_prediction",), {}),
    ("FlowMatchLCMScheduler", ("flow_prediction",), {}),
    ("CogVideoXDDIMScheduler", VP, {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}),
    ("CogVideoXDPMScheduler", VP, {}),
]
EACH = [
    pytest.param(name, kind, options, id="-".join([name.removesuffix("Scheduler"), kind, *map(str, options)]))
    for name, kinds, options in CASES
    for kind in kinds
    if not (options.get("rescale_betas_zero_snr") and kind == "epsilon")  # there is no x0 in pure noise
]


def build(name: str, kind: str, options: dict[str, Any]) -> Any:
    if name == "DPMSolverSDEScheduler":
        pytest.importorskip("torchsde")
    given = dict(options) if name.startswith("FlowMatch") else {**options, "prediction_type": kind}
    return getattr(diffusers, name)(**given)


def noise_of(shape: tuple[int, ...], seed: int) -> Any:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def mix(scheduler: Any, timestep: Any) -> tuple[float, float]:
    """(alpha, sigma) of the noisy sample at this step, asked of the scheduler's own way of adding noise."""
    one, nothing, when = torch.ones(1, 1), torch.zeros(1, 1), torch.as_tensor(timestep).reshape(1)
    if hasattr(scheduler, "add_noise"):
        add = scheduler.add_noise
        return float(add(one, nothing, when)), float(add(nothing, one, when))
    if getattr(scheduler, "state_in_first_order", True):
        return float(scheduler.scale_noise(one, when, nothing)), float(scheduler.scale_noise(nothing, when, one))
    sigma = float(scheduler.sigmas[scheduler.step_index])  # FlowMatchHeun, on its second visit
    return 1 - sigma, sigma


def oracle(kind: str, x0: Any, sample: Any, alpha: float, sigma: float) -> Any:
    """What a model says of this sample if it knows that x0 is behind it."""
    epsilon = (sample - alpha * x0) / sigma
    if kind == "v_prediction":  # Salimans & Ho, on the sample at unit variance
        return (alpha * epsilon - sigma * x0) / math.hypot(alpha, sigma)
    return {"epsilon": epsilon, "sample": x0, "flow_prediction": epsilon - x0}[kind]


def take(scheduler: Any, output: Any, timestep: Any, sample: Any, old: Any = None) -> Any:
    if type(scheduler).__name__ == "CogVideoXDPMScheduler":
        index = int((scheduler.timesteps == timestep).nonzero()[0])
        back = scheduler.timesteps[index - 1] if index else None
        return scheduler.step(output, old, timestep, back, sample, return_dict=False)
    return scheduler.step(output, timestep, sample)


def state_of(scheduler: Any) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, list) else value for key, value in vars(scheduler).items()}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return a is b
    return type(a) is type(b) and (a is b or (isinstance(a, list) and all(map(same, a, b))) or bool(a == b))


@pytest.mark.parametrize(("name", "kind", "options"), EACH)
def test_a_model_that_knows_x0_is_read_back_at_every_step(name: str, kind: str, options: dict[str, Any]) -> None:
    scheduler = build(name, kind, options)
    scheduler.set_timesteps(8)
    x0 = noise_of(SHAPE, 0)
    sample = noise_of(SHAPE, 1) * getattr(scheduler, "init_noise_sigma", 1.0)
    old = None
    torch.manual_seed(0)
    for timestep in scheduler.timesteps:
        if getattr(scheduler, "_step_index", None) is None and hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(sample, timestep)  # as pipelines do; Euler warns otherwise
        second_of_sde = name == "DPMSolverSDEScheduler" and not scheduler.state_in_first_order
        alpha, sigma = (1.0, float(scheduler.mid_point_sigma)) if second_of_sde else mix(scheduler, timestep)
        output = oracle(kind, x0, sample, alpha, sigma)
        before = state_of(scheduler)
        at = reading.level(scheduler, timestep)
        found = reading.read(scheduler, output, timestep, sample, at=at)
        assert before.keys() == state_of(scheduler).keys()
        assert all(same(value, before[key]) for key, value in state_of(scheduler).items()), "reading changed the scheduler"
        assert found.dtype == torch.float32
        # the bound grows with the noise that hides x0 (single precision through 1 / alpha)
        assert torch.allclose(found, x0, atol=2e-5 * (1 + max(1.0, sigma / max(alpha, 1e-3)))), float((found - x0).abs().max())
        expected = 2 * math.log(alpha / sigma) if alpha > 0 else -30.0
        assert at.log_snr == pytest.approx(max(-30.0, min(30.0, expected)), abs=1e-3)
        again = reading.output_for(scheduler, x0, output, sample, at=at)
        assert torch.allclose(again, output, atol=1e-3)
        result = take(scheduler, output, timestep, sample, old)
        if isinstance(result, tuple):
            sample, old = result
            own = old
        else:
            sample, own = result.prev_sample, getattr(result, "pred_original_sample", None)
        if own is not None:
            assert torch.allclose(own, found, atol=1e-3), "the scheduler's own guess"
    if (name, kind) != ("PNDMScheduler", "v_prediction"):  # it averages outputs, and those of v differ between steps
        assert torch.allclose(sample, x0, atol=0.2), "a model that knows x0 must generate it"


def test_the_cases_cover_every_scheduler_that_is_offered() -> None:
    assert {name for name, _, _ in CASES} == set(reading.supported())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("DDIMScheduler", {"clip_sample": True, "clip_sample_range": 0.5}),
        ("DDPMScheduler", {"clip_sample": True, "clip_sample_range": 0.5}),
        ("DDIMScheduler", {"thresholding": True, "sample_max_value": 2.0}),
        ("HeunDiscreteScheduler", {"clip_sample": True, "clip_sample_range": 0.5}),
        ("LCMScheduler", {"clip_sample": True, "clip_sample_range": 0.5}),
    ],
)
def test_what_the_scheduler_clips_is_read_clipped(name: str, options: dict[str, Any]) -> None:
    scheduler = build(name, "epsilon", options)
    scheduler.set_timesteps(5)
    timestep = scheduler.timesteps[2]
    sample, output = noise_of(SHAPE, 0), noise_of(SHAPE, 1)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(2)
    found = reading.read(scheduler, output, timestep, sample)
    result = scheduler.step(output, timestep, sample)
    own = result.denoised if name == "LCMScheduler" else result.pred_original_sample
    if name == "LCMScheduler":
        assert float(found.abs().max()) == 0.5
    else:
        assert torch.allclose(found, own, atol=1e-5)
    free = build(name, "epsilon", {"clip_sample": False})
    free.set_timesteps(5)
    if hasattr(free, "set_begin_index"):
        free.set_begin_index(2)
    assert not torch.allclose(reading.read(free, output, timestep, sample), found)


def test_a_learned_variance_is_left_out() -> None:
    scheduler = build("DDPMScheduler", "epsilon", {"variance_type": "learned_range", "clip_sample": False})
    scheduler.set_timesteps(5)
    sample, output = noise_of((1, 4, 8, 8), 0), noise_of((1, 8, 8, 8), 1)
    timestep = scheduler.timesteps[1]
    found = reading.read(scheduler, output, timestep, sample)
    assert torch.allclose(found, scheduler.step(output, timestep, sample).pred_original_sample, atol=1e-5)
    again = reading.output_for(scheduler, found, output, sample, at=reading.level(scheduler, timestep))
    assert torch.allclose(again, output, atol=1e-4)


def test_half_precision_is_read_in_float32_and_without_a_gradient() -> None:
    scheduler = build("FlowMatchEulerDiscreteScheduler", "flow_prediction", {})
    scheduler.set_timesteps(4)
    sample = noise_of(SHAPE, 0).to(torch.bfloat16).requires_grad_()
    found = reading.read(scheduler, torch.ones_like(sample), scheduler.timesteps[0], sample)
    assert (found.dtype, found.requires_grad, sample.dtype) == (torch.float32, False, torch.bfloat16)


def test_tokens_at_their_own_timesteps() -> None:
    """Image to video: tokens of the given frame carry less noise."""
    scheduler = build("FlowMatchEulerDiscreteScheduler", "flow_prediction", {})
    scheduler.set_timesteps(4)
    timestep = scheduler.timesteps[0]
    tokens = torch.tensor([[0.0, 250.0, 1000.0]])
    x0, noise = noise_of((1, 3, 5), 0), noise_of((1, 3, 5), 1)
    sigma = (tokens / 1000)[..., None]
    at = reading.level(scheduler, timestep, {"per_token_timesteps": tokens})
    found = reading.read(scheduler, noise - x0, timestep, (1 - sigma) * x0 + sigma * noise, at=at)
    assert torch.allclose(found, x0, atol=1e-5)


def test_sampling_that_starts_in_the_middle() -> None:
    scheduler = build("EulerDiscreteScheduler", "epsilon", {})
    scheduler.set_timesteps(10)
    scheduler.set_begin_index(6)
    at = reading.level(scheduler, scheduler.timesteps[6])
    assert at.sigma == pytest.approx(float(scheduler.sigmas[6]))


# -- who is refused


def test_an_unknown_scheduler_is_refused_by_name() -> None:
    with pytest.raises(DefenseNotAttached, match=r"can't be read from a KDPM2DiscreteScheduler\. Use one of CogVideoXDDIM"):
        reading.check_scheduler(diffusers.KDPM2DiscreteScheduler())
    with pytest.raises(DefenseNotAttached, match="NoneType"):
        reading.check_scheduler(None)

    class Mine(diffusers.DDIMScheduler):  # type: ignore[misc, name-defined]
        pass

    with pytest.raises(DefenseNotAttached, match="from a Mine"):
        reading.check_scheduler(Mine())


def test_an_unknown_prediction_type_is_refused() -> None:
    with pytest.raises(DefenseNotAttached, match="predicts 'score'"):
        reading.check_scheduler(diffusers.DDIMScheduler(prediction_type="score"))


def test_a_replaced_step_is_refused() -> None:
    scheduler = diffusers.DDIMScheduler()
    scheduler.step = lambda *args: None
    with pytest.raises(DefenseNotAttached, match=r"del scheduler\.step"):
        reading.check_scheduler(scheduler)
    del scheduler.step
    reading.check_scheduler(scheduler)


def test_a_scheduler_of_ones_own_can_be_taught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_READERS", dict(reading._READERS))

    class Taught(diffusers.DDIMScheduler):  # type: ignore[misc, name-defined]
        pass

    reading.register("Taught", lambda scheduler, timestep, given: reading.Level(1.0, 0.5, 1.0, -0.5))
    reading.check_scheduler(Taught())
    found = reading.read(Taught(clip_sample=False), torch.ones(1, 2), 10, torch.zeros(1, 2))
    assert found.tolist() == [[-0.5, -0.5]]


# -- the paper's convention


def uvd(scheduler: Any, output: Any, timestep: Any, sample: Any) -> tuple[Any, Any]:
    """The lines of the paper's published code (py85252876/UVD): (next latents, x0 as it reads it)."""
    draw = {"generator": torch.Generator().manual_seed(0)} if "DDPM" in type(scheduler).__name__ else {}
    latents = scheduler.step(output, timestep, sample, **draw).prev_sample
    return latents, scheduler.step(output, timestep, latents).pred_original_sample


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDPMScheduler", "CogVideoXDDIMScheduler"])
@pytest.mark.parametrize("kind", VP)
def test_the_papers_convention_is_the_papers_code(name: str, kind: str) -> None:
    scheduler = build(name, kind, {"clip_sample": False})
    scheduler.set_timesteps(6)
    reading.check_scheduler(scheduler, x0_convention="uvd")
    sample = noise_of(SHAPE, 0)
    for timestep in scheduler.timesteps:
        output = noise_of(SHAPE, int(timestep))
        at = reading.level(scheduler, timestep)
        plain = reading.read(scheduler, output, timestep, sample, at=at)
        sample, theirs = uvd(scheduler, output, timestep, sample)
        assert torch.allclose(reading.read(scheduler, output, timestep, sample, at=at), theirs, atol=1e-4, rtol=1e-4)
        assert kind == "sample" or not torch.allclose(plain, theirs, atol=1e-3)


def test_what_the_papers_convention_means_for_ddim() -> None:
    """x0' = (sqrt(a_prev) x0 + (sqrt(1 - a_prev) - sqrt(1 - a_t)) eps) / sqrt(a_t): scaled up, and less some noise."""
    scheduler = build("DDIMScheduler", "epsilon", {"clip_sample": False})
    scheduler.set_timesteps(6)
    timestep, before = scheduler.timesteps[1], scheduler.timesteps[2]
    a, b = (float(scheduler.alphas_cumprod[int(when)]) for when in (timestep, before))
    x0, epsilon = noise_of(SHAPE, 0), noise_of(SHAPE, 1)
    sample = math.sqrt(a) * x0 + math.sqrt(1 - a) * epsilon
    _, theirs = uvd(scheduler, epsilon, timestep, sample)
    expected = (math.sqrt(b) * x0 + (math.sqrt(1 - b) - math.sqrt(1 - a)) * epsilon) / math.sqrt(a)
    assert torch.allclose(theirs, expected, atol=1e-4)


def test_the_papers_convention_is_refused_where_a_second_step_has_no_meaning() -> None:
    with pytest.raises(DefenseNotAttached, match="no meaning for EulerDiscreteScheduler"):
        reading.check_scheduler(diffusers.EulerDiscreteScheduler(), x0_convention="uvd")
