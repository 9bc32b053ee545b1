"""Hostile videos and releases: right data or a typed error, no socket, no file that is not the release's own.

Each route is one watched process (`hostile/session.py`). `docs/hostile.md` lists every case; write it anew with
`python -m tests.hostile.table`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hostile import table

from unsafe_video_dataset.video import decoder_status

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the watch needs Linux (inotify, /proc)")


# Half a minute and more each: slow. The others show in every run that no decoder opens anything.
SLOW = {"release:cells,Parquet", "release:manifest,files", "unchecked"}
ROUTES = [pytest.param(one, marks=[pytest.mark.slow] if one in SLOW else []) for one in table.ROUTES]


@pytest.mark.parametrize("route", ROUTES)
def test_right_data_or_a_typed_error(route: str, tmp_path: Path) -> None:
    decoder = route.partition(":")[2]
    status = decoder_status().get(decoder, "ok")
    if not status.startswith("ok"):
        pytest.skip(status)
    outcomes = table.run(route, tmp_path / "session")
    assert not [(outcome["case"], outcome["failures"]) for outcome in outcomes if outcome["failures"]]
    assert len(outcomes) >= (7 if route == "control" else 20)
    if route != "unchecked":  # there it is up to each decoder's version how it gives up
        document = set(table.DOCUMENT.read_text(encoding="utf-8").splitlines())
        missing = [table.row(outcome) for outcome in outcomes if table.row(outcome) not in document]
        assert not missing, "docs/hostile.md is behind: python -m tests.hostile.table"
