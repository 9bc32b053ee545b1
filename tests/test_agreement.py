"""The agreement report: its figures against oracles and by hand, intervals, order of rows, edge cases."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from unsafe_video_dataset import AgreementReport, aggregate, agreement
from unsafe_video_dataset.errors import FaultsError, InputError, SchemaError
from unsafe_video_dataset.records import arrow_schema, to_table
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES

Votes = dict[int, list[tuple[str, list[str]]]]


def annotations(votes: Votes) -> pa.Table:
    rows = [
        {"video_id": f"{video:016x}", "rater_id": rater, "categories": names, "seconds": None, "attention_check": None}
        for video, lists in votes.items()
        for rater, names in lists
    ]
    return to_table("annotation", rows)


def simulated(videos: int, raters: int, votes: int, seed: int = 0) -> Votes:
    rng = np.random.default_rng(seed)
    truth = rng.random((videos, 5)) < (0.28, 0.27, 0.21, 0.1, 0.03)
    right = np.stack([rng.beta(30, 2, (raters, 5)), rng.beta(8, 2, (raters, 5))])
    result: Votes = {}
    for video, number in enumerate(rng.multinomial(votes, [1 / videos] * videos)):
        result[video] = []
        for rater in rng.choice(raters, min(raters, max(1, number)), replace=False):
            says = (rng.random(5) < right[truth[video].astype(int), rater, np.arange(5)]) == truth[video]
            result[video].append((f"r{rater}", [name for name, yes in zip(CATEGORIES, says, strict=True) if yes]))
    return result


SMALL: Votes = {
    1: [("a", ["terrifying"]), ("b", ["terrifying"]), ("c", [])],
    2: [("a", []), ("b", ["terrifying"])],
    3: [("a", []), ("b", []), ("c", [])],
    4: [("c", ["political"])],
}


def test_a_table_by_hand() -> None:
    report = agreement(annotations(SMALL), bootstrap=200)
    assert (report.videos, report.votes, report.raters) == (4, 9, 3)
    assert report.raw["terrifying"].value == pytest.approx((1 / 3 + 0 + 1) / 3)
    assert report.raw["set"].value == pytest.approx((1 / 3 + 0 + 1) / 3)
    assert report.raw["political"].value == 1
    assert report.raw["mean"].value == pytest.approx((4 + 4 / 9) / 5)
    # Pairable answers to 'terrifying': 3 yes of 8; observed 2*2*1/2 + 2*1*1/1 of 8, expected 2*3*5 of 56.
    assert report.alpha["terrifying"].value == pytest.approx(1 - (4 / 8) / (30 / 56))
    chosen = (2 / 3 + 1 / 2) / 4  # the mean share of yes over all four videos
    chance = 2 * chosen * (1 - chosen)
    assert report.ac1["terrifying"].value == pytest.approx((4 / 9 - chance) / (1 - chance))
    assert report.alpha["political"].value is None
    assert report.alpha["political"].reason == "all answers are the same"
    assert report.votes_per_video == {"1": 1, "2": 1, "3": 2}
    assert report.votes_per_rater == {"3": 3}
    assert report.ties == {**dict.fromkeys(CATEGORIES, 0), "terrifying": 1, "any": 1}
    assert report.below == pytest.approx({"0.5": 0, "0.6": 0, "0.7": 0, "0.8": 0, "0.9": 2 / 3, "1": 2 / 3})
    assert [row.votes for row in report.table] == [3, 3, 3]


def test_against_the_package_on_a_release(sample: Release) -> None:
    krippendorff = pytest.importorskip("krippendorff")
    table = sample.annotations()
    report = agreement(table, bootstrap=300)
    rows = aggregate(table).to_pylist()
    for name in CATEGORIES:
        counts = [[row["num_raters"] - row["vote_counts"][name], row["vote_counts"][name]] for row in rows]
        oracle = krippendorff.alpha(value_counts=counts, level_of_measurement="nominal")
        found = report.alpha[name]
        assert found.value == pytest.approx(oracle, abs=1e-8)
        assert found.low is not None
        assert found.high is not None
        assert found.low < oracle < found.high
        assert found.replicates == 300
    assert report.raw["mean"].value == pytest.approx(np.mean([row["agreement"] for row in rows]))


def test_disagreements_are_the_labels_that_differ(sample: Release) -> None:
    table = sample.annotations()
    report = agreement(table, bootstrap=0)
    majority, other = (
        {row["video_id"]: set(row["categories"]) for row in aggregate(table, method=method).to_pylist()}
        for method in ("majority", "dawid_skene")
    )
    for name, fit in report.fits.items():
        assert fit.converged
        assert fit.majority_only == tuple(v for v in sorted(majority) if name in majority[v] - other[v])
        assert fit.dawid_skene_only == tuple(v for v in sorted(majority) if name in other[v] - majority[v])
    assert sum(len(fit.dawid_skene_only) + len(fit.majority_only) for fit in report.fits.values()) > 0
    assert report.alpha["set"].low is None
    assert report.alpha["set"].reason == "no bootstrap replicate"


def test_rates_of_raters_follow_their_skill() -> None:
    votes = simulated(400, 12, 2400)
    rng = random.Random(0)
    for lists in votes.values():
        lists.append(("guesser", [name for name in CATEGORIES if rng.random() < 0.5]))
    table = {row.rater_id: row for row in agreement(annotations(votes), bootstrap=0).table}
    guesser = table.pop("guesser")
    assert guesser.votes == 400
    for name in CATEGORIES[:3]:
        sensitivity, specificity = guesser.sensitivity[name], guesser.specificity[name]
        assert sensitivity is not None
        assert specificity is not None
        assert sensitivity + specificity == pytest.approx(1, abs=0.15)
        assert all((row.sensitivity[name] or 0) + (row.specificity[name] or 0) > 1.2 for row in table.values())


def test_the_order_of_the_rows_and_the_seed() -> None:
    table = annotations(simulated(40, 9, 200))
    rows = list(range(table.num_rows))
    random.Random(1).shuffle(rows)
    one = agreement(table, bootstrap=50)
    assert agreement(table.take(rows), bootstrap=50) == one
    assert agreement(table, bootstrap=50, seed=1) != one


def test_the_dict_is_json_and_the_text_is_a_table(sample: Release) -> None:
    report = agreement(sample.annotations(), bootstrap=20)
    assert isinstance(report, AgreementReport)
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False)) == report.to_dict()
    assert len(report.to_dict()["table"]) == report.raters
    lines = str(report).splitlines()
    assert lines[0] == f"{report.videos} videos, {report.votes} votes, {report.raters} raters"
    political = next(line for line in lines if line.startswith("political"))
    assert f"{report.alpha['political'].value:.3f} [{report.alpha['political'].low:.3f}" in political
    assert not [line for line in lines if line != line.rstrip()]


@pytest.mark.parametrize("votes", [
    {1: [("a", ["terrifying"])]},
    {1: [("a", ["terrifying"]), ("b", [])]},
    {1: [("a", [])], 2: [("a", ["political"])]},
    {n: [("a", ["terrifying"]), ("b", [])] for n in range(4)},
])  # fmt: skip
def test_one_rater_one_video_only_ties(votes: Votes) -> None:
    report = agreement(annotations(votes), bootstrap=30)
    json.dumps(report.to_dict(), allow_nan=False)
    assert str(report)
    pairs = any(len(lists) > 1 for lists in votes.values())
    assert (report.raw["set"].value is None) != pairs
    if not pairs:
        assert report.raw["set"].reason == "no video has two votes"
        assert report.below == {}
    else:
        assert report.ties["any"] == len(votes)
        assert report.raw["terrifying"].value == 0


def test_what_is_refused() -> None:
    table = annotations(SMALL)
    with pytest.raises(InputError, match="no vote"):
        agreement(arrow_schema("annotation").empty_table())
    with pytest.raises(SchemaError, match="rater_id"):
        agreement(table.drop_columns(["rater_id"]))
    with pytest.raises(FaultsError, match="voted 2 times"):
        agreement(pa.concat_tables([table, table.slice(0, 1)]))
    with pytest.raises(InputError, match="replicates"):
        agreement(table, bootstrap=-1)


@pytest.mark.slow
def test_the_papers_scale() -> None:
    table = annotations(simulated(2112, 403, 12_000))
    report: Any = agreement(table)
    assert report.videos == 2112
