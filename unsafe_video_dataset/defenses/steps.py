"""The latent stage of one guarded call: x0 is judged at each step, and blocked samples go through the scheduler as zeros."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from . import x0 as reading
from .base import GenerationInfo, Verdict, X0Convention
from .chain import Chain
from .layout import Layout, groups_of, layout_of
from .samples import Sample, Samples
from .scrub import zero_memory, zero_result, zero_rows
from .tap import plain_class


@dataclass
class Steps:
    """`evaluations` counts `scheduler.step`, from the first of the call; a pass is one run over the scheduler's timesteps.

    `prompts` holds the verdicts of the prompt stage, one a prompt; `settle` is called after a judgement: it may leave the call.
    """

    pipe: Any
    call: dict[str, Any]
    chain: Chain
    x0_convention: X0Convention
    samples: Samples
    prompts: list[Verdict]
    settle: Callable[[], None]
    evaluations: int = 0
    layout: Layout | None = None
    _in_pass: int = 0
    _pass_length: int = 0

    def take(self, plain: Callable[..., Any], scheduler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Judge, then step; in the convention `uvd` step, then judge. Bit for bit the plain step where all is allowed."""
        self.evaluations += 1
        if not self.chain.latent and not any(verdict.blocked for verdict in self.prompts):
            return plain(scheduler, *args, **kwargs)
        if 0 < self._in_pass < self._pass_length and not self._judging and not self.samples.blocked:
            self._in_pass += 1  # all is decided: nothing more to look at in this pass
            return plain(scheduler, *args, **kwargs)
        own: Any = plain_class(scheduler)
        bound = _signature(own.step).bind(scheduler, *args, **kwargs)
        sample, timestep = bound.arguments["sample"], bound.arguments["timestep"]
        if self._in_pass == self._pass_length:  # the first step, or FreeInit's next round over the timesteps
            self._begin(scheduler, sample, timestep)
            self.settle()
        self._in_pass += 1
        judging = self._judging
        if not judging and not self.samples.blocked:
            return plain(*bound.args, **bound.kwargs)
        at = reading.level(scheduler, timestep, bound.arguments) if judging else None
        if at is not None and self.x0_convention == "scheduler":
            self._judge(scheduler, bound.arguments, sample, at)
        self._hide(bound.arguments, sample.shape)
        result = plain(*bound.args, **bound.kwargs)
        if at is not None and self.x0_convention == "uvd":
            self._judge(scheduler, bound.arguments, result[0] if isinstance(result, tuple) else result.prev_sample, at)
        if self.samples.blocked and self.layout is not None:
            rows = self.layout.rows_of(self.samples.blocked)
            result = zero_result(result, rows, sample.shape)
            zero_memory(scheduler, rows, sample.shape)
        return result

    @property
    def _judging(self) -> bool:
        return bool(self.chain.latent) and (bool(self.samples.undecided) or (self.modifies and not self.samples.all_blocked))

    @property
    def modifies(self) -> bool:
        """True where a defence may change x0, which it does at every step, after its verdict too."""
        return any(hasattr(member, "modify") for member in self.chain.latent)

    def finish(self) -> None:
        """The denoising is over, whether all planned steps were seen or not: decide what is open."""
        for item in self.samples.items:
            if item.verdict is None:
                self._finish(item)

    def _begin(self, scheduler: Any, sample: Tensor, timestep: Any) -> None:
        if self.layout is None:
            self.layout = layout_of(self.pipe, sample, self.call)
            batch, groups = self.layout.batch, groups_of(self.call) or 1
            self.samples.items = [Sample() for _ in range(batch)]
            for i, item in enumerate(self.samples.items):
                if self.prompts and self.prompts[i * groups // batch].blocked:
                    item.verdict = self.prompts[i * groups // batch]
        planned = scheduler.timesteps
        here = (planned == _scalar(timestep)).nonzero().flatten().tolist() or [0]
        begin: Any = getattr(scheduler, "begin_index", None)  # image to video starts in the middle
        self._in_pass, self._pass_length = 0, len(planned) - int(begin if begin in here else here[0])
        shape = tuple(self.layout.split(torch.empty(sample.shape, device="meta"))[0].shape)
        for i, item in enumerate(self.samples.items):
            if item.blocked:
                continue
            item.verdict = None if self.chain.latent else Verdict("allow", stage="prompt", decided_by=self.chain.name)
            info = GenerationInfo(
                pipeline=plain_class(self.pipe).__name__,
                scheduler=plain_class(scheduler).__name__,
                prediction_type=reading.prediction_type(scheduler),
                num_steps=self._pass_length,
                shape=shape,
                layout=self.layout.kind,
                x0_convention=self.x0_convention,
                sample=i,
            )
            if self.chain.latent:
                item.state = self.chain.start(info)

    def _judge(self, scheduler: Any, arguments: dict[str, Any], sample: Tensor, at: reading.Level) -> None:
        assert self.layout is not None
        timestep = arguments["timestep"]
        whole = reading.read(scheduler, arguments["model_output"], timestep, sample, at=at)
        parts = self.layout.split(whole)
        seen: dict[str, Any] = {"step": self._in_pass, "timestep": float(_scalar(timestep)), "log_snr": at.log_snr}
        changed: dict[int, Tensor] = {}
        for i, item in enumerate(self.samples.items):
            if item.verdict is None:
                with self.samples.clock(item):
                    item.state, verdict = self.chain.observe(item.state, x0=parts[i], **seen)
                if verdict is not None:
                    self._decide(item, verdict)
                elif self._in_pass == self._pass_length:
                    self._finish(item)
            if self.modifies and not item.blocked:
                with self.samples.clock(item):
                    made = self.chain.modify(item.state, x0=parts[i], **seen)
                if isinstance(made, Verdict):
                    self._decide(item, made)
                elif made is not None:
                    changed[i], item.modified = made, True
        self.settle()
        if changed:
            x0 = self.layout.join([changed.get(i, part) for i, part in enumerate(parts)])
            output = reading.output_for(scheduler, x0, arguments["model_output"], sample, at=at)
            rows = self.layout.rows_of(sorted(changed))
            arguments["model_output"] = arguments["model_output"].clone()
            arguments["model_output"][rows] = output[rows]

    def _finish(self, item: Sample) -> None:
        with self.samples.clock(item):
            verdict = self.chain.finish(item.state)
        self._decide(item, verdict)

    def _decide(self, item: Sample, verdict: Verdict) -> None:
        """A block stands, whoever is asked later; an allowance gives way to a block only."""
        if item.blocked or (item.verdict is not None and not verdict.blocked):
            return
        item.verdict = replace(verdict, stage="latent", step=self.evaluations, seconds=item.seconds)

    def _hide(self, arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
        """Blocked samples go into the step as zeros, whatever argument they are in."""
        if self.samples.blocked and self.layout is not None:
            rows = self.layout.rows_of(self.samples.blocked)
            for name, value in arguments.items():
                arguments[name] = zero_rows(value, rows, tuple(shape))


@functools.lru_cache(maxsize=64)
def _signature(step: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(step)  # reading one costs more than a small step


def _scalar(timestep: Any) -> Any:
    """One timestep, where a pipeline gives the same one for each row."""
    return timestep.flatten()[0] if isinstance(timestep, Tensor) and timestep.ndim else timestep
