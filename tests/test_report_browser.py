"""The report in a real browser, opened from disk: filters, orders, search, keyboard, dialog, downloads, axe-core."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import releases
from browser_support import Watched, chromium
from report_support import hostile_release, only, predict

from unsafe_video_dataset.predictions import read_predictions
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.report import rows as report_rows
from unsafe_video_dataset.report import write_report
from unsafe_video_dataset.report.page import ASSETS
from unsafe_video_dataset.taxonomy import CATEGORIES, SPLITS

pytestmark = pytest.mark.slow

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
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **given)
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


@pytest.mark.parametrize(
    ("steps", "keep"),
    [
        ([], lambda row: True),
        ([lambda page: page.get_by_role("radio", name="not unsafe").check()], lambda row: not row["is_unsafe"]),
        ([check("Terrifying")], lambda row: any(has(row, "terrifying"))),
        ([check("Terrifying"), check("Distorted/Weird")], lambda row: any(has(row, "terrifying", "distorted_weird"))),
        (
            [check("Terrifying"), check("Distorted/Weird"), check("all of these")],
            lambda row: all(has(row, "terrifying", "distorted_weird")),
        ),
        ([check("validation")], lambda row: row["split"] == "validation"),
        (
            [check("train"), check("test"), check("magictime")],
            lambda row: row["split"] != "validation" and row["generator"] == "magictime",
        ),
        ([check("4chan")], lambda row: row["prompt_source"] == "4chan"),
        ([fill("#votes-from", "6"), fill("#votes-to", "6")], lambda row: row["num_raters"] == 6),
        ([fill("#agreement-to", "70")], lambda row: row["agreement"] is not None and round(1000 * row["agreement"]) <= 700),
        (
            [fill("#agreement-from", "75"), fill("#agreement-to", "90")],
            lambda row: row["agreement"] is not None and 750 <= round(1000 * row["agreement"]) <= 900,
        ),
        ([fill("#search", " 0A ")], lambda row: "0a" in row["video_id"]),
        ([fill("#search", "zz")], lambda row: False),
    ],
)  # fmt: skip
def test_filters(
    visit: Open, report: Path, table: list[Row], steps: list[Callable[[Any], None]], keep: Callable[[Row], bool]
) -> None:
    watched = visit(report)
    watched.page.select_option("#sort", "release")
    for step in steps:
        step(watched.page)
    wanted = [row["video_id"] for row in table if keep(row)]
    settle(watched, len(wanted))
    assert shown(watched) == wanted
    assert watched.page.locator("#nothing").is_visible() == (not wanted)
    if steps:
        assert 0 <= len(wanted) < len(table)
        watched.page.get_by_role("button", name="Clear all").first.click()
        settle(watched, len(table))


@pytest.mark.parametrize(
    ("order", "key"),
    [
        ("id", lambda row: ()),
        ("disagreement", lambda row: (2 if row["agreement"] is None else round(row["agreement"], 3),)),
        ("agreement", lambda row: (2 if row["agreement"] is None else -round(row["agreement"], 3),)),
        ("votes", lambda row: (-row["num_raters"],)),
        ("few", lambda row: (row["num_raters"],)),
        ("long", lambda row: (-row["duration_seconds"],)),
    ],
)
def test_orders(visit: Open, report: Path, table: list[Row], order: str, key: Callable[[Row], tuple[float, ...]]) -> None:
    watched = visit(report)
    watched.page.select_option("#sort", order)
    wanted = sorted(table, key=lambda row: (*key(row), row["video_id"]))
    watched.page.wait_for_function(f"() => document.querySelector('#list code').textContent === '{wanted[0]['video_id']}'")
    assert shown(watched) == [row["video_id"] for row in wanted]


@pytest.mark.parametrize(("model", "threshold"), [(0, 0.5), (1, 0.5), (1, 0.08)])
def test_errors_of_a_model_come_first(visit: Open, report: Path, table: list[Row], model: int, threshold: float) -> None:
    records = {one["video_id"]: one for one in read_predictions(report.parent.parent / f"{'ab'[model]}.jsonl")}

    def key(row: Row) -> tuple[float, ...]:
        if row["video_id"] not in records:
            return (1, 0, 0)
        scores, wrong = records[row["video_id"]]["scores"], []
        for place, name in enumerate(CATEGORIES):
            truth = place in row["categories"]
            if (scores[name] >= threshold) != truth:
                wrong.append(1 - scores[name] if truth else scores[name])
        return (0, -len(wrong), -round(max(wrong, default=0), 4))

    watched = visit(report)
    watched.page.select_option("#model", str(model))
    watched.page.fill("#threshold", str(threshold))
    wanted = [row["video_id"] for row in sorted(table, key=lambda row: (*key(row), row["video_id"]))]
    watched.page.wait_for_timeout(300)
    saved = watched.saved("#save-json")
    assert [video["video_id"] for video in saved["videos"]] == wanted
    assert saved["filters"] == {"sort": "errors", "model": "ab"[model], "threshold": threshold}
    first = saved["videos"][0]
    assert first["predictions"]["ab"[model]]["scores"] == pytest.approx(records[first["video_id"]]["scores"], abs=1e-4)


def test_saved_records_are_those_of_the_release(visit: Open, report: Path, table: list[Row]) -> None:
    saved = visit(report).saved("#save-json")
    assert saved["count"] == saved["videos_in_release"] == len(table)
    videos = {video["video_id"]: video for video in saved["videos"]}
    for row in table:
        video = videos[row["video_id"]]
        for name in (
            "split",
            "is_unsafe",
            "generator",
            "prompt_source",
            "num_raters",
            "vote_counts",
            "num_frames",
            "duration_seconds",
        ):
            assert video[name] == row[name]
        assert video["categories"] == [CATEGORIES[index] for index in row["categories"]]
        assert video["agreement"] == (None if row["agreement"] is None else pytest.approx(row["agreement"], abs=0.0006))
        assert "prompt" not in video


def test_a_saved_croissant_is_valid_and_joins(visit: Open, report: Path, table: list[Row], tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    watched = visit(report)
    check("Political")(watched.page)
    wanted = {row["video_id"] for row in table if any(has(row, "political"))}
    settle(watched, len(wanted))
    saved = watched.saved("#save-croissant")
    (tmp_path / "selection.json").write_text(json.dumps(saved))
    dataset = mlcroissant.Dataset(jsonld=str(tmp_path / "selection.json"))
    records = list(dataset.records("selection"))
    names = [record["selection/video_id"] for record in records]
    assert {name.decode() if isinstance(name, bytes) else name for name in names} == wanted
    assert len(names) == len(wanted)
    assert dataset.metadata.name == "sample-selection"


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


def test_the_list_speaks(visit: Open, report: Path, table: list[Row]) -> None:
    page = visit(report).page
    assert page.get_attribute("#count", "role") == "status"
    item = page.locator("#list li").first
    assert item.get_attribute("aria-setsize") == str(len(table))
    name = item.locator("button").get_attribute("aria-label")
    assert re.search(r"^Video [0-9a-f]{16}; .*votes of \d raters: .*agreement \d+%", name)
    assert "predicted" in name


def test_one_video(visit: Open, report: Path, sample: Release, table: list[Row]) -> None:
    page = visit(report).page
    row = next(row for row in table if row["split"] == "test" and row["is_unsafe"])
    page.fill("#search", row["video_id"])
    page.wait_for_function("() => document.querySelectorAll('#list li').length === 1")
    page.click("#list button")
    page.wait_for_selector("#detail dl")
    text = page.inner_text("#detail-body")
    assert row["group_id"] in text
    assert row["prompt"] not in text
    cells = page.locator("#detail tbody tr").all_inner_texts()
    for place, name in enumerate(CATEGORIES):
        assert str(row["vote_counts"][name]) in cells[place]
        assert ("yes" in cells[place]) == (place in row["categories"])
    assert page.locator("#detail tbody tr").count() == 7  # five categories, none, unsafe (the second model's score)
    assert page.locator("#detail .strip").get_attribute("aria-label") == "Grey, blurred frames"
    page.click("#close")
    assert page.evaluate("document.activeElement.classList.contains('row')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_axe_and_no_sideways_scrolling(visit: Open, report: Path, width: int, scheme: str) -> None:
    watched = visit(report, width=width, scheme=scheme)
    page = watched.page
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert watched.serious() == []
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.locator("#list button").first.click()
    page.wait_for_selector("#detail dl")
    assert watched.serious() == []
    box = page.locator("#detail").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= width  # noqa: PT018


def test_hostile_text_stays_text(visit: Open, tmp_path: Path) -> None:
    release = hostile_release(tmp_path / "release")
    named = predict(release, tmp_path / "<img src=x onerror=alert(3)>.jsonl", unsafe_only=False)
    page = write_report(Release.open(release), tmp_path / "out", predictions=[named], reveal=True)
    watched = visit(page)
    assert watched.page.title().startswith("REVEALED")
    for place in range(3):
        watched.page.locator("#list button").nth(place).click()
        watched.page.wait_for_selector("#detail blockquote")
        assert "</script><img src=x onerror=alert(1)>" in watched.page.inner_text("#detail blockquote")
        assert "REVEALED" in watched.page.inner_text("#detail-mark")
        watched.page.keyboard.press("Escape")
    assert watched.page.locator("img, #detail script, iframe").count() == 0
    assert "<img src=x onerror=alert(3)>" in watched.page.inner_text("#model")
    broken = watched.page.locator(".strip.broken")
    assert broken.count() == 1
    assert broken.inner_text() == "does not decode"
    assert watched.serious() == []


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


def test_without_scripts_the_overview_is_whole(visit: Open, report: Path) -> None:
    watched = visit(report, ready=False, java_script_enabled=False)
    assert watched.page.locator("#overview figure").count() == 9
    assert "needs JavaScript" in watched.page.inner_text("noscript")


def test_no_votes(visit: Open, unvoted: Path, tmp_path: Path) -> None:
    watched = visit(write_report(Release.open(unvoted), tmp_path / "out", thumbnails=False))
    assert "no votes" in watched.page.locator("#list button").first.get_attribute("aria-label")
    fill("#agreement-to", "100")(watched.page)
    fill("#votes-from", "1")(watched.page)
    settle(watched, 0)
    assert releases.ids(unvoted)
    watched.page.click("#clear")
    settle(watched, 24)
