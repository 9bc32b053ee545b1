"""Votes to labels: against a definition in plain words, whatever the order of the rows."""

from __future__ import annotations

import itertools
import random
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import releases
from hypothesis import given, settings
from hypothesis import strategies as st

from unsafe_video_dataset import aggregate
from unsafe_video_dataset.dawid_skene import by_category
from unsafe_video_dataset.errors import FaultsError, FilterError, InputError, SchemaError
from unsafe_video_dataset.records import arrow_schema, to_table
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES
from unsafe_video_dataset.votes import in_order, label_votes, pairwise_agreement, votes_by_video, weighed

answers = st.lists(st.lists(st.sampled_from(CATEGORIES), unique=True), min_size=1, max_size=9)


def votes_of(lists: list[list[str]]) -> list[dict[str, Any]]:
    return [{"rater_id": f"r{number}", "categories": names} for number, names in enumerate(lists)]


@given(answers, st.sampled_from(["negative", "positive"]), st.randoms())
def test_a_label_follows_the_definition(lists: list[list[str]], tie: Any, shuffle: random.Random) -> None:
    votes = votes_of(lists)
    label = label_votes(votes, tie=tie)
    share = {name: Fraction(sum(name in names for names in lists), len(lists)) for name in CATEGORIES}
    half = Fraction(1, 2)
    assert label.categories == [n for n in CATEGORIES if share[n] > half or (share[n] == half and tie == "positive")]
    assert label.tied == [name for name in CATEGORIES if share[name] == half]
    assert label.num_raters == len(lists)
    assert label.soft_labels == {name: float(value) for name, value in share.items()}
    assert label.vote_counts == {**{n: int(share[n] * len(lists)) for n in CATEGORIES}, "none": lists.count([])}
    assert {vote["rater_id"]: set(vote["categories"]) for vote in label.votes} == {
        vote["rater_id"]: set(vote["categories"]) for vote in votes
    }
    shuffle.shuffle(votes)
    for vote in votes:
        vote["categories"] = vote["categories"][::-1]
    assert label_votes(votes, tie=tie) == label


@given(answers)
def test_agreement_is_the_share_of_agreeing_pairs(lists: list[list[str]]) -> None:
    pairs = [(name in one) == (name in other) for name in CATEGORIES for one, other in itertools.combinations(lists, 2)]
    agreement = label_votes(votes_of(lists)).agreement
    if not pairs:
        assert agreement is None
    else:
        assert agreement == pytest.approx(sum(pairs) / len(pairs))
        assert 0 <= agreement <= 1


def test_agreement_without_pairs_is_unknown() -> None:
    assert pairwise_agreement([1], 1) is None
    assert pairwise_agreement([], 5) is None
    assert pairwise_agreement([0, 5], 5) == 1.0
    assert pairwise_agreement([1], 2) == 0.0


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 8), st.lists(st.sampled_from(CATEGORIES), unique=True)),
        max_size=30,
        unique_by=lambda row: row[:2],
    ),
    st.randoms(),
)
def test_aggregate_does_not_depend_on_the_order(rows: list[Any], shuffle: random.Random) -> None:
    records = [
        {"video_id": f"{video:016x}", "rater_id": f"r{rater}", "categories": names, "seconds": None, "attention_check": None}
        for video, rater, names in rows
    ]
    table = aggregate(to_table("annotation", records))
    shuffle.shuffle(records)
    assert aggregate(to_table("annotation", records)).equals(table)
    assert table["video_id"].to_pylist() == sorted({record["video_id"] for record in records})
    for row in table.to_pylist():
        label = label_votes([record for record in records if record["video_id"] == row["video_id"]])
        assert row["is_unsafe"] == bool(label.categories)
        expected = {key: value for key, value in vars(label).items() if key != "votes"}
        assert {key: row[key] for key in expected} == expected


def test_aggregate_gives_the_labels_of_a_release(small: Path, sample: Release) -> None:
    for release in (Release.open(small), sample):
        labels = {row["video_id"]: row for row in aggregate(release.annotations()).to_pylist()}
        rows = release.metadata().to_pylist()
        assert len(labels) == len(rows)
        for row in rows:
            label = labels[row["video_id"]]
            assert [CATEGORIES[index] for index in row["categories"]] == label["categories"]
            for name in ("is_unsafe", "vote_counts", "num_raters", "soft_labels", "agreement"):
                assert row[name] == label[name]


def test_a_tie_is_explicit() -> None:
    votes = votes_of([["terrifying"], []])
    assert label_votes(votes).categories == []
    assert label_votes(votes, tie="positive").categories == ["terrifying"]
    assert label_votes(votes).tied == ["terrifying"]
    with pytest.raises(FilterError, match="negative, positive"):
        label_votes(votes, tie="random")  # type: ignore[arg-type]
    with pytest.raises(FilterError, match="majority"):
        aggregate(arrow_schema("annotation").empty_table(), method="mean")  # type: ignore[arg-type]


