"""Check the structure of an MP4 before any decoder sees it, and read its size, length and codec from the header.

Standard library only, no I/O: bytes in, `Mp4Info` out, or `UnsupportedVideo`. Playlists, HTML pages and other formats
end at the first box; every number read from the file is checked against the file's own length before it is used. Box
names and section numbers are those of ISO/IEC 14496-12:2015 (ISO base media file format).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .boxes import COMMAND, REENCODE, Box, Refusal, boxes, children, find, only, refuse, show, table, unpack
from .errors import UnsupportedVideo
from .nal import NalError, check_picture_size
from .sample_tables import sample_entry, sample_offsets, sample_sizes, sample_times

_BRANDS = frozenset(b"isom iso2 iso3 iso4 iso5 iso6 iso7 iso8 iso9 mp41 mp42 avc1 av01 MSNV dash".split()) | {
    b"M4V ",
    b"M4VH",
    b"M4VP",
}
# FFmpeg looks for a `trak` or an image item in boxes of any name and at any depth that it walks: what may stand at the
# top level and in `moov` is therefore listed, so that no decoder finds a stream that we have not checked.
_TOP_LEVEL = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"uuid", b"pdin", b"udta"})
_IN_MOOV = frozenset({b"mvhd", b"trak", b"iods", b"udta", b"meta", b"free", b"skip", b"uuid"})
_IDENTITY = (0x10000, 0, 0, 0x10000)
_LOOKS_LIKE = (
    (b"#extm3u", "an HLS playlist"),
    (b"ffconcat version", "an ffconcat playlist"),
    (b"[playlist]", "a PLS playlist"),
    (b"v=0", "an SDP session description"),
    (b"version https://git-lfs", "a git-lfs pointer (run: git lfs pull)"),
    (b"<!doctype html", "an HTML page (often a login or error page saved as a video)"),
    (b"<html", "an HTML page (often a login or error page saved as a video)"),
    (b"<mpd", "a DASH manifest"),
    (b"<smil", "a SMIL playlist"),
    (b"<playlist", "an XSPF playlist"),
    (b"<asx", "an ASX playlist"),
    (b"<?xml", "an XML document"),
    (b"riff", "an AVI, WAV or WebP file"),
    (b"\x1a\x45\xdf\xa3", "a Matroska or WebM file"),
    (b"gif8", "a GIF image"),
    (b"\x89png", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"par1", "a Parquet file"),
    (b"pk\x03\x04", "a zip archive"),
    (b"{", "a JSON document"),
)  # fmt: skip


@dataclass(frozen=True)
class Mp4Limits:
    """The most that a video may ask for; `max_decoded_bytes` is the whole video as RGB, width * height * 3 * frames.

    `max_frames` counts all coded frames, those hidden by an edit list too: a decoder has to decode them as well.
    """

    max_bytes: int = 512 * 2**20
    max_width: int = 4096
    max_height: int = 4096
    max_frames: int = 10_000
    max_duration_seconds: float = 600.0
    max_decoded_bytes: int = 4 * 2**30


DEFAULT_LIMITS = Mp4Limits()


@dataclass(frozen=True)
class Mp4Info:
    """What an MP4's header says.

    `num_frames` are the frames that a decoder presents (after the edit list), `fps` is their average a second
    (`num_frames / duration_seconds`), `codec` is "h264", "hevc", "av1", "vp9" or "mpeg4", `num_bytes` is `len(data)`.
    """

    num_frames: int
    fps: float
    width: int
    height: int
    duration_seconds: float
    codec: str
    num_bytes: int


def inspect_mp4(data: bytes, *, name: str = "video", limits: Mp4Limits = DEFAULT_LIMITS) -> Mp4Info:
    """Read an MP4's header and check that it is one plain, self-contained, untruncated video within `limits`.

    Takes time linear in `len(data)` at worst and decodes nothing. Raises `UnsupportedVideo`, which names `name`, the
    reason and the next step, for anything else than an unfragmented MP4 (a known `ftyp` brand) with exactly one video
    track, no rotation, data inside the file, sample tables that agree, and a known codec.
    """
    try:
        return _inspect(data, limits)
    except Refusal as refusal:
        raise UnsupportedVideo(f"{name}: {refusal.reason}. {refusal.fix}") from None
    except NalError as error:
        raise UnsupportedVideo(f"{name}: {error}. {REENCODE}") from None


def _inspect(data: bytes, limits: Mp4Limits) -> Mp4Info:
    _check_start(data)
    if len(data) > limits.max_bytes:
        refuse(f"{len(data):,} bytes is over the limit of {limits.max_bytes:,}")
    top = list(boxes(data, 0, len(data), "the file"))
    for box in top:
        if box.kind == b"moof":
            refuse("this is a fragmented MP4 (it has a moof box)")
        if box.kind not in _TOP_LEVEL:
            refuse(f"a box {show(box.kind)} stands at the top level, where a plain MP4 has none")
    if sum(box.kind == b"ftyp" for box in top) > 1:
        refuse("it has more than one ftyp box: two files were joined byte by byte")
    moov = children(data, only(top, b"moov", "the file"), "moov")
    for box in moov:
        if box.kind == b"mvex":
            refuse("this is a fragmented MP4 (it has an mvex box)")
        if box.kind not in _IN_MOOV:
            refuse(f"a box {show(box.kind)} stands in moov, where a plain MP4 has none")
    movie_timescale = _movie_timescale(data, only(moov, b"mvhd", "moov"))
    tracks = [_open_track(data, box) for box in moov if box.kind == b"trak"]
    for track in tracks:
        if track.handler not in (b"vide", b"soun"):
            refuse(f"it has a track of kind {show(track.handler)}; only video and sound are read")
    videos = [track for track in tracks if track.handler == b"vide"]
    if len(videos) != 1:
        refuse("it has no video track" if not videos else f"it has {len(videos)} video tracks, and one is expected")
    return _video_info(data, videos[0], movie_timescale, [box for box in top if box.kind == b"mdat"], limits)


def _check_start(data: bytes) -> None:
    """`ftyp` must come first, as section 4.3 has it: this is what keeps playlists and pages away from the decoders."""
    if not data:
        refuse("it is empty (0 bytes)", "Get the file again: the download or the copy was cut short.")
    if data[4:8] != b"ftyp":
        text = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        what = next((what for start, what in _LOOKS_LIKE if text.startswith(start)), None)
        if what == "an XML document":
            what = next((w for s, w in _LOOKS_LIKE if s.startswith(b"<") and s != b"<?xml" and s in text), what)
        plain = "this is not an MP4 (it does not start with a ftyp box)"
        reason = f"this looks like {what}, not an MP4" if what else plain
        refuse(reason, f"Get the MP4 itself, or, if it is a video in another format: {COMMAND}")
    brand = data[8:12]
    if brand not in _BRANDS:
        what = "a QuickTime movie" if brand == b"qt  " else "an MP4 of an unknown kind"
        refuse(f"this is {what} (ftyp brand {show(brand)})")


# -- movie and track headers (8.2, 8.3, 8.4, 8.7.2)


def _version(data: bytes, box: Box) -> int:
    (version,) = unpack("B", data, box, 0)
    if version > 1:
        refuse(f"the box {show(box.kind)} has the unknown version {version}")
    return version


def _check_matrix(data: bytes, box: Box, offset: int) -> None:
    a, b, _, c, d = unpack("5i", data, box, offset)
    if (a, b, c, d) != _IDENTITY:
        refuse("it is to be shown rotated or scaled (display matrix), which decoders do not agree on")


def _movie_timescale(data: bytes, mvhd: Box) -> int:
    long = _version(data, mvhd)
    _check_matrix(data, mvhd, 48 if long else 36)
    (timescale,) = unpack("I", data, mvhd, 20 if long else 12)
    if timescale == 0:
        refuse("the movie's timescale is 0")
    return timescale


@dataclass(frozen=True)
class _Track:
    handler: bytes
    timescale: int
    stbl: list[Box]
    edits: list[tuple[int, ...]] = field(default_factory=list)  # (duration in movie ticks, media time, rate)


def _open_track(data: bytes, trak: Box) -> _Track:
    parts = children(data, trak, "trak")
    tkhd = only(parts, b"tkhd", "trak")
    mdia = children(data, only(parts, b"mdia", "trak"), "mdia")
    mdhd = only(mdia, b"mdhd", "mdia")
    hdlr = only(mdia, b"hdlr", "mdia")
    unpack("8xI", data, hdlr, 0)
    handler = data[hdlr.start + 8 : hdlr.start + 12]
    (timescale,) = unpack("I", data, mdhd, 20 if _version(data, mdhd) else 12)
    if timescale == 0:
        refuse("a track's timescale is 0")
    if handler == b"vide":
        _check_matrix(data, tkhd, 52 if _version(data, tkhd) else 40)
    minf = children(data, only(mdia, b"minf", "mdia"), "minf")
    dinf = children(data, only(minf, b"dinf", "minf"), "dinf")
    _check_self_contained(data, only(dinf, b"dref", "dinf"))
    stbl = children(data, only(minf, b"stbl", "minf"), "stbl")
    edits: list[tuple[int, ...]] = []
    edts = find(parts, b"edts", "trak")
    if edts is not None:
        elst = find(children(data, edts, "edts"), b"elst", "edts")
        if elst is not None:
            edits = table(data, elst, "Qqi" if _version(data, elst) else "Iii", most=64)
    return _Track(handler, timescale, stbl, edits)


def _check_self_contained(data: bytes, dref: Box) -> None:
    """The one data reference must say that the media is in this file (flag 1); another makes a reader open a place."""
    (count,) = unpack("4xI", data, dref, 0)
    entries = list(boxes(data, dref.start + 8, dref.end, "dref"))
    if count != 1 or len(entries) != 1:
        refuse(f"it has {max(count, len(entries))} data references, and one is expected")
    (flags,) = unpack("I", data, entries[0], 0)
    if entries[0].kind not in (b"url ", b"urn ") or flags != 1:
        refuse("its media is not in the file: a data reference points outside it")


def _video_info(data: bytes, track: _Track, movie_timescale: int, mdats: list[Box], limits: Mp4Limits) -> Mp4Info:
    stbl = track.stbl
    codec, width, height, config = sample_entry(data, only(stbl, b"stsd", "stbl"))
    if not 0 < width <= limits.max_width or not 0 < height <= limits.max_height:
        refuse(f"its frames are {width}x{height} pixels; 1x1 to {limits.max_width}x{limits.max_height} are allowed")
    sizes = sample_sizes(data, only(stbl, b"stsz", "stbl"), limits.max_frames)
    if width * height * 3 * len(sizes) > limits.max_decoded_bytes:
        decoded = f"{len(sizes)} frames of {width}x{height} are {width * height * 3 * len(sizes):,} bytes once decoded"
        refuse(f"{decoded}; the limit is {limits.max_decoded_bytes:,}")
    times, deltas = sample_times(data, stbl, len(sizes))
    offsets = sample_offsets(data, stbl, sizes, mdats)
    view = memoryview(data)
    samples = (view[offset : offset + size] for offset, size in zip(offsets, sizes, strict=True))
    check_picture_size(codec, config, samples, (width, height))
    shown = _shown(track, movie_timescale, times)
    if not shown:
        refuse("its edit list shows none of its frames")
    ticks = max(times[i] + deltas[i] for i in shown) - min(times[i] for i in shown)
    if ticks <= 0:
        refuse("its frames last 0 seconds")
    seconds = ticks / track.timescale
    if seconds > limits.max_duration_seconds:
        refuse(f"it lasts {seconds:,.1f} seconds; the limit is {limits.max_duration_seconds:,.1f}")
    return Mp4Info(len(shown), len(shown) / seconds, width, height, seconds, codec, len(data))


def _shown(track: _Track, movie_timescale: int, times: list[int]) -> list[int]:
    """The samples that a decoder presents: those whose time is inside the edit (8.6.6).

    Empty edits only delay the start. One edit at normal speed may cut frames at either end; several would repeat or
    reorder frames, and decoders differ on that.
    """
    edits = [edit for edit in track.edits if edit[1] != -1]
    if not edits:
        return list(range(len(times)))
    if len(edits) > 1 or track.edits[-1] != edits[0]:
        refuse("its edit list has several parts")
    duration, start, rate = edits[0]
    if rate != 0x10000 or start < 0:
        refuse("its edit list changes the speed or starts before the video")
    end = start + (2 * duration * track.timescale + movie_timescale) // (2 * movie_timescale)
    return [i for i, time in enumerate(times) if start <= time < end]
