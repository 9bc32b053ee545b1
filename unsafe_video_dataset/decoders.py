"""The codecs: decord, PyAV and torchcodec behind one function signature. Only `video.py` uses this module.

A backend is `(data, wanted, size, info) -> generator of three uint8 [H, W] planes, R, G and B`, for each index of
`wanted` (sorted, no repeats, not empty), decoded in order and not past the last one wanted: in files with open GOPs a jump
to a frame may give another one. It gets bytes that `inspect_mp4` has passed, never a path, and runs one thread. Planes may
be views of memory that the decoder uses again: they are copied before the next frame is asked for.

All three give the same pixels at native size. Another size is one definition, `RESIZE`: a bilinear filter that is as wide
as the reduction asks for (a triangle over all source pixels that a new one covers), as of Pillow's `BILINEAR` and of torch
with `antialias=True`. PyAV applies it to the luma and chroma planes before they become RGB: that takes 40% of the time of
resizing in one step to packed RGB, and keeps all of the chroma. decord and torchcodec hand out RGB at native size, and
Pillow resizes that; their own filters are others. Chroma that is spread before the filter or after it differs at sharp
edges of colour: by 2 grey levels on average and 8 in 99 of 100 values at most (`tests/test_resize.py` holds them to it).
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import pkgutil
import re
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .mp4 import Mp4Info

Plane = npt.NDArray[np.uint8]
Frame = tuple[Plane, Plane, Plane]  # R, G, B
Size2D = tuple[int, int]  # height, width
Backend = Callable[[bytes, Sequence[int], Size2D, Mp4Info], Generator[Frame, None, None]]
RESIZE = "bilinear-antialias-1"
"""The definition of a resized frame. Who keeps decoded frames keys them by it; change it with the pixels."""
_GBR = (2, 0, 1)  # FFmpeg's planar RGB has its planes in the order G, B, R


def pyav_frames(data: bytes, info: Mp4Info) -> Generator[Any, None, None]:
    """All frames of an MP4 as `av.VideoFrame`, in presentation order, each of the size that the header says."""
    import av

    # format=: no probing, so that the bytes can't be taken for a playlist. The whitelist allows no protocol but local
    # files, and there is no path to open one with. enable_drefs: media outside the file is never followed.
    options = {"protocol_whitelist": "file", "enable_drefs": "0"}
    with av.open(io.BytesIO(data), format="mp4", options=options, metadata_errors="replace") as container:
        if len(container.streams.video) != 1:
            raise ValueError(f"it finds {len(container.streams.video)} video streams")
        stream = container.streams.video[0]
        stream.thread_type = "NONE"
        stream.thread_count = 1
        # The stream may state another size than the header; 256 is more than the edges that any codec adds.
        stream.codec_context.options = {"max_pixels": str((info.width + 256) * (info.height + 256))}
        for index, frame in enumerate(container.decode(stream)):
            if (frame.width, frame.height) != (info.width, info.height):
                actual, stated = f"{frame.width}x{frame.height}", f"{info.width}x{info.height}"
                raise ValueError(f"frame {index} is {actual}, the header says {stated}")
            yield frame


def pyav_whole(data: bytes, wanted: Sequence[int], size: Size2D, info: Mp4Info) -> Generator[Frame, None, None]:
    """A backend that decodes all frames, also those after the last one wanted; their number must be the header's."""
    import av

    graph: Any = None
    chosen, count = frozenset(wanted), 0
    with contextlib.closing(pyav_frames(data, info)) as frames:
        for index, frame in enumerate(frames):
            count += 1
            if index in chosen:
                if graph is None:
                    graph = _scale_to_rgb(av, frame, size)
                graph.push(frame)
                yield _planes(graph.pull())
    if count != info.num_frames:
        raise ValueError(f"{count} frames can be decoded and the header says {info.num_frames}")


def _pyav(data: bytes, wanted: Sequence[int], size: Size2D, info: Mp4Info) -> Generator[Frame, None, None]:
    import av

    graph: Any = None
    due, last = iter(wanted), wanted[-1]
    following = next(due)
    with contextlib.closing(pyav_frames(data, info)) as frames:
        for index, frame in enumerate(frames):
            if index != following:
                continue
            if graph is None:
                graph = _scale_to_rgb(av, frame, size)
            graph.push(frame)
            yield _planes(graph.pull())
            if index == last:
                return
            following = next(due)


def _scale_to_rgb(av: Any, frame: Any, size: Size2D) -> Any:
    """A filter graph from a frame's format to RGB of the given size.

    At native size decord runs the same graph, and torchcodec converts with the same settings, so that the pixels are
    equal to the last bit; `VideoFrame.reformat` places chroma and reads the colour range otherwise. At another size the
    result is planar: packed RGB would halve the chroma once more, and would have to be taken apart.
    """
    graph = av.filter.Graph()
    if hasattr(graph, "threads"):  # not in every PyAV
        graph.threads = 1
    nodes = [graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)]
    if size == (frame.height, frame.width):
        nodes.append(graph.add("format", "rgb24"))
    else:
        nodes += [graph.add("scale", f"{size[1]}:{size[0]}:flags=bilinear"), graph.add("format", "gbrp")]
    nodes.append(graph.add("buffersink"))
    graph.link_nodes(*nodes).configure()
    return graph


def _planes(frame: Any) -> Frame:
    """The planes of an `av.VideoFrame` in `rgb24` or `gbrp`, without a copy."""
    if frame.format.name == "rgb24":
        return _channels(_rows(frame.planes[0])[:, : 3 * frame.width].reshape(frame.height, frame.width, 3))
    red, green, blue = (_rows(frame.planes[number])[:, : frame.width] for number in _GBR)
    return red, green, blue


