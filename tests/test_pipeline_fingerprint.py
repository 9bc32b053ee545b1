"""What counts in a fingerprint and what does not."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unsafe_video_dataset.builders.pipeline.fingerprint import PLACE, fingerprint


@dataclass(frozen=True)
class One:
    a: int = 1
    where: str = field(default="here", metadata=PLACE)


@dataclass(frozen=True)
class Other:
    a: int = 1


def of(value: Any, base: str = "/base") -> str:
    return fingerprint(value, base=Path(base))


def test_what_differs_differs() -> None:
    values = [
        None, 0, False, 0.0, -0.0, "", "0", b"", b"0", [], {}, [0], ["0"], {"a": 1}, {"a": 2}, [["a", 1]], One(), One(2),
        Other(),         Path("/base/x"), "x", Path("/elsewhere/x"), of, functools.partial(of, base="/b"),
        functools.partial(of, base="/c"),
        np.zeros(2), np.zeros(2, np.float32), np.zeros((2, 1)), 1 + 2j, float("nan"),
    ]  # fmt: skip
    assert len({of(value) for value in values}) == len(values)


def test_what_is_the_same_is_the_same() -> None:
    assert of({"a": 1, "b": [2]}) == of({"b": (2,), "a": 1})
    assert of(One(where="here")) == of(One(where="there"))
    assert of(Path("/base/raw/x"), "/base") == of(Path("/moved/raw/x"), "/moved")
    assert len(of(None)) == 64


def test_a_value_that_does_not_pickle_is_an_error() -> None:
    with pytest.raises((TypeError, AttributeError)):
        of(value for value in "ab")
