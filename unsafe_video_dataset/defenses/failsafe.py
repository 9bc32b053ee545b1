"""A defence that can't fail: an exception in it becomes a block (fail closed), or by choice silence (fail open).

Each member of a chain is wrapped by itself, so that one that fails open doesn't silence the next one. The exception is not
kept: its traceback holds latents. Its text goes into the verdict at the latent stage only, which sees no prompt.
Every call of a defence is made from outside of the guarded call (`tap.outside`), so that it may use the pipeline's own parts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from ..errors import InputError
from .base import Frames, GenerationInfo, LatentDefense, OutputDefense, PromptDefense, Stage, State, Tensor, Verdict
from .chain import Chain, name_of
from .tap import outside

Fail = Literal["closed", "open"]


def failsafe(chain: Chain, fail: Fail) -> Chain:
    """The same chain, whose members turn their exceptions into verdicts. `start` alone still raises.

    A defence that refuses the settings of a pipeline (eta above the number of steps) says so before anything is generated.
    """
    return Chain(
        *(_SafePrompt(member, fail) for member in chain.prompt),
        *((_SafeModifier if hasattr(member, "modify") else _SafeLatent)(member, fail) for member in chain.latent),
        *(_SafeOutput(member, fail) for member in chain.output),
        name=chain.name,
    )


@dataclass(frozen=True)
class _State:
    inner: State
    failure: str = ""


class _Safe:
    def __init__(self, member: Any, fail: Fail) -> None:
        self.member, self.fail, self.name = member, fail, name_of(member)

    def _ask(self, ask: Callable[[], Any], stage: Stage) -> tuple[Any, str]:
        """(answer, ""), or (None, what failed)."""
        try:
            with outside(), torch.no_grad():
                return ask(), ""
        except Exception as error:
            text = f": {str(error)[:200]}" if stage == "latent" else ""
            return None, f"the defence {self.name} failed with {type(error).__name__}{text}"

    def _verdict(self, ask: Callable[[], Any], stage: Stage) -> Verdict:
        answer, failure = self._ask(lambda: _checked(ask()), stage)
        return answer if not failure else self._on_failure(failure, stage)

    def _on_failure(self, failure: str, stage: Stage) -> Verdict:
        if self.fail == "open":
            return Verdict("allow", stage=stage, decided_by="fail-open", note=failure)
        return Verdict("block", stage=stage, decided_by="fail-closed", note=failure)


class _SafePrompt(_Safe):
    member: PromptDefense

    def check_prompt(self, prompt: str) -> Verdict:
        return self._verdict(lambda: self.member.check_prompt(prompt), "prompt")


class _SafeOutput(_Safe):
    member: OutputDefense

    def check_video(self, frames: Frames) -> Verdict:
        return self._verdict(lambda: self.member.check_video(frames), "output")


class _SafeLatent(_Safe):
    """A step that fails open is left out; where nothing was certain at the end, such a sample is allowed."""

    member: LatentDefense

    def start(self, info: GenerationInfo) -> _State:
        with outside():
            return _State(self.member.start(info))

    def observe(
        self, state: _State, *, step: int, timestep: float, x0: Tensor, log_snr: float
    ) -> tuple[_State, Verdict | None]:
        def ask() -> tuple[State, Verdict | None]:
            inner, verdict = self.member.observe(state.inner, step=step, timestep=timestep, x0=x0, log_snr=log_snr)
            return inner, None if verdict is None else _checked(verdict)

        answer, failure = self._ask(ask, "latent")
        if not failure:
            return replace(state, inner=answer[0]), answer[1]
        return replace(state, failure=failure), None if self.fail == "open" else self._on_failure(failure, "latent")

    def finish(self, state: _State) -> Verdict:
        if state.failure:
            return self._on_failure(state.failure, "latent")
        return self._verdict(lambda: self.member.finish(state.inner), "latent")


class _SafeModifier(_SafeLatent):
    """`modify` gives a blocking verdict in place of a tensor where it failed closed; the session takes it as one."""

    member: Any

    def modify(self, state: _State, *, step: int, timestep: float, x0: Tensor, log_snr: float) -> Tensor | Verdict | None:
        def ask() -> Tensor | None:
            made = self.member.modify(state.inner, step=step, timestep=timestep, x0=x0, log_snr=log_snr)
            if made is not None and (not isinstance(made, torch.Tensor) or made.shape != x0.shape):
                what = f"a tensor {list(made.shape)}" if isinstance(made, torch.Tensor) else type(made).__name__
                raise InputError(f"modify gave {what}: return an x0 of shape {list(x0.shape)}, or None")
            return made

        answer, failure = self._ask(ask, "latent")
        return answer if not failure or self.fail == "open" else self._on_failure(failure, "latent")


def _checked(answer: object) -> Verdict:
    if not isinstance(answer, Verdict):
        raise InputError(f"it gave {type(answer).__name__} in place of a Verdict")
    return answer
