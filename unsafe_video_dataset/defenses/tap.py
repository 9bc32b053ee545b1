"""Put our hands on one method of one object: the object gets a subclass of its own class, and its class back afterwards.

A function set on the instance would be simpler and wrong: pipelines copy their scheduler (LTX-2 and Cosmos do, for sound), and
a copied instance would carry the function that steps the original. Here a copy is of the plain class again, `isinstance` and
names stay true, and `pipe(...)` finds `__call__` on the class, where Python looks for it.
"""

from __future__ import annotations

import copyreg
import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..errors import DefenseNotAttached

if TYPE_CHECKING:
    from .session import Session

SESSIONS: ContextVar[tuple[Session, ...]] = ContextVar("guarded calls under way, the outermost first", default=())
# A context variable, so that a call is seen only by its own thread or task: two pipelines may share a scheduler or a VAE.


Around = Callable[..., Any]

_LOCK = threading.RLock()
_HELD: dict[int, tuple[Any, type, list[tuple[str, Around]]]] = {}  # id -> the object (kept alive), its class, what is held
_DERIVED: dict[tuple[type, frozenset[tuple[str, Around]]], type] = {}


@contextmanager
def outside() -> Iterator[None]:
    """What is called inside belongs to no guarded call: a defence may use the very decoder or scheduler that is held.

    Else a detector that decodes x0 with the pipeline's own VAE would be taken for the pipeline's end of sampling.
    """
    token = SESSIONS.set(())
    try:
        yield
    finally:
        SESSIONS.reset(token)


def hold(obj: Any, method: str, around: Around) -> None:
    """From now on `obj.method(...)` calls `around(plain, obj, ...)`, where `plain` is the class's own method.

    Holding twice is counted. Raises `DefenseNotAttached` where the object can't be held.
    """
    with _LOCK:
        _, plain, held = _HELD.get(id(obj), (obj, type(obj), []))
        if not callable(getattr(plain, method, None)):
            raise DefenseNotAttached(f"{plain.__name__} has no {method}(): a guard can't reach it.")
        wanted = [*held, (method, around)]
        try:
            obj.__class__ = _derived(plain, wanted)
        except TypeError as error:
            raise DefenseNotAttached(f"{plain.__name__} does not let a guard watch its {method}(): {error}.") from None
        _HELD[id(obj)] = (obj, plain, wanted)


def release(obj: Any, method: str, around: Around) -> None:
    """Undo one `hold`; the last one gives the object its own class back."""
    with _LOCK:
        _, plain, held = _HELD[id(obj)]
        held.remove((method, around))
        if held:
            obj.__class__ = _derived(plain, held)
        else:
            obj.__class__ = plain
            del _HELD[id(obj)]


def plain_class(obj: Any) -> type:
    """The object's own class, held or not."""
    return getattr(type(obj), "_held_class", type(obj))


def _derived(plain: type, held: list[tuple[str, Around]]) -> type:
    key = (plain, frozenset(held))
    if key not in _DERIVED:
        body: dict[str, Any] = {method: _method(plain, method, around) for method, around in held}
        body.update(__module__=plain.__module__, __qualname__=plain.__qualname__, __doc__=plain.__doc__)
        body.update(_held_class=plain, __reduce_ex__=_reduce_as_plain)
        _DERIVED[key] = type(plain.__name__, (plain,), body)
    return _DERIVED[key]


def _method(plain: type, name: str, around: Around) -> Callable[..., Any]:
    original = getattr(plain, name)

    @functools.wraps(original)  # pipelines read the signature of `scheduler.step`
    def held(self: Any, *args: Any, **kwargs: Any) -> Any:
        return around(original, self, *args, **kwargs)

    return held


def _reduce_as_plain(self: Any, protocol: Any) -> Any:
    """Copies and pickles are of the plain class: a copy isn't guarded, and steps itself, not the original."""
    held = type(self)
    made = super(held, self).__reduce_ex__(protocol)
    if not isinstance(made, tuple):
        return made
    how = _make if made[0] is copyreg.__newobj__ else made[0]  # type: ignore[attr-defined]
    return (how, tuple(plain_class(self) if item is held else item for item in made[1]), *made[2:])


def _make(kind: type, *args: Any) -> Any:
    """`copyreg.__newobj__`, of which pickle asks that the class be the object's own."""
    return kind.__new__(kind, *args)
