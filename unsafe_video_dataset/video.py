"""Frames from MP4 bytes: the check before decoding, the choice of a decoder, and a lazy handle on one video.

Nothing here opens a path or an address: bytes come in, `mp4.inspect_mp4` checks them, and then a decoder sees them.
The codecs are imported when they are first used.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import operator
from collections.abc import Generator, Iterable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from . import decoders
from . import isolate as children
from .boxes import COMMAND, REENCODE
from .errors import DecodeError, FilterError, MissingDependency, one_of
from .isolate import DEFAULT_CHILD_LIMITS, ChildLimits
from .mp4 import DEFAULT_LIMITS, Mp4Info, Mp4Limits, inspect_mp4
from .sizes import Size as Size
from .sizes import height_width

Decoder = Literal["auto", "decord", "pyav", "torchcodec"]
DECODERS: tuple[str, ...] = ("pyav", "decord", "torchcodec")
"""The backends in the order in which `decoder="auto"` tries them."""
WHY_THIS_ORDER = "PyAV is tried before decord because its frames can be resized before conversion to RGB (docs/benchmarks.md)."

_INSTALL = "pip install 'unsafe-video-dataset[video]'"


def decoder_status() -> dict[str, str]:
    """For each backend "ok <version>", or one sentence that says why it can't be used. Imports them all, for real."""
    return {decoder: decoders.status(decoder) for decoder in DECODERS}


def choose_decoder(decoder: Decoder | str = "auto") -> tuple[str, str]:
    """The backend that is used for `decoder`, and why.

    Raises `FilterError` for a name that is not known, `MissingDependency` where the backend (or, for "auto", every one)
    can't be used.
    """
    one_of(decoder, ("auto", *DECODERS), "decoder")
    if decoder != "auto":
        status = decoders.status(decoder)
        if not status.startswith("ok"):
            fix = f"Run: {_INSTALL}, or pass decoder='auto'."
            raise MissingDependency(f"decoder={decoder!r} can't be used: {status} {fix}")
        return decoder, f"asked for ({status})"
    reasons: list[str] = []
    for candidate in DECODERS:
        status = decoders.status(candidate)
        if status.startswith("ok"):
            passed_over = f"; passed over: {' '.join(reasons)}" if reasons else ""
            return (
                candidate,
                f"first of {', '.join(DECODERS)} that works here ({status}){passed_over}",
            )
        reasons.append(status)
    raise MissingDependency(f"No video decoder can be used: {' '.join(reasons)} Run: {_INSTALL}")


def decoder_version(decoder: Decoder | str = "auto") -> str:
    """What decides the pixels that `decoder` gives: the backend, the versions in it, and the definition of a resize.

    Raises what `choose_decoder` does.
    """
    return decoders.version(choose_decoder(decoder)[0])


