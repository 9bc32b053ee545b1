"""Frames: the backends agree, subsets are frames of a full decode, sizes are exact, nothing unchecked gets through."""

from __future__ import annotations

import contextlib
import copy
import pickle
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import video_files

from unsafe_video_dataset import decoders, video
from unsafe_video_dataset.errors import DecodeError, FilterError, MissingDependency, UnsupportedVideo
from unsafe_video_dataset.mp4 import inspect_mp4
from unsafe_video_dataset.video import DECODERS, VideoHandle, choose_decoder, decode_frames, decoder_status, probe_video

CLIPS = Path(__file__).parents[2] / "shared" / "clips"
AV1_CLASH = "torchcodec refuses AV1 where decord is loaded: their libdav1d clash"


def usable(decoder: str) -> str:
    """The decoder's name; skips the test, saying why, where it can't be used."""
    status = decoder_status()[decoder]
    if not status.startswith("ok"):
        pytest.skip(status)
    return decoder


def working(kind: str = "") -> list[str]:
    names = [name for name, status in decoder_status().items() if status.startswith("ok")]
    return [name for name in names if not (kind == "av1" and name == "torchcodec")]


# -- the frames are right


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", video_files.GOOD)
def test_agrees_with_pyav(kind: str, decoder: str) -> None:
    usable("pyav")
    if kind == "av1" and usable(decoder) == "torchcodec":
        pytest.skip(AV1_CLASH)
    data = video_files.GOOD[kind]()
    info = inspect_mp4(data)
    frames = decode_frames(data, decoder=usable(decoder))
    assert frames.dtype == np.uint8
    assert frames.flags.c_contiguous
    assert frames.shape == (info.num_frames, 3, info.height, info.width)
    difference = np.abs(frames.astype(int) - decode_frames(data, decoder="pyav"))
    assert difference.max() <= 2


@pytest.mark.parametrize("kind", sorted(set(video_files.GOOD) - {"trimmed_start", "trimmed_end"}))
def test_frames_look_like_what_was_encoded(kind: str) -> None:
    """Colours in the right order, matrix and range; frames in presentation order."""
    frames = decode_frames(video_files.GOOD[kind]()).astype(int)
    source = video_files.shapes(*(frames.shape[i] for i in (0, 2, 3))).transpose(0, 3, 1, 2).astype(int)
    inside = np.abs(frames - source)[:, :, 4:-4, 4:-4].mean(axis=(1, 2, 3))
    assert inside.max() < 8, inside


def test_an_edit_list_hides_the_frames_that_it_cuts() -> None:
    whole = decode_frames(video_files.plain(24))
    np.testing.assert_array_equal(decode_frames(video_files.trimmed_start()), whole[5:])
    whole = decode_frames(video_files.b_frames())
    np.testing.assert_array_equal(decode_frames(video_files.trimmed_end()), whole[:15])


@pytest.mark.parametrize("first", range(0, 20, 3))
@pytest.mark.parametrize("make", [video_files.plain, video_files.b_frames, video_files.open_gop])
def test_the_header_counts_the_frames_that_decoders_present(make: Any, first: int) -> None:
    """Any cut by an edit list, in whole frames and between frames."""
    data = make(24) if make is video_files.plain else make()
    if b"edts" not in data:
        pytest.skip("this muxer writes no edit list")
    for ticks in (0, 1, 1000):
        duration = 125 * (first % 7 + 2) + ticks % 125
        edited = video_files.with_edits(data, [(duration, first * 2048 + ticks)])
        shown = sum(1 for _ in decoders.pyav_frames(edited, inspect_mp4(data)))
        if shown:
            assert inspect_mp4(edited).num_frames == shown
        else:
            with pytest.raises(UnsupportedVideo, match="shows none"):
                inspect_mp4(edited)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", ["open_gop", "b_frames", "variable_rate", "trimmed_start", "trimmed_end", "hevc"])
