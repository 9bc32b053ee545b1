"""The check before decoding: what it reads from good files, what it refuses, and that it stays bounded on noise."""

from __future__ import annotations

import contextlib
import struct
import time

import pytest
import video_files
from hypothesis import given, settings
from hypothesis import strategies as st

from unsafe_video_dataset.errors import UnsupportedVideo
from unsafe_video_dataset.mp4 import Mp4Info, Mp4Limits, inspect_mp4
from unsafe_video_dataset.nal import NalError, check_picture_size

EXPECTED = {  # frames, height, width, codec, seconds
    "plain": (16, 96, 96, "h264", 2.0),
    "odd_sized": (12, 75, 97, "h264", 1.5),
    "cropped": (12, 70, 90, "h264", 1.5),
    "open_gop": (40, 96, 96, "h264", 5.0),
    "b_frames": (24, 96, 96, "h264", 3.0),
    "late_start": (10, 96, 96, "h264", 1.25),
    "one_frame": (1, 96, 96, "h264", 0.125),
    "mpeg4": (12, 96, 96, "mpeg4", 1.5),
    "hevc": (12, 70, 90, "hevc", 1.5),
    "vp9": (8, 96, 96, "vp9", 1.0),
    "av1": (8, 96, 96, "av1", 1.0),
    "trimmed_start": (19, 96, 96, "h264", 2.375),
    "trimmed_end": (15, 96, 96, "h264", 1.875),
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_reads_the_header(kind: str) -> None:
    data = video_files.GOOD[kind]()
    frames, height, width, codec, seconds = EXPECTED[kind]
    assert inspect_mp4(data) == Mp4Info(frames, frames / seconds, width, height, seconds, codec, len(data))


def test_average_rate_of_irregular_times() -> None:
    info = inspect_mp4(video_files.variable_rate())
    assert info.num_frames == 12
    assert info.fps * info.duration_seconds == pytest.approx(12)
    assert info.duration_seconds == pytest.approx(1.997, abs=0.2)  # the last frame's own duration is the muxer's guess


@pytest.mark.parametrize("kind", video_files.HOSTILE)
def test_refuses(kind: str) -> None:
    make, reason = video_files.HOSTILE[kind]
    data = make()
    started = time.process_time()
    with pytest.raises(UnsupportedVideo) as caught:
        inspect_mp4(data, name="0123456789abcdef")
    assert time.process_time() - started < 2.0
    message = str(caught.value)
    assert message.startswith("0123456789abcdef: ")
    assert reason in message
    assert "ffmpeg" in message or "Get " in message
    assert len(message) < 400


LIMITS = {
    "max_bytes": (1000, "over the limit of 1,000"),
    "max_width": (95, "are allowed"),
    "max_height": (95, "are allowed"),
    "max_frames": (15, "the limit is 15"),
    "max_duration_seconds": (1.9, "the limit is 1.9"),
    "max_decoded_bytes": (16 * 96 * 96 * 3 - 1, "once decoded"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_limits(limit: str) -> None:
    value, reason = LIMITS[limit]
    with pytest.raises(UnsupportedVideo, match=reason):
        inspect_mp4(video_files.plain(), limits=Mp4Limits(**{limit: value}))


def test_exactly_at_the_limits_is_allowed() -> None:
    data = video_files.plain()
    limits = Mp4Limits(len(data), 96, 96, 16, 2.0, 16 * 96 * 96 * 3)
    assert inspect_mp4(data, limits=limits).num_frames == 16


def test_a_fixed_sample_size_is_refused_where_the_stream_does_not_fit_it() -> None:
    data = video_files.put(video_files.plain(), b"stsz", 4, "I", 5)
    with pytest.raises(UnsupportedVideo, match="coded unit"):
        inspect_mp4(data)


def test_moov_before_mdat() -> None:
    data = video_files.moov_first(video_files.plain())
    assert data.index(b"moov") < data.index(b"mdat")
    assert inspect_mp4(data).num_frames == 16


def test_mdat_up_to_the_end_of_the_file_and_64_bit_sizes() -> None:
    data = video_files.moov_first(video_files.plain())
    at = data.index(b"mdat") - 4
    open_ended = data[:at] + bytes(4) + data[at + 4 :]
    assert inspect_mp4(open_ended).num_frames == 16
    free = struct.pack(">I4sQ", 1, b"free", 16)
    assert inspect_mp4(data + free).num_frames == 16


def test_a_brand_that_comes_second_does_not_count() -> None:
    data = video_files.put(video_files.plain(), b"ftyp", 0, "4s", b"qt  ")
    assert b"isom" in data[:40]
    with pytest.raises(UnsupportedVideo, match="QuickTime"):
        inspect_mp4(data)


def test_a_long_edit_list_and_a_changed_speed() -> None:
    data = video_files.b_frames()
    with pytest.raises(UnsupportedVideo, match="rows"):
        inspect_mp4(video_files.put(data, b"elst", 4, "I", 2**31))
    with pytest.raises(UnsupportedVideo, match="speed"):
        inspect_mp4(video_files.put(data, b"elst", 16, "I", 0x20000))


MUTATED = [make() for make in (video_files.plain, video_files.b_frames, video_files.hevc, video_files.mpeg4)]


def _inspect_or_refuse(data: bytes) -> None:
    started = time.process_time()
    with contextlib.suppress(UnsupportedVideo):
        info = inspect_mp4(data)
        assert min(info.num_frames, info.fps, info.width, info.height) > 0
    assert time.process_time() - started < 2.0


@settings(max_examples=600, deadline=None)
@given(data=st.data(), which=st.integers(0, len(MUTATED) - 1))
def test_any_mutation_of_the_header_is_read_or_refused(data: st.DataObject, which: int) -> None:
    mutated = bytearray(MUTATED[which])
    moov = mutated.index(b"moov") - 4
    places = st.one_of(st.integers(0, 47), st.integers(moov, len(mutated) - 1))
    extremes = st.sampled_from([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\1", b"\x80\0\0\0"])
    for place, new in data.draw(
        st.lists(st.tuples(places, st.one_of(st.binary(min_size=1, max_size=8), extremes)), max_size=6)
    ):
        mutated[place : place + len(new)] = new
    _inspect_or_refuse(bytes(mutated))


@settings(max_examples=200, deadline=None)
@given(start=st.integers(0, 200), length=st.integers(0, 20_000), tail=st.binary(max_size=64))
def test_any_truncation_is_read_or_refused(start: int, length: int, tail: bytes) -> None:
    data = MUTATED[1]
    _inspect_or_refuse(data[:length] + tail)
    _inspect_or_refuse(data[start : start + length])
    if length < len(data) - 8:
        with pytest.raises(UnsupportedVideo):
            inspect_mp4(data[:length])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_behind_a_good_start_are_read_or_refused(tail: bytes) -> None:
    _inspect_or_refuse(tail)
    _inspect_or_refuse(MUTATED[0][:32] + tail)


# -- the picture size in the stream itself


def _config(data: bytes, kind: bytes) -> bytes:
    at = data.index(kind)
    return data[at + 4 : at - 4 + int.from_bytes(data[at - 4 : at], "big")]


def test_a_larger_picture_hidden_in_the_samples() -> None:
    config = _config(video_files.plain(), b"avcC")
    large = _config(video_files.plain(1, 720, 1280), b"avcC")
    sps = large[8 : 8 + int.from_bytes(large[6:8], "big")]
    sample = memoryview(len(sps).to_bytes(4, "big") + sps)
    check_picture_size("h264", large, iter([sample]), (1280, 720))
    check_picture_size("h264", config, iter([]), (96, 96))
    with pytest.raises(NalError, match="coded frames are 1280x720 pixels and the header says 96x96"):
        check_picture_size("h264", config, iter([sample]), (96, 96))


@pytest.mark.parametrize("size", [(96, 96), (90, 70), (130, 50), (176, 144), (640, 352)])
@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_reads_the_picture_size_of_h264_and_hevc(codec: str, size: tuple[int, int]) -> None:
    width, height = size
    options = {"x265-params": "log-level=none:pools=none"} if codec == "libx265" else {"profile": "baseline"}
    # Three frames: of a single one libx265 now and then leaves the decoding time unset, which the muxer refuses.
    data = video_files.encode(video_files.shapes(3, height, width), codec=codec, options=options)
    info = inspect_mp4(data)
    assert (info.width, info.height) == size
    entry = (b"avc1" if codec == "libx264" else b"hev1") + bytes(6)
    with pytest.raises(UnsupportedVideo, match=f"coded frames are {width}x{height} pixels"):
        inspect_mp4(video_files.put(data, entry, 24, "H", width + 1))


def test_interlaced_and_444() -> None:
    for options in (
        {"x264": "interlaced=1"},
        {"pix_fmt": "yuv422p"},
        {"pix_fmt": "yuv444p"},
        {"pix_fmt": "yuv420p10le"},
    ):
        data = video_files.encode(video_files.shapes(2, 52, 90), **options)  # type: ignore[arg-type]
        assert (inspect_mp4(data).width, inspect_mp4(data).height) == (90, 52)


def test_millions_of_coded_units_are_refused_in_time() -> None:
    config = _config(video_files.plain(), b"avcC")
    sample = memoryview(b"\0\0\0\1\x09" * 2_000_000)
    started = time.process_time()
    with pytest.raises(NalError, match="more than 1,000,000"):
        check_picture_size("h264", config, iter([sample]), (96, 96))
    assert time.process_time() - started < 5.0


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["h264", "hevc"]), st.binary(max_size=120), st.integers(0, 120))
def test_any_configuration_is_read_or_refused(codec: str, noise: bytes, keep: int) -> None:
    good = _config(video_files.plain(), b"avcC") if codec == "h264" else _config(video_files.hevc(), b"hvcC")
    for config in (noise, good[:keep] + noise):
        with contextlib.suppress(NalError):
            check_picture_size(codec, config, iter([memoryview(noise)]), (96, 96))
