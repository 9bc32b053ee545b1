"""The comparison with the truth: a perfect run scores 1, planted mistakes of a run are counted where they happen."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from unsafe_video_dataset.agreement import agreement
from unsafe_video_dataset.builders.twin.compare import compare
from unsafe_video_dataset.builders.twin.compare_page import page
from unsafe_video_dataset.builders.twin.files import truth_files
from unsafe_video_dataset.builders.twin.make import write_atomic
from unsafe_video_dataset.builders.twin.plan import Item, make_plan
from unsafe_video_dataset.builders.twin.raters import make_raters
from unsafe_video_dataset.builders.twin.votes import make_votes
from unsafe_video_dataset.errors import InputError
from unsafe_video_dataset.records import to_table
from unsafe_video_dataset.taxonomy import NONE
from unsafe_video_dataset.votes import label_votes

PLAN = make_plan(400, seed=4)
RATERS = make_raters(PLAN.counts.raters, np.random.default_rng(0))
VOTES = make_votes(PLAN, RATERS, np.random.default_rng(1))
ORDER = ["ingest", "probe", "quality", "dedup", "cluster", "votes"]
Rows = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twin")
    drawn = {one.item: (f"{number:064x}", 1000 + number) for number, one in enumerate(PLAN.items)}
    for path, data in truth_files(PLAN, RATERS, VOTES, drawn).items():
        write_atomic(folder / path, data)
    return folder / "truth"


def reaches(one: Item, stage: str) -> bool:
    last = "votes" if one.stage is None else one.stage
    return ORDER.index(stage) <= ORDER.index(last)


@pytest.fixture
def rows() -> Rows:
    """A run that does everything right, row by row, to be spoiled by a test."""
    votes = defaultdict(list)
    for vote in VOTES:
        if vote.planted == "valid":
            names = [name for name in vote.categories if name != NONE]
            votes[vote.item].append({"rater_id": vote.rater, "categories": names})
    found: Rows = {name: {} for name in (*ORDER, "split")}
    for one in PLAN.items:
        for name in ORDER:
            if reaches(one, name):
                dropped = one.stage == name
                found[name][one.item] = {"item": one.item, "kept": not dropped, "reason": "planted" if dropped else None}
        if reaches(one, "quality"):
            flags = ["bad"] if one.stage == "quality" else []
            found["quality"][one.item] |= {"flags": flags, "near": [], "overruled": None}
        if reaches(one, "dedup"):
            found["dedup"][one.item] |= {"duplicate_group": one.copy_of or one.item}
        if reaches(one, "cluster"):
            found["cluster"][one.item] |= {"kmeans": len(one.truth)}
        if reaches(one, "votes"):
            given = votes.get(one.item, [])
            label = label_votes(given).categories if given else []
            more = {"votes": given, "categories": label, "is_unsafe": bool(label), "label_method": "majority"}
            found["votes"][one.item] |= more
        found["ingest"][one.item] |= {"prompt_id": f"p{one.prompt}"}
        if one.stage is None:  # one group, one split: by the scene's number
            place = one.prompt % 5
            more = {"kept": True, "reason": None, "group_id": f"g{one.prompt}", "split": f"s{place}", "fold": place}
            found["split"][one.item] = {"item": one.item, **more}
    return found


def tables(rows: Rows) -> dict[str, pa.Table]:
    return {name: pa.Table.from_pylist(list(found.values())) for name, found in rows.items()}


def of_kind(kind: str) -> list[Item]:
    return [one for one in PLAN.items if one.kind == kind]


def test_a_perfect_run(rows: Rows, truth: Path) -> None:
    found = compare(tables(rows), truth)
    for stage in ("probe", "quality", "dedup", "cluster"):
        figures = found[stage]["all" if stage == "probe" else "dropped"]
        assert figures["precision"] == figures["recall"] == 1
        assert found["flow"][stage]["dropped"] == found["flow"][stage]["planned"] == figures["wanted"] > 0
    pairs = found["dedup"]["pairs"]
    assert (pairs["precision"], pairs["recall"], pairs["false_merges"]) == (1, 1, 0)
    assert found["dedup"]["original_kept"]["share"] == 1
    assert found["votes"]["control"]["recall"] == found["votes"]["control"]["precision"] == 1
    assert found["votes"]["as_planned"] == {"n": PLAN.counts.reviewed, "right": PLAN.counts.reviewed}
    assert found["exact"]["same_counts"]
    assert found["exact"]["same_videos"]
    assert found["unvoted"] == {}
    assert {what: (row["across_splits"], row["across_folds"]) for what, row in found["split"].items()} == dict.fromkeys(
        ("groups", "prompts", "scenes"), (0, 0)
    )
    assert found["verdict"]["ok"], found["verdict"]["sentences"]


def without(rows: Rows, stage: str) -> Rows:
    """The run that comes out where a stage drops nothing: what it should have dropped goes on and has no vote."""
    missed = {item for item, row in rows[stage].items() if not row["kept"]}
    for item in missed:
        rows[stage][item] |= {"kept": True, "reason": None, "flags": []}
        more = {"flags": [], "near": [], "overruled": None, "duplicate_group": f"own {item}", "kmeans": 0}
        for later in ORDER[ORDER.index(stage) + 1 : -1]:
            rows[later][item] = {"item": item, "kept": True, "reason": None, **more}
        gone = {"kept": False, "reason": "no vote that counts", "votes": [], "categories": [], "is_unsafe": False}
        rows["votes"][item] = {"item": item, "label_method": "majority", **gone}
    return rows


@pytest.mark.parametrize("stage", ["probe", "quality", "dedup"])
def test_a_stage_that_finds_nothing_is_not_saved_by_the_votes(stage: str, rows: Rows, truth: Path) -> None:
    found = compare(tables(without(rows, stage)), truth)
    assert found["exact"]["same_counts"], "the counts at the end are the planned ones all the same"
    assert found["exact"]["same_videos"]
    assert found["unvoted"] == {kind: number for kind, number in PLAN.counts.plants[stage].items() if number}
    name = "decodability" if stage == "probe" else stage
    assert not found["verdict"]["ok"]
    assert any(one.startswith(f"The recall of {name} is 0.000 (0 of ") for one in found["verdict"]["sentences"])
    text = page(found)
    assert f"The recall of {name} is 0.000" in text
    kind, number = next(iter(found["unvoted"].items()))
    assert f"| {kind} | {number} |" in text


def test_wrong_drops_leaks_and_other_counts_are_said(rows: Rows, truth: Path) -> None:
    for one in of_kind("reviewed")[:10]:
        rows["quality"][one.item] |= {"kept": False, "reason": "wrong", "flags": ["bad"]}
        rows["votes"][one.item] |= {"kept": False, "reason": "wrong"}
    first, second = (one.item for one in of_kind("reviewed")[10:12])
    rows["split"][first] |= {"group_id": "g", "split": "train", "fold": 0}
    rows["split"][second] |= {"group_id": "g", "split": "test", "fold": 1}
    said = "\n".join(compare(tables(rows), truth)["verdict"]["sentences"])
    assert "The precision of quality is " in said
    assert "The run has other counts than planned: reviewed " in said
    assert "Other videos than planned are left" in said
    assert "groups lie in more than one of the splits" in said
    assert "groups lie in more than one of the folds" in said


def test_agreement_has_coefficients_beside_the_pairs(rows: Rows, truth: Path) -> None:
    found = compare(tables(rows), truth)
    votes = [
        {"video_id": item, "rater_id": vote["rater_id"], "categories": vote["categories"]}
        for item, row in rows["votes"].items()
        for vote in row["votes"]
        if row["kept"]
    ]
    wanted = agreement(to_table("annotation", votes), bootstrap=0)
    for name, row in found["votes"]["agreement"]["pairs"].items():
        assert row["alpha"] == pytest.approx(wanted.alpha[name].value, abs=1e-8)
        assert row["ac1"] == pytest.approx(wanted.ac1[name].value, abs=1e-8)
    assert "Krippendorff's alpha" in page(found)


def test_labels_are_judged_by_what_the_videos_show_not_by_the_plan(rows: Rows, truth: Path) -> None:
    votes = compare(tables(rows), truth)["votes"]
    assert votes["planned_wrong"]["n"] == PLAN.counts.wrong_majority
    assert votes["planned_wrong"]["majority"] == 0
    majority = votes["accuracy"]["majority"]["all_categories"]
    assert majority == {
        "n": PLAN.counts.reviewed,
        "right": PLAN.counts.reviewed - PLAN.counts.wrong_majority,
        "accuracy": 1 - PLAN.counts.wrong_majority / PLAN.counts.reviewed,
    }
    assert sum(votes["accuracy"]["majority"][name]["errors"] for name in PLAN.counts.categories) == PLAN.counts.wrong_majority
    assert votes["raters"]["specificity"]["n"] > 50
    assert votes["raters"]["specificity"]["mean_absolute_error"] < 0.15


def test_mistakes_are_counted_where_they_happen(rows: Rows, truth: Path) -> None:
    missed, wrong = of_kind("static")[0].item, of_kind("reviewed")[0].item
    rows["quality"][missed] |= {"kept": True, "reason": None, "flags": []}
    rows["quality"][wrong] |= {"kept": False, "reason": "wrong", "flags": ["bad"]}
    copies = of_kind("resized")
    rows["dedup"][copies[0].item] |= {"duplicate_group": "of its own", "kept": True, "reason": None}
    pair = [one.item for one in of_kind("reviewed")[1:3]]
    rows["dedup"][pair[0]]["duplicate_group"] = rows["dedup"][pair[1]]["duplicate_group"]
    found = compare(tables(rows), truth)
    quality = found["quality"]["flagged"]
    assert (quality["wanted"] - quality["right"], quality["found"] - quality["right"]) == (1, 1)
    assert found["quality"]["kinds"]["static"]["n"] - found["quality"]["kinds"]["static"]["found"] == 1
    assert found["flow"]["quality"]["planned_to_stay"] == 1
    assert found["dedup"]["kinds"]["resized"] == {"n": len(copies), "found": len(copies) - 1, "share": 1 - 1 / len(copies)}
    assert found["dedup"]["pairs"]["false_merges"] >= 1
    assert set(pair) <= set(found["dedup"]["falsely_merged_items"])
    assert found["dedup"]["pairs"]["recall"] < 1


def test_votes_that_should_not_count_are_seen(rows: Rows, truth: Path) -> None:
    bad = next(vote for vote in VOTES if vote.planted == "too_fast" and vote.item in rows["votes"])
    item = next(vote.item for vote in VOTES if vote.planted == "too_fast" and rows["votes"].get(vote.item, {}).get("kept"))
    rater = next(vote.rater for vote in VOTES if vote.planted == "too_fast" and vote.item == item)
    rows["votes"][item]["votes"] = [*rows["votes"][item]["votes"], {"rater_id": rater, "categories": []}]
    control = compare(tables(rows), truth)["votes"]["control"]
    assert bad.planted in control["kinds"]
    assert control["kinds"]["too_fast"]["n"] - control["kinds"]["too_fast"]["left_out"] == 1
    assert control["recall"] < 1
    assert control["precision"] == 1


def test_pseudonyms_are_followed(rows: Rows, truth: Path) -> None:
    names = {rater.name: f"r{number:03d}" for number, rater in enumerate(RATERS)}
    for row in rows["votes"].values():
        row["votes"] = [{**vote, "rater_id": names[vote["rater_id"]]} for vote in row["votes"]]
    assert compare(tables(rows), truth, raters=names)["votes"]["control"]["precision"] == 1


def test_tables_of_a_work_folder_and_the_page(rows: Rows, truth: Path, tmp_path: Path) -> None:
    for name, table in tables(rows).items():
        (tmp_path / name).mkdir()
        pq.write_table(table, tmp_path / name / "table.parquet")
    found = compare(tmp_path, truth)
    assert found == compare(tables(rows), truth)
    text = page(found)
    assert text == page(found)
    assert f"| reviewed | {PLAN.counts.reviewed} | {PLAN.counts.reviewed} |" in text
    for kind in ("truncated", "near_static", "reworked", "spammer"):
        assert f"| {kind} |" in text
    assert "shapes in slow motion" not in text


def test_unfinished_runs_and_other_twins_are_refused(rows: Rows, truth: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table of ingest, probe"):
        compare(tmp_path, truth)
    with pytest.raises(InputError, match="holds no truth"):
        compare(tables(rows), tmp_path)
    del rows["ingest"][PLAN.items[0].item]
    with pytest.raises(InputError, match="1 items are in the run or in the truth only"):
        compare(tables(rows), truth)
