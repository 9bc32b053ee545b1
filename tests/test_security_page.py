"""SECURITY.md names tests: each must be there."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "SECURITY.md").read_text(encoding="utf-8")


def test_the_tests_that_the_threat_model_names_are_there() -> None:
    named = re.findall(r"(test_\w+\.py)(?:::(test_\w+))?", PAGE)
    assert len(named) > 10
    for file, name in named:
        text = (TESTS / file).read_text(encoding="utf-8")
        assert not name or f"def {name}(" in text, f"{file}::{name}"


def test_every_row_of_the_threat_model_names_a_test() -> None:
    rows = [line for line in PAGE[PAGE.index("## Threat model") :].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 15
    shown = [row.split(" | ")[-1] for row in rows]
    assert all("test_" in cell or "hostile[" in cell or cell.startswith("the same") for cell in shown), shown
