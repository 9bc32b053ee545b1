"""Defences in a row, and plain callables as defences."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import InputError
from .base import (
    Defense,
    Frames,
    GenerationInfo,
    LatentDefense,
    OutputDefense,
    PromptDefense,
    State,
    Tensor,
    Verdict,
    judge,
)

Threshold = float | Mapping[str, float]


class Chain:
    """Several defences as one: each takes part in every stage that it has a method for; the first to block decides.

    A latent stage is allowed when all its members have allowed it. `prompt`, `latent` and `output` are the members by stage.
    Raises `InputError` where a member has no stage at all.
    """

    def __init__(self, *defenses: Defense | Chain, name: str | None = None) -> None:
        members: list[Defense] = []
        for defense in defenses:
            members.extend(defense.members if isinstance(defense, Chain) else [defense])
        strange = [type(member).__name__ for member in members if not _stages(member)]
        if strange or not members:
            raise InputError(
                f"{', '.join(strange) or 'An empty chain'} is no defence: give it check_prompt, start/observe/finish or "
                "check_video, and a `name`; or wrap a plain callable with as_prompt_defense, as_latent_defense or "
                "as_output_defense."
            )
        self.members: tuple[Defense, ...] = tuple(members)
        self.prompt = tuple(member for member in members if isinstance(member, PromptDefense))
        self.latent = tuple(member for member in members if isinstance(member, LatentDefense))
        self.output = tuple(member for member in members if isinstance(member, OutputDefense))
        self.name = name or "+".join(name_of(member) for member in members)

    def check_prompt(self, prompt: str) -> Verdict:
        """The first block, else allow."""
        return _first_block(
            (_give(member.check_prompt(prompt), member) for member in self.prompt), Verdict("allow", stage="prompt"), self.name
        )

    def check_video(self, frames: Frames) -> Verdict:
        """The first block, else allow."""
        return _first_block(
            (_give(member.check_video(frames), member) for member in self.output), Verdict("allow", stage="output"), self.name
        )

    def start(self, info: GenerationInfo) -> tuple[State, ...]:
        """One state a latent member, and what it has decided so far."""
        return tuple((member.start(info), None) for member in self.latent)

    def observe(self, state: State, *, step: int, timestep: float, x0: Tensor, log_snr: float) -> tuple[State, Verdict | None]:
        """See `LatentDefense.observe`: members that have decided are not asked again."""
        after: list[tuple[State, Verdict | None]] = list(state)
        for i, member in enumerate(self.latent):
            inner, decided = after[i]
            if decided is None:
                inner, decided = member.observe(inner, step=step, timestep=timestep, x0=x0, log_snr=log_snr)
                after[i] = (inner, None if decided is None else _give(decided, member))
                if decided is not None and decided.blocked:
                    return tuple(after), after[i][1]
        return tuple(after), _all_decided([decided for _, decided in after])

    def finish(self, state: State) -> Verdict:
        """The first block among the members' own `finish`, else allow."""
        verdicts = [
            decided or _give(member.finish(inner), member) for member, (inner, decided) in zip(self.latent, state, strict=True)
        ]
        blocks = [verdict for verdict in verdicts if verdict.blocked]
        return blocks[0] if blocks else _all_decided(verdicts) or Verdict("allow", decided_by=self.name)

    def modify(self, state: State, *, step: int, timestep: float, x0: Tensor, log_snr: float) -> Tensor | None:
        """What the members that modify make of x0, one after another; None where none does."""
        changed = None
        for member, (inner, _) in zip(self.latent, state, strict=True):
            if hasattr(member, "modify"):
                now = x0 if changed is None else changed
                new = member.modify(inner, step=step, timestep=timestep, x0=now, log_snr=log_snr)
                if isinstance(new, Verdict):  # it failed closed: see `failsafe`
                    return new
                changed = changed if new is None else new
        return changed


def name_of(defense: object) -> str:
    """The name that a defence goes by in verdicts."""
    return str(getattr(defense, "name", "") or type(defense).__name__)


