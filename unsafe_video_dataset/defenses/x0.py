"""The model's current guess of the finished latent (x0), read from what is handed to `scheduler.step`.

Every scheduler here has a sample x = alpha * x0 + sigma * noise and a model output that is linear in x and x0, so
`x0 = on_sample * x + on_output * output`, with two numbers for each step (`Level`). Three families of samples:

- variance preserving (DDIM, DPM++ ...): alpha^2 + sigma^2 = 1
- variance exploding (Euler, Heun, LMS: the sample is not scaled): alpha = 1
- flow matching (Wan, LTX ...): alpha = 1 - sigma

and four model outputs: epsilon (the noise), v (alpha * noise - sigma * x0, Salimans & Ho 2022), sample (x0 itself) and flow
(noise - x0). Where a scheduler clips or thresholds its own guess, so does `read`. Everything is checked in the tests against
the scheduler's own `add_noise` and, where it returns one, its own guess.

**`x0_convention`.** `scheduler` reads x0 as the scheduler itself understands the model output, before the step is taken.
`uvd` is the paper's published code (py85252876/UVD, MagicTime/utils/pipeline_magictime.py), kept for parity. There, x_t is
stepped to x_{t-1} first, and then `scheduler.step(noise_pred, t, latents).pred_original_sample` is called a second time on
the *new* latents with the *old* timestep and output: x0' = (x_{t-1} - sqrt(1 - a_t) eps) / sqrt(a_t), where x_t belongs in
place of x_{t-1}. For DDIM (eta 0) that is (sqrt(a_{t-1}) x0 + (sqrt(1 - a_{t-1}) - sqrt(1 - a_t)) eps) / sqrt(a_t): x0, scaled
up by sqrt(a_{t-1} / a_t), less some of the noise. We compute it from the formula, so no second step is taken and no random
numbers are drawn; it is offered for the schedulers without memory for which a second call has a meaning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import DefenseNotAttached

_LIMIT = 30.0  # of log-SNR: e^-15 is less than half precision can tell from no signal


@dataclass(frozen=True)
class Level:
    """One step's reading: x0 = on_sample * x + on_output * output. A number each, or a tensor where tokens differ.

    `alpha` and `sigma` say how the noisy sample is made of x0 and noise.
    """

    alpha: float
    sigma: float
    on_sample: float | Tensor
    on_output: float | Tensor

    @property
    def log_snr(self) -> float:
        """ln(alpha^2 / sigma^2), cut to [-30, 30]."""
        if self.alpha <= 0:
            return -_LIMIT
        return _LIMIT if self.sigma <= 0 else max(-_LIMIT, min(_LIMIT, 2 * math.log(self.alpha / self.sigma)))


Reader = Callable[[Any, float, dict[str, Any]], Level]


def supported() -> tuple[str, ...]:
    """Names of the scheduler classes that x0 can be read from."""
    return tuple(sorted(_READERS))


def register(scheduler_name: str, reader: Reader) -> None:
    """Teach the module a scheduler of your own: `reader(scheduler, timestep, step_kwargs) -> Level`, called before each step.

    It must change nothing in the scheduler. The name is the class's `__name__`.
    """
    _READERS[scheduler_name] = reader


def check_scheduler(scheduler: object, *, x0_convention: str = "scheduler") -> None:
    """Raise `DefenseNotAttached` where x0 can't be read from this scheduler under this convention; the message names it."""
    name, kind = type(scheduler).__name__, prediction_type(scheduler)
    if name not in _READERS or not callable(getattr(scheduler, "step", None)):
        raise DefenseNotAttached(
            f"x0 can't be read from a {name}. Use one of {', '.join(supported())}, or teach it with "
            "unsafe_video_dataset.defenses.x0.register(name, reader)."
        )
    if kind not in ("epsilon", "v_prediction", "sample", "flow_prediction"):
        raise DefenseNotAttached(f"{name} predicts {kind!r}; x0 is read from epsilon, v_prediction, sample or flow_prediction.")
    if x0_convention == "uvd" and name not in _MEMORYLESS:
        raise DefenseNotAttached(
            f"x0_convention='uvd' repeats a step, which has no meaning for {name}. Use one of {', '.join(sorted(_MEMORYLESS))} "
            "(the paper used DDIM), or x0_convention='scheduler'."
        )
    if "step" in vars(scheduler):
        raise DefenseNotAttached(
            f"Something has replaced `step` on this {name} itself, so a guard would not see it. Undo that (del scheduler.step)."
        )


