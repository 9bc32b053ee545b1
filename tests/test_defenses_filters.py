"""Filters of prompts and of finished videos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from unsafe_video_dataset.defenses.base import OutputDefense, PromptDefense
from unsafe_video_dataset.defenses.filters import KeywordFilter, normalise
from unsafe_video_dataset.errors import InputError, IntegrityError


@pytest.mark.parametrize(
    ("spelling", "plain"),
    [
        ("Red SQUARE", "red square"),
        ("ｒｅｄ square", "red square"),  # full width
        ("r\u200bed", "red"),  # invisible
        ("rёd", "red"),  # Cyrillic, with an accent
        ("réd", "red"),
        ("r3d 5quare", "red square"),
        ("r e d square", "red square"),
        ("r.e.d", "red"),
        ("r-e-d square!", "red square"),
        ("12 red 2024", "12 red 2024"),  # numbers stay numbers
        ("a red one", "a red one"),  # one letter alone is a word
        ("", ""),
    ],
)
def test_spelling_is_undone(spelling: str, plain: str) -> None:
    assert normalise(spelling) == plain


def test_a_keyword_filter_wants_whole_words_and_all_of_a_term() -> None:
    found = KeywordFilter({"square": [["red", "square"], "crimson box"], "fall": ["falls"]})
    assert isinstance(found, PromptDefense)
    verdict = found.check_prompt("a square that is RED, it falls")
    assert (verdict.blocked, verdict.categories, verdict.stage, verdict.decided_by) == (
        True,
        ("square", "fall"),
        "prompt",
        "keyword",
    )
    assert not found.check_prompt("a redder squares scene").blocked
    assert not found.check_prompt("a box, crimson").blocked  # a phrase stands in a row
    assert found.check_prompt("a crimson  box").blocked


def test_a_keyword_filter_may_look_into_words_and_may_leave_spelling_alone() -> None:
    assert KeywordFilter({"a": [["square"]]}, joined=True).check_prompt("redsquare").blocked
    assert not KeywordFilter({"a": [["square"]]}).check_prompt("redsquare").blocked
    assert not KeywordFilter({"a": ["red"]}, joined=True).check_prompt("hundred").blocked  # short words: whole only
    assert not KeywordFilter({"a": ["red"]}, spelling=False).check_prompt("r3d").blocked


@pytest.mark.parametrize("terms", [{}, {"a": []}, {"a": ["..."]}, {"a": [["red", ""]]}])
def test_an_empty_list_is_refused(terms: dict[str, list[str]]) -> None:
    with pytest.raises(InputError, match="give words with letters"):
        KeywordFilter(terms)


def test_a_keyword_filter_comes_back_from_its_file(tmp_path: Path) -> None:
    first = KeywordFilter({"a": [["red", "square"], "zorb"]}, joined=True)
    first.save(tmp_path / "words.json")
    again = KeywordFilter.load(tmp_path / "words.json")
    assert (again.terms, again.joined, again.spelling) == (first.terms, True, True)
    (tmp_path / "plain.json").write_text(json.dumps({"a": ["zorb"]}), encoding="utf-8")
    assert KeywordFilter.load(tmp_path / "plain.json").check_prompt("Zorb").blocked
    (tmp_path / "bad.json").write_text("[]", encoding="utf-8")
    for name in ("bad.json", "none.json"):
        with pytest.raises(InputError, match="list of words"):
            KeywordFilter.load(tmp_path / name)


# --- n-grams ------------------------------------------------------------------------------------------------------------


def _prompts() -> tuple[list[str], np.ndarray]:
    words = [(c, s) for c in ("red", "blue", "green") for s in ("square", "circle", "star")] * 4
    prompts = [f"a {c} {s} number {i % 3}" for i, (c, s) in enumerate(words)]
    return prompts, np.array([[c == "red" and s == "square", s == "star"] for c, s in words])


def test_ngrams_learn_words_that_must_stand_together_and_see_through_a_typing_error(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from unsafe_video_dataset.defenses.filters.ngram import NgramFilter

    prompts, targets = _prompts()
    found = NgramFilter.fit(prompts, targets, categories=("red_square", "star"), strength=100)
    assert isinstance(found, PromptDefense)
    assert found.check_prompt("one red square").categories == ("red_square",)
    assert not found.check_prompt("one red circle").blocked
    assert found.check_prompt("a blue starr").categories == ("star",)
    again = NgramFilter.fit(prompts[::-1], targets[::-1], categories=("red_square", "star"), strength=100)
    assert np.allclose(again.weights, found.weights, atol=1e-4)  # rows have no order
    found.thresholds = {"red_square": 2.0, "star": 0.5}
    found.save(tmp_path / "ngram")
    loaded = NgramFilter.load(tmp_path / "ngram")
    assert loaded.thresholds == found.thresholds
    assert np.array_equal(loaded.probabilities(prompts), found.probabilities(prompts))
    assert not loaded.check_prompt("one red square").blocked
    stored = b"".join(file.read_bytes() for file in (tmp_path / "ngram").iterdir())
    assert b"square number" not in stored  # no prompt in its files


def test_ngrams_refuse_what_does_not_fit(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    from unsafe_video_dataset.defenses.filters.ngram import CARD, NgramFilter

    prompts, targets = _prompts()
    with pytest.raises(InputError, match="1 categories"):
        NgramFilter.fit(prompts, targets, categories=("a",))
    only = NgramFilter.fit(prompts, np.zeros((len(prompts), 1), bool), categories=("never",))
    assert not only.check_prompt(prompts[0]).blocked
    only.save(tmp_path)
    about = json.loads((tmp_path / CARD).read_text(encoding="utf-8"))
    (tmp_path / CARD).write_text(json.dumps({**about, "weights_sha256": "0"}), encoding="utf-8")
    with pytest.raises(IntegrityError, match="damaged"):
        NgramFilter.load(tmp_path)
    with pytest.raises(InputError, match="no n-gram filter"):
        NgramFilter.load(tmp_path / "none")


# --- videos -------------------------------------------------------------------------------------------------------------


def _clips(count: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """Dark clips with a bright spot: red or blue, and it stands still or jumps; only colour shows in a single frame."""
    rng = np.random.default_rng(0)
    videos = rng.integers(0, 20, (count, 4, 16, 16, 3), dtype=np.uint8)
    red, jumps = np.arange(count) % 2 == 0, np.arange(count) // 2 % 2 == 0
    for i in range(count):
        for t in range(4):
            at = 2 + (8 if jumps[i] and t % 2 else 0)
            videos[i, t, at : at + 5, 4:9, 0 if red[i] else 2] = 230
    return videos, np.stack([red, jumps], axis=1)


def test_a_video_filter_learns_and_comes_back(tmp_path: Path) -> None:
    from unsafe_video_dataset.defenses.filters.video import FitSettings, VideoFilter

    videos, targets = _clips()
    fit = FitSettings(epochs=40, batch_size=16, width=8, learning_rate=1e-2)
    found = VideoFilter.fit(videos, targets[:, :1], sees="frame", categories=("red",), settings=fit, progress=False)
    assert isinstance(found, OutputDefense)
    blocked = np.array([found.check_video(video).blocked for video in videos])
    assert np.mean(blocked == targets[:, 0]) > 0.95
    verdict = found.check_video(videos[0])
    assert (verdict.stage, verdict.decided_by, verdict.categories) == ("output", "frame filter", ("red",))
    found.thresholds = {"red": 0.75}
    found.save(tmp_path / "filter")
    again = VideoFilter.load(tmp_path / "filter")
    assert (again.sees, again.thresholds) == ("frame", {"red": 0.75})
    assert np.array_equal(again.probabilities(videos), found.probabilities(videos))
    with (tmp_path / "filter" / "video.safetensors").open("r+b") as file:
        file.write(b"\1")
    with pytest.raises(IntegrityError, match="damaged"):
        VideoFilter.load(tmp_path / "filter")
    with pytest.raises(InputError, match="no video filter"):
        VideoFilter.load(tmp_path / "none")


def test_a_frame_filter_cannot_see_the_order_of_frames_and_a_clip_filter_can() -> None:
    from unsafe_video_dataset.defenses.filters.video import FitSettings, VideoFilter

    videos, targets = _clips(8)
    turned = videos[:, [1, 3, 0, 2]]
    fit = FitSettings(epochs=1, width=8, shrink=2)
    found = {
        sees: VideoFilter.fit(videos, targets, sees=sees, categories=("red", "jumps"), settings=fit, progress=False)
        for sees in ("frame", "clip")
    }
    assert np.allclose(found["frame"].probabilities(videos), found["frame"].probabilities(turned))
    assert not np.allclose(found["clip"].probabilities(videos[1:2]), found["clip"].probabilities(videos[3:4]))
    assert found["clip"].probabilities(videos[:0]).shape == (0, 2)
    with pytest.raises(InputError, match="uint8"):
        VideoFilter.fit(videos.astype(np.float32), targets, sees="clip", categories=("red", "jumps"))
