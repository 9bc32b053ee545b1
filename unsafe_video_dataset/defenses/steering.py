"""A latent defence that changes a generation in place of stopping it, after Safe Latent Diffusion.

Source: Schramowski et al., "Safe Latent Diffusion", arXiv 2211.05105, equations 5 to 8. They steer the noise estimate away from
what the model makes of an unsafe concept; noise and x0 differ by a factor a step, so the same is said here in x0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import FilterError
from .base import GenerationInfo, State, Tensor, Verdict
from .lvd import accepted


@dataclass(frozen=True)
class Steered:
    """The state of one sample: steps seen, SLD's momentum, the x0 to go on with (None: the step is left alone)."""

    seen: int = 0
    momentum: Tensor | None = None
    x0: Tensor | None = None


class LatentSteering:
    """Pushes x0 away from a concept, step by step. It never blocks: the verdict is `modify` where it changed anything.

    `concept(x0)` gives x0 as it would be under the unsafe concept (same shape; parameters called `step`, `timestep` or
    `log_snr` are filled by name); None leaves the step alone. With d = concept - x0, elementwise:
    `x0 - (mu * d + momentum * m)` where mu = min(1, scale * |d|), and 0 where |d| >= `limit` (far from the concept: nothing
    to avoid); m is the running mean of the shifts with decay `beta`. Nothing is changed in the first `warmup` steps, which
    gather momentum. Defaults are SLD's; `limit` is on x0's scale, so it has none. Raises `FilterError` out of range.
    """

    def __init__(
        self,
        concept: Callable[..., Any],
        *,
        scale: float = 1.0,
        limit: float | None = None,
        warmup: int = 0,
        momentum: float = 0.0,
        beta: float = 0.4,
        name: str = "steering",
    ) -> None:
        if scale <= 0 or warmup < 0 or momentum < 0 or not 0 <= beta < 1 or (limit is not None and limit <= 0):
            raise FilterError(
                "LatentSteering needs scale > 0, limit > 0 or None, warmup >= 0, momentum >= 0 and beta in [0, 1)."
            )
        self.concept = concept
        self.scale, self.limit, self.warmup, self.momentum, self.beta = scale, limit, warmup, momentum, beta
        self.name = name
        self._asked = accepted(concept)

    def start(self, info: GenerationInfo) -> Steered:
        """See `LatentDefense.start`."""
        return Steered()

    def observe(self, state: State, *, step: int, timestep: float, x0: Tensor, log_snr: float) -> tuple[Steered, None]:
        """See `LatentDefense.observe`; works out the change that `modify` hands over."""
        given = {"step": step, "timestep": timestep, "log_snr": log_snr}
        other = self.concept(x0, **{name: given[name] for name in self._asked})
        if other is None:
            return Steered(state.seen + 1, state.momentum), None
        away = other - x0
        strength = (self.scale * away.abs()).clamp(max=1.0)
        if self.limit is not None:
            strength = strength * (away.abs() < self.limit)
        shift = strength * away
        if state.momentum is not None:
            shift = shift + self.momentum * state.momentum
        past = 0.0 if state.momentum is None else self.beta * state.momentum
        changed = None if state.seen < self.warmup else x0 - shift
        return Steered(state.seen + 1, past + (1 - self.beta) * shift, changed), None

    def modify(self, state: State, *, step: int, timestep: float, x0: Tensor, log_snr: float) -> Tensor | None:
        """See `LatentDefense`: the x0 to go on with."""
        return state.x0

    def finish(self, state: State) -> Verdict:
        """Allows; the guard calls it `modify` where a step was changed."""
        return Verdict("allow", decided_by=self.name)
