"""The Latent Variable Defense: a detector reads x0 at each step, a rule counts its votes, a guard stops the pipeline.

Source: "Towards Understanding Unsafe Video Generation", arXiv 2407.12581.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import FilterError, InputError
from .base import GenerationInfo, State, Tensor, Verdict, X0Convention, judge
from .rule import EtaLambda, Lambda, StepRule

_ASKED = ("step", "timestep", "log_snr")


@dataclass(frozen=True)
class Votes:
    """The state of one sample: what each step said, and the rule's own state. `scores` is the highest score of each step."""

    rule: Any
    votes: tuple[bool, ...] = ()
    scores: tuple[float, ...] = ()
    found: tuple[tuple[str, ...], ...] = ()


class LatentVariableDefense:
    """A `LatentDefense` from any detector of one x0.

    `detector(x0)` gets float32 [C, T, H, W] (see `LatentDefense.observe`) and gives a bool, a score, or one score a category
    (mapping, or a sequence that `categories` names). Parameters called `step`, `timestep` or `log_snr` are filled by name. A
    step votes unsafe where any score reaches its `threshold` (one number, or one a category). A torch module must be in eval
    mode.

    `eta` and `lam` make the paper's rule (`EtaLambda`) over the first `eta` steps, or over the first `eta` of `steps` (the
    detector is not asked about others); `rule` puts another `StepRule` in its place. The verdict's score is
    the mean over the steps seen, its categories those that voted, the most frequent first.
    Raises `FilterError` on eta or lambda out of range, `InputError` on a detector in training mode.
    """

    def __init__(
        self,
        detector: Callable[..., object],
        *,
        eta: int = 5,
        lam: Lambda = 0.6,
        rule: StepRule | None = None,
        steps: Sequence[int] | None = None,
        threshold: float | Mapping[str, float] = 0.5,
        categories: Sequence[str] | None = None,
        name: str = "lvd",
        x0_convention: X0Convention = "scheduler",
    ) -> None:
        if not callable(detector):
            raise InputError(f"A {type(detector).__name__} is no detector: pass a callable of x0.")
        if getattr(detector, "training", False):
            raise InputError(
                "The detector is in training mode, where dropout makes its votes random. Call detector.eval() first."
            )
        self.detector = detector
        if rule is not None and steps is not None:
            raise FilterError("A rule says itself which steps vote (`at`): give rule= or steps=, not both.")
        chosen = None if steps is None else tuple(steps)
        self.rule: StepRule = rule if rule is not None else EtaLambda(eta, lam, chosen)
        self._at = getattr(self.rule, "at", None)
        self.threshold = threshold
        self.categories = None if categories is None else tuple(categories)
        self.name = name
        self.x0_convention = x0_convention
        self._asked = accepted(detector)

    def guard(self, pipe: Any, **options: Any) -> Any:
        """`guard(pipe, self, ...)`: see `guard.guard` for the options; the convention of x0 is the detector's own."""
        from .guard import guard

        return guard(pipe, self, **{"x0_convention": self.x0_convention, **options})

    def start(self, info: GenerationInfo) -> Votes:
        """See `LatentDefense.start`. Raises `InputError` where the pipeline takes too few steps, or reads x0 in another way."""
        if info.x0_convention != self.x0_convention:
            raise InputError(
                f"This detector reads x0 in the convention {self.x0_convention!r}, the guard in {info.x0_convention!r}. "
                "Attach it with its own method: defense.guard(pipe)."
            )
        return Votes(self.rule.start(info.num_steps))

    def observe(self, state: State, *, step: int, timestep: float, x0: Tensor, log_snr: float) -> tuple[Votes, Verdict | None]:
        """See `LatentDefense.observe`."""
        if self._at is not None and step not in self._at:
            return state, None
        given = {"step": step, "timestep": timestep, "log_snr": log_snr}
        result = self.detector(x0, **{name: given[name] for name in self._asked})
        vote, score, found = judge(result, threshold=self.threshold, categories=self.categories)
        rule, unsafe = self.rule.update(state.rule, vote=vote, score=score)
        state = Votes(rule, (*state.votes, vote), (*state.scores, score), (*state.found, found))
        return state, None if unsafe is None else self._verdict(state, unsafe, step=step)

    def finish(self, state: State) -> Verdict:
        """See `LatentDefense.finish`: the rule's answer where steps are missing (eta-lambda: unsafe)."""
        return self._verdict(state, self.rule.finish(state.rule), note=f"the sampling ended after {len(state.votes)} votes")

    def _verdict(self, state: Votes, unsafe: bool, *, step: int | None = None, note: str = "") -> Verdict:
        counts: dict[str, int] = {}
        for found in state.found:
            for category in found:
                counts[category] = counts.get(category, 0) + 1
        return Verdict(
            "block" if unsafe else "allow",
            sum(state.scores) / len(state.scores) if state.scores else None,
            tuple(sorted(counts, key=lambda category: (-counts[category], category))),
            step=step,
            decided_by=self.name,
            note=note,
        )


def accepted(detector: Callable[..., object]) -> tuple[str, ...]:
    """Which of `step`, `timestep` and `log_snr` the detector has parameters for."""
    target = getattr(detector, "forward", detector) if hasattr(detector, "state_dict") else detector
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return ()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return _ASKED
    names = {parameter.name for parameter in parameters if parameter.kind is not inspect.Parameter.VAR_POSITIONAL}
    return tuple(name for name in _ASKED if name in names)
