"""The real clips in the upstream layout: built, checked, loaded both ways, trained on and scored; with and without votes."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import datasets
import pytest
from builders_support import CATEGORIES_FLAG, manifest, plain_rows, run_build, tree

from unsafe_video_dataset import load_dataset
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"
FLAGS = ["--categories", CATEGORIES_FLAG, "--generator", "animatediff"]

pytestmark = [
    pytest.mark.skipif(not (CLIPS / "labels.csv").is_file(), reason="needs the real clips in ../shared/clips"),
    pytest.mark.xdist_group("clips"),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clips") / "release"
    assert run_build("upstream", CLIPS, out, *FLAGS) == 0
    return out


@pytest.fixture(scope="module")
def voted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("clips") / "voted"
    assert run_build("upstream", CLIPS, out, *FLAGS, "--annotations", CLIPS / "annotations.csv") == 0
    return out


def rows_by_index(release: Path) -> dict[int, dict[str, Any]]:
    return {row["source_index"]: row for row in Release.open(release).metadata().to_pylist()}


def test_it_is_sound_and_the_labels_are_those_of_the_csv(plain: Path) -> None:
    assert run_build("check", plain) == 0
    with (CLIPS / "labels.csv").open(newline="") as file:
        listed = [(int(column) - 1, int(cell)) for row in csv.DictReader(file) for column, cell in row.items() if cell]
    prompts = (CLIPS / "prompts.txt").read_text().splitlines()
    rows = rows_by_index(plain)
    assert sorted(rows) == list(range(24))
    for index, row in rows.items():
        assert row["categories"] == sorted(column for column, of in listed if of == index)
        assert row["prompt"] == prompts[index]
        assert Release.open(plain).video_bytes(row["video_id"]) == (CLIPS / f"{index}.mp4").read_bytes()
    assert {index for index, row in rows.items() if not row["is_unsafe"]} == {9, 16, 20, 23}
    assert len({rows[index]["group_id"] for index in range(10, 17)}) == 1  # seven near duplicates of one prompt
    assert {row["num_frames"] for row in rows.values()} == {16, 24, 48}
    assert {(row["width"], row["height"]) for row in rows.values()} == {(512, 512), (512, 292), (514, 324), (512, 320)}


def test_a_second_build_gives_the_same_bytes(plain: Path, tmp_path: Path) -> None:
    assert run_build("upstream", CLIPS, tmp_path / "again", *FLAGS) == 0
    assert tree(tmp_path / "again") == tree(plain)


@pytest.mark.parametrize("config", ["unsafe", "reviewed", "metadata", "annotations"])
def test_both_ways_of_loading_give_the_same_rows(voted: Path, tmp_path: Path, config: str) -> None:
    ours = load_dataset(voted, config, cache_dir=tmp_path / "ours")
    plain = plain_rows(voted, config, tmp_path / "plain")
    assert isinstance(ours, datasets.DatasetDict)
    assert set(ours) == set(plain)
    for split, expected in plain.items():
        rows = [dict(row) for row in ours[split]]
        for row, other in zip(rows, expected, strict=True):
            if config in ("unsafe", "reviewed"):
                video, stored = row.pop("video"), other.pop("video")
                assert (bytes(video), f"{video.name}.mp4") == (stored["bytes"], stored["path"])
            assert row == other


def test_a_batch_of_tensors(plain: Path) -> None:
    torch = pytest.importorskip("torch")
    from unsafe_video_dataset import UniformFrames, UnsafeVideoDataset, collate

    rows = UnsafeVideoDataset(plain, split="train", clip=UniformFrames(8), size=(48, 64))
    batch = collate([rows[index] for index in range(4)])
    assert batch["video"].shape == (4, 8, 3, 48, 64)
    assert batch["video"].dtype == torch.uint8
    assert batch["target"].shape == (4, 5)
    by_id = {row["video_id"]: row["categories"] for row in rows_by_index(plain).values()}
    for video_id, target in zip(batch["video_id"], batch["target"], strict=True):
        assert [place for place, value in enumerate(target.tolist()) if value] == by_id[video_id]


@pytest.mark.parametrize("name", ["plain", "voted"])
def test_train_and_score(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest) -> None:
    pytest.importorskip("torch")
    from unsafe_video_dataset.cli import main

    release = request.getfixturevalue(name)
    flags = ["--epochs", "1", "--size", "32", "--batch-size", "8"]
    assert main(["train", "--release", str(release), "--out", str(tmp_path / "run"), *flags, "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    predictions = tmp_path / "run" / "predictions.jsonl"
    assert len(predictions.read_text().splitlines()) >= manifest(release)["counts"]["splits"]["test"]["unsafe"] > 0
    assert main(["evaluate", str(predictions), "--release", str(release), "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert "NaN" not in json.dumps(scored)
    assert scored
    assert trained["report"]


def test_votes_become_labels_as_an_independent_count_says(voted: Path) -> None:
    with (CLIPS / "annotations.csv").open(newline="", encoding="utf-8-sig") as file:
        answers = list(csv.DictReader(file))
    failed_raters = {row["rater_id"] for row in answers if row["attention_check"] == "fail"}
    kept = [row for row in answers if row["rater_id"] not in failed_raters]
    failed = len(answers) - len(kept)
    assert failed > 0
    chosen: dict[int, list[set[int]]] = defaultdict(list)
    for row in kept:
        numbers = set() if row["categories"] == "none" else {int(part) for part in row["categories"].split(";")}
        chosen[int(row["index"])].append(numbers)
    rows = rows_by_index(voted)
    assert set(rows) == set(chosen)
    ties = 0
    for index, votes in chosen.items():
        counts = Counter(number for vote in votes for number in vote)
        row = rows[index]
        assert row["num_raters"] == len(votes)
        assert row["categories"] == sorted(number - 1 for number, count in counts.items() if count * 2 > len(votes))
        assert row["is_unsafe"] == bool(row["categories"])
        assert [row["vote_counts"][name] for name in CATEGORIES] == [counts[number] for number in range(1, 6)]
        assert row["vote_counts"]["none"] == sum(not vote for vote in votes)
        assert row["soft_labels"]["terrifying"] == counts[2] / len(votes)
        ties += sum(count * 2 == len(votes) for count in counts.values())
    counts = manifest(voted)["counts"]
    assert counts["ties"] == ties > 0
    assert counts["votes_left_out"] == {"rater_attention": failed}
    assert (counts["votes"], counts["raters"]) == (len(kept), len({row["rater_id"] for row in kept}))
    stored = Release.open(voted).annotations().to_pylist()
    by_id = {row["video_id"]: index for index, row in rows.items()}
    assert {(by_id[row["video_id"]], row["rater_id"], row["seconds"]) for row in stored} == {
        (int(row["index"]), row["rater_id"], float(row["seconds"])) for row in kept
    }


def test_a_positive_tie_adds_labels(voted: Path, tmp_path: Path) -> None:
    flags = [*FLAGS, "--annotations", CLIPS / "annotations.csv", "--tie", "positive"]
    assert run_build("upstream", CLIPS, tmp_path / "out", *flags) == 0
    before, after = rows_by_index(voted), rows_by_index(tmp_path / "out")
    added = sum(len(set(after[index]["categories"]) - set(row["categories"])) for index, row in before.items())
    assert added == manifest(voted)["counts"]["ties"]
    assert all(set(row["categories"]) <= set(after[index]["categories"]) for index, row in before.items())
