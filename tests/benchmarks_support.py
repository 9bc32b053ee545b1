"""Loads the scripts of `benchmarks/`, which import each other by their names."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]


def load(name: str) -> ModuleType:
    folder = str(ROOT / "benchmarks")
    if folder not in sys.path:
        sys.path.append(folder)  # last: no name of theirs hides another module
    return importlib.import_module(name)