def _rows(plane: Any) -> Plane:
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)


def _channels(pixels: npt.NDArray[np.uint8]) -> Frame:
    """[H, W, 3] as three planes."""
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"a frame has the shape {pixels.shape}, three channels were expected")
    return pixels[..., 0], pixels[..., 1], pixels[..., 2]


def _resized(pixels: npt.NDArray[np.uint8], size: Size2D) -> Frame:
    """RGB [H, W, 3] at another size, by `RESIZE`."""
    if pixels.shape[:2] == size:
        return _channels(pixels)
    image = importlib.import_module("PIL.Image")
    return _channels(np.asarray(image.fromarray(pixels).resize(size[::-1], image.Resampling.BILINEAR)))


def _decord(data: bytes, wanted: Sequence[int], size: Size2D, info: Mp4Info) -> Generator[Frame, None, None]:
    import decord

    # fault_tol: a frame that does not come is an error; by default decord hands out the nearest one in its place.
    # len(reader) is of no use: it counts the frames that an edit list hides, which next() leaves out.
    reader = decord.VideoReader(io.BytesIO(data), ctx=decord.cpu(0), num_threads=1, fault_tol=1e-9)
    following = 0
    for index in wanted:
        for _ in range(index - following):
            reader.next()  # skip_frames() is cheaper, but jumps to keyframes: 3 frames off in a file with open GOPs
        frame = reader.next()
        following = index + 1
        # decord.bridge.set_bridge("torch") elsewhere in the process changes what comes back.
        pixels = np.ascontiguousarray(frame.asnumpy() if hasattr(frame, "asnumpy") else np.asarray(frame))
        if pixels.shape[2] > 3:
            # decord takes the padded row length divided by the width as the number of channels, which is over 3 for
            # narrow frames (96 pixels: 4): the row's bytes are right, their arrangement is not.
            pixels = pixels.reshape(pixels.shape[0], -1)[:, : 3 * info.width].reshape(-1, info.width, 3)
        yield _resized(pixels, size)


def _torchcodec(data: bytes, wanted: Sequence[int], size: Size2D, info: Mp4Info) -> Generator[Frame, None, None]:
    if info.codec == "av1" and "decord" in sys.modules:
        # decord loads its libraries with global symbols; torchcodec's FFmpeg then calls decord's libdav1d and crashes.
        raise ValueError("torchcodec crashes on AV1 in a process that has imported decord; use another decoder")
    codec: Any = importlib.import_module("torchcodec.decoders")
    decoder = codec.VideoDecoder(data, num_ffmpeg_threads=1, seek_mode="exact", dimension_order="NHWC")
    if len(decoder) != info.num_frames:
        raise ValueError(f"it counts {len(decoder)} frames, the header says {info.num_frames}")
    for index in wanted:
        # It may start at a keyframe, by its own index of all packets ("exact"): unlike decord's jumps, that is right in
        # files with open GOPs, which the tests hold it to.
        yield _resized(decoder[index].numpy(), size)


BACKENDS: dict[str, Backend] = {"decord": _decord, "pyav": _pyav, "pyav_whole": pyav_whole, "torchcodec": _torchcodec}
_MODULES = {"decord": "decord", "pyav": "av", "pyav_whole": "av", "torchcodec": "torchcodec"}


@functools.cache
def status(decoder: str) -> str:
    """Say "ok <version>", or in one sentence why the backend can't be used. Really imports it, once a process."""
    module = _MODULES[decoder]
    try:
        imported = importlib.import_module(module)
        if decoder == "torchcodec":
            importlib.import_module("torchcodec.decoders")
    except ModuleNotFoundError as error:
        missing = error.name or module
        return f"{missing} is not installed{'' if missing == module else f', and {module} needs it'}."
    except Exception as error:  # a broken binary may raise anything
        if decoder == "torchcodec":
            return (
                "torchcodec can't load: it needs FFmpeg's shared libraries (libavcodec, libavformat, libavutil) from"
                " the system, and the torch version that it was built for."
            )
        return f"{module} can't load: {short(error)}."
    return f"ok {getattr(imported, '__version__', '(unknown version)')}"


@functools.cache
def version(decoder: str) -> str:
    """What decides the pixels of a backend: its version, those of FFmpeg's libraries in it, and `RESIZE`."""
    module = importlib.import_module(_MODULES[decoder])
    parts = [decoder, str(getattr(module, "__version__", "?"))]
    libraries = getattr(module, "library_versions", {})
    parts += [f"{name} {'.'.join(map(str, number))}" for name, number in sorted(libraries.items())]
    return ", ".join([*parts, RESIZE])


@functools.cache
def load_parts(decoder: str) -> None:
    """Import what the backend would import only when a file needs it, for a process that will not open files then."""
    if decoder in ("pyav", "pyav_whole"):
        package = importlib.import_module("av")
        for part in pkgutil.walk_packages(package.__path__, "av."):
            if not part.name.endswith("__main__"):
                with contextlib.suppress(Exception):  # a part that this platform can't load
                    importlib.import_module(part.name)
    else:
        with contextlib.suppress(ModuleNotFoundError):
            _resized(np.zeros((2, 2, 3), np.uint8), (1, 1))  # Pillow imports parts of itself on first use


def short(error: BaseException) -> str:
    """An exception in one line of at most 200 characters, without a stack trace that a C library may have put in."""
    text = re.sub(r"(\[[\d:]+\] ?)?/\S+\.(cc|cpp|h)[:,]?\d*[:,]?", "", str(error))  # places in a C++ source
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    text = lines[0] if lines else ""
    text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
