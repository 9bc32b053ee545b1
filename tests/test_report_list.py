"""The report's list and dialog in a real browser: the keyboard, the focus, what has no room, chunks and pictures as needed."""

# ruff: noqa: F401, F811  # fixtures are imported, and named again where a test takes them
from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import releases
from report_pages import Open, Row, browser, report, settle, table, visit
from report_support import only

from unsafe_video_dataset.release import Release
from unsafe_video_dataset.report import rows as report_rows
from unsafe_video_dataset.report import write_report
from unsafe_video_dataset.report.page import ASSETS

pytestmark = pytest.mark.slow


def test_the_keyboard_alone(visit: Open, report: Path, table: list[Row]) -> None:
    watched = visit(report)
    page = watched.page
    page.select_option("#sort", "release")
    focused = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "Skip to the videos"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "videos"
    stops = 0
    while not page.evaluate("document.activeElement.classList.contains('row')"):
        page.keyboard.press("Tab")
        stops += 1
        assert stops < 40
    position = "Number(document.activeElement.parentNode.getAttribute('aria-posinset'))"
    page.keyboard.press("Home")
    assert page.evaluate(position) == 1
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(position) == 3
    assert table[2]["video_id"] in page.evaluate(focused)
    page.keyboard.press("End")
    assert page.evaluate(position) == len(table)
    assert page.evaluate("document.querySelectorAll('#list [tabindex=\"0\"]').length") == 1
    page.keyboard.press("PageUp")
    assert 1 < page.evaluate(position) < len(table)
    page.keyboard.press("ArrowUp")
    there = page.evaluate(position)
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail[open] dl")
    assert page.evaluate("document.activeElement.id") == "detail-title"
    assert table[there - 1]["video_id"] in page.text_content("#detail-title")
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"() => document.getElementById('detail-title').textContent.includes('{table[there]['video_id']}')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    assert page.evaluate(position) == there + 1  # back on the row of the video that was last open
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.classList.contains('row')")  # one tab stop for the whole list


def test_the_dialog_keeps_the_focus(visit: Open, report: Path, table: list[Row]) -> None:
    watched = visit(report, width=360)
    page = watched.page
    page.select_option("#sort", "release")
    page.fill("#search", table[0]["video_id"][:1])
    page.wait_for_function("count => document.querySelector('#list li').getAttribute('aria-setsize') < count", arg=len(table))
    size = int(page.get_attribute("#list li", "aria-setsize"))
    assert size > 2
    page.locator("#list button").first.click()
    page.wait_for_selector("#detail dl")
    focused = "document.activeElement.id || document.activeElement.className || document.activeElement.tagName"
    title = page.inner_text("#detail-title")
    page.locator("#detail .table").focus()
    page.keyboard.press("ArrowRight")  # scrolls the table, where it is wider than the page
    assert page.evaluate(focused) == "table"
    assert page.inner_text("#detail-title") == title
    page.focus("#next")
    for _ in range(size + 1):  # once more than there are videos
        page.keyboard.press("Enter")
        assert page.evaluate(focused) == "next"
    assert page.get_attribute("#next", "aria-disabled") == "true"
    assert page.get_attribute("#previous", "aria-disabled") == "false"
    page.locator("#detail .table").focus()
    page.evaluate("document.getElementById('previous').click()")  # as a screen reader does: the focus stays where it was
    assert page.evaluate(focused) == "detail-title"  # not on the page behind