def as_chain(defense: Defense | Chain) -> Chain:
    """The defence as a chain, so that every stage can be asked for."""
    return defense if isinstance(defense, Chain) else Chain(defense)


def as_prompt_defense(
    check: Callable[[str], object],
    *,
    name: str | None = None,
    threshold: Threshold = 0.5,
    categories: Sequence[str] | None = None,
) -> PromptDefense:
    """A prompt defence from a callable of the prompt; see `judge` for what it may return (a `Verdict` is passed on)."""
    return _CallablePrompt(check, name or _name(check), threshold, categories)


def as_output_defense(
    check: Callable[[Frames], object],
    *,
    name: str | None = None,
    threshold: Threshold = 0.5,
    categories: Sequence[str] | None = None,
) -> OutputDefense:
    """An output defence from a callable of uint8 frames [T, H, W, 3]; see `judge` for what it may return."""
    return _CallableOutput(check, name or _name(check), threshold, categories)


def as_latent_defense(
    check: Callable[[Tensor], object],
    *,
    name: str | None = None,
    threshold: Threshold = 0.5,
    categories: Sequence[str] | None = None,
) -> LatentDefense:
    """A latent defence from a callable of x0: it blocks at the first step that is called unsafe, and allows at the end.

    For the paper's vote over several steps use `LatentVariableDefense` with the same callable.
    """
    return _CallableLatent(check, name or _name(check), threshold, categories)


@dataclass(frozen=True)
class _Callable:
    check: Callable[..., object]
    name: str
    threshold: Threshold
    categories: Sequence[str] | None

    def _ask(self, item: object) -> Verdict:
        result = self.check(item)
        if isinstance(result, Verdict):
            return result
        unsafe, score, found = judge(result, threshold=self.threshold, categories=self.categories)
        return Verdict("block" if unsafe else "allow", score, found, decided_by=self.name)


class _CallablePrompt(_Callable):
    def check_prompt(self, prompt: str) -> Verdict:
        return replace(self._ask(prompt), stage="prompt")


class _CallableOutput(_Callable):
    def check_video(self, frames: Frames) -> Verdict:
        return replace(self._ask(frames), stage="output")


class _CallableLatent(_Callable):
    def start(self, info: GenerationInfo) -> float | None:
        return None

    def observe(self, state: State, *, step: int, timestep: float, x0: Tensor, log_snr: float) -> tuple[State, Verdict | None]:
        verdict = replace(self._ask(x0), stage="latent", step=step)
        scores = [score for score in (state, verdict.score) if score is not None]
        return max(scores, default=None), verdict if verdict.blocked else None

    def finish(self, state: State) -> Verdict:
        return Verdict("allow", state, decided_by=self.name)


def _stages(defense: object) -> bool:
    return isinstance(defense, (PromptDefense, LatentDefense, OutputDefense))


def _name(check: object) -> str:
    return str(getattr(check, "__name__", type(check).__name__))


def _give(verdict: Verdict, member: object) -> Verdict:
    return verdict if verdict.decided_by else replace(verdict, decided_by=name_of(member))


def _first_block(verdicts: Iterable[Verdict], otherwise: Verdict, name: str) -> Verdict:
    allowed: list[Verdict] = []
    for verdict in verdicts:
        if verdict.blocked:
            return verdict
        allowed.append(verdict)
    return _merge(allowed) or replace(otherwise, decided_by=name)


def _all_decided(verdicts: Sequence[Verdict | None]) -> Verdict | None:
    decided = [verdict for verdict in verdicts if verdict is not None]
    return _merge(decided) if len(decided) == len(verdicts) else None


def _merge(verdicts: Sequence[Verdict]) -> Verdict | None:
    """Of several that did not block: a modification first, then one that a failure forced, then the highest score."""

    def rank(verdict: Verdict) -> tuple[bool, bool, float]:
        return verdict.action == "modify", bool(verdict.note), -math.inf if verdict.score is None else verdict.score

    return max(verdicts, key=rank) if verdicts else None
