"""`with guard(pipe, defense): pipe(prompt)`: the pipeline's own loop, with a defence at every step.

What is promised, and tested on AnimateDiff, CogVideoX, Wan, LTX and Latte:

- An allowed generation is bit-identical to the unguarded one. (A detector must not draw from the global random generator.)
- A blocked generation leaves the pipeline at that step: no further denoising, no VAE decode. `GenerationBlocked` carries
  verdicts and nothing else; the frames of its traceback are gone, and what the scheduler remembered is put back.
- Whatever else is raised before all samples are allowed passes on with its frames' local variables emptied.
- A pipeline whose steps don't pass `pipe.scheduler.step` raises `DefenseNotAttached` in place of returning its output.
- A copied scheduler or pipeline is not guarded.

Latents given to the caller's own `callback_on_step_end` are the caller's own doing: a service that shows previews shows them
before the decision. A decode before the end of sampling forces the decision, with missing votes counted as unsafe.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, get_args

from ..errors import DefenseNotAttached, GenerationBlocked, InputError, one_of
from . import x0 as reading
from .base import Defense, Verdict, X0Convention
from .blank import blank_decode
from .chain import Chain, as_chain
from .scrub import clear_traceback, restore, snapshot
from .session import Fail, OnBlock, Session, Settings, Stop
from .tap import SESSIONS, hold, release


@dataclass(frozen=True)
class CallReport:
    """What one guarded call did: a verdict a sample, and its cost.

    `steps` counts evaluations of the denoiser (`scheduler.step`), `decodes` calls of the VAE's decoder. `seconds` is all of the
    call, of which `detect_seconds` in defences and `decode_seconds` in the decoder. `error` names the type of an exception
    that was not a block.
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


class Guard:
    """A defence attached to one pipeline, between `attach()` and `detach()` or inside `with`. Make it with `guard(...)`."""

    def __init__(self, pipe: Any, settings: Settings) -> None:
        self.pipe = pipe
        self.settings = settings
        self.calls: deque[CallReport] = deque(maxlen=1000)
        """Reports of the last 1,000 calls, the newest last."""

    @property
    def last(self) -> CallReport:
        """The report of the newest call. Raises `InputError` before the first."""
        if not self.calls:
            raise InputError("No call was guarded yet: call the pipeline inside the `with`.")
        return self.calls[-1]

    def attach(self) -> Guard:
        """Guard every call of the pipeline from now on, from any thread. Raises `DefenseNotAttached` where it can't be done."""
        if not callable(self.pipe):
            raise DefenseNotAttached(f"A {type(self.pipe).__name__} can't be called. Pass the pipeline itself.")
        if self.settings.chain.latent:
            if getattr(self.pipe, "scheduler", None) is None:
                raise DefenseNotAttached(
                    f"{type(self.pipe).__name__} has no `scheduler`, so its steps can't be watched. Guard the pipeline that "
                    "denoises (of a combined one, its decoder or prior), or use prompt and output filters only."
                )
            reading.check_scheduler(self.pipe.scheduler, x0_convention=self.settings.x0_convention)
        with _LOCK:
            guards = _GUARDS.get(id(self.pipe), (self.pipe, ()))[1]
            if self in guards:
                raise InputError("This guard is attached already. Make another with guard(...) to nest.")
            hold(self.pipe, "__call__", around_call)
            _GUARDS[id(self.pipe)] = (self.pipe, (*guards, self))
        return self

    def detach(self) -> None:
        """The pipeline is as it was. Does nothing where the guard isn't attached."""
        with _LOCK:
            guards = _GUARDS.get(id(self.pipe), (self.pipe, ()))[1]
            if self not in guards:
                return
            release(self.pipe, "__call__", around_call)
            left = tuple(guard for guard in guards if guard is not self)
            if left:
                _GUARDS[id(self.pipe)] = (self.pipe, left)
            else:
                del _GUARDS[id(self.pipe)]

    def __enter__(self) -> Guard:
        return self.attach()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None) -> None:
        self.detach()


