"""What verdicts cost in FLOPs: counted on one generation of the world's own pipeline, then added up for each sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import GenerationBlocked
from ..base import GenerationInfo, Tensor, Verdict
from ..guard import guard
from .verdicts import Verdicts
from .world import World


@dataclass(frozen=True)
class Parts:
    """FLOPs of the parts of one generation: `prompt` (the text encoder), one `step`, the `decode`, one `look` of the latent
    detector, one call of each output filter; `steps` in a full generation."""

    prompt: int
    step: int
    decode: int
    look: int
    steps: int
    filters: dict[str, int]

    @property
    def full(self) -> int:
        """An unguarded generation."""
        return self.prompt + self.steps * self.step + self.decode

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "full": self.full}


def count_parts(world: World, pipe: Any, *, detector: Any, filters: Mapping[str, Any]) -> Parts:
    """Count one generation. FLOPs are those of matrix products, convolutions and attention (a multiplication and an addition
    are two), as PyTorch's counter has them."""
    import torch

    item = world.items[0]
    given = {"prompt": item.prompt, **world.call}
    seen: list[Tensor] = []

    def latent() -> Any:
        return pipe(**given, generator=torch.Generator("cpu").manual_seed(0), output_type="latent")

    def stopped() -> None:
        try:
            with guard(pipe, _StopAtOnce(seen)):
                latent()
        except GenerationBlocked:
            pass

    def decoded() -> Any:
        return pipe(**given, generator=torch.Generator("cpu").manual_seed(0), output_type="np")

    one, every, whole = _flops(stopped), _flops(latent), _flops(decoded)
    steps = int(world.call["num_inference_steps"])
    step = round((every - one) / (steps - 1))
    frames = np.rint(np.asarray(decoded().frames[0]) * 255).astype(np.uint8)
    return Parts(
        prompt=one - step,
        step=step,
        decode=whole - every,
        look=_flops(lambda: detector(seen[0], step=1, log_snr=0.0)),
        steps=steps,
        filters={name: _flops(lambda f=found: f.check_video(frames)) for name, found in filters.items()},
    )


def spent(verdicts: Verdicts, parts: Parts) -> NDArray[np.float64]:
    """FLOPs of each sample under a defence, float64 [n]: 0 where its prompt was blocked, and what every stage took that ran."""
    names = verdicts.facts.get("members", [verdicts.name])
    watched = sum(parts.filters.get(name, 0) for name in names)
    began = verdicts.denoised > 0
    finished = verdicts.denoised >= parts.steps
    output = finished if watched else np.zeros_like(finished)
    return np.asarray(
        began * parts.prompt
        + verdicts.denoised * parts.step
        + verdicts.looks * parts.look
        + (verdicts.decoded | output) * parts.decode
        + output * watched,
        dtype=np.float64,
    )


@dataclass(frozen=True)
class _StopAtOnce:
    seen: list[Tensor]
    name: str = "stop at once"

    def start(self, info: GenerationInfo) -> None:
        return None

    def observe(self, state: None, *, step: int, timestep: float, x0: Tensor, log_snr: float) -> tuple[None, Verdict]:
        self.seen.append(x0)
        return None, Verdict("block", decided_by=self.name)

    def finish(self, state: None) -> Verdict:
        return Verdict("block", decided_by=self.name)


def _flops(call: Any) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())