def test_votes_that_cannot_count_are_all_listed() -> None:
    with pytest.raises(FaultsError, match="no vote"):
        label_votes([])
    votes = [*votes_of([["terrifying"], ["scary", "weird"]]), {"rater_id": "r0", "categories": []}]
    with pytest.raises(FaultsError) as caught:
        label_votes(votes)
    text = str(caught.value)
    assert "rater r0 voted 2 times" in text
    assert "rater r1 chose 'scary'" in text
    assert "rater r1 chose 'weird'" in text
    with pytest.raises(FaultsError, match="chose"):
        label_votes([{"rater_id": "r0", "categories": "political"}])


def test_aggregate_names_the_video_of_each_fault(small: Path) -> None:
    table = Release.open(small).annotations()
    first = [table.slice(0, 1), table.slice(table.num_rows - 1, 1)]
    with pytest.raises(FaultsError) as caught:
        aggregate(pa.concat_tables([table, *first]))
    assert len(caught.value.faults) == 2
    assert all(releases.ids(small) and fault.file.startswith("video ") for fault in caught.value.faults)
    with pytest.raises(SchemaError, match="rater_id"):
        aggregate(table.drop_columns(["rater_id"]))
    bad = table.set_column(2, "categories", pa.array([[7]] * table.num_rows, pa.list_(pa.int64())))
    with pytest.raises(FaultsError, match="chose '7'"):
        aggregate(bad)


def test_an_empty_table_gives_an_empty_table() -> None:
    assert aggregate(arrow_schema("annotation").empty_table()).num_rows == 0


def test_in_order() -> None:
    assert in_order(["political", "terrifying", "political"]) == ["terrifying", "political"]


def annotations(votes: dict[int, list[list[str]]]) -> pa.Table:
    rows = [
        {"video_id": f"{video:016x}", "rater_id": f"r{rater}", "categories": names, "seconds": None, "attention_check": None}
        for video, lists in votes.items()
        for rater, names in enumerate(lists)
    ]
    return to_table("annotation", rows)


def test_dawid_skene_labels_are_its_posteriors(sample: Release) -> None:
    table = sample.annotations()
    majority, weighed_ = aggregate(table).to_pylist(), aggregate(table, method="dawid_skene").to_pylist()
    fits = by_category(votes_by_video(table))
    for number, (one, other) in enumerate(zip(majority, weighed_, strict=True)):
        assert other["soft_labels"] == {name: fit.posterior[number, 1] for name, fit in fits.items()}
        assert other["categories"] == [name for name, value in other["soft_labels"].items() if value > 0.5]
        assert other["is_unsafe"] == bool(other["categories"])
        for fact in ("video_id", "vote_counts", "num_raters", "agreement"):
            assert one[fact] == other[fact]
        assert (one["label_method"], other["label_method"]) == ("majority", "dawid_skene")
    assert [one["categories"] for one in majority] != [other["categories"] for other in weighed_]


@given(st.lists(answers, min_size=1, max_size=5), st.randoms())
@settings(max_examples=25, deadline=None)
def test_dawid_skene_does_not_depend_on_the_order(lists: list[list[list[str]]], shuffle: random.Random) -> None:
    table = annotations(dict(enumerate(lists)))
    before = aggregate(table, method="dawid_skene")
    rows = list(range(table.num_rows))
    shuffle.shuffle(rows)
    assert aggregate(table.take(rows), method="dawid_skene").equals(before)


def test_a_tie_of_posteriors_is_explicit() -> None:
    table = annotations({1: [["terrifying"], []]})
    (row,) = aggregate(table, method="dawid_skene").to_pylist()
    assert (row["tied"], row["categories"], row["soft_labels"]["terrifying"]) == (["terrifying"], [], 0.5)
    (row,) = aggregate(table, method="dawid_skene", tie="positive").to_pylist()
    assert (row["categories"], row["is_unsafe"]) == (["terrifying"], True)


def test_min_raters_leaves_thin_videos_out() -> None:
    table = annotations({1: [["terrifying"]], 2: [["terrifying"], [], []], 3: [[], []]})
    assert aggregate(table, min_raters=2)["video_id"].to_pylist() == [f"{n:016x}" for n in (2, 3)]
    assert aggregate(table, min_raters=4).num_rows == 0
    with pytest.raises(InputError, match="min_raters"):
        aggregate(table, min_raters=0)


def test_what_did_not_converge_is_said(sample: Release) -> None:
    votes = votes_by_video(sample.annotations())
    labels = {video_id: label_votes(given_) for video_id, given_ in votes.items()}
    fits = {name: replace(fit, converged=name != "political") for name, fit in by_category(votes).items()}
    with pytest.warns(UserWarning, match="did not converge for political:"):
        weighed(labels, fits, tie="negative")


def test_dawid_skene_of_nothing_is_nothing() -> None:
    assert aggregate(arrow_schema("annotation").empty_table(), method="dawid_skene").num_rows == 0
