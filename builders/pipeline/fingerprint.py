"""One sha256 for what decides a result: values in a canonical form, with no clock and no place on a disk."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

PLACE: Mapping[str, Any] = {"place": True}
"""`field(metadata=PLACE)`: a field that says where something lies; what lies there is looked at instead."""


def fingerprint(value: Any, *, base: Path) -> str:
    """sha256 (hex) of a value: JSON values, bytes, dataclasses, arrays, functions, paths (relative to `base` if below it).

    Other objects count by their pickle, which may differ between Python versions: work is then done again, never reused
    wrongly. Fields with `PLACE` do not count.
    """
    text = json.dumps(_canonical(value, base), sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: Any, base: Path) -> Any:
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return {"float": value.hex()}
    if isinstance(value, Path):
        return {"path": value.relative_to(base).as_posix() if value.is_relative_to(base) else value.as_posix()}
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, (list, tuple)):
        return [_canonical(one, base) for one in value]
    if isinstance(value, Mapping):
        return {"map": sorted([_canonical(key, base), _canonical(one, base)] for key, one in value.items())}
    if isinstance(value, functools.partial):
        return {"partial": [_canonical(one, base) for one in (value.func, value.args, value.keywords)]}
    if isinstance(value, np.ndarray):
        return {"array": [value.dtype.str, list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (one for one in dataclasses.fields(value) if not one.metadata.get("place"))
        return {_name(type(value)): {one.name: _canonical(getattr(value, one.name), base) for one in fields}}
    if hasattr(value, "__self__") and hasattr(value, "__func__"):
        return {"method": [_name(value.__func__), _canonical(value.__self__, base)]}
    if hasattr(value, "__qualname__"):
        return {"name": _name(value)}
    return {"pickle": hashlib.sha256(pickle.dumps(value, protocol=4)).hexdigest()}


def _name(value: Any) -> str:
    return f"{value.__module__}.{value.__qualname__}"
