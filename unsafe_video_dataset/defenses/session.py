"""One guarded call of a pipeline: its three stages, and what is handed on in place of a blocked sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import nn

from ..errors import DefenseNotAttached
from . import x0 as reading
from .base import Verdict, X0Convention
from .chain import Chain
from .layout import bind_call, prompts_of
from .samples import Sample, Samples
from .scrub import blank_rows, videos_of
from .steps import Steps

OnBlock = Literal["raise", "blank"]


@dataclass(frozen=True)
class Settings:
    """What a guard does; see `guard.guard`. The chain turns its own failures into verdicts."""

    chain: Chain
    on_block: OnBlock = "raise"
    x0_convention: X0Convention = "scheduler"


class Stop(BaseException):
    """Leaves the pipeline at once. No `Exception`, so that a pipeline's own handlers let it pass; never seen outside."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session


class Session:
    """One `pipe(*args, **kwargs)`. Raises `DefenseNotAttached` where its scheduler can't be read.

    `decodes` counts calls of a decoder that went through, `decode_seconds` what they took.
    """

    def __init__(self, settings: Settings, pipe: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.settings = settings
        self.pipe = pipe
        self.call = bind_call(pipe, args, kwargs)
        self.scheduler = getattr(pipe, "scheduler", None)
        self.decoders = decoders_of(pipe)
        self.samples = Samples()
        self.prompt_verdicts: list[Verdict] = []
        self.decodes = 0
        self.decode_seconds = 0.0
        chain, convention = settings.chain, settings.x0_convention
        self.steps = Steps(pipe, self.call, chain, convention, self.samples, self.prompt_verdicts, self.settle)
        if chain.latent:
            reading.check_scheduler(self.scheduler, x0_convention=convention)

    @property
    def all_blocked(self) -> bool:
        """True where nothing of the call may be released."""
        if not self.samples.items:
            return bool(self.prompt_verdicts) and all(verdict.blocked for verdict in self.prompt_verdicts)
        return self.samples.all_blocked

    @property
    def cleared(self) -> bool:
        """True where every sample has been allowed by every stage: only then may latents be reached by others."""
        chain = self.settings.chain
        blocked = self.samples.blocked or any(verdict.blocked for verdict in self.prompt_verdicts)
        if chain.output or blocked:
            return False
        return not chain.latent or (bool(self.samples.items) and not self.samples.undecided)

    def settle(self) -> None:
        """Leave the pipeline where nothing is left to generate (`Stop`), or have it skip its remaining steps."""
        if not self.all_blocked:
            return
        if self.settings.on_block == "raise":
            raise Stop(self)
        if hasattr(self.pipe, "_interrupt"):
            self.pipe._interrupt = True  # diffusers then skips the remaining steps

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
            spent = Sample()
            with self.samples.clock(spent):
                verdict = self.settings.chain.check_prompt(prompt)
            self.prompt_verdicts.append(replace(verdict, stage="prompt", seconds=spent.seconds))
        if self.all_blocked and self.settings.on_block == "raise":
            raise Stop(self)

    def step(self, plain: Callable[..., Any], scheduler: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One `scheduler.step`; see `Steps.take`."""
        return self.steps.take(plain, scheduler, args, kwargs)

    def end_of_sampling(self) -> None:
        """The denoising is over, whether all planned steps were seen or not: decide what is open. Raises `Stop` like a step."""
        self.steps.finish()
        self.settle()

    def check_output(self, output: Any) -> Any:
        """Ask the output defences, and blank what is blocked, at this stage or before. Raises `Stop` where nothing is left."""
        chain = self.settings.chain
        if chain.output and not self.all_blocked:
            if self.call.get("output_type") == "latent":
                raise DefenseNotAttached("An output filter can't look at latents. Ask for output_type 'pil', 'np' or 'pt'.")
            videos = videos_of(output)
            if self.samples.items and len(videos) != len(self.samples.items):
                count = len(self.samples.items)
                raise DefenseNotAttached(f"{len(videos)} videos came out of {count} samples: they can't be told apart.")
            if not self.samples.items:
                self.samples.items = [Sample(verdict=Verdict("allow", stage="prompt")) for _ in videos]
            for item, frames in zip(self.samples.items, videos, strict=True):
                if item.blocked:
                    continue
                spent = Sample()
                with self.samples.clock(spent):
                    verdict = replace(chain.check_video(frames), stage="output")
                # an allowance of the latent stage says more: it names the step. A failure that was let pass is kept.
                if verdict.blocked or verdict.note or not chain.latent:
                    item.verdict = replace(verdict, seconds=spent.seconds)
        self.settle()
        return blank_rows(output, self.samples.blocked) if self.samples.blocked else output

    def verdicts(self) -> tuple[Verdict, ...]:
        """One a sample; one a prompt where no sample was started."""
        return self.samples.verdicts() if self.samples.items else tuple(self.prompt_verdicts)

    def forget(self) -> None:
        """Let go of every tensor."""
        self.call.clear()
        self.steps.layout = None
        for item in self.samples.items:
            item.state = None


def decoders_of(pipe: Any) -> list[Any]:
    """The parts of a pipeline that turn latents into pixels: its modules with a `decode` (`vae`, `movq`, `vqvae` ...)."""
    parts = [value for value in vars(pipe).values() if isinstance(value, nn.Module)] if hasattr(pipe, "__dict__") else []
    return [part for part in parts if callable(getattr(type(part), "decode", None))]
