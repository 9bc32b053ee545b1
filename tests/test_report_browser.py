"""The report in a real browser, opened from disk: filters, orders, search, downloads, one video, axe-core."""

# ruff: noqa: F401, F811  # fixtures are imported, and named again where a test takes them
from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import releases
from report_pages import Open, Row, browser, check, fill, has, report, settle, shown, table, visit
from report_support import hostile_release, predict

from unsafe_video_dataset.predictions import read_predictions
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.report import write_report
from unsafe_video_dataset.taxonomy import CATEGORIES

pytestmark = pytest.mark.slow


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
