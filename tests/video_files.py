"""MP4 bytes for tests: moving shapes encoded with PyAV in the ways that trip decoders, and hostile look-alikes.

Nothing here needs a network or a file; every function returns bytes.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction

import av
import numpy as np


def shapes(num_frames: int = 16, height: int = 96, width: int = 96) -> np.ndarray:
    """A square and a disc that move over a gradient: uint8 [T, H, W, 3]. Every frame differs from every other."""
    y, x = np.mgrid[:height, :width]
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for t in range(num_frames):
        frames[t, ..., 0] = 40 + 120 * x // width
        frames[t, ..., 1] = 40 + 120 * y // height
        frames[t, ..., 2] = (60 + 8 * t) % 200
        left, top = (5 * t) % max(1, width - width // 4), (3 * t) % max(1, height - height // 4)
        frames[t, top : top + height // 4, left : left + width // 4] = (220, 60, 40)
        far = (x - width + (4 * t) % width) ** 2 + (y - height // 2) ** 2 > (height // 6) ** 2
        frames[t, ..., 1] = np.where(far, frames[t, ..., 1], 210)
    return frames


def encode(
    frames: np.ndarray,
    *,
    fps: int = 8,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    x264: str = "",
    options: dict[str, str] | None = None,
    movflags: str = "",
    tags: dict[str, int] | None = None,
) -> bytes:
    """Encode [T, H, W, 3] frames; `pts` in units of `time_base` (default: one a frame at `fps`)."""
    file = io.BytesIO()
    container_options = {"movflags": movflags} if movflags else {}
    with av.open(file, "w", format="mp4", options=container_options) as container:
        stream = container.add_stream(codec, rate=fps)
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pix_fmt
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = time_base or Fraction(1, fps)
        for key, value in (tags or {}).items():
            setattr(stream.codec_context, key, value)
        stream.options = {"crf": "16", **({"x264-params": x264} if x264 else {}), **(options or {})}
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
                format=pix_fmt,
                dst_colorspace=(tags or {}).get("colorspace"),
                dst_color_range=(tags or {}).get("color_range"),
            )
            frame.pts = number if pts is None else pts[number]
            frame.time_base = time_base or Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


@functools.cache
def plain(num_frames: int = 16, height: int = 96, width: int = 96) -> bytes:
    """H.264 without B-frames, 8 frames a second."""
    return encode(shapes(num_frames, height, width), x264="bframes=0")


@functools.cache
def odd_sized() -> bytes:
    """97x75 pixels: 4:2:0 can't be cropped to odd sizes, so the chroma is not subsampled (4:4:4)."""
    return encode(shapes(12, 75, 97), pix_fmt="yuv444p", x264="bframes=0")


@functools.cache
def cropped() -> bytes:
    """4:2:0 of 90x70: not a multiple of 16, so the decoder crops its macroblocks."""
    return encode(shapes(12, 70, 90))


@functools.cache
def open_gop() -> bytes:
    """Frames before a keyframe in presentation refer to the group before: random access gives them wrong."""
    return encode(shapes(40), x264="open-gop=1:bframes=3:b-adapt=0:keyint=8:min-keyint=8:scenecut=0")


@functools.cache
def b_frames() -> bytes:
    """Decoding order differs from presentation order (ctts), and the muxer writes an edit list for the delay."""
    return encode(shapes(24), x264="bframes=3:b-adapt=0:b-pyramid=normal:keyint=12")


@functools.cache
def variable_rate() -> bytes:
    """Irregular times, in units of 1/1000 second."""
    times = np.cumsum([0, 40, 300, 33, 33, 500, 10, 90, 125, 125, 700, 41]).tolist()
    return encode(shapes(12), pts=times, time_base=Fraction(1, 1000), x264="bframes=0")


@functools.cache
def late_start() -> bytes:
    """The first frame is shown after one second: the muxer writes an empty edit."""
    return encode(shapes(10), pts=list(range(8, 18)), x264="bframes=0")


@functools.cache
def one_frame() -> bytes:
    return encode(shapes(1))


@functools.cache
def full_range() -> bytes:
    """Luma in 0..255 and BT.709 colours, and tagged so."""
    return encode(shapes(8), tags={"color_range": 2, "colorspace": 1, "color_primaries": 1, "color_trc": 1})


@functools.cache
def bt709() -> bytes:
    return encode(shapes(8), tags={"color_range": 1, "colorspace": 1, "color_primaries": 1, "color_trc": 1})


@functools.cache
def mpeg4() -> bytes:
    """MPEG-4 Part 2, what OpenCV's "mp4v" writes."""
    return encode(shapes(12), codec="mpeg4", options={"b": "4000000"})


@functools.cache
def hevc() -> bytes:
    return encode(shapes(12, 70, 90), codec="libx265", options={"x265-params": "log-level=none:pools=none"})


@functools.cache
def vp9() -> bytes:
    return encode(shapes(8), codec="libvpx-vp9", options={"cpu-used": "8", "deadline": "realtime"})


