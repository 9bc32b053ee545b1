"""The further arguments of a pipeline's calls, from a person: plain JSON values, and none that is set here."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from typing import Any

from ..errors import InputError
from .tap import plain_class

TAKEN = frozenset({"prompt", "generator", "output_type", "return_dict", "latents", "num_videos_per_prompt"})


def parse_call(text: str) -> dict[str, Any]:
    """Arguments from `--arguments`. Raises `InputError` where that is no JSON object, or holds what `checked_call` refuses."""
    try:
        call = json.loads(text)
    except (ValueError, RecursionError):
        call = None
    if not isinstance(call, dict):
        raise InputError('--arguments must be a JSON object, such as {"num_inference_steps": 25}.')
    return checked_call(call)


def checked_call(call: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of the arguments. Raises `InputError` on names that are set here, and values that are no plain JSON."""
    taken = sorted(set(call or {}) & TAKEN)
    if taken:
        raise InputError(f"call may not hold {', '.join(taken)}: each video has one prompt and one seed, set here.")
    try:
        made = dict(json.loads(json.dumps(dict(call or {}), allow_nan=False)))
    except (TypeError, ValueError):
        raise InputError("call must hold plain JSON values only: they are stored with the traces.") from None
    steps = made.get("num_inference_steps", 1)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InputError(f"num_inference_steps={steps!r} must be a whole number of at least 1.")
    return made


def check_accepted(pipe: Any, call: Mapping[str, Any]) -> None:
    """Raise `InputError` where the pipeline's call has no such argument."""
    known = inspect.signature(plain_class(pipe).__call__).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values()):
        return
    unknown = sorted(set(call) - set(known))
    if unknown:
        raise InputError(f"{plain_class(pipe).__name__} takes no {', '.join(unknown)}. Correct --arguments (call=).")
