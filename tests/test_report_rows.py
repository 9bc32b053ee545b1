"""The data of the page: compact, complete, without prompts, and in an order that no row's position decides."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import releases
from report_support import HOSTILE, unpacked

from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.report import rows as report_rows
from unsafe_video_dataset.report.chunks import call, mask, packed
from unsafe_video_dataset.report.facts import _lengths, gather
from unsafe_video_dataset.report.rows import Rows, column_chunks, detail_chunks, read_rows
from unsafe_video_dataset.taxonomy import CATEGORIES, SPLITS, VOTE_KEYS


def arguments(script: str) -> list[object]:
    match = re.fullmatch(r"UnsafeVideoReport\.\w+\((.*)\);\n", script)
    assert match
    found: list[object] = json.loads(f"[{match[1]}]")
    return found


def test_a_chunk_is_ascii_and_holds_no_tag() -> None:
    script = call("detail", HOSTILE, {"<b>": ["\u2028</script>"]})
    assert script.isascii()
    assert "<" not in script
    assert arguments(script) == [HOSTILE, {"<b>": ["\u2028</script>"]}]
    with pytest.raises(ValueError, match="JSON"):
        call("rows", float("nan"))


def test_packed() -> None:
    assert packed([0, 9, 10, 35]) == "09az"
    assert packed([0, 36]) == [0, 36]
    assert packed([-1]) == [-1]
    assert packed([]) == ""
    assert mask([0, 2, 2]) == 5


def test_columns_say_what_the_release_says(small: Path) -> None:
    release = Release.open(small)
    table = {row["video_id"]: row for row in release.metadata().to_pylist()}
    rows = read_rows(release)
    (script,) = column_chunks(rows, frozenset({rows.ids[3]}))
    start, columns = arguments(script)
    assert start == 0
    assert isinstance(columns, dict)
    ids = re.findall("[0-9a-f]{16}", columns["id"])
    assert sorted(ids) == sorted(table)
    read = {name: unpacked(values) for name, values in columns.items() if name != "id"}
    for place, video_id in enumerate(ids):
        row = table[video_id]
        assert SPLITS[read["split"][place]] == row["split"]
        assert bool(read["unsafe"][place]) == row["is_unsafe"]
        assert read["categories"][place] == sum(1 << index for index in row["categories"])
        assert rows.generators[read["generator"][place]] == row["generator"]
        assert rows.sources[read["source"][place] - 1] == row["prompt_source"]
        assert read["votes"][6 * place : 6 * place + 6] == [row["vote_counts"][key] for key in VOTE_KEYS]
        assert read["raters"][place] == row["num_raters"]
        assert read["agreement"][place] == (-1 if row["agreement"] is None else round(1000 * row["agreement"]))
        assert read["frames"][place] == row["num_frames"]
        assert read["ms"][place] == round(1000 * row["duration_seconds"])
    assert [place for place, value in enumerate(read["broken"]) if value] == [3]


def test_what_is_not_known_has_a_mark(unvoted: Path) -> None:
    rows = read_rows(Release.open(unvoted))
    (script,) = column_chunks(rows)
    columns = arguments(script)[1]
    assert isinstance(columns, dict)
    assert set(unpacked(columns["source"])) == {0}
    assert set(columns["agreement"]) == {-1}
    assert set(unpacked(columns["votes"])) == {0}
    (details,) = detail_chunks(rows)
    assert all(row[9] == [] for row in arguments(details)[1])  # type: ignore[attr-defined]


def test_chunks_join_to_the_whole(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read_rows(Release.open(small))
    monkeypatch.setattr(report_rows, "CHUNK", 7)
    monkeypatch.setattr(report_rows, "DETAIL_CHUNK", 10)
    parts = [arguments(script) for script in column_chunks(rows)]
    assert [start for start, _ in parts] == [0, 7, 14, 21]
    assert "".join(columns["id"] for _, columns in parts) == "".join(rows.ids)  # type: ignore[index]
    details = [arguments(script) for script in detail_chunks(rows)]
    assert [(number, len(part)) for number, part in details] == [(0, 10), (1, 10), (2, 4)]  # type: ignore[arg-type]


def test_answers_are_counted_without_raters(small: Path) -> None:
    release = Release.open(small)
    rows = read_rows(release)
    (script,) = detail_chunks(rows)
    given = {row["video_id"]: row["votes"] for row in release.metadata(columns=["video_id", "votes"]).to_pylist()}
    for video_id, detail in zip(rows.ids, arguments(script)[1], strict=True):  # type: ignore[call-overload]
        wanted = Counter(sum(1 << index for index in vote["categories"]) for vote in given[video_id])
        assert dict(detail[9]) == wanted
    assert not re.search(r"r0\d", script)  # no rater is named


def test_prompts_are_read_only_to_reveal(small: Path) -> None:
    release = Release.open(small)
    prompts = set(release.metadata(columns=["prompt"])["prompt"].to_pylist())
    hidden, shown = ("".join(detail_chunks(read_rows(release, reveal=reveal))) for reveal in (False, True))
    assert not [prompt for prompt in prompts if prompt in hidden]
    assert all(prompt in shown for prompt in prompts)


def test_the_order_is_split_then_id(small: Path) -> None:
    rows = read_rows(Release.open(small))
    keys = [(SPLITS.index(row["split"]), row["video_id"]) for row in rows.table]
    assert keys == sorted(keys)


def test_too_many_videos(copy: Path) -> None:
    releases.edit_manifest(copy, lambda manifest: manifest["counts"].update(videos=100_001))
    with pytest.raises(InputError, match="at most 100,000"):
        read_rows(Release.open(copy))


def test_facts_agree_with_the_manifest(sample: Release) -> None:
    facts = gather(sample, read_rows(sample), bootstrap=0)
    counts = sample.manifest["counts"]
    assert [bar.total for bar in facts.categories] == [*counts["categories"].values(), counts["not_unsafe"]]
    assert facts.together[0].diagonal().tolist() == list(counts["categories"].values())
    assert {bar.label: bar.total for bar in facts.generators} == counts["generators"]
    assert {bar.label: bar.total for bar in facts.sources} == counts["prompt_sources"]
    for bar in facts.splits:
        unsafe, rest = (count for _, count in bar.parts)
        assert {"unsafe": unsafe, "not_unsafe": rest} == counts["splits"][bar.label]
    for bars in (facts.votes, facts.agreement, facts.lengths):
        assert sum(bar.total for bar in bars) == counts["videos"]
    assert sum(int(bar.label) * bar.total for bar in facts.votes) == counts["votes"]
    assert [name for name, _ in facts.alpha][-1] == "the whole set"
    assert all(value.low is None for _, value in facts.alpha)


def test_facts_without_votes(unvoted: Path) -> None:
    release = Release.open(unvoted)
    facts = gather(release, read_rows(release))
    assert facts.alpha == ()
    assert [(bar.label, bar.total) for bar in facts.agreement] == [("not known", 24)]
    assert [(bar.label, bar.total) for bar in facts.sources] == [("not stated", 24)]
    assert [(bar.label, bar.total) for bar in facts.votes] == [("0", 24)]
    assert len(facts.categories) == len(CATEGORIES) + 1


def test_a_chart_has_at_most_twelve_bars(small: Path) -> None:
    release = Release.open(small)
    rows = read_rows(release)
    table = [
        {**row, "generator": f"g{place:02d}", "duration_seconds": 1 + place / 7} for place, row in enumerate(rows.table * 2)
    ]
    facts = gather(release, Rows(table, tuple(f"g{place:02d}" for place in range(48)), rows.sources), bootstrap=0)
    assert len(facts.generators) == 12
    assert facts.generators[-1].label == "37 others"
    assert len(facts.lengths) == 10
    assert facts.lengths[0].label == "1.0 to 1.7 s"
    for bars in (facts.generators, facts.lengths):
        assert sum(bar.total for bar in bars) == 48
        assert sum(bar.parts[0][1] for bar in bars) == sum(row["is_unsafe"] for row in table)


def test_lengths_that_hardly_differ_keep_a_name_a_bin(small: Path) -> None:
    table = [{**row, "duration_seconds": 2 + number / 1000} for number, row in enumerate(read_rows(Release.open(small)).table)]
    bars = _lengths(table)
    assert len({bar.label for bar in bars}) == len(bars) == 10
    assert sum(bar.total for bar in bars) == len(table)