@functools.cache
def av1() -> bytes:
    return encode(shapes(8), codec="libsvtav1", options={"preset": "12", "svtav1-params": "lp=1"})


@functools.cache
def trimmed_start() -> bytes:
    """An edit list hides the first 5 of 24 frames, of which the decoder needs the first one."""
    data = plain(24)
    return with_edits(data, [(19 * _movie_ticks(data) // 8, 5 * _media_ticks(data) // 8)])


@functools.cache
def trimmed_end() -> bytes:
    """An edit list shows the first 15 of 24 frames with B-frames."""
    data = b_frames()
    start = struct.unpack_from(">i", data, data.index(b"elst") + 16)[0]
    return with_edits(data, [(15 * _movie_ticks(data) // 8, start)])


GOOD: dict[str, Callable[[], bytes]] = {
    function.__name__: function
    for function in (
        plain, odd_sized, cropped, open_gop, b_frames, variable_rate, late_start, one_frame, full_range, bt709, mpeg4,
        hevc, vp9, av1, trimmed_start, trimmed_end,
    )
}  # fmt: skip
"""Every kind of file that must decode."""


# -- patching


def moov_first(data: bytes) -> bytes:
    """Move `moov` before `mdat`, as for streaming; the file must have one chunk offset table."""
    start = data.index(b"moov") - 4
    (length,) = struct.unpack_from(">I", data, start)
    moov = data[start : start + length]
    at = moov.index(b"stco") + 8
    (count,) = struct.unpack_from(">I", moov, at)
    offsets = [offset + length for offset in struct.unpack_from(f">{count}I", moov, at + 4)]
    moov = moov[: at + 4] + struct.pack(f">{count}I", *offsets) + moov[at + 4 + 4 * count :]
    (ftyp,) = struct.unpack_from(">I", data)
    return data[:ftyp] + moov + data[ftyp:start] + data[start + length :]


def put(data: bytes, kind: bytes, offset: int, layout: str, *values: int | bytes) -> bytes:
    """Overwrite numbers at an offset into the payload of the first box of a kind."""
    start = data.index(kind) + 4 + offset
    return data[:start] + struct.pack(">" + layout, *values) + data[start + struct.calcsize(">" + layout) :]


def rename(data: bytes, kind: bytes, new: bytes) -> bytes:
    """Give the first box of a kind another name."""
    start = data.index(kind)
    return data[:start] + new + data[start + 4 :]


def box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(payload), kind) + payload


def with_edits(data: bytes, edits: Sequence[tuple[int, int]]) -> bytes:
    """Replace the edit list by (duration in movie ticks, media time) entries; `moov` must stand after `mdat`."""
    start = data.index(b"edts") - 4
    (length,) = struct.unpack_from(">I", data, start)
    rows = b"".join(struct.pack(">Iii", duration, time, 0x10000) for duration, time in edits)
    edts = box(b"edts", box(b"elst", struct.pack(">II", 0, len(edits)) + rows))
    patched = data[:start] + edts + data[start + length :]
    for kind in (b"moov", b"trak"):
        at = patched.index(kind) - 4
        (size,) = struct.unpack_from(">I", patched, at)
        patched = patched[:at] + struct.pack(">I", size + len(edts) - length) + patched[at + 4 :]
    return patched


def _movie_ticks(data: bytes) -> int:
    return int(struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0])


def _media_ticks(data: bytes) -> int:
    return int(struct.unpack_from(">I", data, data.index(b"mdhd") + 16)[0])


def _twice(data: bytes) -> bytes:
    """The video track a second time."""
    start = data.index(b"trak") - 4
    (length,) = struct.unpack_from(">I", data, start)
    moov = data.index(b"moov") - 4
    (size,) = struct.unpack_from(">I", data, moov)
    return (
        data[:moov] + struct.pack(">I", size + length) + data[moov + 4 : start + length] + data[start : start + length]
        + data[start + length :]
    )  # fmt: skip


HLS = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
DASH = b'<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>http://127.0.0.1:9/</BaseURL></MPD>'
FFCONCAT = b"ffconcat version 1.0\nfile '/dev/null'\n"
SDP = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nm=video 5004 RTP/AVP 96\r\n"
HTML = b"\n<!DOCTYPE html><html><body>Please log in</body></html>"
XSPF = b'<?xml version="1.0"?><playlist version="1" xmlns="http://xspf.org/ns/0/"></playlist>'

_FTYP = box(b"ftyp", b"isom\0\0\2\0isomiso2avc1mp41")

HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "empty"),
    "hls": (lambda: HLS, "HLS playlist, not an MP4"),
    "dash": (lambda: DASH, "DASH manifest, not an MP4"),
    "ffconcat": (lambda: FFCONCAT, "ffconcat playlist, not an MP4"),
    "sdp": (lambda: SDP, "SDP session description, not an MP4"),
    "smil": (lambda: b"<smil><body/></smil>", "SMIL playlist, not an MP4"),
    "xspf": (lambda: XSPF, "XSPF playlist, not an MP4"),
    "html": (lambda: HTML, "HTML page"),
    "git lfs pointer": (lambda: b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "noise": (lambda: bytes(range(256)) * 4, "does not start with a ftyp box"),
    "playlist behind ftyp": (lambda: _FTYP + HLS, "the file says"),
    "ftyp alone": (lambda: _FTYP, "no box 'moov'"),
    "quicktime": (lambda: put(plain(), b"ftyp", 0, "4s", b"qt  "), "QuickTime"),
    "unknown brand": (lambda: put(plain(), b"ftyp", 0, "4s", b"heic"), "unknown kind"),
    "truncated": (lambda: plain()[:-100], "truncated"),
    "half": (lambda: plain()[: len(plain()) // 2], "truncated"),
    "box smaller than its header": (lambda: put(plain(), b"moov", -8, "I", 4), "less than its own header"),
    "box larger than its parent": (lambda: put(plain(), b"mvhd", -8, "I", 1 << 30), "truncated or damaged"),
    "64-bit box size": (lambda: _FTYP + struct.pack(">I4sQ", 1, b"mdat", 2**63), "truncated or damaged"),
    "box without size": (lambda: put(plain(), b"moov", -8, "I", 0), "has no size"),
    "stray bytes": (lambda: plain() + b"abc", "stray bytes"),
    "many boxes": (lambda: plain() + box(b"free", b"") * 10_000, "more than 4096 boxes"),
    "joined": (lambda: plain() + plain(), "more than one ftyp"),
    "track at top level": (lambda: plain() + box(b"trak", b""), "stands at the top level"),
    "external dref": (lambda: put(plain(), b"url ", 0, "I", 0), "not in the file"),
    "alias dref": (lambda: rename(plain(), b"url ", b"alis"), "not in the file"),
    "no track": (lambda: rename(plain(), b"trak", b"free"), "no video track"),
    "sound only": (lambda: put(plain(), b"hdlr", 8, "4s", b"soun"), "no video track"),
    "hint track": (lambda: put(plain(), b"hdlr", 8, "4s", b"hint"), "kind 'hint'"),
    "two tracks": (lambda: _twice(plain()), "2 video tracks"),
    "unknown codec": (lambda: rename(plain(), b"avc1\0\0\0\0\0\0", b"mjpg"), "its codec 'mjpg'"),
    "encrypted": (lambda: rename(plain(), b"avc1\0\0\0\0\0\0", b"encv"), "encrypted"),
    "billion frames": (lambda: put(plain(), b"stsz", 4, "II", 1, 1_000_000_000), "1,000,000,000 frames"),
    "huge frames": (lambda: put(plain(), b"stsz", 4, "II", 0xFFFFFFFF, 16), "truncated or damaged"),
    "no frames": (lambda: put(plain(), b"stsz", 8, "I", 0), "no frames"),
    "stsz longer than its box": (lambda: put(plain(), b"stsz", 8, "I", 9_999), "9,999 rows"),
    "stts disagrees": (lambda: put(plain(), b"stts", 8, "I", 17), "stts is for 17"),
    "stts with 4 billion": (lambda: put(plain(), b"stts", 8, "I", 0xFFFFFFFF), "stts is for 4,294,967,295"),
    "stsc disagrees": (lambda: put(plain(), b"stsc", 12, "I", 0xFFFFFFFF), "stsc is for more"),
    "chunk past the end": (lambda: put(plain(), b"stco", 8, "I", 0x7FFFFFFF), "truncated"),
    "chunk in the header": (lambda: put(plain(), b"stco", 8, "I", 8), "outside the file's mdat"),
    "zero duration": (lambda: put(plain(), b"stts", 12, "I", 0), "0 seconds"),
    "ten years": (lambda: put(plain(), b"mdhd", 12, "I", 1), "the limit is 600"),
    "timescale 0": (lambda: put(plain(), b"mdhd", 12, "I", 0), "timescale is 0"),
    "16384x16384": (lambda: put(plain(), b"avc1\0\0\0\0\0\0", 24, "HH", 16384, 16384), "16384x16384"),
    "0x0": (lambda: put(plain(), b"avc1\0\0\0\0\0\0", 24, "HH", 0, 0), "0x0"),
    "stream larger than header": (lambda: put(plain(), b"avc1\0\0\0\0\0\0", 24, "HH", 64, 64), "are 96x96 pixels"),
    "rotated": (lambda: put(plain(), b"tkhd", 40, "5i", 0, 0x10000, 0, -0x10000, 0), "rotated"),
    "several edits": (lambda: with_edits(b_frames(), [(500, 0), (500, 0)]), "several parts"),
    "edit shows nothing": (lambda: with_edits(b_frames(), [(1000, 2**30)]), "shows none"),
    "fragmented": (lambda: encode(shapes(4), movflags="frag_keyframe+empty_moov"), "fragmented"),
}
"""Name: (bytes, a part of the message that refuses them)."""
