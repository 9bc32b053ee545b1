"""What the stock clients do under each fault, measured: why the package has a door of its own."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
import stock_outcomes


@pytest.mark.skipif(not huggingface_hub.__version__.startswith("2.4."), reason="the outcomes of huggingface_hub 2.4")
def test_stock_outcomes(tmp_path: Path) -> None:
    table = stock_outcomes.run(tmp_path)
    wrong = {name: (found, stock_outcomes.CASES[name].expected) for name, (found, _) in table.items()}
    assert {name: pair for name, pair in wrong.items() if pair[0] != pair[1]} == {}
    assert list(table) == list(stock_outcomes.CASES)
    assert all(1 <= requests <= 30 for _, requests in table.values())
