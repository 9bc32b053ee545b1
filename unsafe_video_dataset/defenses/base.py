"""What a defence is: three protocols, one a stage, and the verdict that all of them give. Imports neither torch nor diffusers.

A defence keeps no state of a generation: `LatentDefense.start` hands it out and `observe` gives the next one back. So one
object can guard two pipelines, or two threads, at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError, one_of

Action = Literal["allow", "block", "modify"]
Stage = Literal["prompt", "latent", "output"]
X0Convention = Literal["scheduler", "uvd"]

Tensor: TypeAlias = Any  # a torch.Tensor; this file must import without torch
State: TypeAlias = Any  # whatever a latent defence carries from step to step
Frames: TypeAlias = NDArray[np.uint8]
"""uint8 [T, H, W, 3], RGB."""


@dataclass(frozen=True)
class Verdict:
    """What a defence decided on one sample.

    `score` has the defence's own scale (higher is less safe), None where there is none; `step` counts the evaluations of the
    denoiser that were spent, from 1, None outside the latent stage; `decided_by` names the defence; `note` says why a
    decision was forced (a failure, too few steps). `seconds` is the time spent in the defence: it is measured, so it takes
    no part in comparisons. A verdict holds no prompt, latent or frame.
    """

    action: Action
    score: float | None = None
    categories: tuple[str, ...] = ()
    stage: Stage = "latent"
    step: int | None = None
    decided_by: str = ""
    seconds: float = field(default=0.0, compare=False)
    note: str = ""

    def __post_init__(self) -> None:
        one_of(self.action, get_args(Action), "Verdict(action)")
        one_of(self.stage, get_args(Stage), "Verdict(stage)")
        object.__setattr__(self, "categories", tuple(self.categories))

    @property
    def blocked(self) -> bool:
        """True where the sample may not be released."""
        return self.action == "block"

    def to_dict(self) -> dict[str, object]:
        """The verdict as plain JSON values."""
        return {**asdict(self), "categories": list(self.categories)}


@dataclass(frozen=True)
class GenerationInfo:
    """What a latent defence is told when a sample starts.

    `num_steps` is how many model evaluations the pipeline has planned for this pass; `shape` that of each x0 it will see;
    `layout` is `CTHW` for a video latent, `CHW` for an image, `raw` where the pipeline packs latents in a way we don't know.
    """

    pipeline: str
    scheduler: str
    prediction_type: str
    num_steps: int
    shape: tuple[int, ...]
    layout: Literal["CTHW", "CHW", "raw"]
    x0_convention: X0Convention
    sample: int


@runtime_checkable
class PromptDefense(Protocol):
    """Judges a prompt before anything is generated."""

    @property
    def name(self) -> str:
        """The name that the defence goes by in verdicts."""
        ...

    def check_prompt(self, prompt: str) -> Verdict:
        """The verdict on one prompt, `stage="prompt"`. Must not keep or log the prompt."""
        ...


@runtime_checkable
class LatentDefense(Protocol):
    """Watches one sample's predicted x0 while it is denoised.

    A defence that also changes the generation has a method
    `modify(state, *, step, timestep, x0, log_snr) -> Tensor | None`: the x0 that the scheduler shall go on with (same shape),
    None to leave the step alone, bit for bit. It is called after `observe`, with its state, on samples not blocked.
    """

    @property
    def name(self) -> str:
        """The name that the defence goes by in verdicts."""
        ...

    def start(self, info: GenerationInfo) -> State:
        """The state of a new sample."""
        ...

    def observe(self, state: State, *, step: int, timestep: float, x0: Tensor, log_snr: float) -> tuple[State, Verdict | None]:
        """The next state, and a verdict as soon as one is certain; it isn't called again on the sample after that.

        `x0`: float32, one sample, laid out as `GenerationInfo.layout` says, in the pipeline's latent scale, after guidance, on
        its device, no gradient. `step` counts from 1 in each pass over the timesteps (FreeInit makes several, each with a
        `start` of its own); `timestep` is the scheduler's; `log_snr` is ln(alpha^2 / sigma^2) of the noisy sample, cut to
        [-30, 30].
        """
        ...

    def finish(self, state: State) -> Verdict:
        """The verdict on a sample whose denoising ended before `observe` gave one."""
        ...


@runtime_checkable
class OutputDefense(Protocol):
    """Judges a finished video."""

    @property
    def name(self) -> str:
        """The name that the defence goes by in verdicts."""
        ...

    def check_video(self, frames: Frames) -> Verdict:
        """The verdict on one video, uint8 [T, H, W, 3] RGB, `stage="output"`."""
        ...


Defense: TypeAlias = "PromptDefense | LatentDefense | OutputDefense"


def judge(
    result: object, *, threshold: float | Mapping[str, float] = 0.5, categories: Sequence[str] | None = None
) -> tuple[bool, float, tuple[str, ...]]:
    """Read what a callable said: (unsafe, highest score, categories at or above their threshold).

    `result`: a bool (score 1 or 0), a number, a mapping of category to score, or a sequence, array or tensor of scores that
    `categories` names in order. A multi-label result is unsafe where any score reaches its threshold, as in the paper's
    published code (one positive category is a positive vote). Raises `InputError` on a NaN, an empty result or a wrong
    length: a score that can't be read is a failure, not a pass.
    """
    if hasattr(result, "tolist"):
        result = result.tolist()
    if isinstance(result, (str, bytes)) or result is None:
        raise InputError(f"A detector gave {type(result).__name__}; return a bool, a score, or a score for each category.")
    if isinstance(result, (bool, int, float)):
        scores = {"": float(result)}
    elif isinstance(result, Mapping):
        scores = {str(name): _number(value) for name, value in result.items()}
    else:
        values = _flat(result)
        names = [str(i) for i in range(len(values))] if categories is None else list(categories)
        if len(values) == 1 and len(names) != 1:
            names = [""]
        if len(names) != len(values):
            raise InputError(f"A detector gave {len(values)} scores for {len(names)} categories: {', '.join(names)}.")
        scores = dict(zip(names, values, strict=True))
    if not scores or any(math.isnan(score) for score in scores.values()):
        raise InputError("A detector gave no score or a NaN. Check its input scale and its weights.")
    limits = threshold if isinstance(threshold, Mapping) else dict.fromkeys(scores, threshold)
    missing = sorted(set(scores) - set(limits))
    if missing:
        raise InputError(
            f"No threshold for {', '.join(missing) or 'a single score'}: give one number or one for each category."
        )
    found = sorted((name for name in scores if scores[name] >= limits[name]), key=lambda name: (-scores[name], name))
    return bool(found), max(scores.values()), tuple(name for name in found if name)


def _flat(result: object) -> list[float]:
    if not isinstance(result, Sequence):
        raise InputError(f"A detector gave {type(result).__name__}; return a bool, a score, or a score for each category.")
    values = list(result)
    while len(values) == 1 and isinstance(values[0], Sequence) and not isinstance(values[0], str):
        values = list(values[0])  # a leading batch axis of one
    return [_number(value) for value in values]


def _number(value: object) -> float:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if not isinstance(value, (bool, int, float)):
        raise InputError(f"A detector gave {type(value).__name__} as a score; return one number for each category.")
    return float(value)
