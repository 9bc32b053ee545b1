"""Which frames a clip takes: properties that hold for every length, and the exact values of the documented rules."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unsafe_video_dataset.clips import AllFrames, CenterClip, Clip, RandomClip, UniformFrames
from unsafe_video_dataset.errors import FilterError

lengths = st.integers(1, 400)
sizes = st.integers(1, 64)
strides = st.integers(1, 12)
clips = st.one_of(
    st.builds(UniformFrames, sizes),
    st.builds(RandomClip, sizes, strides),
    st.builds(CenterClip, sizes, strides),
    st.just(AllFrames()),
)


@given(clips, lengths, st.integers(0, 2**32))
def test_what_holds_for_every_clip(clip: Any, num_frames: int, seed: int) -> None:
    indices, mask = clip.indices(num_frames, np.random.default_rng(seed))
    assert indices.dtype == np.int64
    assert mask.dtype == np.bool_
    assert indices.shape == mask.shape == ((num_frames if isinstance(clip, AllFrames) else clip.n),)
    assert 0 <= indices.min() <= indices.max() < num_frames
    assert (np.diff(indices) >= 0).all()
    real = indices[mask]
    assert len(set(real)) == len(real) >= 1
    assert mask[: len(real)].all(), "padding stands at the end"
    assert (indices[~mask] == real[-1]).all(), "padding repeats the clip's own last frame"
    again, again_mask = clip.indices(num_frames, np.random.default_rng(seed))
    assert (indices == again).all()
    assert (mask == again_mask).all()


@given(sizes, lengths)
def test_uniform_frames_are_the_middles_of_equal_parts(n: int, num_frames: int) -> None:
    indices, mask = UniformFrames(n).indices(num_frames)
    if num_frames < n:
        assert mask.sum() == num_frames
        assert list(indices[mask]) == list(range(num_frames))
    else:
        assert mask.all()
        assert list(indices) == [int((i + 0.5) * num_frames / n + 1e-9) for i in range(n)]
        assert list(num_frames - 1 - indices[::-1]) == pytest.approx(list(indices), abs=1)


@given(sizes, strides, lengths, st.integers(0, 1000))
def test_strided_clips(n: int, stride: int, num_frames: int, seed: int) -> None:
    span = (n - 1) * stride + 1
    for clip in (RandomClip(n, stride), CenterClip(n, stride)):
        indices, mask = clip.indices(num_frames, np.random.default_rng(seed))
        assert (np.diff(indices[mask]) == stride).all()
        assert mask.all() == (num_frames >= span)
        if num_frames < span:
            assert indices[0] == 0
            assert mask.sum() == len(range(0, num_frames, stride))
    centre, mask = CenterClip(n, stride).indices(num_frames)
    if mask.all():
        before, after = centre[0], num_frames - 1 - centre[-1]
        assert after - before in (0, 1)


def test_a_random_clip_reaches_every_start_evenly() -> None:
    rng = np.random.default_rng(0)
    starts = [int(RandomClip(4, 2).indices(12, rng)[0][0]) for _ in range(3000)]
    counts = np.bincount(starts)
    assert len(counts) == 6
    assert counts.min() > 400


def test_known_values() -> None:
    assert list(UniformFrames(4).indices(16)[0]) == [2, 6, 10, 14]
    assert list(UniformFrames(16).indices(16)[0]) == list(range(16))
    assert list(UniformFrames(1).indices(9)[0]) == [4]
    assert list(CenterClip(4, 2).indices(16)[0]) == [4, 6, 8, 10]
    indices, mask = UniformFrames(4).indices(2)
    assert (list(indices), list(mask)) == ([0, 1, 1, 1], [True, True, False, False])
    indices, mask = CenterClip(4, 3).indices(5)
    assert (list(indices), list(mask)) == ([0, 3, 3, 3], [True, True, False, False])


@pytest.mark.parametrize("clip", [UniformFrames, RandomClip, CenterClip])
@pytest.mark.parametrize("n", [0, -1, 2.5, "4", None])
def test_a_size_that_makes_no_sense(clip: Any, n: Any) -> None:
    with pytest.raises(FilterError, match="at least 1"):
        clip(n)


@pytest.mark.parametrize("clip", [RandomClip, CenterClip])
def test_a_stride_that_makes_no_sense(clip: Any) -> None:
    with pytest.raises(FilterError, match="frame_stride is 0"):
        clip(4, 0)


@pytest.mark.parametrize("clip", [UniformFrames(2), CenterClip(2), RandomClip(2), AllFrames()])
def test_a_video_has_frames(clip: Clip) -> None:
    with pytest.raises(FilterError, match="num_frames is 0"):
        clip.indices(0, np.random.default_rng(0))


def test_a_random_clip_needs_a_generator() -> None:
    with pytest.raises(FilterError, match="default_rng"):
        RandomClip(4).indices(16)


def test_clips_are_values() -> None:
    assert UniformFrames(4) == UniformFrames(n=4) != UniformFrames(5)
    assert len({CenterClip(4, 2), CenterClip(4, 2)}) == 1
    with pytest.raises(AttributeError):
        UniformFrames(4).n = 5  # type: ignore[misc]
