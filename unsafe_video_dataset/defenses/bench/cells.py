"""Numbers as they stand in a table's cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .world import STRATA


def title_of(name: str) -> str:
    return STRATA.get(name, name.replace("_", " "))


def cell_of(found: Mapping[str, Any], sign: str = "") -> str:
    if found["value"] is None:
        return "-"
    digits = 1 if found["value"] >= 2 else 6 if 1 < found["value"] < 1.001 else 3
    text = f"{found['value']:{sign}.{digits}f}"
    return text if found["low"] is None else f"{text} ({found['low']:{sign}.{digits}f} to {found['high']:{sign}.{digits}f})"


def percent_of(found: Mapping[str, Any]) -> str:
    text = f"{100 * found['value']:.1f}%"
    return text if found["low"] is None else f"{text} ({100 * found['low']:.1f} to {100 * found['high']:.1f})"


def number_of(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def p_of(value: float | None) -> str:
    return "-" if value is None else "< 0.01" if value < 0.01 else f"{value:.2f}"


def tflops_of(value: Any) -> str:
    return f"{value:.1f}" if value >= 1 else f"{value:.2g}"
