"""The plan of `benchmarks/scale.py`: known laws of growth are found again, and the page is a function of the figures."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "scale.py"


@pytest.fixture(scope="module")
def scale() -> ModuleType:
    spec = importlib.util.spec_from_file_location("scale", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def rows() -> list[dict[str, Any]]:
    found = []
    for n in (250, 500, 1000):
        for stage, seconds in (("probe", 2 + 0.01 * n), ("dedup", 1 + 2e-5 * n * n)):
            one = {"seconds": seconds, "peak_bytes": 1e8 + 4e4 * n, "disk_bytes": 1e3 * n, "rows": n}
            found.append({"videos": n, "stage": stage, **one})
    return found


def test_a_line_and_a_square_are_found_again(scale: ModuleType) -> None:
    line = scale.fit([250, 500, 1000], [2 + 0.01 * n for n in (250, 500, 1000)])
    assert line["fixed"] == pytest.approx(2)
    assert line["slope"] == pytest.approx(0.01)
    assert line["power"] == pytest.approx(1)
    assert scale.extrapolate(line, 1000, 1_000_000) == pytest.approx(10_002)
    square = scale.fit([250, 500, 1000], [1 + 2e-5 * n * n for n in (250, 500, 1000)])
    assert square["power"] == pytest.approx(2)
    flat = {"fixed": 3.0, "slope": 0.0, "power": 1.0, "explained": 0.0}
    assert scale.fit([250, 500, 1000], [3.0, 3.0, 3.0]) == flat


def test_the_plan_spreads_what_can_be_spread(scale: ModuleType) -> None:
    probe, dedup = scale.plan(rows(), 10_000_000, workers=2)
    assert probe["core_hours"] == pytest.approx(2 * (2 + 1e5) / 3600)
    assert (probe["machines"], dedup["machines"]) == (1, 1)
    assert scale.plan(rows(), 1_000_000_000, workers=2)[0]["machines"] > 10
    assert dedup["wall_hours"] > 1000 * probe["wall_hours"]
    assert scale.breaks_first([probe, dedup])[0][1:] == ("dedup", "a day")
    assert probe["videos_in_memory"] == pytest.approx((64 * 2**30 - 1e8) / 4e4, rel=1e-6)


@pytest.mark.parametrize("seconds", [(9.6, 14.9, 7.8), (3.0, 3.0, 3.0), (5.0, 4.0, 3.0)])
def test_nothing_is_claimed_of_a_time_that_did_not_grow(scale: ModuleType, seconds: tuple[float, ...]) -> None:
    noisy = [{**row, "seconds": value} for row, value in zip(rows()[::2], seconds, strict=True)]
    (row,) = scale.plan(noisy, 10_000_000, workers=2)
    assert row["core_hours"] is row["wall_hours"] is row["videos_in_a_day"] is None
    assert row["videos_in_memory"] > 0
    result = {"rows": noisy, "target": 10_000_000, "workers": 2, "machine": "a machine", "load": [0.5, 2.0]}
    assert "not known" in scale.page(result)


def test_the_page_is_a_function_of_the_figures(scale: ModuleType, tmp_path: Path) -> None:
    result = {"rows": rows(), "target": 10_000_000, "workers": 2, "machine": "a machine", "load": [0.5, 2.0]}
    text = scale.page(result)
    assert text == scale.page(result)
    assert "## 10,000,000 videos" in text
    assert "| dedup | 1.0" not in text.split("## Slopes")[0]
    for number in ("250", "1,000", "load 0.5"):
        assert number in text