def test_a_subset_is_frames_of_the_full_decode(kind: str, decoder: str) -> None:
    data = video_files.GOOD[kind]()
    whole = decode_frames(data, decoder=usable(decoder))
    rng = np.random.default_rng(0)
    count = len(whole)
    subsets: list[Sequence[int]] = [[count - 1], [0], [count - 1, 0, 0, count // 2], range(count - 1, -1, -3)]
    subsets += [rng.integers(0, count, size).tolist() for size in (1, 2, 3, 5, 8, 8)]
    for indices in [*subsets, *([i] for i in range(count))]:
        frames = decode_frames(data, indices, decoder=decoder)
        assert frames.flags.c_contiguous
        np.testing.assert_array_equal(frames, whole[list(indices)], err_msg=str(indices))


@pytest.mark.parametrize("decoder", [name for name in DECODERS if name != "pyav"])
@pytest.mark.parametrize("number", range(24))
def test_all_decoders_agree_on_real_clips(number: int, decoder: str) -> None:
    """Every frame of every clip, each backend against PyAV; a backend that is not there is a skip with its name."""
    path = CLIPS / f"{number}.mp4"
    if not path.is_file():
        pytest.skip("the folder of real clips is not here")
    data = path.read_bytes()
    other = decode_frames(data, decoder=usable(decoder))
    reference = decode_frames(data, decoder=usable("pyav"))
    assert other.shape == reference.shape
    assert len(other) >= 16
    for number_of_frame, (one, two) in enumerate(zip(other, reference, strict=True)):
        assert np.abs(one.astype(int) - two).max() <= 2, number_of_frame


# -- size


def _left_of_square(frames: np.ndarray) -> float:
    """Where the red square starts in the first frame, as a share of the width."""
    red = frames[0, 0].astype(int) - frames[0, 1] > 100
    return float(np.flatnonzero(red.any(axis=0))[0] / frames.shape[3])


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", ["plain", "odd_sized"])
def test_resizes_to_exactly_the_size(kind: str, decoder: str) -> None:
    data = video_files.GOOD[kind]()
    native = decode_frames(data, [3, 1], decoder=usable(decoder))
    for size in (224, 64, (75, 97), (50, 131), (17, 9), 1):
        frames = decode_frames(data, [3, 1], size=size, decoder=decoder)
        height, width = (size, size) if isinstance(size, int) else size
        assert frames.shape == (2, 3, height, width)
        assert frames.flags.c_contiguous
        assert abs(frames.mean() - native.mean()) < 25  # and it is a picture of the same thing
        if min(height, width) > 40:
            assert _left_of_square(frames) == pytest.approx(_left_of_square(native), abs=0.03)  # nothing is cropped
    np.testing.assert_array_equal(decode_frames(data, [3, 1], size=native.shape[2:], decoder=decoder), native)


@pytest.mark.parametrize("size", [0, -1, (0, 5), (5, 0), 5000, (10, 5000)])
def test_refuses_impossible_sizes(size: video.Size) -> None:
    with pytest.raises(FilterError, match="size="):
        decode_frames(video_files.plain(), size=size)


def test_refuses_more_output_than_the_limit() -> None:
    with pytest.raises(DecodeError, match="over the limit of 4,294,967,296 bytes"):
        decode_frames(video_files.plain(), [0] * 1000, size=2000)


# -- indices and counts


@pytest.mark.parametrize("indices", [[16], [-1], [0, 99]])
def test_refuses_indices_out_of_range(indices: list[int]) -> None:
    with pytest.raises(DecodeError, match=r"abc: frame -?\d+ does not exist; indices from 0 to 15"):
        decode_frames(video_files.plain(), indices, name="abc")


def test_no_indices_give_no_frames_and_reach_no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    _forbid_decoding(monkeypatch)
    assert decode_frames(video_files.plain(), []).shape == (0, 3, 96, 96)
    assert decode_frames(video_files.plain(), [], size=(5, 7)).shape == (0, 3, 5, 7)


def test_numpy_indices() -> None:
    frames = decode_frames(video_files.plain(), np.array([2, 1]))  # type: ignore[arg-type]
    np.testing.assert_array_equal(frames, decode_frames(video_files.plain(), [2, 1]))


def test_another_count_than_the_recorded_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(decode_frames(video_files.plain(), num_frames=16)) == 16
    _forbid_decoding(monkeypatch)
    with pytest.raises(DecodeError, match="abc: the file has 16 frames and 17 are recorded"):
        decode_frames(video_files.plain(), [0], num_frames=17, name="abc")


def test_a_decoder_that_ends_early(monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(*_: object) -> Generator[Any, None, None]:
        yield np.zeros((3, 96, 96), np.uint8)

    monkeypatch.setitem(decoders.BACKENDS, "pyav", ends)
    with pytest.raises(DecodeError, match="abc: pyav ended before frame 4, and the header says 16 frames"):
        decode_frames(video_files.plain(), [2, 4], decoder="pyav", name="abc")


def _damaged(kind: int) -> bytes:
    """From frame 8 on every coded slice is renamed: to an unknown unit (12 fails), or to one with no picture (9)."""
    data = bytearray(video_files.plain())
    start = data.index(b"stsz") + 16
    sizes = np.frombuffer(bytes(data[start : start + 64]), ">u4").tolist()
    position = int.from_bytes(data[data.index(b"stco") + 12 :][:4], "big") + sum(sizes[:8])
    for size in sizes[8:]:
        data[position + 4] = data[position + 4] & 0xE0 | kind
        position += size
    return bytes(data)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_damaged_stream_is_an_error_that_says_the_fix(decoder: str) -> None:
    data = _damaged(12)
    if usable(decoder) != "decord":  # whose thread may run ahead into the damage
        assert decode_frames(data, [3], decoder=decoder).shape == (1, 3, 96, 96)
    for indices in (None, [15], [9]):
        with pytest.raises(DecodeError) as caught:
            decode_frames(data, indices, decoder=decoder, name="abc")
        message = str(caught.value)
        assert message.startswith(f"abc: {decoder} ")
        assert "sha256" in message
        assert "ffmpeg" in message
        assert len(message) < 600
        assert "\n" not in message
        assert "/project" not in message


def test_probe() -> None:
    usable("pyav")
    for kind, make in video_files.GOOD.items():
        assert probe_video(make()) == inspect_mp4(make()), kind
    with pytest.raises(DecodeError, match=r"abc: .*frame"):
        probe_video(_damaged(12), name="abc")
    with pytest.raises(DecodeError, match=r"abc: .*frame"):
        probe_video(_damaged(9), name="abc")
    with pytest.raises(UnsupportedVideo):
        probe_video(video_files.HLS)


def test_probe_counts_what_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    usable("pyav")

    def one_less(data: bytes, info: object) -> Generator[Any, None, None]:
        yield from range(15)

    monkeypatch.setattr(decoders, "pyav_frames", one_less)
    with pytest.raises(DecodeError, match="abc: 15 frames can be decoded and the header says 16"):
        probe_video(video_files.plain(), name="abc")


def test_pyav_refuses_a_stream_that_is_larger_than_the_header() -> None:
    """MPEG-4 Part 2 states its size where `inspect_mp4` does not look: the decoder is given a limit."""
    usable("pyav")
    large = video_files.encode(video_files.shapes(2, 720, 1280), codec="mpeg4")
    lying = video_files.put(large, b"mp4v\0\0\0\0\0\0", 24, "HH", 64, 64)
    assert inspect_mp4(lying).width == 64
    for decoder in ("auto", "pyav"):
        with pytest.raises(DecodeError):
            decode_frames(lying, decoder=decoder)
    with pytest.raises(DecodeError):
        probe_video(lying)


# -- nothing unchecked reaches a decoder


def _forbid_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> Generator[Any, None, None]:
        pytest.fail("a decoder was given these bytes")

    for decoder in DECODERS:
        monkeypatch.setitem(decoders.BACKENDS, decoder, forbidden)
    monkeypatch.setattr(decoders, "pyav_frames", forbidden)


@pytest.mark.parametrize("kind", video_files.HOSTILE)
def test_hostile_input_reaches_no_decoder(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = video_files.HOSTILE[kind][0]()
    _forbid_decoding(monkeypatch)
    for decoder in ("auto", *working()):
        with pytest.raises(UnsupportedVideo):
            decode_frames(data, decoder=decoder)
    with pytest.raises(UnsupportedVideo):
        VideoHandle(data).frames()
    with pytest.raises(UnsupportedVideo):
        probe_video(data)


def test_pyav_decodes_no_frame_past_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    usable("pyav")
    taken = 0
    real = decoders.pyav_frames

    def counting(data: bytes, info: Any) -> Generator[Any, None, None]:
        nonlocal taken
        with contextlib.closing(real(data, info)) as frames:
            for frame in frames:
                taken += 1
                yield frame

    monkeypatch.setattr(decoders, "pyav_frames", counting)
    decode_frames(video_files.open_gop(), [6, 2, 6], decoder="pyav")
    assert taken == 7


def test_decord_is_asked_for_no_frame_past_the_last_one(monkeypatch: pytest.MonkeyPatch) -> None:
    usable("decord")
    import decord

    calls: list[str] = []
    real = decord.VideoReader

    class Counting(real):  # type: ignore[misc, valid-type]
        def next(self) -> Any:
            calls.append("next")
            return super().next()

        def seek_accurate(self, pos: int) -> None:
            pytest.fail("this jumps, and gives wrong frames in open GOPs")

        seek = get_batch = skip_frames = seek_accurate

    monkeypatch.setattr(decord, "VideoReader", Counting)
    decode_frames(video_files.open_gop(), [6, 2, 6], decoder="decord")
    assert calls == ["next"] * 7


def test_one_thread_a_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    usable("decord")
    import decord

    seen: list[object] = []
    real = decord.VideoReader
    monkeypatch.setattr(decord, "VideoReader", lambda *a, **k: (seen.append(k["num_threads"]), real(*a, **k))[1])
    decode_frames(video_files.plain(), decoder="decord")
    assert seen == [1]


def test_the_decord_bridge_does_not_matter() -> None:
    usable("decord")
    pytest.importorskip("torch", reason="torch is not installed")
    import decord

    expected = decode_frames(video_files.plain(), decoder="decord")
    decord.bridge.set_bridge("torch")
    try:
        np.testing.assert_array_equal(decode_frames(video_files.plain(), decoder="decord"), expected)
    finally:
        decord.bridge.reset_bridge()


def test_many_threads_decode_at_once() -> None:
    expected = decode_frames(video_files.b_frames())
    results: list[bool] = []

    def work() -> None:
        results.append(np.array_equal(decode_frames(video_files.b_frames()), expected))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 8


# -- choice of the decoder


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend that only these decoders work."""

    def set_working(*names: str) -> None:
        monkeypatch.setattr(decoders, "status", lambda name: "ok 1" if name in names else f"{name} is not installed.")

    return set_working


def test_auto_takes_the_first_that_works(only: Any) -> None:
    only("decord", "pyav", "torchcodec")
    assert choose_decoder() == ("pyav", "first of pyav, decord, torchcodec that works here (ok 1)")
    only("torchcodec")
    name, why = choose_decoder("auto")
    assert name == "torchcodec"
    assert "passed over: pyav is not installed. decord is not installed." in why
    assert choose_decoder("torchcodec") == ("torchcodec", "asked for (ok 1)")


def test_a_decoder_that_is_not_there(only: Any) -> None:
    only("pyav")
    with pytest.raises(MissingDependency, match=r"pip install 'unsafe-video-dataset\[video\]'"):
        choose_decoder("decord")
    only()
    with pytest.raises(MissingDependency, match="No video decoder can be used: pyav is not installed"):
        choose_decoder()
    with pytest.raises(MissingDependency):
        decode_frames(video_files.plain())
    with pytest.raises(MissingDependency):
        probe_video(video_files.plain())


def test_an_unknown_decoder() -> None:
    with pytest.raises(FilterError, match="auto, pyav, decord, torchcodec"):
        choose_decoder("opencv")


@pytest.mark.parametrize("error", [RuntimeError("Could not load.\n" * 200), OSError("no libavutil.so"), SystemError()])
def test_a_broken_torchcodec_is_one_sentence(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    real = decoders.importlib.import_module

    def fails(module: str) -> Any:
        if module.startswith("torchcodec"):
            raise error
        return real(module)

    monkeypatch.setattr(decoders.importlib, "import_module", fails)
    decoders.status.cache_clear()
    try:
        status = decoder_status()
    finally:
        decoders.status.cache_clear()
    assert "FFmpeg" in status["torchcodec"]
    assert len(status["torchcodec"]) < 250
    assert "\n" not in status["torchcodec"]
    assert status["decord"].startswith("ok") == ("decord" in working())


def test_a_decoder_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "decord", None)
    decoders.status.cache_clear()
    try:
        assert decoder_status()["decord"] == "decord is not installed."
    finally:
        decoders.status.cache_clear()


def test_other_codecs_go_to_pyav(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their streams may be larger than the header says, and only PyAV can be given a limit."""
    usable("pyav")
    monkeypatch.setitem(decoders.BACKENDS, "decord", lambda *_: pytest.fail("decord was used"))
    assert len(decode_frames(video_files.mpeg4())) == 12
    assert len(decode_frames(video_files.vp9())) == 8


def test_torchcodec_does_not_crash_on_av1_beside_decord() -> None:
    usable("torchcodec")
    usable("decord")
    with pytest.raises(DecodeError, match="use another decoder"):
        decode_frames(video_files.av1(), decoder="torchcodec")


def test_importing_loads_no_codec() -> None:
    code = (
        "import sys, unsafe_video_dataset.video\n"
        "print([m for m in ('av', 'decord', 'torchcodec', 'torch', 'datasets') if m in sys.modules])"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert done.stdout.strip() == "[]"


# -- the handle


def test_handle_is_its_bytes() -> None:
    data = video_files.plain()
    handle = VideoHandle(data, name="0123456789abcdef")
    assert handle == data
    assert isinstance(handle, bytes)
    assert hash(handle) == hash(data)
    assert len(handle) == len(data)
    assert (handle.num_frames, handle.fps, handle.size, handle.duration_seconds) == (16, 8.0, (96, 96), 2.0)
    assert handle.info == inspect_mp4(data)
    np.testing.assert_array_equal(handle.frames([3], size=32), decode_frames(data, [3], size=32))


def test_handle_pickles_and_copies_with_its_name() -> None:
    handle = VideoHandle(video_files.plain(), "abc")
    assert handle.num_frames == 16
    for other in (pickle.loads(pickle.dumps(handle)), copy.copy(handle), copy.deepcopy(handle)):
        assert type(other) is VideoHandle
        assert other == handle
        assert other.name == "abc"
        assert other.size == (96, 96)


def test_handle_shows_itself_in_short() -> None:
    data = video_files.plain()
    assert repr(VideoHandle(data, "1a2b")) == f"VideoHandle('1a2b': 16 frames, 96x96, 8 fps, {len(data) / 1000:.1f} kB)"
    assert str(VideoHandle(data, "1a2b")) == repr(VideoHandle(data, "1a2b")) == f"{VideoHandle(data, '1a2b')}"
    assert repr(VideoHandle(b"junk")) == "VideoHandle('video': not a readable MP4, 0.0 kB)"
    assert len(repr(VideoHandle(data, "x" * 1000))) < 100


def test_handle_reads_nothing_until_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "inspect_mp4", lambda *_, **__: pytest.fail("the header was read"))
    VideoHandle(b"whatever")


def test_handle_errors_name_it() -> None:
    handle = VideoHandle(video_files.HLS, "abc")
    for ask in (lambda: handle.num_frames, lambda: handle.frames()):
        with pytest.raises(UnsupportedVideo, match=r"^abc: this looks like an HLS playlist, not an MP4"):
            ask()


def test_handle_passes_through_torch_formatting() -> None:
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    pytest.importorskip("torch", reason="torch is not installed")
    table = datasets.Dataset.from_dict({"x": [0]})

    def add(batch: dict[str, Any]) -> dict[str, Any]:
        return {"video": [VideoHandle(video_files.plain(), "abc")]}

    handle = table.with_transform(add)[0]["video"]
    assert isinstance(handle, VideoHandle)
    assert handle.name == "abc"
    from datasets.formatting import TorchFormatter

    assert TorchFormatter().recursive_tensorize({"video": handle})["video"] is handle
