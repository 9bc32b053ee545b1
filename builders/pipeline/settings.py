"""A table of a recipe -> a frozen dataclass of settings, every fault collected."""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from unsafe_video_dataset.errors import Fault

T = TypeVar("T")


def read_settings(kind: type[T], table: Mapping[str, Any], *, file: str, place: str, faults: list[Fault]) -> T | None:
    """An instance of the dataclass `kind` from a TOML table; None if anything is wrong (then it is in `faults`).

    Known types of fields: bool, int, float (takes an int), str, `Literal`, `tuple[X, ...]` (a TOML array), `dict[str, X]`,
    and any of them `| None`. A dataclass may check values itself with a method `problems() -> list[tuple[field, message]]`.
    """
    before = len(faults)
    hints = get_type_hints(kind)
    fields = {one.name: one for one in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in table:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"{near[0]!r}?" if near else f"one of {', '.join(fields)}"
            faults.append(Fault(file, f"no setting {name!r}", field=place, expected=hint))
    values = {}
    for name, one in fields.items():
        if name in table:
            try:
                values[name] = _value(hints[name], table[name])
            except TypeError as error:
                faults.append(Fault(file, f"{table[name]!r}", field=f"{place}.{name}", expected=str(error)))
        elif one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
            faults.append(Fault(file, "missing", field=f"{place}.{name}", expected="a value"))
    if len(faults) > before:
        return None
    settings = kind(**values)
    problems = getattr(settings, "problems", None)
    if problems is not None:
        faults += [Fault(file, message, field=f"{place}.{name}") for name, message in problems()]
    return settings if len(faults) == before else None


def _value(kind: Any, value: Any) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _value(next(one for one in arguments if one is not type(None)), value)
    if origin is Literal:
        if value not in arguments:
            raise TypeError(f"one of {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list):
            raise TypeError("an array")
        return tuple(_value(arguments[0], one) for one in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise TypeError("a table")
        return {key: _value(arguments[1], one) for key, one in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise TypeError({bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[kind])
    return value
