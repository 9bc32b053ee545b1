"""The evaluation protocol: hand-computed reports, refusals that list everything, and results that ignore order."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from unsafe_video_dataset.errors import FaultsError, FilterError, InputError
from unsafe_video_dataset.evaluate import evaluate, evaluate_arrays
from unsafe_video_dataset.predictions import read_predictions, write_predictions
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.scores import EvalReport, Row
from unsafe_video_dataset.taxonomy import CATEGORIES

Record = dict[str, Any]


class FakeRelease:
    """The part of `Release` that `evaluate` needs, over rows in memory."""

    manifest_sha256 = "ab" * 32

    def __init__(self, rows: Sequence[Record]) -> None:
        self.rows = list(rows)
        self.manifest: dict[str, Any] = {"name": "fake", "release_version": "1.2"}

    def metadata(self, split: str | None = None, *, columns: Sequence[str] | None = None) -> pa.Table:
        rows = [row for row in self.rows if split in (None, row["split"])]
        schema = pa.schema(
            {
                "video_id": pa.string(),
                "is_unsafe": pa.bool_(),
                "categories": pa.list_(pa.int64()),
                "group_id": pa.string(),
                "split": pa.string(),
                "votes": pa.list_(pa.struct({"rater_id": pa.string(), "categories": pa.list_(pa.int64())})),
                "soft_labels": pa.struct([(name, pa.float64()) for name in CATEGORIES]),
                "generator": pa.string(),
                "prompt_source": pa.string(),
                "agreement": pa.float64(),
                "label_method": pa.string(),
            }
        )
        return pa.Table.from_pylist(rows, schema=schema).select(list(columns or schema.names))


def video(number: int, categories: Sequence[int], *, split: str = "test", group: int | None = None) -> Record:
    return {
        "video_id": f"{number:016x}",
        "is_unsafe": bool(categories),
        "categories": list(categories),
        "group_id": f"g{number if group is None else group:016x}",
        "split": split,
    }


def prediction(row: Record | str, scores: Sequence[float], unsafe: float | None = None) -> Record:
    made: Record = {"video_id": row if isinstance(row, str) else row["video_id"]}
    made["scores"] = dict(zip(CATEGORIES, scores, strict=True))
    return made if unsafe is None else {**made, "unsafe_score": unsafe}


def by_name(rows: Sequence[Row]) -> dict[str, Row]:
    return {row.name: row for row in rows}


# Train: prevalence of category 0 is 3/4, of 1 is 1/4, of 2 is 1/2; 3 and 4 never. Test: 4 unsafe videos, one not.
TRAIN = [video(100 + i, c, split="train") for i, c in enumerate(([0, 1], [0], [0, 2], [2]))]
TEST = [video(1, [0]), video(2, [0, 1]), video(3, [1]), video(4, [1, 2, 3])]
SAFE = [video(5, []), video(105, [], split="train")]
SCORES = [(0.9, 0.1, 0, 0, 0), (0.5, 0.6, 0, 0, 0), (0.5, 0.6, 0, 0, 0), (0.1, 0.2, 0.7, 0.1, 0)]
FAKE = FakeRelease(TRAIN + TEST + SAFE)
GOOD = [prediction(row, scores) for row, scores in zip(TEST, SCORES, strict=True)]


def many(n: int = 60, seed: int = 0) -> tuple[FakeRelease, list[Record]]:
    """A larger release, two videos a group, with a model that knows something."""
    rng = random.Random(seed)
    rows = []
    for i in range(2 * n):
        categories = [c for c in range(5) if rng.random() < (0.6, 0.5, 0.4, 0.3, 0.1)[c]] or [0]
        rows.append(video(i, categories, split="train" if i < n else "test", group=i // 2))
    guess = [[round(min(1, 0.3 * (c in row["categories"]) + 0.7 * rng.random()), 1) for c in range(5)] for row in rows[n:]]
    return FakeRelease(rows), [prediction(row, g, g[0]) for row, g in zip(rows[n:], guess, strict=True)]


# --- values -----------------------------------------------------------------------------------------------------------


def test_hand_computed_report() -> None:
    report = evaluate(GOOD, FAKE, bootstrap=100)
    rows = by_name(report.rows)
    assert list(rows) == [*CATEGORIES, "macro", "micro"]
    first, second, third, fourth, fifth = (rows[name] for name in CATEGORIES)
    # Category 0: targets 1 1 0 0, scores .9 .5 .5 .1 (a tie). AP 1/2 + 1/2*2/3; AUROC 3.5/4; F1: TP 2, FP 1.
    assert [e.value for e in first.estimates] == pytest.approx([5 / 6, 7 / 8, 4 / 5])
    # Category 1: targets 0 1 1 1, scores .1 .6 .6 .2: a perfect order; F1: TP 2, FN 1.
    assert [e.value for e in second.estimates] == pytest.approx([1, 1, 4 / 5])
    # Category 2: targets 0 0 0 1, perfect. Category 3: perfect order, below the threshold, so F1 is 0.
    assert [e.value for e in third.estimates] == pytest.approx([1, 1, 1])
    assert [e.value for e in fourth.estimates] == pytest.approx([1, 1, 0])
    assert [e.value for e in fifth.estimates] == [None, None, None]
    assert {e.reason for e in fifth.estimates} == {"no video is positive"}
    assert [(row.n, row.positives, row.positive_groups) for row in report.rows] == [
        (4, 2, 2), (4, 3, 3), (4, 1, 1), (4, 1, 1), (4, 0, 0), (4, None, None), (20, 7, 4),
    ]  # fmt: skip
    assert report.macro_categories == CATEGORIES[:4]
    macro = [(5 / 6 + 3) / 4, (7 / 8 + 3) / 4, (4 / 5 + 4 / 5 + 1) / 4]
    assert [e.value for e in rows["macro"].estimates] == pytest.approx(macro)
    # Micro F1 over 20 entries: TP 2+2+1+0, FP 1, FN 0+1+0+1.
    assert rows["micro"].f1.value == pytest.approx(10 / 13)
    flat = [c in row["categories"] for row in TEST for c in range(5)], [s for row in SCORES for s in row]
    assert rows["micro"].ap.value == pytest.approx(average_precision_score(*flat))
    assert rows["micro"].auroc.value == pytest.approx(roc_auc_score(*flat))


def test_majority_knows_only_the_train_prevalences() -> None:
    report = evaluate(GOOD, FAKE, bootstrap=100)
    majority, rows = report.majority, by_name(report.majority.rows)
    assert majority.scores == dict(zip(CATEGORIES, (0.75, 0.25, 0.5, 0.0, 0.0), strict=True))
    assert [rows[name].ap.value for name in CATEGORIES] == [2 / 4, 3 / 4, 1 / 4, 1 / 4, None]  # the test prevalence
    assert [rows[name].auroc.value for name in CATEGORIES] == [0.5] * 4 + [None]
    # F1 predicts 1 where the prevalence is at least 0.5: categories 0 (TP 2, FP 2) and 2 (TP 1, FP 3).
    assert [rows[name].f1.value for name in CATEGORIES] == pytest.approx([2 / 3, 0, 2 / 5, 0, None])
    assert rows["macro"].ap.value == pytest.approx(1.75 / 4)
    # Micro, thresholds .75 (2 of 4), .5 (3 of 8), .25 (6 of 12), 0 (7 of 20).
    ap = (2 * 2 / 4 + 1 * 3 / 8 + 3 * 6 / 12 + 1 * 7 / 20) / 7
    assert rows["micro"].ap.value == pytest.approx(ap)
    model, differences = by_name(report.rows), by_name(majority.differences)
    for name in ("macro", "micro"):
        for mine, theirs, gap in zip(model[name].estimates, rows[name].estimates, differences[name].estimates, strict=True):
            assert mine.value is not None
            assert theirs.value is not None
            assert gap.value == pytest.approx(mine.value - theirs.value)


def test_majority_is_of_the_same_config() -> None:
    records = [*GOOD, prediction(SAFE[0], [0.2] * 5, 0.2)]
    report = evaluate(records, FAKE, config="reviewed", bootstrap=100)
    assert report.n == 5
    assert report.majority.scores == dict(zip(CATEGORIES, (0.6, 0.2, 0.4, 0.0, 0.0), strict=True))


def test_without_train_videos_there_is_no_majority() -> None:
    report = evaluate(GOOD, FakeRelease(TEST), bootstrap=100)
    assert report.majority.rows == report.majority.differences == ()
    assert "'train'" in str(report.majority.reason)
    assert "majority: split 'train'" in report.to_text()


def test_binary() -> None:
    records = [{"video_id": row["video_id"], "unsafe_score": s} for row, s in zip(TEST, (1, 0.7, 0.4, 0.4), strict=True)]
    records.append({"video_id": SAFE[0]["video_id"], "unsafe_score": 0.4})
    report = evaluate(records, FAKE, config="reviewed", target="binary", bootstrap=100)
    (row,) = report.rows
    # Pairs: two wins and two ties of four. AP: 1/4 + 1/4 + 2/4 * 4/5. F1: TP 2, FN 2.
    assert row.name == "unsafe"
    assert [e.value for e in row.estimates] == pytest.approx([0.9, 0.75, 2 / 3])
    assert report.majority.scores == {"unsafe": 0.8}
    assert [e.value for e in report.majority.rows[0].estimates] == pytest.approx([0.8, 0.5, 8 / 9])
    assert "macro" not in report.to_text()


def test_agrees_with_scikit_learn_and_a_plain_bootstrap() -> None:
    release, records = many()
    report = evaluate(records, release, bootstrap=100, seed=3)
    rows = [row for row in release.rows if row["split"] == "test"]
    truth = np.array([[c in row["categories"] for c in range(5)] for row in rows])
    score = np.array([list(record["scores"].values()) for record in records])

    def three(t: Any, s: Any) -> list[float]:
        return [average_precision_score(t, s), roc_auc_score(t, s), f1_score(t, s >= 0.5)]

    def oracle(index: Any) -> dict[str, list[float]]:
        t, s = truth[index], score[index]
        cells = {name: three(t[:, c], s[:, c]) for c, name in enumerate(CATEGORIES)}
        cells["macro"] = np.mean([cells[name] for name in CATEGORIES], axis=0).tolist()
        cells["micro"] = three(t.ravel(), s.ravel())
        return cells

    whole = oracle(slice(None))
    for row in report.rows:
        assert [e.value for e in row.estimates] == pytest.approx(whole[row.name])
    # The same bootstrap by hand: draw group numbers, write the rows out, score with scikit-learn.
    rng = np.random.default_rng(3)
    groups = sorted({row["group_id"] for row in rows})
    members = [[i for i, row in enumerate(rows) if row["group_id"] == group] for group in groups]
    drawn = [[i for g in rng.integers(0, len(groups), size=len(groups)) for i in members[g]] for _ in range(100)]
    assert all(0 < truth[index][:, c].sum() < len(index) for index in drawn for c in range(5))
    replicates = [oracle(index) for index in drawn]
    for row in report.rows:
        expected = np.quantile([cells[row.name] for cells in replicates], [0.025, 0.975], axis=0)
        assert [e.low for e in row.estimates] == pytest.approx(expected[0])
        assert [e.high for e in row.estimates] == pytest.approx(expected[1])
        assert {e.replicates for e in row.estimates} == {100}


def test_a_second_model_is_compared_in_the_same_replicates() -> None:
    release, records = many()
    report = evaluate(records, release, baseline=records, bootstrap=100)
    assert report.baseline is not None
    assert report.baseline.rows == report.rows
    assert report.baseline.predictions_sha256 == report.predictions_sha256
    for row in report.baseline.differences:  # paired: against itself the difference is 0 in every replicate
        assert [(e.value, e.low, e.high) for e in row.estimates] == [(0, 0, 0)] * 3
    assert "model - baseline" in report.to_text()


# --- intervals --------------------------------------------------------------------------------------------------------


def test_intervals_hold_the_value_and_the_gap_to_the_majority() -> None:
    release, records = many(200)
    report = evaluate(records, release, bootstrap=500)
    for row in report.rows:
        for found in row.estimates:
            assert found.low is not None
            assert found.high is not None
            assert found.value is not None
            assert found.low < found.value < found.high
    macro = by_name(report.majority.differences)["macro"].ap
    assert macro.low is not None
    assert macro.low > 0


def test_groups_widen_the_interval() -> None:
    truth, rng = np.repeat([0, 1], 100), np.random.default_rng(0)
    score = np.repeat(rng.random(40) * 0.5 + np.repeat([0, 0.25], 20), 5)  # videos of a group score alike
    alone, together = (
        evaluate_arrays(truth, score, [f"g{i // size}" for i in range(200)], bootstrap=400)[0][0].auroc for size in (1, 5)
    )
    assert alone.value == together.value
    assert together.high - together.low > 1.4 * (alone.high - alone.low)  # type: ignore[operator]


def test_one_group_has_values_without_intervals() -> None:
    rows = [video(i, c, group=1) for i, c in enumerate(([0], [1]))]
    report = evaluate([prediction(row, [0.5] * 5) for row in rows], FakeRelease(rows), bootstrap=100)
    first = report.rows[0].ap
    assert (first.value, first.low, first.high) == (0.5, None, None)
    assert "one group" in str(first.reason)
    assert report.groups == 1


def test_one_video_has_no_values() -> None:
    report = evaluate([prediction(TEST[0], [0.5] * 5)], FakeRelease([TEST[0]]), bootstrap=100)
    rows = by_name(report.rows)
    assert rows["distorted_weird"].ap.reason == "every video is positive, so none is negative"
    assert rows["macro"].ap.reason == "no category has both positive and negative videos"
    assert rows["micro"].ap.value is not None  # five entries, one positive
    assert rows["micro"].ap.low is None
    assert report.macro_categories == ()
    assert "no category" in report.to_text()


def test_rare_positives() -> None:
    # One positive among n groups is in a replicate with probability 1 - (1 - 1/n)^n, about 0.65: counted, not hidden.
    truth, groups = np.eye(1, 20, dtype=int)[0], [f"g{i}" for i in range(20)]
    ((row,), _) = evaluate_arrays(truth, np.linspace(1, 0, 20), groups, bootstrap=400)
    assert 220 < row.ap.replicates < 300
    assert row.ap.low == 1
    # Both classes in three groups of two needed ones: fewer than half of the replicates have them all.
    ((*_, macro, _micro), _) = evaluate_arrays(np.eye(4), np.eye(4), list("abcd"), names=list("wxyz"), bootstrap=400)
    assert macro.ap.value == 1
    assert macro.ap.low is None
    assert macro.ap.reason == (f"no interval: only {macro.ap.replicates} of 400 bootstrap replicates have both classes")


def test_no_bootstrap() -> None:
    report = evaluate(GOOD, FAKE, bootstrap=0)
    assert report.rows[0].ap.value is not None
    assert report.rows[0].ap.reason == "no interval: bootstrap=0"


@pytest.mark.parametrize("bootstrap", [1, 99])
def test_too_few_replicates_make_no_interval(bootstrap: int) -> None:
    found = evaluate(GOOD, FAKE, bootstrap=bootstrap).rows[0].ap
    assert found.value is not None
    assert (found.low, found.high) == (None, None)
    assert f"bootstrap={bootstrap}" in str(found.reason)
    assert evaluate(GOOD, FAKE, bootstrap=100).rows[0].ap.low is not None


def test_seed_and_replicates_fix_the_intervals() -> None:
    release, records = many()
    once, again, other = (evaluate(records, release, bootstrap=100, seed=seed).rows for seed in (1, 1, 2))
    assert once == again
    assert once != other


# --- order ------------------------------------------------------------------------------------------------------------


@given(st.randoms(use_true_random=False), st.sampled_from(["multilabel", "binary"]))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_order_changes_nothing(shuffle: random.Random, target: Any) -> None:
    release, records = many(20)
    safe = [video(1000 + i, [], split="test", group=i) for i in range(6)]
    rows, records = release.rows + safe, records + [prediction(row, [0.1] * 5, 0.3) for row in safe]
    options: dict[str, Any] = {"config": "reviewed", "target": target, "bootstrap": 20}
    expected = evaluate(records, FakeRelease(rows), **options).to_json()
    shuffle.shuffle(rows)
    shuffle.shuffle(records)
    assert evaluate(records, FakeRelease(rows), **options).to_json() == expected


@given(st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_order_of_arrays_changes_nothing(shuffle: random.Random) -> None:
    rng = np.random.default_rng(0)
    truth, score, groups = rng.integers(0, 2, (30, 5)), rng.random((30, 5)).round(1), [f"g{i // 3}" for i in range(30)]
    expected = evaluate_arrays(truth, score, groups, bootstrap=100, others={"half": np.full((30, 5), 0.5)})
    order = list(range(30))
    shuffle.shuffle(order)
    found = evaluate_arrays(
        truth[order], score[order], [groups[i] for i in order], bootstrap=100, others={"half": np.full((30, 5), 0.5)}
    )
    assert found == expected


# --- refusals ---------------------------------------------------------------------------------------------------------


def test_coverage_lists_missing_extra_and_scoreless_at_once() -> None:
    records = [*GOOD[1:3], prediction("f" * 16, [0.5] * 5), prediction(TRAIN[0], [0.5] * 5)]
    records.append({"video_id": TEST[3]["video_id"], "unsafe_score": 0.5})
    with pytest.raises(FaultsError) as caught:
        evaluate(records, FAKE)
    text = str(caught.value)
    assert len(caught.value.faults) == 3
    assert f"1 of the 4 videos of split 'test' of config 'unsafe' have no prediction: {TEST[0]['video_id']}" in text
    assert f"{TRAIN[0]['video_id']}, {'f' * 16} (1 of them are elsewhere in the release)" in text
    assert f"no `scores`: {TEST[3]['video_id']}" in text
    assert "Release.metadata('test', is_unsafe=True)" in text


def test_coverage_caps_the_ids_and_gives_the_count() -> None:
    release, _ = many()
    with pytest.raises(FaultsError, match=r"60 of the 60 videos .* and 50 more"):
        evaluate([], release)


def test_binary_needs_unsafe_scores() -> None:
    with pytest.raises(FaultsError, match="no `unsafe_score`"):
        evaluate([*GOOD, prediction(SAFE[0], [0.5] * 5)], FAKE, config="reviewed", target="binary")


def test_binary_needs_both_classes() -> None:
    with pytest.raises(FilterError, match="config='reviewed'"):
        evaluate(GOOD, FAKE, target="binary")


@pytest.mark.parametrize(
    ("option", "choices"),
    [
        ({"config": "metadata"}, "unsafe, reviewed"),
        ({"split": "dev"}, "train, validation, test"),
        ({"target": "hard"}, "multilabel, binary, soft"),
        ({"threshold": 2}, "0 to 1"),
        ({"threshold": math.nan}, "0 to 1"),
    ],
)
def test_unknown_options(option: dict[str, Any], choices: str) -> None:
    with pytest.raises(FilterError, match=choices):
        evaluate(GOOD, FAKE, **option)


@pytest.mark.parametrize("option", [{"bootstrap": -1}, {"seed": -1}, {"bootstrap": 1.5}])
def test_bad_numbers(option: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        evaluate(GOOD, FAKE, **option)


def test_empty_split_says_which_splits_have_videos() -> None:
    with pytest.raises(FilterError, match="train 4, validation 0, test 4"):
        evaluate(GOOD, FAKE, split="validation")


@pytest.mark.parametrize(
    ("targets", "scores", "groups"),
    [
        (np.zeros((3, 5)), np.zeros((5, 3)), list("abc")),
        (np.zeros((3, 5)), np.zeros((3, 5)), list("ab")),
        (np.full((3, 5), 0.7), np.zeros((3, 5)), list("abc")),
        (np.zeros((3, 2)), np.zeros((3, 2)), list("abc")),
        (np.zeros((0, 5)), np.zeros((0, 5)), []),
    ],
)
def test_arrays_of_wrong_shape(targets: Any, scores: Any, groups: Any) -> None:
    with pytest.raises(InputError):
        evaluate_arrays(targets, scores, groups)


# --- files ------------------------------------------------------------------------------------------------------------


def test_round_trip_sorted_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("old")
    write_predictions(path, [{**record, "model": "m ü\u2028", "unsafe_score": None} for record in reversed(GOOD)])
    assert [file.name for file in tmp_path.iterdir()] == ["p.jsonl"]
    assert read_predictions(path) == [{**record, "model": "m ü\u2028"} for record in GOOD]
    assert path.read_bytes().endswith(b"\n")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text("old")
    with pytest.raises(FaultsError):
        write_predictions(path, [{"video_id": "nope", "unsafe_score": 0.5}])
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["p.jsonl"]


def test_numpy_numbers_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    write_predictions(path, [{"video_id": "0" * 16, "unsafe_score": np.float32(0.5)}])
    assert read_predictions(path) == [{"video_id": "0" * 16, "unsafe_score": 0.5}]


def test_bom_windows_lines_and_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    lines = [json.dumps(record).encode() for record in GOOD]
    path.write_bytes(b"\xef\xbb\xbf" + b"\r\n".join(lines) + b"\r\n\r\n")
    assert read_predictions(path) == GOOD


def test_parquet_and_json_lines_are_the_same_predictions(tmp_path: Path) -> None:
    as_lines, as_rows = tmp_path / "p.jsonl", tmp_path / "p.parquet"
    write_predictions(as_lines, GOOD)
    pq.write_table(pa.Table.from_pylist([{**record, "model": None} for record in GOOD]), as_rows)
    assert read_predictions(as_rows) == read_predictions(as_lines)
    reports = [evaluate(path, FAKE, bootstrap=100) for path in (as_lines, as_rows, str(as_rows), GOOD)]
    assert len({report.to_json() for report in reports}) == 1


def test_parquet_faults(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"video_id": ["0" * 16, None], "unsafe_score": [math.nan, 0.5], "prompt": ["x", "y"]}), path)
    with pytest.raises(FaultsError) as caught:
        read_predictions(path)
    assert {(fault.line, fault.field) for fault in caught.value.faults} >= {(None, "prompt"), (1, "unsafe_score")}
    assert any(fault.line == 2 and "video_id" in fault.message for fault in caught.value.faults)
    path.write_bytes(b"PAR1 no")
    with pytest.raises(FaultsError, match="unreadable Parquet"):
        read_predictions(path)


def test_all_faults_of_a_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    good = json.dumps(GOOD[0])
    lines = [
        good,
        "{not json",
        good,  # a second time
        '{"video_id": "00000000000000aa", "unsafe_score": NaN}',
        '{"video_id": "00000000000000ab", "unsafe_score": Infinity}',
        '{"video_id": "xyz", "unsafe_score": 0.5}',
        '{"video_id": "00000000000000ac"}',
        "[1]",
        '{"video_id": "00000000000000ad", "unsafe_score": 0.5, "prompt": "no"}',
        '{"video_id": "00000000000000ae", "video_id": "00000000000000af", "unsafe_score": 0.5}',
        '{"video_id": "00000000000000ba", "unsafe_score": true}',
        "[" * 100_000,
    ]
    path.write_bytes("\n".join(lines).encode() + b'\n{"video_id": "\xff"}\n')
    with pytest.raises(FaultsError) as caught:
        read_predictions(path)
    faults = caught.value.faults
    assert {fault.line for fault in faults} == set(range(2, 14))
    assert [fault.line for fault in faults] == sorted(fault.line or 0 for fault in faults)
    assert all(fault.file == str(path) and fault.expected for fault in faults)
    first = {fault.line: fault for fault in reversed(faults)}
    assert first[3].field == "video_id"
    assert "first as line 1" in first[3].message
    assert any(fault.line == 4 and fault.field == "unsafe_score" for fault in faults)
    assert first[7].message == "there is no valid `scores` or `unsafe_score`"
    assert "not UTF-8" in first[13].message
    with pytest.raises(FaultsError) as again:  # evaluate says the same before it looks at coverage
        evaluate(path, FAKE)
    assert again.value.faults == faults


@pytest.mark.parametrize("name", ["none.jsonl", "p.csv", "."])
def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path, name: str) -> None:
    (tmp_path / "p.csv").write_text("x")
    with pytest.raises(InputError):
        read_predictions(tmp_path / name)


# --- report -----------------------------------------------------------------------------------------------------------


def test_report_carries_its_evidence() -> None:
    report = evaluate([{**record, "model": "m"} for record in GOOD], FAKE, bootstrap=100, seed=7, threshold=0.4)
    found = report.to_dict()
    expected = {
        "release": "fake", "release_version": "1.2", "manifest_sha256": "ab" * 32, "config": "unsafe", "split": "test",
        "target": "multilabel", "n": 4, "groups": 4, "bootstrap": 100, "seed": 7, "threshold": 0.4, "model": "m",
        "numpy_version": np.__version__, "macro_categories": list(CATEGORIES[:4]), "baseline": None,
    }  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert len(found["predictions_sha256"]) == 64
    assert found["package_version"]
    assert json.loads(report.to_json()) == found
    assert "NaN" not in report.to_json()
    assert "prompt" not in report.to_json()


def test_sha256_is_of_the_predictions_not_of_their_spelling() -> None:
    def sha(**change: Any) -> str:
        return evaluate([{**GOOD[0], **change}, *GOOD[1:]], FAKE, bootstrap=0).predictions_sha256

    scores = GOOD[0]["scores"]
    assert sha() == sha(unsafe_score=None) == sha(scores=dict(reversed(scores.items()))) == sha(model=None)
    assert sha() == sha(scores={**scores, "political": -0.0})
    assert len({sha(), sha(unsafe_score=0.5), sha(scores={**scores, "political": 0.1}), sha(model="m")}) == 4


def test_text() -> None:
    text = evaluate(GOOD, FAKE, bootstrap=100).to_text()
    lines = text.splitlines()
    assert lines[0].split() == ["n", "positives", "AP", "[95%]", "AUROC", "[95%]", "F1", "[95%]"]
    assert [line.split()[0] for line in lines[1:8]] == [*CATEGORIES, "macro", "micro"]
    assert lines[1].split()[1:4] == ["4", "2", "0.833"]
    assert lines[5].split() == ["political", "4", "0", "-", "-", "-"]
    positions = {name: lines[0].index(name) for name in ("AP", "AUROC", "F1")}
    assert all(line[position - 1] == " " != line[position] for line in lines[1:8] for position in positions.values())
    assert lines[9] == "operating points"
    assert "majority" in lines
    assert "model - majority" in lines
    assert "note: political: no video is positive" in lines
    assert lines[-3].startswith("release fake 1.2 (manifest abababababab), split test (")
    assert max(map(len, lines)) <= 120
    assert "nan" not in text.lower().split()


def test_report_is_frozen() -> None:
    report = evaluate(GOOD, FAKE, bootstrap=0)
    assert isinstance(report, EvalReport)
    with pytest.raises(AttributeError):
        report.n = 5  # type: ignore[misc]


def test_the_embedded_sample_opens_by_name() -> None:
    release = Release.open("sample")
    rows = release.metadata("test", is_unsafe=True).to_pylist()
    records = [prediction(row, [float(c in row["categories"]) for c in range(5)]) for row in rows]
    report = evaluate(records, "sample", bootstrap=100)
    assert report.to_json() == evaluate(records, release, bootstrap=100).to_json()
    assert report.n == len(rows)
    assert report.manifest_sha256 == release.manifest_sha256
    assert all(e.value == 1 for row in report.rows for e in row.estimates if e.value is not None)
