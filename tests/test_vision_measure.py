"""Measures of frames: they say what a person would, depend on no size, and are the same bytes every time."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("PIL")
pytest.importorskip("av")

from PIL import Image, ImageFilter

from unsafe_video_dataset.builders.vision import descriptor
from unsafe_video_dataset.builders.vision.measure import MEASURES, measure, spread
from unsafe_video_dataset.builders.vision.resample import grey, resize
from unsafe_video_dataset.builders.vision.synthetic import encode, lit, resized, scene
from unsafe_video_dataset.video import decode_frames


def flat(level: int, frames: int = 16) -> np.ndarray:
    return np.full((frames, 3, 128, 128), level, np.uint8)


def blurred(frames: np.ndarray, radius: float) -> np.ndarray:
    images = [Image.fromarray(one.transpose(1, 2, 0)).filter(ImageFilter.GaussianBlur(radius)) for one in frames]
    return np.stack([np.asarray(image).transpose(2, 0, 1) for image in images])


def of(frames: np.ndarray, name: str) -> float:
    return float(measure(frames, hash="phash")[name])


def test_every_declared_measure_is_there_and_fits_its_arrow_type() -> None:
    found = measure(scene(1), hash="phash")
    assert list(found) == [field.name for field in MEASURES]
    table = pa.Table.from_pylist([found], schema=pa.schema(MEASURES))
    assert table.num_rows == 1
    assert len(found["hashes"]) == len(found["hash_quality"]) == len(found["hash_frames"]) == 16
    assert len(found["descriptor"]) == descriptor.DIM


def test_blur_is_seen_whatever_the_contrast() -> None:
    for seed in range(4):
        film = scene(seed)
        sharp = measure(film, hash="phash")
        soft = measure(blurred(film, 3), hash="phash")
        faint = measure(lit(film, 0.5, 60), hash="phash")
        assert soft["sharpness"] < sharp["sharpness"] / 10
        assert soft["edge_sharpness"] < sharp["edge_sharpness"] / 4
        assert faint["edge_sharpness"] > 0.6 * sharp["edge_sharpness"]


def test_measures_depend_little_on_the_resolution() -> None:
    film = scene(5, size=512)
    small = measure(resized(film, 256, 256), hash="phash")
    large = measure(film, hash="phash")
    for name in ("brightness", "contrast", "motion"):
        assert large[name] == pytest.approx(small[name], rel=0.05)
    assert large["sharpness"] == pytest.approx(small["sharpness"], rel=0.35)


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (flat(0), {"black_fraction": 1, "white_fraction": 0, "blank_fraction": 1, "brightness": 0, "contrast": 0}),
        (flat(255), {"black_fraction": 0, "white_fraction": 1, "blank_fraction": 1, "brightness": 1, "sharpness": 0}),
        (flat(128), {"black_fraction": 0, "white_fraction": 0, "blank_fraction": 1, "frozen_fraction": 1, "motion": 0}),
        (scene(2)[:1], {"frozen_fraction": 1, "longest_freeze": 1, "motion": 0, "blank_fraction": 0}),
        (np.concatenate([scene(2)[:12], flat(0, 4)]), {"black_fraction": 0.25, "blank_fraction": 0.25}),
    ],
)
def test_flat_black_white_and_single_frames(frames: np.ndarray, expected: dict[str, float]) -> None:
    found = measure(frames, hash="phash")
    assert {name: found[name] for name in expected} == expected


def test_a_stop_is_told_from_doubled_frames_also_after_encoding() -> None:
    film = scene(3)
    stops = np.concatenate([film[:8], np.repeat(film[7:8], 8, axis=0)])
    doubled = np.repeat(film[:8], 2, axis=0)
    for frames in (stops, decode_frames(encode(stops))):
        assert of(frames, "frozen_fraction") == pytest.approx(8 / 15, abs=0.1)
        assert of(frames, "longest_freeze") == pytest.approx(8 / 15, abs=0.1)
    assert of(doubled, "frozen_fraction") == pytest.approx(8 / 15)
    assert of(doubled, "longest_freeze") == pytest.approx(1 / 15)
    assert of(decode_frames(encode(film)), "frozen_fraction") == 0


@pytest.mark.parametrize(("height", "width"), [(200, 96), (96, 200), (97, 75), (1, 1), (7, 300), (512, 292)])
def test_any_size_is_measured(height: int, width: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, height, width), dtype=np.uint8)
    assert np.isfinite([value for value in measure(frames, hash="phash").values() if isinstance(value, float)]).all()


@pytest.mark.parametrize(
    "frames",
    [np.zeros((0, 3, 8, 8), np.uint8), np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 3, 8, 8)), np.zeros((3, 8, 8), np.uint8)],
)
def test_what_is_not_frames_is_refused(frames: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \[T, 3, H, W\]"):
        measure(frames, hash="phash")


def test_the_same_frames_give_the_same_bytes_with_any_number_of_threads() -> None:
    code = (
        "import hashlib, numpy as np; from unsafe_video_dataset.builders.vision.measure import measure;"
        "f = np.random.default_rng(1).integers(0, 256, (5, 3, 130, 170), dtype=np.uint8);"
        "print(hashlib.sha256(repr(measure(f, hash='phash')).encode()).hexdigest())"
    )
    seen = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        seen.add(done.stdout)
    assert len(seen) == 1


@given(length=st.integers(1, 400), number=st.integers(2, 40))
def test_spread_takes_first_and_last_and_no_frame_twice(length: int, number: int) -> None:
    chosen = spread(length, number)
    assert len(chosen) == len(set(chosen)) == min(length, number)
    assert chosen == sorted(chosen)
    assert (chosen[0], chosen[-1]) == (0, length - 1)
    steps = np.diff(chosen)
    assert not len(steps) or steps.max() - steps.min() <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([32, 128]), st.integers(0, 255))
def test_resizing_keeps_a_flat_image_flat(height: int, width: int, size: int, level: int) -> None:
    out = resize(np.full((1, height, width), level, np.uint8), size)
    assert out.shape == (1, size, size)
    assert (out == level).all()


def test_resizing_agrees_with_pillow() -> None:
    image = scene(4, frames=1, size=300)[0]
    ours = resize(image, 128).astype(int)
    theirs = Image.fromarray(image.transpose(1, 2, 0)).resize((128, 128), Image.Resampling.BILINEAR, reducing_gap=1.0)
    assert abs(ours - np.asarray(theirs).transpose(2, 0, 1)).mean() < 0.6
    assert (
        resize(image[:, :256, :256], 128)
        == np.asarray(Image.fromarray(image[:, :256, :256].transpose(1, 2, 0)).reduce(2)).transpose(2, 0, 1)
    ).all()


def test_grey_is_within_one_level_of_bt601() -> None:
    frames = np.random.default_rng(2).integers(0, 256, (1, 3, 16, 16), dtype=np.uint8)
    exact = np.einsum("tchw,c->thw", frames.astype(float), [0.299, 0.587, 0.114])
    assert abs(grey(frames) - exact).max() <= 1


def test_the_descriptor_tells_scenes_apart_and_not_their_copies() -> None:
    vectors = {seed: np.array(measure(scene(seed), hash="phash")["descriptor"]) for seed in range(6)}
    for seed in range(6):
        copy = np.array(measure(decode_frames(encode(scene(seed), crf=32)), hash="phash")["descriptor"])
        nearest = min(vectors, key=lambda other: float(np.linalg.norm(vectors[other] - copy)))
        assert nearest == seed
    assert len(descriptor.describe(flat(7), grey(flat(7)))) == descriptor.DIM
