"""Calls a pipeline with a latent defence that blocks nothing and keeps x0."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ..errors import GenerationBlocked
from .base import GenerationInfo, Tensor, Verdict, X0Convention
from .guard import guard
from .tap import plain_class
from .trace_requests import Request


@dataclass
class Seen:
    """A latent defence that allows everything and keeps x0 of some steps, on the CPU. For one call of the pipeline."""

    name = "recorder"
    wanted: frozenset[int]
    last: int | None = None  # block after this step: nothing more is needed
    infos: dict[int, GenerationInfo] = field(default_factory=dict)
    kept: dict[int, dict[int, tuple[float, float, Tensor]]] = field(default_factory=dict)

    def start(self, info: GenerationInfo) -> int:
        """The sample's number. A second pass over the timesteps (FreeInit) replaces what the first one left."""
        self.infos[info.sample], self.kept[info.sample] = info, {}
        return info.sample

    def observe(self, state: int, *, step: int, timestep: float, x0: Tensor, log_snr: float) -> tuple[int, Verdict | None]:
        """Keep x0, and block where no later step is wanted."""
        if step in self.wanted:
            self.kept[state][step] = (timestep, log_snr, x0.detach().to("cpu", copy=True))
        return state, Verdict("block", decided_by=self.name) if self.last is not None and step >= self.last else None

    def finish(self, state: int) -> Verdict:
        """Allow."""
        return Verdict("allow", decided_by=self.name)


class Caller:
    """Calls one pipeline with prompts and seeds, with or without decoding."""

    def __init__(self, pipe: Any, arguments: dict[str, Any], x0_convention: X0Convention, *, frames: bool) -> None:
        self.pipe, self.x0_convention = pipe, x0_convention
        accepted = inspect.signature(plain_class(pipe).__call__).parameters
        self.arguments = dict(arguments)
        if "output_type" in accepted:  # without frames to look at, nothing need be decoded
            self.arguments["output_type"] = "np" if frames else "latent"

    def probe(self, request: Request) -> GenerationInfo:
        """What a sample looks like, from one evaluation of the denoiser."""
        seen = Seen(frozenset(), last=1)
        self.run([request], seen)
        return seen.infos[0]

    def run(self, requests: Sequence[Request], seen: Seen) -> Any:
        """The pipeline's output; None where the recorder stopped it."""
        import torch

        generators = [torch.Generator("cpu").manual_seed(request.seed) for request in requests]
        prompts: Any = [request.prompt for request in requests]
        one = len(requests) == 1
        watched = guard(self.pipe, seen, x0_convention=self.x0_convention)
        try:
            with watched:
                given = {"prompt": prompts[0] if one else prompts, "generator": generators[0] if one else generators}
                output = self.pipe(**given, **self.arguments)
        except GenerationBlocked as blocked:
            if blocked.verdict.decided_by == seen.name:
                return None
            raise  # the recorder itself failed, or a guard of the caller's own blocked
        return output

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """One progress bar, not one a generation; the pipeline's own setting comes back."""
        before = getattr(self.pipe, "_progress_bar_config", None)
        if not hasattr(self.pipe, "set_progress_bar_config"):
            yield
            return
        self.pipe.set_progress_bar_config(**{**(before or {}), "disable": True})
        try:
            yield
        finally:
            if before is None:
                del self.pipe._progress_bar_config
            else:
                self.pipe._progress_bar_config = before
