"""The leaderboard: the order, who is like the first, what stands beside, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_protocol import toy

from unsafe_video_dataset.errors import FaultsError, FilterError, InputError
from unsafe_video_dataset.evaluate import evaluate
from unsafe_video_dataset.leaderboard import leaderboard
from unsafe_video_dataset.release import Release


def test_ranked_by_macro_ap_whatever_the_order_of_the_files(sample: Release) -> None:
    files = {"worst": toy(sample, noise=0.95), "best": toy(sample, noise=0.3), "same": toy(sample, noise=0.3)}
    found = leaderboard(files, sample, bootstrap=200)
    assert [(entry.name, entry.rank) for entry in found.entries] == [
        ("best", 1), ("same", 2), ("worst", 3), ("majority", None), ("human", None),
    ]  # fmt: skip
    best, same, worst, majority, human = found.entries
    assert (best.like_first, same.like_first, worst.like_first) == (None, True, False)
    assert (same.p, same.p_holm) == (1, 1)
    assert same.gap is not None
    assert same.gap.value == 0
    again = leaderboard(dict(reversed(files.items())), sample, bootstrap=200)
    assert again == found
    report = evaluate(files["best"], sample, bootstrap=200)
    macro = next(row for row in report.rows if row.name == "macro")
    assert best.metrics["ap"] == macro.ap
    assert majority.metrics["f1"] == next(row for row in report.majority.rows if row.name == "macro").f1
    assert human.metrics["f1"] == next(row for row in report.ceiling.human if row.name == "macro").f1
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["entries"][1]["rank"] == 2
    text = found.to_text()
    assert [line.split()[:2] for line in text.splitlines()[1:4]] == [["best", "1"], ["same", "2"], ["worst", "3"]]
    assert "| same | 2 = |" in found.to_markdown()


def test_soft_is_ranked_by_the_lowest_cross_entropy(sample: Release) -> None:
    files = {"a": toy(sample, noise=0.95), "b": toy(sample, noise=0.5)}
    found = leaderboard(files, sample, target="soft", bootstrap=100)
    assert [entry.name for entry in found.entries[:2]] == ["b", "a"]
    assert found.thresholds == "none"
    assert found.entries[-1].metrics["cross_entropy"].value is None


def test_binary_and_a_release_without_votes(unvoted: Path) -> None:
    release = Release.open(unvoted)
    found = leaderboard({"a": toy(release, unsafe=False)}, release, config="reviewed", target="binary", bootstrap=100)
    assert [entry.name for entry in found.entries] == ["a", "majority"]
    assert found.row == "unsafe"
    assert any("no video of the split has two votes" in note for note in found.notes)


def test_thresholds_from_validation_for_all_or_none(sample: Release) -> None:
    files = {"a": toy(sample), "b": toy(sample, noise=0.8)}
    held_out = {"a": toy(sample, "validation"), "b": toy(sample, "validation", noise=0.8)}
    found = leaderboard(files, sample, validation=held_out, bootstrap=0)
    assert found.thresholds == "from validation"
    assert found.entries[1].p is None  # no replicates, no test
    with pytest.raises(FilterError, match="same models"):
        leaderboard(files, sample, validation={"a": held_out["a"]})


def test_a_name_can_not_break_the_table(sample: Release) -> None:
    page = leaderboard({"x|y\n| z": toy(sample)}, sample, bootstrap=0).to_markdown()
    assert page.splitlines()[2].startswith("| x\\|y \\| z | 1 |")


def test_refusals(sample: Release) -> None:
    with pytest.raises(InputError, match="at least one model"):
        leaderboard({}, sample)
    with pytest.raises(FaultsError, match="no prediction"):
        leaderboard({"a": toy(sample), "b": toy(sample)[1:]}, sample)


def test_it_carries_its_evidence(sample: Release) -> None:
    files = {"a": toy(sample), "b": toy(sample, noise=0.8)}
    held_out = {"a": toy(sample, "validation"), "b": toy(sample, "validation", noise=0.8)}
    found = leaderboard(files, sample, validation=held_out, bootstrap=0).to_dict()
    by_name = {entry["name"]: entry for entry in found["entries"]}
    for name in files:
        report = evaluate(files[name], sample, validation=held_out[name], bootstrap=0)
        for key in ("release_commit", "package_version", "numpy_version", "python_version", "manifest_sha256", "split_sha256"):
            assert found[key] == report.to_dict()[key]
        for key in ("predictions_sha256", "validation_sha256", "thresholds"):
            assert by_name[name][key] == report.to_dict()[key]
            assert by_name[name][key]
    fixed = leaderboard(files, sample, threshold=0.3, bootstrap=0).to_dict()["entries"][0]
    assert fixed["validation_sha256"] is None
    assert set(fixed["thresholds"].values()) == {0.3}
    assert f"Python {found['python_version']}" in leaderboard(files, sample, bootstrap=0).to_text()


def test_a_baseline_carries_the_hash_of_what_its_thresholds_were_chosen_on(sample: Release) -> None:
    mine, theirs = toy(sample, "validation"), toy(sample, "validation", noise=0.8)
    both = {"validation": mine, "baseline": toy(sample, noise=0.8), "baseline_validation": theirs}
    found = evaluate(toy(sample), sample, bootstrap=0, **both).to_dict()
    alone = evaluate(both["baseline"], sample, validation=theirs, bootstrap=0)
    assert found["baseline"]["validation_sha256"] == alone.validation_sha256
    assert found["baseline"]["validation_sha256"] != found["validation_sha256"]
    assert found["majority"]["validation_sha256"] is None