@pytest.fixture(scope="module")
def crowded(sample: Release, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos in one to five categories, by turns."""
    rows = report_rows.read_rows(sample)
    table = [{**row, "categories": [*range(1 + place % 5)], "is_unsafe": True} for place, row in enumerate(rows.table)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_rows, "read_rows", lambda *_, **__: report_rows.Rows(table, rows.generators, rows.sources))
        return write_report(sample, tmp_path_factory.mktemp("crowded") / "out")


@pytest.mark.parametrize("width", [360, 800, 1100, 1400])
def test_categories_that_have_no_room_are_counted(visit: Open, crowded: Path, width: int) -> None:
    page = visit(crowded, width=width).page
    rows = page.evaluate("""() => [...document.querySelectorAll("#list .row")].map((row) => {
        const outer = row.getBoundingClientRect();
        const chips = [...row.querySelectorAll(".chips .chip")].filter((chip) => !chip.hidden);
        const inside = chips.every((chip) => {
            const box = chip.getBoundingClientRect();
            return box.top >= outer.top && box.bottom <= outer.bottom && box.right <= outer.right + 1;
        });
        const more = row.querySelector(".more");
        const list = row.querySelector(".chips");
        return {
            inside: inside && list.scrollHeight <= list.clientHeight + 1 && row.scrollHeight <= row.clientHeight + 1,
            shown: chips.length - (more ? 1 : 0),
            more: more ? Number(more.textContent) : 0,
            all: row.getAttribute("aria-label").split(";")[1].split(",").length,
        };
    })""")
    assert {row["all"] for row in rows} == {1, 2, 3, 4, 5}
    for row in rows:
        assert row["inside"], row
        assert row["shown"] + row["more"] == row["all"]
        assert row["shown"] >= min(2, row["all"])


@pytest.fixture
def large(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A report of 10,080 videos without pictures: five chunks."""
    release = Release.open(small)
    found = release.metadata().to_pylist()
    many = [
        {**row, "video_id": f"{number:04x}{row['video_id'][4:]}", "split": row["split"]}
        for number in range(420)
        for row in found
    ]
    rows = report_rows.read_rows(release)
    monkeypatch.setattr(report_rows, "read_rows", lambda *_, **__: report_rows.Rows(many, rows.generators, rows.sources))
    return write_report(release, tmp_path / "out", thumbnails=False)


def test_while_chunks_are_loaded_nothing_partial_is_saved_and_the_focus_stays(visit: Open, large: Path) -> None:
    held: list[Any] = []
    watched = visit(large, first=lambda page: page.route("**/rows-0002.js", lambda route: held.append(route)), until="commit")
    page = watched.page
    settle(watched, "5,000")  # type: ignore[arg-type]
    assert "loading, 5,000 so far" in page.inner_text("#count")
    assert page.is_disabled("#save-json")
    assert page.is_disabled("#save-croissant")
    page.select_option("#sort", "id")
    page.wait_for_function("() => document.querySelector('#list code').textContent.startsWith('0000')")
    page.locator("#list button").first.focus()
    for _ in range(7):
        page.keyboard.press("ArrowDown")
    active = "document.activeElement.querySelector('code').textContent"
    before = page.evaluate(active)
    page.keyboard.press("Enter")
    page.wait_for_selector("#detail dl")
    held[0].continue_()
    settle(watched, "10,080")  # type: ignore[arg-type]
    assert before in page.text_content("#detail-title")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")  # its neighbours are those of the whole list
    page.keyboard.press("Escape")
    page.wait_for_selector("#detail", state="hidden")
    assert page.evaluate(active) == before
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
    assert len(watched.saved("#save-json")["videos"]) == 10_080


def test_a_large_release_is_loaded_in_chunks_and_drawn_in_part(visit: Open, large: Path) -> None:
    page = large
    watched = visit(page)
    settle(watched, "10,080")  # type: ignore[arg-type]
    asked = {Path(url).name for url in watched.asked}
    assert {f"rows-{number:04d}.js" for number in range(5)} <= asked
    assert not [name for name in asked if name.startswith("detail-")]  # nothing was opened yet
    assert watched.page.locator("#list li").count() < 40
    watched.page.evaluate("window.scrollTo({top: document.body.scrollHeight, behavior: 'instant'})")
    watched.page.wait_for_selector("#list li[aria-posinset='10080']")
    assert watched.page.locator("#list li").count() < 40
    watched.page.locator("#list li[aria-posinset='10080'] button").click()
    watched.page.wait_for_selector("#detail dl")
    details = {Path(url).name for url in watched.asked if "detail-" in url}
    assert details == {f"detail-{10_079 // 256:04d}.js"}


def test_the_first_view_of_the_papers_size_waits_for_no_picture(
    visit: Open, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """2,112 videos with pictures. Milliseconds are printed and not judged; what the rows wait for is."""
    release = Release.open(releases.build(tmp_path / "release", 2112))
    page = write_report(release, tmp_path / "out", bootstrap=0)
    held: list[Any] = []
    later = re.compile(r"/(thumbs/|data/(detail-|croissant|rows-000[1-9]))")
    watched = visit(page, first=lambda page: page.route(later, lambda route: held.append(route)), until="commit")
    mark = "performance.getEntriesByName('first-rows')"
    watched.page.wait_for_function(f"() => {mark}.length")
    settle(watched, "2,112")  # type: ignore[arg-type]
    before = {Path(url).name for url in watched.asked if not later.search(url)}
    assert before == {"index.html", "palette.css", *ASSETS, "release.js", "rows-0000.js"}
    milliseconds = watched.page.evaluate(f"{mark}[0].startTime")
    record_property("first_rows_ms", milliseconds)
    print(f"first rows of 2,112 videos after {milliseconds:.0f} ms")
    sheets = len(list((page.parent / "thumbs").iterdir()))
    assert sheets == 33
    assert len({route.request.url for route in held}) <= 3  # the sheets of the rows in view, if any: not all
    for route in held:
        route.continue_()
    watched.page.unroute(later)
    watched.page.fill("#search", release.metadata("test", columns=["video_id"])["video_id"][0].as_py())
    watched.page.wait_for_function("() => document.querySelectorAll('#list li').length === 1")
    watched.page.locator("#list button").click()
    watched.page.wait_for_selector("#detail dl")
    assert len({url for url in watched.asked if "/thumbs/" in url}) < 6


def test_a_chunk_that_is_gone_is_said(visit: Open, report: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(report.parent, tmp_path / "copy"))
    (copy / "data" / "detail-0000.js").unlink()
    watched = visit(copy / "index.html")
    watched.page.locator("#list button").first.click()
    watched.page.wait_for_function("() => document.getElementById('detail-body').textContent.includes('keep the whole folder')")
    assert all("detail-0000.js" in fault or "ERR_FILE_NOT_FOUND" in fault for fault in watched.faults)
    watched.faults.clear()


def test_thumbnails_are_loaded_when_they_are_seen(visit: Open, report: Path) -> None:
    watched = visit(report)
    page = watched.page
    page.evaluate("document.getElementById('videos').scrollIntoView({behavior: 'instant'})")
    page.wait_for_timeout(300)
    sheets = only(report.parent / "data" / "release.js")[0]["sheets"]["files"]
    seen = {Path(url).name for url in watched.asked if "/thumbs/" in url}
    assert seen == {sheets[1]}  # errors come first: videos of the test split, the last in the order of the sheets
    page.evaluate("window.scrollTo({top: document.body.scrollHeight, behavior: 'instant'})")
    page.wait_for_function("() => document.querySelector('#list li[aria-posinset=\"96\"]')")
    page.wait_for_timeout(300)
    assert {Path(url).name for url in watched.asked if "/thumbs/" in url} == set(sheets)