def decode_frames(
    data: bytes,
    indices: Sequence[int] | None = None,
    *,
    size: Size = None,
    decoder: Decoder | str = "auto",
    name: str = "video",
    num_frames: int | None = None,
    limits: Mp4Limits = DEFAULT_LIMITS,
    isolate: bool | ChildLimits = False,
    out: npt.NDArray[np.uint8] | None = None,
) -> npt.NDArray[np.uint8]:
    """Decode frames of an MP4 to uint8 [T, 3, H, W] RGB in 0..255, C-contiguous.

    `indices` are frame numbers in presentation order, in 0..num_frames-1, in any order and with repeats; None is all
    frames. Frames are decoded from the first on up to the last one asked for, so that they are those of a full decode.
    `size` is the exact size of the result; the aspect is not kept and nothing is cropped. `num_frames` is the recorded
    number of frames, if there is a record: a file that differs is refused. `isolate` decodes in a child process with
    limits on memory, CPU and time (`isolate.ChildLimits`; True for the default ones), so that a file on which the codec
    crashes, hangs or takes too much is a `DecodeError`. The child is kept for the next video. `out` is an array to decode
    into, of the shape and dtype of the result (a row of a batch, say); it is then what comes back. After an error its
    content is undefined.

    Raises `UnsupportedVideo` where the bytes are not a plain MP4 within `limits`; `DecodeError` where an index is out
    of range, the frame count is not the recorded one, or the backend fails or yields too few frames;
    `MissingDependency` where the backend can't be used; `FilterError` for a `decoder`, `size` or `out` that makes no sense.
    """
    backend, _ = choose_decoder(decoder)
    info = inspect_mp4(data, name=name, limits=limits)
    if decoder == "auto" and info.codec not in ("h264", "hevc") and decoders.status("pyav").startswith("ok"):
        backend = "pyav"  # inspect_mp4 can't see the size that these streams state; only PyAV can be given a limit
    if num_frames is not None and num_frames != info.num_frames:
        raise DecodeError(
            f"{name}: the file has {info.num_frames} frames and {num_frames} are recorded for it: it is not the file"
            " that was recorded. Check it against its sha256: unsafe-video verify"
        )
    asked = range(info.num_frames) if indices is None else [operator.index(index) for index in indices]
    outside = [index for index in asked if not 0 <= index < info.num_frames]
    if outside:
        last = info.num_frames - 1
        raise DecodeError(f"{name}: frame {outside[0]} does not exist; indices from 0 to {last} can be asked for.")
    height, width = (info.height, info.width) if size is None else height_width(size, limits=limits)
    if len(asked) * height * width * 3 > limits.max_decoded_bytes:
        raise DecodeError(
            f"{name}: {len(asked)} frames of {width}x{height} are over the limit of {limits.max_decoded_bytes:,} bytes."
            " Ask for fewer frames or a smaller size."
        )
    if size is not None and backend != "pyav" and (height, width) != (info.height, info.width):
        _need_pillow(backend)
    shape = (len(asked), 3, height, width)
    if out is not None and (out.shape != shape or out.dtype != np.uint8 or not out.flags.writeable):
        raise FilterError(f"out= is {out.dtype} {out.shape}; a writeable uint8 array of shape {shape} is expected.")
    wanted = sorted(set(asked))
    in_order = list(asked) == wanted
    frames = out if out is not None and in_order else np.empty((len(wanted), *shape[1:]), np.uint8)
    _fill(frames, data, wanted, info, backend, name, _child_limits(isolate))
    return frames if in_order else np.take(frames, np.searchsorted(wanted, asked), axis=0, out=out)


def _need_pillow(backend: str) -> None:
    if importlib.util.find_spec("PIL") is None:
        raise MissingDependency(f"{backend} needs PIL to resize frames. Run: {_INSTALL}")


def _child_limits(isolate: bool | ChildLimits) -> ChildLimits | None:
    if isinstance(isolate, ChildLimits):
        return isolate
    return DEFAULT_CHILD_LIMITS if isolate else None


def _fill(
    out: npt.NDArray[np.uint8],
    data: bytes,
    wanted: Sequence[int],
    info: Mp4Info,
    backend: str,
    name: str,
    child: ChildLimits | None,
) -> None:
    """Write the wanted frames into `out` [T, 3, H, W]."""
    if not wanted:
        return
    filled = 0
    try:
        with contextlib.closing(_frames(data, wanted, out.shape[2:], info, backend, child)) as frames:
            for frame in frames:
                _put(out[filled], frame)
                filled += 1
    except Exception as error:  # whatever a codec raises
        raise DecodeError(
            f"{name}: {backend} failed at frame {wanted[min(filled, len(wanted) - 1)]} ({_reason(error)})."
            f" Check its sha256 (unsafe-video verify), try another of {', '.join(DECODERS)}, or re-encode it: {COMMAND}"
        ) from error
    if filled < len(wanted):
        raise DecodeError(
            f"{name}: {backend} ended before frame {wanted[filled]}, and the header says {info.num_frames} frames: the"
            f" stream is damaged. Check its sha256 (unsafe-video verify), or re-encode it: {COMMAND}"
        )


def _frames(
    data: bytes, wanted: Sequence[int], size: tuple[int, int], info: Mp4Info, backend: str, child: ChildLimits | None
) -> Generator[Iterable[npt.NDArray[np.uint8]], None, None]:
    """The wanted frames, each as three planes [H, W], decoded here or in a child."""
    if child is not None:
        yield from children.frames(data, wanted, size, info, backend, limits=child)
        return
    with contextlib.closing(decoders.BACKENDS[backend](data, wanted, size, info)) as frames:
        yield from frames


def _put(place: npt.NDArray[np.uint8], frame: Iterable[npt.NDArray[np.uint8]]) -> None:
    """Copy a frame's planes to their place [3, H, W], which is where they stay: nothing is copied twice."""
    for channel, plane in zip(place, frame, strict=True):
        if plane.shape != channel.shape:  # numpy would stretch a plane of one row
            raise ValueError(f"a plane has the shape {plane.shape}, {channel.shape} was expected")
        channel[...] = plane


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, children.ChildError) else decoders.short(error)


