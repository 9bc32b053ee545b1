"""What tests of the report's page in a real browser share: pages that are watched, a report on the sample, small steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_support import Watched, chromium
from report_support import predict

from unsafe_video_dataset.release import Release
from unsafe_video_dataset.report import write_report
from unsafe_video_dataset.taxonomy import CATEGORIES, SPLITS

Open = Callable[..., Watched]
Row = dict[str, Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


@pytest.fixture
def visit(browser: Any) -> Iterator[Open]:
    """Opens a report and waits for its list; at the end of the test nothing may have gone wrong on the page."""
    opened: list[Watched] = []

    def open_page(
        page: Path,
        *,
        width: int = 1400,
        scheme: str = "light",
        ready: bool = True,
        first: Callable[[Any], object] = lambda page: None,
        until: str = "load",
        **given: Any,
    ) -> Watched:
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, accept_downloads=False, **given
        )
        watched = Watched(context.new_page())
        opened.append(watched)
        first(watched.page)
        watched.page.goto(page.resolve().as_uri(), wait_until=until)
        if ready:
            watched.page.wait_for_selector("#list li", state="attached")
        return watched

    yield open_page
    for watched in opened:
        assert watched.faults == []
        assert watched.outside == []
        watched.page.context.close()


@pytest.fixture(scope="module")
def report(sample: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample with two models; the second knows the reviewed videos of the test split."""
    place = tmp_path_factory.mktemp("report")
    files = [
        predict(sample, place / "a.jsonl"),
        predict(sample, place / "b.jsonl", unsafe_only=False, flip=2, unsafe_score=0.7),
    ]
    return write_report(sample, place / "out", predictions=files)


@pytest.fixture(scope="module")
def table(sample: Release) -> list[Row]:
    found: list[Row] = sample.metadata().to_pylist()
    return sorted(found, key=lambda row: (SPLITS.index(row["split"]), row["video_id"]))


def shown(watched: Watched) -> list[str]:
    """The ids that the page shows, in order, by the file that it saves."""
    return [video["video_id"] for video in watched.saved("#save-json")["videos"]]


def settle(watched: Watched, count: int) -> None:
    watched.page.wait_for_function(
        "count => document.getElementById('count').textContent.startsWith(count)", arg=f"{count} of "
    )


def check(label: str) -> Callable[[Any], None]:
    return lambda page: page.get_by_role("checkbox", name=label).check()


def fill(name: str, value: str) -> Callable[[Any], None]:
    return lambda page: page.fill(name, value)


def has(row: Row, *names: str) -> list[bool]:
    return [CATEGORIES.index(name) in row["categories"] for name in names]
