"""The proxy world: its scenes, its blocked concepts and the renderer."""

from __future__ import annotations

import numpy as np
import pytest

from unsafe_video_dataset.defenses.proxy.shapes import CONCEPTS, FRAMES, SCENES, SIZE, Scene, categories, lookalike, render


def test_every_concept_occurs_and_overlaps_with_another() -> None:
    labels = [scene.categories for scene in SCENES]
    assert len(set(SCENES)) == 60
    for concept in CONCEPTS:
        assert [row for row in labels if concept in row and len(row) > 1], f"{concept} never occurs with another"
        assert [row for row in labels if row == (concept,)], f"{concept} never occurs alone"


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (("red", "square", "rises"), ("red_square",)),
        (("red", "square", "left"), ("red_square", "red_left")),
        (("yellow", "circle", "falls"), ("falling_circle", "yellow_fall")),
        (("red", "circle", "rises"), ()),
        (("orange", "square", "left"), ()),
        ((None, "circle", "falls"), ("falling_circle",)),
        (("red", None, None), ()),
    ],
)
def test_categories(scene: tuple[str | None, str | None, str | None], expected: tuple[str, ...]) -> None:
    assert categories(*scene) == expected


def test_lookalikes_are_allowed_and_near() -> None:
    near = [scene for scene in SCENES if lookalike(scene.colour, scene.shape, scene.motion)]
    assert not [scene for scene in near if scene.categories]
    assert Scene("red", "circle", "rises") in near
    assert Scene("green", "triangle", "right") not in near


def test_an_unknown_name_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="'pink' is not in the proxy world; choose from red, orange"):
        Scene("pink", "circle", "falls")


def test_rendering_is_a_function_of_the_seed() -> None:
    one, same = (render(SCENES[:7], rng=np.random.default_rng(4)) for _ in range(2))
    other = render(SCENES[:7], rng=np.random.default_rng(5))
    assert one.shape == (7, FRAMES, SIZE, SIZE, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_no_shape_leaves_the_frame() -> None:
    videos = render(SCENES * 4, rng=np.random.default_rng(0)).astype(int)
    chroma = videos.max(axis=-1) - videos.min(axis=-1)
    rim = np.concatenate([chroma[:, :, 0], chroma[:, :, -1], chroma[:, :, :, 0], chroma[:, :, :, -1]], axis=-1)
    assert (rim > 60).mean() < 0.01


def test_size_alone_does_not_tell_the_shape() -> None:
    videos = render(SCENES * 6, rng=np.random.default_rng(0)).astype(int)
    area = (videos.max(axis=-1) - videos.min(axis=-1) > 60).sum(axis=(-1, -2)).mean(axis=1)
    means = [np.mean([a for a, s in zip(area, SCENES * 6, strict=True) if s.shape == shape]) for shape in ("circle", "square")]
    assert abs(means[0] / means[1] - 1) < 0.06


def test_no_scene_renders_nothing() -> None:
    assert render([], rng=np.random.default_rng(0)).shape == (0, FRAMES, SIZE, SIZE, 3)