def prediction_type(scheduler: object) -> str:
    """`epsilon`, `v_prediction`, `sample` or `flow_prediction`, as the scheduler is configured."""
    if type(scheduler).__name__ in _FLOW_ONLY:
        return "flow_prediction"
    kind = str(getattr(getattr(scheduler, "config", None), "prediction_type", "epsilon"))
    return "sample" if kind == "original_sample" else kind


def level(scheduler: object, timestep: float, step_kwargs: dict[str, Any] | None = None) -> Level:
    """The coefficients of the step that `scheduler.step(output, timestep, sample)` is about to take; changes nothing."""
    return _READERS[type(scheduler).__name__](scheduler, timestep, step_kwargs or {})


def read(scheduler: Any, model_output: Tensor, timestep: float, sample: Tensor, *, at: Level | None = None) -> Tensor:
    """x0 of this step in float32, same shape as `sample`, a new tensor; clipped or thresholded where the scheduler does it."""
    at = at or level(scheduler, timestep)
    output = _mean(scheduler, model_output, sample).detach().to(torch.float32)
    x0 = output * at.on_output
    if not (isinstance(at.on_sample, float) and at.on_sample == 0.0):  # 0 * inf in a half-precision sample would be NaN
        x0 = x0 + at.on_sample * sample.detach().to(torch.float32)
    return _clipped(scheduler, x0)


def output_for(scheduler: Any, x0: Tensor, model_output: Tensor, sample: Tensor, *, at: Level) -> Tensor:
    """The model output from which `read` gives `x0` (but for clipping): how a defence that modifies reaches the scheduler."""
    mean = _mean(scheduler, model_output, sample)
    if isinstance(at.on_output, float) and at.on_output == 0.0:  # no noise is left: x0 is the sample, whatever the output
        return model_output
    new = ((x0.to(torch.float32) - at.on_sample * sample.to(torch.float32)) / at.on_output).to(model_output.dtype)
    return new if mean is model_output else torch.cat([new, model_output[:, mean.shape[1] :]], dim=1)


# -- by family


def _preserving(scheduler: Any, timestep: float, step_kwargs: dict[str, Any]) -> Level:
    a = float(scheduler.alphas_cumprod[int(timestep)])
    return _level(scheduler, math.sqrt(a), math.sqrt(1 - a))


def _exploding(scheduler: Any, timestep: float, step_kwargs: dict[str, Any]) -> Level:
    sigma = float(scheduler.sigmas[_index(scheduler, timestep)])
    return _exploding_level(scheduler, sigma)


def _exploding_level(scheduler: Any, sigma: float) -> Level:
    kind = prediction_type(scheduler)
    if kind == "v_prediction":  # v is of the scaled sample x / sqrt(sigma^2 + 1)
        return Level(1.0, sigma, 1 / (sigma**2 + 1), -sigma / math.sqrt(sigma**2 + 1))
    return Level(1.0, sigma, *((0.0, 1.0) if kind == "sample" else (1.0, -sigma)))


def _midpoint_sde(scheduler: Any, timestep: float, step_kwargs: dict[str, Any]) -> Level:
    if scheduler.state_in_first_order:
        return _exploding(scheduler, timestep, step_kwargs)
    return _exploding_level(scheduler, float(scheduler.mid_point_sigma))


