"""Data for the page as script files: `data/*.js`, each one call of a function of the page with plain JSON as arguments.

Scripts and not JSON files, because a page opened from disk may load scripts, but not read files.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

SPACE = "UnsafeVideoReport"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def call(name: str, *arguments: Any) -> str:
    """A script that calls `UnsafeVideoReport.<name>` with JSON arguments: ASCII alone, no `<`, so no text can leave its string.

    Raises `ValueError` for NaN and infinity, which are not JSON.
    """
    parts = (json.dumps(one, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c") for one in arguments)
    return f"{SPACE}.{name}({','.join(parts)});\n"


def packed(values: Sequence[int]) -> str | list[int]:
    """Small numbers compactly: one base-36 digit each where all are in 0..35, else the list."""
    if all(0 <= value < 36 for value in values):
        return "".join(_DIGITS[value] for value in values)
    return list(values)


def mask(indices: Sequence[int]) -> int:
    """Class indices as bits."""
    return sum(1 << index for index in set(indices))
