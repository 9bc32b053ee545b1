"""One guarded call of a pipeline: what is decided at each step, and what is handed on in place of a blocked sample."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import DefenseNotAttached, InputError
from . import x0 as reading
from .base import GenerationInfo, State, Verdict, X0Convention
from .chain import Chain
from .layout import Layout, bind_call, groups_of, layout_of, prompts_of
from .scrub import blank_rows, videos_of, zero_memory, zero_result, zero_rows
from .tap import plain_class

OnBlock = Literal["raise", "blank"]
Fail = Literal["closed", "open"]


@dataclass(frozen=True)
class Settings:
    """What a guard does; see `guard.guard`."""

    chain: Chain
    fail: Fail = "closed"
    on_block: OnBlock = "raise"
    x0_convention: X0Convention = "scheduler"


class Stop(BaseException):
    """Leaves the pipeline at once. No `Exception`, so that a pipeline's own handlers let it pass; never seen outside."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session


@dataclass
class Sample:
    """One sample's state in the latent stage. `verdict` is what has been decided, at any stage so far."""

    state: State = None
    verdict: Verdict | None = None
    seconds: float = 0.0
    modified: bool = False


@dataclass
class Session:
    """One call. `evaluations` counts `scheduler.step`; seconds are spent in detectors and in the VAE's decoder."""

    settings: Settings
    pipe: Any
    call: dict[str, Any]
    scheduler: Any = None
    vae: Any = None
    samples: list[Sample] = field(default_factory=list)
    layout: Layout | None = None
    evaluations: int = 0
    decodes: int = 0
    detect_seconds: float = 0.0
    decode_seconds: float = 0.0
    prompt_verdicts: list[Verdict] = field(default_factory=list)
    _in_pass: int = 0
    _pass_length: int = 0

    @classmethod
    def open(cls, settings: Settings, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Session:
        """The session of one `pipe(*args, **kwargs)`; raises `DefenseNotAttached` where its scheduler can't be read."""
        session = cls(settings, pipe, bind_call(pipe, args, kwargs), getattr(pipe, "scheduler", None), getattr(pipe, "vae", None))
        if settings.chain.latent:
            reading.check_scheduler(session.scheduler, x0_convention=settings.x0_convention)
        return session

    # -- state of the call

    @property
    def blocked(self) -> list[int]:
        """Indices of the samples that are blocked."""
        return [i for i, sample in enumerate(self.samples) if sample.verdict is not None and sample.verdict.blocked]

    @property
    def undecided(self) -> list[int]:
        """Indices of the samples that no latent verdict has been given on."""
        return [i for i, sample in enumerate(self.samples) if sample.verdict is None]

    @property
    def all_blocked(self) -> bool:
        """True where nothing of the call may be released."""
        if not self.samples:
            return bool(self.prompt_verdicts) and all(verdict.blocked for verdict in self.prompt_verdicts)
        return len(self.blocked) == len(self.samples)

    @property
    def cleared(self) -> bool:
        """True where every sample has been allowed: only then may latents be reached by others."""
        return bool(self.samples) and not self.undecided and not self.blocked

    # -- the prompt stage

    def check_prompts(self) -> None:
        """Ask the prompt defences; raises `Stop` where every prompt is blocked and that shall raise."""
        if not self.settings.chain.prompt:
            return
        prompts = prompts_of(self.call)
        if prompts is None:
            raise DefenseNotAttached(
                "A prompt filter is attached, but the pipeline was called with embeddings only. Pass `prompt`, or guard "
                "without the prompt filter."
            )
        for prompt in prompts:
            with self._clock() as spent:
                verdict = self._safely(lambda prompt=prompt: self.settings.chain.check_prompt(prompt), Verdict("allow", stage="prompt"))
            self.prompt_verdicts.append(replace(verdict, stage="prompt", seconds=spent()))
        if self.all_blocked and self.settings.on_block == "raise":
            raise Stop(self)

    # -- the latent stage

    def step(self, plain: Callable[..., Any], scheduler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Judge, then step; or step, then judge, in the convention `uvd`."""
        self.evaluations += 1
        bound = inspect.signature(plain).bind(scheduler, *args, **kwargs)
        sample, timestep = bound.arguments["sample"], bound.arguments["timestep"]
        if self._in_pass == self._pass_length:  # the first step, or FreeInit's next round over the timesteps
            self._begin(scheduler, sample, timestep)
        self._in_pass += 1
        if not self.undecided and not self.blocked and not self._modifies:
            return plain(*bound.args, **bound.kwargs)
        assert self.layout is not None
        uvd, at = self.settings.x0_convention == "uvd", None
        if self.settings.chain.latent and (self.undecided or self._modifies):
            at = reading.level(scheduler, timestep, bound.arguments)
        if at is not None and not uvd:
            self._judge(scheduler, bound.arguments, sample, at)
        self._hide(bound.arguments, sample.shape)
        result = plain(*bound.args, **bound.kwargs)
        if at is not None and uvd:
            new = result[0] if isinstance(result, tuple) else result.prev_sample
            self._judge(scheduler, bound.arguments, new, at)
        if self.blocked:
            rows = self.layout.rows_of(self.blocked)
            result = zero_result(result, rows, sample.shape)
            zero_memory(scheduler, rows, sample.shape)
        return result

    @property
    def _modifies(self) -> bool:
        return any(hasattr(member, "modify") for member in self.settings.chain.latent)

    def _begin(self, scheduler: Any, sample: Tensor, timestep: Any) -> None:
        first = not self.samples
        if first:
            self.layout = layout_of(self.pipe, sample, self.call)
            self.samples = [Sample() for _ in range(self.layout.batch)]
            groups = groups_of(self.call) or 1
            for i, item in enumerate(self.samples):
                if self.prompt_verdicts:
                    verdict = self.prompt_verdicts[i * groups // len(self.samples)]
                    item.verdict = verdict if verdict.blocked else None
        assert self.layout is not None
        planned = scheduler.timesteps
        here = (planned == timestep).nonzero()
        self._in_pass, self._pass_length = 0, len(planned) - (int(here[0]) if len(here) else 0)
        shape = tuple(self.layout.split(torch.empty(sample.shape, device="meta"))[0].shape)
        for i, item in enumerate(self.samples):
            if i in self.blocked:
                continue
            item.verdict = None if self.settings.chain.latent else Verdict("allow", decided_by=self.settings.chain.name)
            info = GenerationInfo(
                pipeline=plain_class(self.pipe).__name__,
                scheduler=plain_class(scheduler).__name__,
                prediction_type=reading.prediction_type(scheduler),
                num_steps=self._pass_length,
                shape=shape,
                layout=self.layout.kind,
                x0_convention=self.settings.x0_convention,
                sample=i,
            )
            if self.settings.chain.latent:
                # a defence that refuses the settings (eta above the number of steps) says so itself; it isn't a verdict
                item.state = self.settings.chain.start(info)

    def _judge(self, scheduler: Any, arguments: dict[str, Any], sample: Tensor, at: reading.Level) -> None:
        assert self.layout is not None
        chain, last = self.settings.chain, self._in_pass == self._pass_length
        whole = reading.read(scheduler, arguments["model_output"], arguments["timestep"], sample, at=at)
        parts = self.layout.split(whole)
        seen = {"step": self.evaluations, "timestep": float(arguments["timestep"]), "log_snr": at.log_snr}
        changed: dict[int, Tensor] = {}
        for i, item in enumerate(self.samples):
            if item.verdict is not None and (item.verdict.blocked or not self._modifies):
                continue
            with self._clock() as spent:
                if item.verdict is None:
                    item.verdict = self._safely(lambda i=i, item=item: self._observe(item, parts[i], seen), None)
                if item.verdict is None and last:
                    item.verdict = self._safely(lambda item=item: chain.finish(item.state), Verdict("allow"))
                if self._modifies and not (item.verdict is not None and item.verdict.blocked):
                    new = self._safely(lambda i=i, item=item: chain.modify(item.state, x0=parts[i], **seen), None)
                    if isinstance(new, Verdict):
                        item.verdict = new
                    elif new is not None:
                        changed[i], item.modified = new, True
                item.seconds += spent()
            if item.verdict is not None:
                item.verdict = replace(
                    item.verdict, stage="latent", step=item.verdict.step or self.evaluations, seconds=item.seconds
                )
        if self.all_blocked and self.settings.on_block == "raise":
            raise Stop(self)
        if self.all_blocked and hasattr(self.pipe, "_interrupt"):
            self.pipe._interrupt = True  # diffusers then skips the remaining steps
        if changed:
            x0 = self.layout.join([changed.get(i, part) for i, part in enumerate(parts)])
            output = reading.output_for(scheduler, x0, arguments["model_output"], sample, at=at)
            rows = self.layout.rows_of(sorted(changed))
            arguments["model_output"] = arguments["model_output"].clone()
            arguments["model_output"][rows] = output[rows]

    def _observe(self, item: Sample, x0: Tensor, seen: dict[str, Any]) -> Verdict | None:
        item.state, verdict = self.settings.chain.observe(item.state, x0=x0, **seen)
        if verdict is not None and not isinstance(verdict, Verdict):
            raise InputError(f"observe gave {type(verdict).__name__} in place of a Verdict or None.")
        return verdict

    def _hide(self, arguments: dict[str, Any], shape: tuple[int, ...]) -> None:
        """Blocked samples go into the step as zeros, whatever argument they are in."""
        if self.blocked:
            assert self.layout is not None
            rows = self.layout.rows_of(self.blocked)
            for name, value in arguments.items():
                arguments[name] = zero_rows(value, rows, tuple(shape))

    # -- the end

    def end_of_sampling(self) -> None:
        """The denoising is over, whether all planned steps were seen or not: decide what is open. Raises `Stop` like a step."""
        for item in self.samples:
            if item.verdict is None:
                with self._clock() as spent:
                    verdict = self._safely(lambda item=item: self.settings.chain.finish(item.state), Verdict("allow"))
                    item.seconds += spent()
                item.verdict = replace(verdict, stage="latent", step=self.evaluations, seconds=item.seconds)
        if self.all_blocked and self.settings.on_block == "raise":
            raise Stop(self)

    def check_output(self, output: Any) -> Any:
        """Ask the output defences, and blank what is blocked, at this stage or before. Raises `Stop` where nothing is left."""
        if self.settings.chain.output and not self.all_blocked:
            videos = videos_of(output)
            if self.samples and len(videos) != len(self.samples):
                raise DefenseNotAttached(f"{len(videos)} videos came out of {len(self.samples)} samples: they can't be told apart.")
            self.samples = self.samples or [Sample(verdict=Verdict("allow")) for _ in videos]
            for item, frames in zip(self.samples, videos, strict=True):
                if item.verdict is not None and item.verdict.blocked:
                    continue
                with self._clock() as spent:
                    verdict = self._safely(
                        lambda frames=frames: self.settings.chain.check_video(frames), Verdict("allow", stage="output")
                    )
                if verdict.blocked or item.verdict is None or not self.settings.chain.latent:
                    item.verdict = replace(verdict, stage="output", seconds=spent())
        if self.all_blocked and self.settings.on_block == "raise":
            raise Stop(self)
        return blank_rows(output, self.blocked) if self.blocked else output

    def verdicts(self) -> tuple[Verdict, ...]:
        """One a sample; `modify` where a sample was changed and then allowed."""
        if not self.samples:
            return tuple(self.prompt_verdicts)
        made = [item.verdict or Verdict("block", note="not decided") for item in self.samples]
        return tuple(
            replace(verdict, action="modify") if item.modified and not verdict.blocked else verdict
            for verdict, item in zip(made, self.samples, strict=True)
        )

    def forget(self) -> None:
        """Let go of every tensor."""
        self.call, self.layout = {}, None
        for item in self.samples:
            item.state = None

    # -- helpers

    def _safely(self, ask: Callable[[], Any], if_open: Verdict | None) -> Any:
        """The answer; where the defence fails, a block (or with `fail="open"` what is given). The error itself is not kept.

        Its traceback holds latents; its text goes into the verdict only at the latent stage, which sees no prompt.
        """
        try:
            with torch.no_grad():
                return ask()
        except Exception as error:
            text = f": {str(error)[:200]}" if if_open is None or if_open.stage == "latent" else ""
            note = f"the defence failed with {type(error).__name__}{text}"
        if self.settings.fail == "open":
            return None if if_open is None else replace(if_open, decided_by="fail-open", note=note)
        return Verdict("block", decided_by="fail-closed", note=note)

    @contextmanager
    def _clock(self) -> Iterator[Callable[[], float]]:
        began = time.perf_counter()
        yield lambda: time.perf_counter() - began
        self.detect_seconds += time.perf_counter() - began