def probe_video(
    data: bytes, *, name: str = "video", limits: Mp4Limits = DEFAULT_LIMITS, isolate: bool | ChildLimits = False
) -> Mp4Info:
    """Check an MP4 all the way: `inspect_mp4`, then decode all frames with PyAV: count and size must be the header's.

    For builders; `isolate` as in `decode_frames`. Raises `UnsupportedVideo`, `DecodeError` or, without PyAV,
    `MissingDependency`.
    """
    info = inspect_mp4(data, name=name, limits=limits)
    choose_decoder("pyav")
    child = _child_limits(isolate)
    count = 0
    try:
        if child is not None:
            count = children.count_frames(data, info, limits=child)
        else:
            with contextlib.closing(decoders.pyav_frames(data, info)) as frames:
                for _ in frames:
                    count += 1
    except Exception as error:
        where = "" if child is not None else f" at frame {count}"
        raise DecodeError(f"{name}: pyav failed{where} ({_reason(error)}). {REENCODE}") from error
    if count != info.num_frames:
        raise DecodeError(f"{name}: {count} frames can be decoded and the header says {info.num_frames}. {REENCODE}")
    return info


def probe_frames(
    data: bytes,
    *,
    frames: int,
    longest_side: int,
    name: str = "video",
    limits: Mp4Limits = DEFAULT_LIMITS,
    isolate: bool | ChildLimits = False,
) -> tuple[Mp4Info, npt.NDArray[np.uint8]]:
    """`probe_video`, and in the same pass the frames to measure: uint8 [T, 3, H, W] RGB.

    Every frame is decoded. At most `frames` of them are given back, evenly spread, the first and the last among them, in
    the video's aspect and at most `longest_side` pixels high and wide. Raises what `probe_video` does.
    """
    info = inspect_mp4(data, name=name, limits=limits)
    choose_decoder("pyav")
    number = min(frames, info.num_frames)
    indices = [round(step * (info.num_frames - 1) / max(1, number - 1)) for step in range(number)]
    scale = min(1.0, longest_side / max(info.height, info.width))
    height, width = max(1, round(info.height * scale)), max(1, round(info.width * scale))
    out = np.empty((number, 3, height, width), np.uint8)
    filled = 0
    try:
        with contextlib.closing(_frames(data, indices, (height, width), info, "pyav_whole", _child_limits(isolate))) as found:
            for frame in found:
                _put(out[filled], frame)
                filled += 1
    except Exception as error:
        raise DecodeError(f"{name}: pyav failed ({_reason(error)}). {REENCODE}") from error
    return info, out


class VideoHandle(bytes):
    """The bytes of one MP4, with what its header says and its frames on demand.

    It *is* its bytes: it compares, hashes, writes and passes through `datasets` as such. `name` (a video_id or a path)
    goes into error messages. Nothing is read or decoded until asked for; it pickles with its name.
    """

    name: str

    def __new__(cls, data: bytes, name: str = "video") -> VideoHandle:
        handle = super().__new__(cls, data)
        handle.name = name
        return handle

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (bytes(self), self.name)

    @functools.cached_property
    def info(self) -> Mp4Info:
        """What the MP4's header says; raises `UnsupportedVideo` where it is not one that we take."""
        return inspect_mp4(self, name=self.name)

    @property
    def num_frames(self) -> int:
        """Frames in presentation, from the header."""
        return self.info.num_frames

    @property
    def fps(self) -> float:
        """Frames a second on average, from the header."""
        return self.info.fps

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, from the header."""
        return self.info.height, self.info.width

    @property
    def duration_seconds(self) -> float:
        """Seconds that the frames last, from the header."""
        return self.info.duration_seconds

    def frames(
        self,
        indices: Sequence[int] | None = None,
        *,
        size: Size = None,
        decoder: Decoder | str = "auto",
        isolate: bool | ChildLimits = False,
    ) -> npt.NDArray[np.uint8]:
        """Decode frames to uint8 [T, 3, H, W] RGB: `decode_frames` on these bytes."""
        return decode_frames(self, indices, size=size, decoder=decoder, name=self.name, isolate=isolate)

    def __repr__(self) -> str:
        short = self.name if len(self.name) <= 24 else self.name[:23] + "…"
        amount = f"{len(self) / 1000:.1f} kB" if len(self) < 1_000_000 else f"{len(self) / 1_000_000:.1f} MB"
        try:
            info = self.info
            what = f"{info.num_frames} frames, {info.width}x{info.height}, {info.fps:.4g} fps"
        except Exception:  # a repr must not raise
            what = "not a readable MP4"
        return f"VideoHandle({short!r}: {what}, {amount})"

    __str__ = __repr__
