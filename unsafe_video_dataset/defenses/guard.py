"""`with guard(pipe, defense): pipe(prompt)`: the pipeline's own loop, with a defence at every step.

What is promised, and tested on AnimateDiff, CogVideoX, Wan, LTX and Latte:

- An allowed generation is bit-identical to the unguarded one. (A detector must not draw from the global random generator.)
- A blocked generation leaves the pipeline at that step: no further denoising, no VAE decode. `GenerationBlocked` carries
  verdicts and nothing else; the frames of its traceback are gone, and what the scheduler remembered is put back.
- Whatever else is raised before all samples are allowed passes on with its frames' local variables emptied.
- A pipeline whose steps don't pass `pipe.scheduler.step` raises `DefenseNotAttached` in place of returning its output.
- A copied scheduler or pipeline is not guarded.
- A defence may decode with the pipeline's own VAE (`frames_decoder(pipe.vae)`): that isn't taken for the end of sampling.

Latents given to the caller's own `callback_on_step_end` are the caller's own doing: a service that shows previews shows them
before the decision. A decode before the end of sampling forces the decision, with missing votes counted as unsafe.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Any, get_args

from ..errors import DefenseNotAttached, FilterError, InputError, one_of
from . import x0 as reading
from .around import GUARDS, LOCK, CallReport, around_call
from .base import Defense, X0Convention
from .chain import Chain, as_chain, name_of
from .failsafe import Fail, failsafe
from .session import OnBlock, Settings
from .tap import hold, release


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
        with LOCK:
            guards = GUARDS.get(id(self.pipe), (self.pipe, ()))[1]
            if self in guards:
                raise InputError("This guard is attached already. Make another with guard(...) to nest.")
            hold(self.pipe, "__call__", around_call)
            GUARDS[id(self.pipe)] = (self.pipe, (*guards, self))
        return self

    def detach(self) -> None:
        """The pipeline is as it was. Does nothing where the guard isn't attached."""
        with LOCK:
            guards = GUARDS.get(id(self.pipe), (self.pipe, ()))[1]
            if self not in guards:
                return
            release(self.pipe, "__call__", around_call)
            left = tuple(guard for guard in guards if guard is not self)
            if left:
                GUARDS[id(self.pipe)] = (self.pipe, left)
            else:
                del GUARDS[id(self.pipe)]

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

    A batch is judged sample by sample. A blocked sample goes on as zeros, its video comes out black, and the others are
    bit-equal to an unguarded batch; `Guard.last` has the verdicts. Where all samples are blocked, `on_block="raise"` raises
    `GenerationBlocked`; `"blank"` returns black videos of the usual kind and shape, skipping the remaining steps and the
    decoder where the pipeline allows it. A defence that fails blocks (`fail="closed"`) or counts as silent (`fail="open"`).
    `x0_convention`: see `unsafe_video_dataset.defenses.x0`. Guards nest; each decides for itself.
    Raises `FilterError` on an unknown choice, and on `uvd` with a defence that modifies; attaching raises `DefenseNotAttached`.
    """
    one_of(fail, get_args(Fail), "guard(fail)")
    one_of(on_block, get_args(OnBlock), "guard(on_block)")
    one_of(x0_convention, get_args(X0Convention), "guard(x0_convention)")
    chain = as_chain(defense)
    changing = [name_of(member) for member in chain.latent if hasattr(member, "modify")]
    if x0_convention == "uvd" and changing:
        raise FilterError(
            f"{', '.join(changing)} changes x0 before the step, x0_convention='uvd' reads it after. "
            "Use x0_convention='scheduler'."
        )
    return Guard(pipe, Settings(failsafe(chain, fail), on_block, x0_convention))