def _solver(scheduler: Any, timestep: float, step_kwargs: dict[str, Any]) -> Level:
    sigma = scheduler.sigmas[_index(scheduler, timestep)]
    alpha_t, sigma_t = (float(value) for value in scheduler._sigma_to_alpha_sigma_t(sigma))
    if prediction_type(scheduler) == "flow_prediction":
        return Level(alpha_t, sigma_t, 1.0, -float(sigma))
    return _level(scheduler, alpha_t, sigma_t)


def _flow(scheduler: Any, timestep: float, step_kwargs: dict[str, Any]) -> Level:
    sigma = float(scheduler.sigmas[_index(scheduler, timestep)])
    if getattr(scheduler.config, "invert_sigmas", False):  # Mochi: sigma rises to 1, the velocity points to the video
        return Level(sigma, 1 - sigma, 1.0, 1 - sigma)
    tokens = step_kwargs.get("per_token_timesteps")
    if tokens is not None:  # image to video: tokens of the given frame are less noisy
        return Level(1 - sigma, sigma, 1.0, -(tokens / scheduler.config.num_train_timesteps)[..., None])
    return Level(1 - sigma, sigma, 1.0, -sigma)


def _level(scheduler: Any, alpha: float, sigma: float) -> Level:
    kind = prediction_type(scheduler)
    if kind == "sample":
        return Level(alpha, sigma, 0.0, 1.0)
    if kind == "v_prediction":
        return Level(alpha, sigma, alpha, -sigma)
    # zero terminal SNR has no x0 in its noise: like the scheduler's own, the guess is then infinite
    return Level(alpha, sigma, 1 / alpha, -sigma / alpha) if alpha else Level(alpha, sigma, math.inf, -math.inf)


def _index(scheduler: Any, timestep: float) -> int:
    """The sigma that the coming step uses; the same rule as each scheduler's `_init_step_index`, without setting it."""
    if scheduler.step_index is not None:
        return int(scheduler.step_index)
    if scheduler.begin_index is not None:
        return int(scheduler.begin_index)
    if isinstance(timestep, Tensor):
        timestep = timestep.to(scheduler.timesteps.device)
    return int(scheduler.index_for_timestep(timestep))


def _mean(scheduler: Any, model_output: Tensor, sample: Tensor) -> Tensor:
    """The output without the channels of a learned variance."""
    learned = getattr(getattr(scheduler, "config", None), "variance_type", None) in ("learned", "learned_range")
    if learned and model_output.ndim > 1 and model_output.shape[1] == 2 * sample.shape[1]:
        return model_output[:, : sample.shape[1]]
    return model_output


def _clipped(scheduler: Any, x0: Tensor) -> Tensor:
    config = getattr(scheduler, "config", {})
    if type(scheduler).__name__ in _UNCLIPPED:
        return x0
    if getattr(config, "thresholding", False) and getattr(scheduler, "predict_x0", True):  # UniPC: not where it steps in noise
        return scheduler._threshold_sample(x0)  # type: ignore[no-any-return]
    if getattr(config, "clip_sample", False):
        return x0.clamp(-scheduler.config.clip_sample_range, scheduler.config.clip_sample_range)
    return x0


_MEMORYLESS = frozenset({"DDIMScheduler", "DDPMScheduler", "CogVideoXDDIMScheduler"})
_FLOW_ONLY = frozenset({"FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler"})
_UNCLIPPED = frozenset({"CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"})  # clip_sample is in their config, not in their step
_READERS: dict[str, Reader] = {
    **dict.fromkeys(["DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LCMScheduler"], _preserving),
    **dict.fromkeys(["CogVideoXDDIMScheduler", "CogVideoXDPMScheduler"], _preserving),
    **dict.fromkeys(["EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler"], _exploding),
    **dict.fromkeys(["HeunDiscreteScheduler", "LMSDiscreteScheduler"], _exploding),
    "DPMSolverSDEScheduler": _midpoint_sde,
    **dict.fromkeys(["DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"], _solver),
    **dict.fromkeys(["UniPCMultistepScheduler", "DEISMultistepScheduler"], _solver),
    **dict.fromkeys(_FLOW_ONLY, _flow),
}
