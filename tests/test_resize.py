"""Resized frames: one definition for all decoders, close to Pillow's filter; what decides the pixels; decoding in place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import video_files

from unsafe_video_dataset import decoders
from unsafe_video_dataset.errors import DecodeError, FilterError, MissingDependency
from unsafe_video_dataset.video import DECODERS, decode_frames, decoder_status, decoder_version

Image = pytest.importorskip("PIL.Image", reason="pillow is not installed")
CLIPS = Path(__file__).parents[2] / "shared" / "clips"
CHROMA = 2.0, 8.0
"""Grey levels by which a decoder may differ from the definition: on average, and in 99 of 100 values (see `decoders`)."""


def usable(decoder: str) -> str:
    status = decoder_status()[decoder]
    if not status.startswith("ok"):
        pytest.skip(status)
    return decoder


def by_pillow(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """RGB frames [T, 3, H, W] by Pillow's antialiased bilinear filter."""
    images = [Image.fromarray(frame.transpose(1, 2, 0)) for frame in frames]
    return np.stack([np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR)).transpose(2, 0, 1) for image in images])


def check_against_pillow(data: bytes, decoder: str, size: tuple[int, int]) -> None:
    expected = by_pillow(decode_frames(data, [0, 3], decoder=decoder), size).astype(int)
    difference = np.abs(decode_frames(data, [0, 3], size=size, decoder=decoder) - expected)
    if decoder == "pyav":
        mean, most = CHROMA
        assert difference.mean() <= mean
        assert np.percentile(difference, 99) <= most
    else:
        assert difference.max() == 0


@pytest.mark.parametrize("size", [(224, 224), (50, 131), (24, 24)])
@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", ["plain", "cropped", "odd_sized", "full_range"])
def test_a_resize_is_the_antialiased_bilinear_one(kind: str, decoder: str, size: tuple[int, int]) -> None:
    check_against_pillow(video_files.GOOD[kind](), usable(decoder), size)


@pytest.mark.skipif(not CLIPS.is_dir(), reason=f"{CLIPS} is not there")
@pytest.mark.parametrize("number", [0, 9, 17])
def test_generated_videos_too(number: int) -> None:
    check_against_pillow((CLIPS / f"{number}.mp4").read_bytes(), usable("pyav"), (224, 224))


def test_the_tolerance_would_show_another_filter() -> None:
    """A grid of one-pixel lines is grey once it is small; without antialiasing it is black or white."""
    frames = np.zeros((4, 128, 128, 3), np.uint8)
    frames[:, ::2] = 255
    data = video_files.encode(frames)
    for decoder in DECODERS:
        if decoder_status()[decoder].startswith("ok"):
            small = decode_frames(data, [0], size=32, decoder=decoder)
            assert np.abs(small[..., 1:-1, :].astype(int) - 127).max() <= 16, decoder  # at an edge the filter is cut off


def test_the_version_names_all_that_decides_the_pixels() -> None:
    pytest.importorskip("av")
    version = decoder_version("pyav")
    assert version.startswith("pyav, ")
    assert "libavcodec" in version
    assert "libswscale" in version
    assert version.endswith(decoders.RESIZE)
    assert decoder_version("auto") == decoder_version(DECODERS[0])


@pytest.mark.parametrize("indices", [[2, 5], [5, 2, 2]])
def test_frames_are_decoded_into_a_given_array(indices: list[int]) -> None:
    batch = np.zeros((3, len(indices), 3, 24, 24), np.uint8)
    result = decode_frames(video_files.plain(), indices, size=24, out=batch[1])
    assert np.shares_memory(result, batch)
    np.testing.assert_array_equal(batch[1], decode_frames(video_files.plain(), indices, size=24))
    assert not batch[[0, 2]].any()


def test_an_array_that_does_not_fit_is_refused() -> None:
    fixed = np.zeros((2, 3, 24, 24), np.uint8)
    fixed.flags.writeable = False
    for out in (np.zeros((2, 3, 24, 25), np.uint8), np.zeros((2, 3, 24, 24), np.float32), fixed):
        with pytest.raises(FilterError, match="out="):
            decode_frames(video_files.plain(), [0, 1], size=24, out=out)


def test_a_plane_of_another_shape_is_not_stretched(monkeypatch: pytest.MonkeyPatch) -> None:
    for shape in ((3, 1, 24), (3, 24, 1), (2, 24, 24), (4, 24, 24)):
        monkeypatch.setitem(decoders.BACKENDS, "pyav", lambda *_, shape=shape: (np.zeros(shape, np.uint8) for _ in range(1)))
        with pytest.raises(DecodeError, match="pyav failed"):
            decode_frames(video_files.plain(), [0], size=24, decoder="pyav")


def test_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unsafe_video_dataset.video.importlib.util.find_spec", lambda name: None)
    assert decode_frames(video_files.plain(), [0], size=24, decoder=usable("pyav")).shape == (1, 3, 24, 24)
    with pytest.raises(MissingDependency, match="PIL to resize"):
        decode_frames(video_files.plain(), [0], size=24, decoder=usable("decord"))
