"""The table of targets: on which side of what was asked each figure is, from made-up rounds."""

from __future__ import annotations

from typing import Any

import pytest

from unsafe_video_dataset.bench.opening import FILTERS, combine
from unsafe_video_dataset.bench.summary import summarize
from unsafe_video_dataset.bench.targets import HEADER, targets_table

KINDS = {"ours": "ours", "ours-cache": "ours", "decord": "peer", "limit": "limit", "memory": "memory"}


def runs(ours: float, cached: float) -> list[dict[str, Any]]:
    """Three rounds of ten clips: libav takes a second of CPU, decord 1.2, and a copy in memory 0.01 s."""
    seconds = {"ours": ours, "ours-cache": cached, "decord": 1.2, "limit": 1.0, "memory": 0.01}
    return [
        {
            "peer": peer,
            "workers": 0,
            "round": number,
            "clips": 10,
            "seconds": value * slow,
            "cpu_seconds": value * slow,
            "first_batch_seconds": 1.0,
            "peak_bytes": 10,
        }
        for number, slow in enumerate((1.0, 1.5, 2.0))
        for peer, value in seconds.items()
    ]


def opened(seconds: float, added: int, ratio: float) -> dict[str, Any]:
    part = {"seconds": seconds, "cpu_seconds": seconds, "added_bytes": added, "rows": 1_000_000}

    def filters(value: float) -> dict[str, Any]:
        return {"filters": {name: {"rows": 1, "seconds": value, "cpu_seconds": value} for name in FILTERS}}

    found = {"open": part, "dataset": part, "ours": filters(ratio), "duckdb": filters(1.0), "pyarrow": filters(0.9)}
    return combine([found] * 3)  # type: ignore[list-item]


def result(*, good: bool) -> dict[str, Any]:
    step = {"median": 1.0, "low": 1.0, "high": 1.0}
    slope = {"slope": 1e5, "low": -1e5 if good else 5e4, "high": 3e5}
    return {
        "settings": {"workers": [0]},
        "peers": {"decord": {"title": "torch Dataset, decord", "kind": "peer"}},
        "summary": summarize(runs(1.1, 0.05) if good else runs(1.4, 0.2), KINDS),
        "profile": {"cpu_ms": dict.fromkeys(("libav", "convert", "read", "check", "batch"), step)},
        "opening": opened(0.5, 200_000_000, 0.8) if good else opened(1.5, 400_000_000, 1.4),
        "epochs": {"slope": slope, "bytes": [100, 200, 200, 300]},
    }


@pytest.mark.parametrize("good", [True, False])
def test_each_target_is_met_or_not(good: bool) -> None:
    table = targets_table(result(good=good))
    assert table.head == HEADER
    met = {line[0]: line[3] for line in table.lines}
    shares = [name for name, said in met.items() if said == "-"]
    assert shares == ["later epochs with cache=, clips/s to a copy in memory, 0 workers"]
    assert {said for name, said in met.items() if name not in shares} == {"yes" if good else "no"}
    assert len(table.lines) == 4 + 2 + 2 * len(FILTERS) + 1


def test_figures_come_with_quartiles_of_ratios_within_rounds() -> None:
    lines = {line[0]: line for line in targets_table(result(good=True)).lines}
    assert lines["first epoch, CPU to libav's decode alone, 0 workers"][2] == "1.10 (1.10-1.10)"
    assert lines["later epochs with cache=, clips/s to the best peer, 0 workers"][2] == "24.0 (24.0-24.0)"
    assert lines["later epochs with cache=, clips/s to a copy in memory, 0 workers"][2] == "0.20 (0.20-0.20)"
    assert "decord" in lines["first epoch, CPU to the best peer, 0 workers"][4]
    assert "pyarrow alone" in lines[f"filter, {next(iter(FILTERS))}: time to duckdb's"][4]


def test_what_was_not_measured_is_said() -> None:
    nothing = {**result(good=True), "summary": [], "opening": None, "epochs": None, "profile": None}
    assert {line[2] for line in targets_table(nothing).lines} == {"not measured"}
