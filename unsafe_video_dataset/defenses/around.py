"""What is called in place of a guarded pipeline's own methods: `pipe(...)`, its scheduler's `step`, its VAE's `decode`."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from ..errors import DefenseNotAttached, GenerationBlocked
from .base import Verdict
from .blank import blank_decode
from .scrub import clear_traceback, restore, snapshot
from .session import Session, Settings, Stop
from .tap import SESSIONS, hold, release


@dataclass(frozen=True)
class CallReport:
    """What one guarded call did: a verdict a sample, and its cost.

    `steps` counts evaluations of the denoiser (`scheduler.step`), `decodes` calls of the VAE's decoder; those that a defence
    makes itself are its own affair. `seconds` is all of the call, of which `detect_seconds` in defences and `decode_seconds`
    in the decoder. `error` names the type of an exception that was not a block.
    """

    verdicts: tuple[Verdict, ...]
    steps: int
    decodes: int
    seconds: float
    detect_seconds: float
    decode_seconds: float
    error: str = ""

    @property
    def blocked(self) -> tuple[int, ...]:
        """Indices of the blocked samples: their videos in the output, if there is one, are black."""
        return tuple(i for i, verdict in enumerate(self.verdicts) if verdict.blocked)

    def to_dict(self) -> dict[str, object]:
        """The report as plain JSON values."""
        return {**asdict(self), "verdicts": [verdict.to_dict() for verdict in self.verdicts]}


class Attached(Protocol):
    """A guard, as seen from here."""

    pipe: Any
    settings: Settings
    calls: deque[CallReport]


LOCK = threading.RLock()
GUARDS: dict[int, tuple[Any, tuple[Attached, ...]]] = {}
"""id of a pipeline -> the pipeline (kept alive) and its guards, the first attached outermost."""


def around_call(plain: Callable[..., Any], pipe: Any, *args: Any, **kwargs: Any) -> Any:
    """`pipe(...)`: through every guard, the first attached outermost."""
    guards = GUARDS.get(id(pipe), (pipe, ()))[1]

    def call(*args: Any, **kwargs: Any) -> Any:
        return plain(pipe, *args, **kwargs)

    for one in reversed(guards):
        call = _through(one, call)
    return call(*args, **kwargs)


def around_step(plain: Callable[..., Any], scheduler: Any, *args: Any, **kwargs: Any) -> Any:
    """`scheduler.step(...)`: through every session of this thread that is about this scheduler."""
    step = plain
    for session in reversed([session for session in SESSIONS.get() if session.scheduler is scheduler]):
        step = _step_through(session, step)
    return step(scheduler, *args, **kwargs)


def around_decode(plain: Callable[..., Any], vae: Any, *args: Any, **kwargs: Any) -> Any:
    """`vae.decode(...)`: nothing is decoded that has not been decided, and nothing for a call that is blocked."""
    about = [session for session in SESSIONS.get() if any(vae is part for part in session.decoders)]
    sessions = [session for session in about if session.steps.evaluations]
    for session in sessions:
        session.end_of_sampling()
    if any(session.all_blocked for session in sessions):
        return blank_decode(plain, vae, args, kwargs)
    began = time.perf_counter()
    decoded = plain(vae, *args, **kwargs)
    for session in about:
        session.decodes += 1
        session.decode_seconds += time.perf_counter() - began
    return decoded


def _step_through(session: Session, step: Callable[..., Any]) -> Callable[..., Any]:
    def stepped(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        return session.step(step, scheduler, args, kwargs)

    return stepped


def _through(one: Attached, call: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        output, verdicts = _run(one, call, args, kwargs)
        if verdicts is None:
            return output
        # raised here, outside of every handler, so that it has no context and no frame of the pipeline
        raise GenerationBlocked(next(verdict for verdict in verdicts if verdict.blocked), verdicts)

    return guarded


def _run(
    one: Attached, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Verdict, ...] | None]:
    """(output, None), or (None, verdicts) where nothing may be released."""
    began = time.perf_counter()
    session = Session(one.settings, one.pipe, args, kwargs)
    kept = [(thing, snapshot(thing)) for thing in (one.pipe, session.scheduler) if hasattr(thing, "__dict__")]
    held = _hold(session)
    token = SESSIONS.set((*SESSIONS.get(), session))
    output, verdicts, error = None, None, ""
    try:
        session.check_prompts()
        output = call(*args, **kwargs)
        if one.settings.chain.latent and not session.steps.evaluations:
            raise DefenseNotAttached(
                f"{type(one.pipe).__name__} finished without one call of its scheduler's step (it may step a copy), so nothing "
                "was judged and its output was dropped. Use prompt and output filters with it."
            )
        session.end_of_sampling()
        output = session.check_output(output)
    except Stop as stop:
        output = None
        clear_traceback(stop)
        if stop.session is not session:
            error = "a block by another guard"
            raise
        verdicts = session.verdicts()
    except BaseException as other:
        output, error = None, type(other).__name__
        if not session.cleared:
            clear_traceback(other)
        raise
    finally:
        SESSIONS.reset(token)
        _release(held)
        if verdicts is not None or error or session.samples.blocked:
            for thing, before in kept:
                restore(thing, before)
            _free(one.pipe)
        one.calls.append(
            CallReport(
                verdicts=session.verdicts(),
                steps=session.steps.evaluations,
                decodes=session.decodes,
                seconds=time.perf_counter() - began,
                detect_seconds=session.samples.detect_seconds,
                decode_seconds=session.decode_seconds,
                error=error,
            )
        )
        session.forget()
    return output, verdicts


Held = list[tuple[Any, str, Callable[..., Any]]]


def _hold(session: Session) -> Held:
    wanted: Held = [(part, "decode", around_decode) for part in session.decoders]
    if session.scheduler is not None and callable(getattr(session.scheduler, "step", None)):
        wanted.append((session.scheduler, "step", around_step))
    held: Held = []
    try:
        for thing, method, around in wanted:
            hold(thing, method, around)
            held.append((thing, method, around))
    except BaseException:
        _release(held)
        raise
    return held


def _release(held: Held) -> None:
    for thing, method, around in reversed(held):
        release(thing, method, around)


def _free(pipe: Any) -> None:
    """What diffusers does at the end of a call that was not left: offload models, reset the caches of denoisers."""
    free = getattr(pipe, "maybe_free_model_hooks", None)
    if callable(free):
        free()
