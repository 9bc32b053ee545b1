"""`evaluate` beyond the multi-label table: thresholds, soft labels, slices, the ceiling, tests, and the evidence."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unsafe_video_dataset.errors import FaultsError, FilterError
from unsafe_video_dataset.evaluate import evaluate
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.scores import EvalReport, Row
from unsafe_video_dataset.soft import cross_entropy
from unsafe_video_dataset.taxonomy import CATEGORIES


def toy(
    release: Any, split: str = "test", *, unsafe: bool = True, noise: float = 0.5, name: str = "toy"
) -> list[dict[str, Any]]:
    """Labels blurred with noise that follows from the id."""
    rows = release.metadata(split, columns=["video_id", "categories", "is_unsafe"]).to_pylist()
    records = []
    for row in rows:
        if unsafe and not row["is_unsafe"]:
            continue
        rng = random.Random(f"{row['video_id']} {name}")
        scores = {c: (1 - noise) * (i in row["categories"]) + noise * rng.random() for i, c in enumerate(CATEGORIES)}
        records.append({"video_id": row["video_id"], "scores": scores, "unsafe_score": max(scores.values()), "model": name})
    return records


def by_name(rows: Any) -> dict[str, Row]:
    return {row.name: row for row in rows}


@pytest.fixture(scope="module")
def report(sample: Release) -> EvalReport:
    """Two toys on the sample, thresholds from validation."""
    return evaluate(
        toy(sample), sample, validation=toy(sample, "validation"), bootstrap=100,
        baseline=toy(sample, noise=0.9, name="worse"), baseline_validation=toy(sample, "validation", noise=0.9, name="worse"),
    )  # fmt: skip


# --- thresholds -------------------------------------------------------------------------------------------------------


def test_thresholds_come_from_validation_alone(sample: Release, report: EvalReport) -> None:
    assert (report.threshold, report.threshold_source) == (None, "validation")
    assert set(report.thresholds) == set(CATEGORIES)
    assert report.validation_sha256 is not None
    # Other predictions on test, the same on validation: the same thresholds. And the other way round.
    other = evaluate(toy(sample, noise=0.9), sample, validation=toy(sample, "validation"), bootstrap=0)
    assert other.thresholds == report.thresholds
    assert (
        evaluate(toy(sample), sample, validation=toy(sample, "validation", noise=0.9), bootstrap=0).thresholds
        != report.thresholds
    )
    # AP and AUROC know no threshold.
    plain = evaluate(toy(sample), sample, bootstrap=100)
    assert [row.ap for row in plain.rows] == [row.ap for row in report.rows]
    assert (plain.threshold, plain.threshold_source, plain.validation_sha256) == (0.5, "fixed", None)
    assert "fixed, not chosen" in plain.to_text()
    assert "validation split alone" in report.to_text()


def test_with_chosen_thresholds_the_majority_says_yes_to_all(report: EvalReport) -> None:
    for name, row in by_name(report.majority.rows).items():
        if name in CATEGORIES:
            share = (row.positives or 0) / row.n
            assert row.f1.value == pytest.approx(2 * share / (1 + share))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"validation": "v", "threshold": 0.4}, "not both"),
        ({"validation": "v", "split": "validation"}, "can't be scored there"),
        ({"validation": "v", "baseline": "t"}, "chosen alike"),
        ({"baseline": "t", "baseline_validation": "v"}, "chosen alike"),
        ({"baseline_validation": "v"}, "second model"),
        ({"target": "soft", "threshold": 0.4}, "no threshold"),
        ({"target": "soft", "validation": "v"}, "no threshold"),
    ],
)
def test_options_that_make_no_fair_threshold(sample: Release, options: dict[str, Any], words: str) -> None:
    files = {"v": toy(sample, "validation"), "t": toy(sample)}
    given = {name: files.get(value, value) if isinstance(value, str) else value for name, value in options.items()}
    with pytest.raises(FilterError, match=words):
        evaluate(toy(sample, given.get("split", "test")), sample, bootstrap=0, **given)


def test_validation_must_cover_validation(sample: Release) -> None:
    with pytest.raises(FaultsError, match="split 'validation'"):
        evaluate(toy(sample), sample, validation=toy(sample), bootstrap=0)


def test_an_empty_validation_split_says_so(tmp_path: Path) -> None:
    import releases

    release = Release.open(releases.build(tmp_path / "r", 12, fractions=(0.5, 0.0, 0.5)))
    with pytest.raises(FilterError, match=r"split='validation' .* has no videos"):
        evaluate(toy(release), release, validation=[], bootstrap=0)


# --- operating points -------------------------------------------------------------------------------------------------


def test_tpr_needs_enough_negatives(report: EvalReport) -> None:
    row = by_name(report.rows)
    assert row["political"].metrics["tpr_at_1_fpr"].value is None
    assert row["political"].metrics["tpr_at_1_fpr"].reason == "17 negatives; 1% FPR needs 100"
    assert row["macro"].metrics["tpr_at_5_fpr"].reason == "not every category has the 20 negatives that 5% FPR needs"
    assert row["micro"].metrics["tpr_at_5_fpr"].value is not None  # 79 negative entries
    assert "17 negatives; 5% FPR needs 20" in report.to_text()


# --- soft -------------------------------------------------------------------------------------------------------------


def test_soft_scores_the_shares_of_raters(sample: Release) -> None:
    records = toy(sample, unsafe=False)
    found = evaluate(records, sample, config="reviewed", target="soft", bootstrap=100)
    rows = sample.metadata("test").to_pylist()
    share = {row["video_id"]: row["soft_labels"] for row in rows}
    ids = [record["video_id"] for record in records]
    expected = cross_entropy([share[i]["political"] for i in ids], [record["scores"]["political"] for record in records]).mean()
    assert by_name(found.rows)["political"].metrics["cross_entropy"].value == pytest.approx(expected)
    assert found.n == len(rows)
    assert (found.threshold, found.thresholds, found.threshold_source) == (None, {}, "none")
    assert found.macro_categories == CATEGORIES
    exact = [{"video_id": i, "scores": share[i]} for i in ids]
    best = by_name(evaluate(exact, sample, config="reviewed", target="soft", bootstrap=0).rows)["macro"].metrics
    assert [best[name].value for name in ("brier", "jensen_shannon", "ece")] == pytest.approx([0, 0, 0], abs=1e-12)
    assert f"is {best['cross_entropy'].value:.3f}" in found.to_text()  # the least that the votes allow
    assert found.majority.scores is not None
    assert "lower is better" in found.to_text()


def test_soft_needs_votes(unvoted: Path) -> None:
    release = Release.open(unvoted)
    with pytest.raises(FilterError, match="no video of split='test' has any"):
        evaluate(toy(release), release, target="soft", bootstrap=0)


# --- ceiling, slices, tests -------------------------------------------------------------------------------------------


def test_without_votes_the_ceiling_is_null_with_a_reason(unvoted: Path) -> None:
    release = Release.open(unvoted)
    found = evaluate(toy(release), release, bootstrap=100)
    assert found.ceiling.human == ()
    assert "no video of the split has two votes" in str(found.to_dict()["ceiling"]["reason"])
    assert "human ceiling: no video" in found.to_text()
    assert {part.by for part in found.slices} == {"generator"}  # no prompt sources, no agreement


def test_the_ceiling_does_not_depend_on_the_model(sample: Release, report: EvalReport) -> None:
    other = evaluate(toy(sample, noise=0.9), sample, bootstrap=100)
    assert other.ceiling.human == report.ceiling.human
    assert report.ceiling.n == report.n
    answers = sum(len(row["votes"]) for row in sample.metadata("test", is_unsafe=True).to_pylist())
    assert report.ceiling.answers == answers


def test_slices_part_the_videos_and_use_the_same_thresholds(sample: Release, report: EvalReport) -> None:
    for by in ("generator", "prompt_source", "agreement"):
        parts = [part for part in report.slices if part.by == by]
        assert sum(part.n for part in parts) == report.n
        positives = sum(by_name(part.rows)["terrifying"].positives or 0 for part in parts)
        assert positives == by_name(report.rows)["terrifying"].positives
    assert next(part.value for part in report.slices if part.by == "agreement") == "below 0.7"
    # A slice is the evaluation of its videos alone, values and all.
    rows = sample.metadata("test", is_unsafe=True).to_pylist()
    keep = {row["video_id"] for row in rows if row["generator"] == "magictime"}
    part = next(part for part in report.slices if part.value == "magictime")
    assert part.n == len(keep)

    class Only:
        manifest, manifest_sha256 = sample.manifest, sample.manifest_sha256

        def metadata(self, split: str | None = None, *, columns: Any = None) -> Any:
            table = sample.metadata(split, columns=columns)
            wanted = [row["video_id"] in keep or row.get("split", split) != "test" for row in table.to_pylist()]
            return table.filter(np.array(wanted))

    records = [record for record in toy(sample) if record["video_id"] in keep]
    alone = evaluate(records, Only(), validation=toy(sample, "validation"), bootstrap=0)
    assert [[e.value for e in row.estimates] for row in alone.rows] == [[e.value for e in row.estimates] for row in part.rows]


def test_tests_of_the_second_model(report: EvalReport) -> None:
    assert report.baseline is not None
    tests = report.baseline.tests
    assert {test.method for test in tests} == {"bootstrap", "mcnemar"}
    corrected = [test for test in tests if test.p_holm is not None]
    assert {test.name for test in corrected} == set(CATEGORIES)
    assert all(test.p is not None and test.p_holm is not None and test.p_holm >= test.p for test in corrected)
    macro = next(test for test in tests if (test.name, test.metric) == ("macro", "ap"))
    assert macro.p is not None
    assert macro.p < 0.1
    assert macro.p_holm is None
    assert report.baseline.model == "worse"
    assert report.baseline.thresholds != report.thresholds
    assert "McNemar takes videos as independent: 20 in 11 groups" in " ".join(report.to_text().split())


def test_against_itself_nothing_differs(sample: Release) -> None:
    found = evaluate(toy(sample), sample, baseline=toy(sample), bootstrap=100)
    assert found.baseline is not None
    assert {test.p for test in found.baseline.tests if test.p is not None} == {1.0}


# --- evidence ---------------------------------------------------------------------------------------------------------


def test_the_split_hash_is_of_the_sorted_ids(sample: Release, report: EvalReport) -> None:
    ids = sorted(sample.metadata("test", is_unsafe=True)["video_id"].to_pylist())
    assert report.split_sha256 == hashlib.sha256("".join(f"{one}\n" for one in ids).encode()).hexdigest()
    reviewed = evaluate(toy(sample, unsafe=False), sample, config="reviewed", bootstrap=0)
    assert reviewed.split_sha256 != report.split_sha256


def test_the_commit_is_known_for_a_download_only(sample: Release, small: Path, tmp_path: Path, report: EvalReport) -> None:
    import shutil

    assert report.release_commit is None
    sha = "0123456789" * 4
    copied = Release.open(shutil.copytree(small, tmp_path / "commits" / sha))
    assert evaluate(toy(copied), copied, bootstrap=0).release_commit == sha
    elsewhere = Release.open(shutil.copytree(small, tmp_path / "x" / sha))
    assert evaluate(toy(elsewhere), elsewhere, bootstrap=0).release_commit is None


def test_json_text_and_markdown(report: EvalReport) -> None:
    plain = json.loads(report.to_json(), parse_constant=lambda name: pytest.fail(name))
    assert plain["rows"][0]["ap"]["value"] == report.rows[0].ap.value
    assert plain["ceiling"]["human"][0]["f1"]["value"] is not None
    assert plain["slices"][0]["rows"][0]["auroc"] is not None
    assert {"python_version", "numpy_version", "package_version", "seed", "split_sha256"} <= set(plain)
    text, page = report.to_text(), report.to_markdown()
    assert max(map(len, text.splitlines())) <= 120
    for title in ("operating points", "majority", "model - baseline", "p of no difference", "human (a rater", "model - human"):
        assert title in text
    tables = [line for line in page.splitlines() if line.startswith("|")]
    assert all(line.count("|") >= 4 for line in tables)
    assert page.startswith("# toy on sample 1.0, test (multilabel)")
    assert "By prompt source" in page
    assert report.split_sha256[:12] in page


def test_a_model_name_can_not_break_the_page(sample: Release) -> None:
    records = [{**record, "model": "a|b\n# c"} for record in toy(sample)]
    page = evaluate(records, sample, bootstrap=0).to_markdown()
    assert "\n# c" not in page
