"""Hostile videos and releases: right data or a typed error, no socket, no file that is not the release's own.

Each route is one watched process (`hostile/session.py`). `docs/hostile.md` lists every case; write it anew with
`python -m tests.hostile.table`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hostile import fuzzing, table

from unsafe_video_dataset.video import decoder_status

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the watch needs Linux (inotify, /proc)")


# Half a minute and more each: slow. The others show in every run that no decoder opens anything.
SLOW = {"release:cells,Parquet", "release:manifest,files", "unchecked", *table.REMOTE_ROUTES}
ROUTES = [pytest.param(one, marks=[pytest.mark.slow] if one in SLOW else []) for one in table.ROUTES]


@pytest.mark.parametrize("route", ROUTES)
def test_right_data_or_a_typed_error(route: str, tmp_path: Path) -> None:
    decoder = route.partition(":")[2]
    status = decoder_status().get(decoder, "ok")
    if not status.startswith("ok"):
        pytest.skip(status)
    outcomes = table.run(route, tmp_path / "session")
    assert not [(outcome["case"], outcome["failures"]) for outcome in outcomes if outcome["failures"]]
    assert len(outcomes) >= (10 if route == "control" else 20)
    if route != "unchecked":  # there it is up to each decoder's version how it gives up
        document = set(table.DOCUMENT.read_text(encoding="utf-8").splitlines())
        lines = [table.row(outcome) for outcome in outcomes]
        lines += [] if route == "control" else [table.route_line(route, outcomes)]
        missing = [line for line in lines if line not in document]
        assert not missing, f"{missing[:3]}: docs/hostile.md is behind: python -m tests.hostile.table"


def cells(text: str, start: str) -> list[str]:
    """The cells of the one line of a table that starts so."""
    (line,) = (line for line in text.splitlines() if line.startswith(start))
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def test_the_totals_are_those_of_the_routes() -> None:
    """The routes' lines are held to what is seen, above; the first paragraph adds them up."""
    document = table.DOCUMENT.read_text(encoding="utf-8")
    lines = {one: [int(cell) for cell in cells(document, f"| `{one}` |")] for one in table.ROUTES if one != "control"}
    assert table.summary(lines) in document
    for *_, steps, right, refused, other, events, failed in lines.values():
        assert steps == right + refused
        assert (other, events, failed) == (0, 0, 0)


@pytest.mark.parametrize("half", fuzzing.HALVES)
def test_the_fuzzing_is_counted(half: str) -> None:
    section = table.DOCUMENT.read_text(encoding="utf-8").partition("## Fuzzing")[2]
    _, inputs, refused, right, _, crashes = map(int, cells(section, f"| {half} |"))
    assert inputs == refused + right == fuzzing.INPUTS
    assert crashes == 0