def guard(
    pipe: Any,
    defense: Defense | Chain,
    *,
    fail: Fail = "closed",
    on_block: OnBlock = "raise",
    x0_convention: X0Convention = "scheduler",
) -> Guard:
    """A guard for a diffusers pipeline (or anything that is called and has a `scheduler`); attach it with `with`.

    A batch is judged sample by sample. A blocked sample goes on as zeros, its video comes out black, and the others are bit-equal
    to an unguarded batch; `Guard.last` has the verdicts. Where all samples are blocked, `on_block="raise"` raises
    `GenerationBlocked`; `"blank"` returns black videos of the usual kind and shape, skipping the remaining steps and the
    decoder where the pipeline allows it. A defence that fails blocks (`fail="closed"`) or counts as silent (`fail="open"`).
    `x0_convention`: see `unsafe_video_dataset.defenses.x0`. Guards nest; each decides for itself.
    Raises `FilterError` on an unknown choice; attaching raises `DefenseNotAttached`.
    """
    one_of(fail, get_args(Fail), "guard(fail)")
    one_of(on_block, get_args(OnBlock), "guard(on_block)")
    one_of(x0_convention, get_args(X0Convention), "guard(x0_convention)")
    return Guard(pipe, Settings(as_chain(defense), fail, on_block, x0_convention))


_LOCK = threading.RLock()
_GUARDS: dict[int, tuple[Any, tuple[Guard, ...]]] = {}


# -- what is called in place of the pipeline's, the scheduler's and the VAE's own methods


def around_call(plain: Callable[..., Any], pipe: Any, *args: Any, **kwargs: Any) -> Any:
    """`pipe(...)`: through every guard, the first attached outermost."""
    guards = _GUARDS.get(id(pipe), (pipe, ()))[1]

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
    sessions = [session for session in SESSIONS.get() if session.vae is vae and session.evaluations]
    for session in sessions:
        session.end_of_sampling()
    if any(session.all_blocked for session in sessions):
        return blank_decode(plain, vae, args, kwargs)
    began = time.perf_counter()
    decoded = plain(vae, *args, **kwargs)
    for session in sessions:
        session.decodes += 1
        session.decode_seconds += time.perf_counter() - began
    return decoded


def _step_through(session: Session, step: Callable[..., Any]) -> Callable[..., Any]:
    from functools import wraps

    @wraps(step)
    def stepped(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        return session.step(step, scheduler, args, kwargs)

    return stepped


def _through(one: Guard, call: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(*args: Any, **kwargs: Any) -> Any:
        output, verdicts = _run(one, call, args, kwargs)
        if verdicts is None:
            return output
        # raised here, outside of every handler, so that it has no context and no frame of the pipeline
        raise GenerationBlocked(next(verdict for verdict in verdicts if verdict.blocked), verdicts)

    return guarded


def _run(
    one: Guard, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Verdict, ...] | None]:
    """(output, None), or (None, verdicts) where nothing may be released."""
    began = time.perf_counter()
    session = Session.open(one.settings, one.pipe, args, kwargs)
    kept = [(thing, snapshot(thing)) for thing in (one.pipe, session.scheduler) if hasattr(thing, "__dict__")]
    held = _hold(session)
    token = SESSIONS.set((*SESSIONS.get(), session))
    output, verdicts, error = None, None, ""
    try:
        session.check_prompts()
        output = call(*args, **kwargs)
        if one.settings.chain.latent and not session.evaluations:
            output = None
            raise DefenseNotAttached(
                f"{type(one.pipe).__name__} finished without one call of its scheduler's step (it may step a copy), so nothing "
                "was judged and its output was dropped. Use prompt and output filters with it."
            )
        if one.settings.chain.latent:
            session.end_of_sampling()
        output = session.check_output(output)
    except Stop as stop:
        output = None
        clear_traceback(stop)
        if stop.session is not session:
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
        if verdicts is not None or error or session.blocked:
            for thing, before in kept:
                restore(thing, before)
            _free(one.pipe)
        one.calls.append(
            CallReport(
                verdicts=session.verdicts(),
                steps=session.evaluations,
                decodes=session.decodes,
                seconds=time.perf_counter() - began,
                detect_seconds=session.detect_seconds,
                decode_seconds=session.decode_seconds,
                error=error,
            )
        )
        session.forget()
    return output, verdicts


Held = list[tuple[Any, str, Callable[..., Any]]]


def _hold(session: Session) -> Held:
    wanted: Held = []
    if session.scheduler is not None and callable(getattr(session.scheduler, "step", None)):
        wanted.append((session.scheduler, "step", around_step))
    if session.vae is not None and callable(getattr(type(session.vae), "decode", None)):
        wanted.append((session.vae, "decode", around_decode))
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
