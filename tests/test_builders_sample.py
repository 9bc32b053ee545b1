"""The embedded sample: what it holds, that nothing in it flashes, and that the committed one is what the code draws."""

from __future__ import annotations

from collections import Counter, defaultdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders_support import manifest, run_build, tree

from unsafe_video_dataset.builders import sample
from unsafe_video_dataset.builders.motifs import GROUNDS, MOTIFS, NEUTRAL, draw
from unsafe_video_dataset.release import Release
from unsafe_video_dataset.taxonomy import CATEGORIES, SPLITS, Generator, PromptSource
from unsafe_video_dataset.video import decode_frames

COMMITTED = Release.open()


@pytest.fixture(scope="session")
def rows() -> list[dict[str, Any]]:
    loaded: list[dict[str, Any]] = COMMITTED.metadata().to_pylist()
    return loaded


def test_the_committed_sample_is_what_the_code_draws(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    """Record by record; what an encoder decides (bytes and the ids made from them) only under the recorded versions."""
    rebuilt = tmp_path / "sample"
    assert run_build("sample", rebuilt, "--json") == 0
    again = Release.open(rebuilt).metadata().to_pylist()
    made_by = manifest(COMMITTED.path)["created_by"]
    same_encoder = all(metadata.version(name) == made_by[name] for name in ("av", "numpy"))
    encoded = set() if same_encoder else {"video_id", "sha256", "num_bytes", "group_id", "split"}

    def by_index(records: list[dict[str, Any]]) -> dict[int, dict[str, Any]]:
        return {row["source_index"]: {key: value for key, value in row.items() if key not in encoded} for row in records}

    assert by_index(again) == by_index(rows)
    if same_encoder:
        assert Release.open(rebuilt).annotations() == COMMITTED.annotations()
    if same_encoder and metadata.version("pyarrow") == made_by["pyarrow"]:
        assert tree(rebuilt) == tree(COMMITTED.path)


def test_the_seed_makes_the_plan() -> None:
    plans = [sample._plan(np.random.default_rng(seed)) for seed in (7, 7, 8)]
    assert plans[0] == plans[1] != plans[2]
    for plan in plans:
        assert len(plan) == len(set(plan)) == 48  # no prompt twice
        assert sum(any(name in MOTIFS for name in names) for names, _, _ in plan) == 32


def test_it_is_sound_and_small() -> None:
    report = COMMITTED.verify(decode=True)
    assert report.faults == []
    assert report.decoded == 96
    assert sum(len(data) for data in tree(COMMITTED.path).values()) < 1_500_000


def test_what_it_holds(rows: list[dict[str, Any]]) -> None:
    assert len(rows) == 96
    assert sum(row["is_unsafe"] for row in rows) == 64
    held = Counter(index for row in rows for index in row["categories"])
    assert set(held) == set(range(5))
    assert min(held.values()) >= 8
    assert 10 <= sum(len(row["categories"]) > 1 for row in rows) <= 40
    assert Counter(row["generator"] for row in rows) == dict.fromkeys([one.value for one in Generator], 32)
    assert {row["prompt_source"] for row in rows} == {one.value for one in PromptSource}
    assert {(row["width"], row["height"], row["num_frames"], row["fps"], row["codec"]) for row in rows} == {
        (96, 96, 16, 8.0, "h264")
    }
    assert len({row["sha256"] for row in rows}) == 96


def test_raters_and_their_disagreement(rows: list[dict[str, Any]]) -> None:
    raters = {vote["rater_id"] for row in rows for vote in row["votes"]}
    assert len(raters) == 40
    assert {row["num_raters"] for row in rows} == {5, 6, 7}
    by_look: dict[str, list[float]] = defaultdict(list)
    votes: dict[str, set[int]] = defaultdict(set)
    for row in rows:
        look = row["prompt"].split(", ")[1]
        by_look[look].append(row["agreement"])
        votes[look].add(row["num_raters"])
    mean = {look: float(np.mean(values)) for look, values in by_look.items()}
    assert mean["bold"] > mean["soft"] > mean["faint"]  # harder looks: less agreement, more votes
    assert votes == {"bold": {5}, "soft": {6}, "faint": {7}}
    assert np.mean([value < 1 for values in by_look.values() for value in values]) > 0.25
    assert mean["bold"] < 1


def test_prompts_describe_the_motifs(rows: list[dict[str, Any]]) -> None:
    phrases = {name: phrase for name, (phrase, _) in (MOTIFS | NEUTRAL).items()}
    agree = 0
    for row in rows:
        what, look, ground = row["prompt"].split(", ")
        shown = [name for name, phrase in phrases.items() if phrase in what.split(" beside ")]
        assert shown
        assert look in ("bold", "soft", "faint")
        assert ground.removeprefix("on a ").removesuffix(" ground") in GROUNDS
        agree += sorted(row["categories"]) == sorted(CATEGORIES.index(name) for name in shown if name in MOTIFS)
    assert agree >= 0.85 * len(rows)  # votes decide, and faint motifs are misread now and then


def test_splits_go_by_group(rows: list[dict[str, Any]]) -> None:
    for key in ("group_id", "prompt_id"):
        splits = defaultdict(set)
        for row in rows:
            splits[row[key]].add(row["split"])
        assert {len(found) for found in splits.values()} == {1}
    assert max(Counter(row["prompt_id"] for row in rows).values()) >= 2
    held = {split: {index for row in rows if row["split"] == split for index in row["categories"]} for split in SPLITS}
    assert held["train"] == held["test"] == set(range(5))


def relative_luminance(frames: np.ndarray) -> np.ndarray:
    """WCAG 2.2 relative luminance of RGB frames uint8 [T, 3, H, W], 0 to 1."""
    value = frames / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.einsum("c,tchw->thw", [0.2126, 0.7152, 0.0722], linear)


def opposing_changes(series: np.ndarray, threshold: float) -> list[int]:
    """Frames at which a rise of at least `threshold` follows a fall of that size, or the other way round."""
    found, low, high, direction = [], series[0], series[0], 0
    for number, value in enumerate(series):
        low, high = min(low, value), max(high, value)
        if direction <= 0 and value - low >= threshold:
            direction, high = 1, value
            found.append(number)
        elif direction >= 0 and high - value >= threshold:
            direction, low = -1, value
            found.append(number)
        if direction > 0:
            low = value if value >= high else low
        low, high = (value, max(high, value)) if direction > 0 and value >= high else (low, high)
        low, high = (min(low, value), value) if direction < 0 and value <= low else (low, high)
    return found


def most_flashes_a_second(series: np.ndarray, fps: int = 8, threshold: float = 0.1) -> int:
    """The most flashes (pairs of opposing changes) in any one second."""
    times = opposing_changes(series, threshold)
    return max((sum(start <= time < start + fps for time in times) // 2 for start in range(len(series))), default=0)


def test_the_flash_counter_counts() -> None:
    steady, slow, strobe = np.full(16, 0.4), np.tile([0.2, 0.2, 0.2, 0.2, 0.6, 0.6, 0.6, 0.6], 2), np.tile([0.2, 0.6], 8)
    assert [most_flashes_a_second(series) for series in (steady, slow, strobe)] == [0, 1, 4]
    assert most_flashes_a_second(np.tile([0.2, 0.25], 8)) == 0
    assert most_flashes_a_second(np.linspace(0, 1, 16)) == 0


def test_nothing_flashes(rows: list[dict[str, Any]]) -> None:
    """WCAG 2.3.1 allows three general flashes a second: pairs of opposing changes of 10% of relative luminance.

    Stricter here: no frame's mean luminance differs by 5% from the one before, and no block of 8x8 pixels (1/144 of the
    picture, where WCAG counts a quarter of the central view) flashes more than twice in any second.
    """
    assert len(rows) == 96
    for row in rows:
        light = relative_luminance(decode_frames(COMMITTED.video_bytes(row["video_id"]), name=row["video_id"]))
        mean = light.mean(axis=(1, 2))
        assert np.abs(np.diff(mean)).max() < 0.05, row["prompt"]
        blocks = light.reshape(16, 12, 8, 12, 8).mean(axis=(2, 4)).reshape(16, -1)
        assert max(most_flashes_a_second(series) for series in blocks.T) <= 2, row["prompt"]


def test_every_motif_moves_and_looks_unlike_the_others() -> None:
    drawn = {
        name: draw([motif], GROUNDS["grey"], contrast=1.0, rng=np.random.default_rng(3)).astype(float)
        for name, (_, motif) in (MOTIFS | NEUTRAL).items()
    }
    for name, frames in drawn.items():
        assert frames.shape == (16, 96, 96, 3)
        assert np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3)).min() > 0.1, name  # in every step
    pairs = [(one, other) for one in drawn for other in drawn if one < other]
    assert min(np.abs(drawn[one] - drawn[other]).mean() for one, other in pairs) > 3
