"""The oracle against rendered truth, and against what it must not be sure of."""

from __future__ import annotations

import numpy as np
import pytest

from unsafe_video_dataset.defenses.proxy.language import Meaning
from unsafe_video_dataset.defenses.proxy.oracle import Reading, hue, read
from unsafe_video_dataset.defenses.proxy.shapes import COLOURS, RGB, SCENES, Scene, render
from unsafe_video_dataset.errors import InputError


def test_it_reads_every_rendered_scene() -> None:
    scenes = [scene for scene in SCENES for _ in range(6)]
    found = read(render(scenes, rng=np.random.default_rng(11)))
    wrong = [
        scene for scene, seen in zip(scenes, found, strict=True) if (seen.colour, seen.shape, seen.motion) != _names(scene)
    ]
    assert not wrong
    assert all(seen.categories == scene.categories for scene, seen in zip(scenes, found, strict=True))
    assert min(seen.confidence for seen in found) > 0.3


def _names(scene: Scene) -> tuple[str, str, str]:
    return scene.colour, scene.shape, scene.motion


def test_noise_and_blur_leave_it_right_or_unclear() -> None:
    rng = np.random.default_rng(2)
    scenes = SCENES * 2
    clean = render(scenes, rng=rng).astype(np.float32)
    noisy = np.clip(clean + rng.normal(0, 12, clean.shape), 0, 255).astype(np.uint8)
    blurred = sum(np.roll(clean, shift, axis=axis) for axis in (2, 3) for shift in (-1, 0, 1)) / 6
    for videos in (noisy, blurred.astype(np.uint8)):
        right = [
            all(got in (None, want) for got, want in zip((seen.colour, seen.shape, seen.motion), _names(scene), strict=True))
            for scene, seen in zip(scenes, read(videos), strict=True)
        ]
        assert np.mean(right) > 0.97


def test_what_shows_nothing_is_unclear() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    grey = np.full((8, 32, 32, 3), 40, dtype=np.uint8)
    flat = np.full((8, 32, 32, 3), (220, 35, 45), dtype=np.uint8)
    for video in (noise, grey, flat):
        (seen,) = read(video)
        assert seen.unclear
        assert seen.confidence == 0
        assert not seen.shows(Meaning())


def test_a_shape_that_stands_still_has_no_motion() -> None:
    video = render([Scene("red", "square", "falls")], rng=np.random.default_rng(0))[0]
    (seen,) = read(np.repeat(video[:1], 8, axis=0))
    assert (seen.colour, seen.shape, seen.motion) == ("red", "square", None)
    assert seen.categories == ("red_square",)


def test_backwards_it_moves_the_other_way() -> None:
    video = render([Scene("green", "circle", "falls")], rng=np.random.default_rng(0))
    assert read(video[:, ::-1])[0].motion == "rises"


def test_a_colour_between_two_is_unclear() -> None:
    video = render([Scene("green", "circle", "falls")], rng=np.random.default_rng(0))[0]
    mask = (video.max(axis=-1) > 100)[..., None]
    mixes = np.linspace(RGB[COLOURS.index("green")], RGB[COLOURS.index("blue")], 200)
    middle = (hue(mixes[0]) + hue(mixes[-1])) / 2
    between = np.where(mask, mixes[np.abs(hue(mixes) - middle).argmin()].astype(np.uint8), video)
    assert read(between)[0].colour is None


def test_shows_compares_only_what_was_asked() -> None:
    seen = Reading("red", "square", "falls", 1.0)
    assert seen.shows(Meaning())
    assert seen.shows(Meaning(colour="red"))
    assert not seen.shows(Meaning(shape="circle"))
    assert not Reading(None, "square", "falls", 0.0).shows(Meaning(shape="square"))


@pytest.mark.parametrize("shape", [(8, 16, 16, 3), (2, 2, 32, 32, 3), (32, 32, 3)])
def test_another_size_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="The oracle reads uint8"):
        read(np.zeros(shape, dtype=np.uint8))
