"""Videos that are none: files that make a careless reader open an address, a port or another file.

Every address points at loopback ports and a canary file of the test, so that what is opened is seen.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import video_files
from video_files import box, plain


@dataclass(frozen=True)
class Lures:
    """Where the lures lead: `canary` is a file outside every release, the ports are listened to on loopback."""

    canary: Path
    tcp: int
    udp: int

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.tcp}/a.mp4"

    @property
    def file(self) -> str:
        return f"file://{self.canary}"


def _hls(where: str) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{where}\n#EXT-X-ENDLIST\n".encode()


def _dash(where: str) -> bytes:
    return (
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
        f'<BaseURL>{where}</BaseURL><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1" '
        f'width="96" height="96" codecs="avc1.64000b"><BaseURL>{where}</BaseURL><SegmentBase indexRange="0-9"/>'
        "</Representation></AdaptationSet></Period></MPD>"
    ).encode()


def _sdp(port: int) -> bytes:
    return (
        f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=video {port} RTP/AVP 96\r\n"
        "a=rtpmap:96 H264/90000\r\n"
    ).encode()


def _smil(where: str) -> bytes:
    return f'<smil xmlns="http://www.w3.org/ns/SMIL"><body><video src="{where}"/></body></smil>'.encode()


def _xspf(where: str) -> bytes:
    return (
        '<?xml version="1.0"?><playlist version="1" xmlns="http://xspf.org/ns/0/"><trackList><track><location>'
        f"{where}</location></track></trackList></playlist>"
    ).encode()


def _asx(where: str) -> bytes:
    return f'<asx version="3.0"><entry><ref href="{where}"/></entry></asx>'.encode()


def _pls(where: str) -> bytes:
    return f"[playlist]\nFile1={where}\nNumberOfEntries=1\nVersion=2\n".encode()


def _imf(where: str) -> bytes:
    return (
        '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
        f"<Id>{where}</Id></CompositionPlaylist>"
    ).encode()


def with_dref(*entries: bytes) -> bytes:
    """A good MP4 whose data references are replaced."""
    return replace_box(
        plain(), b"dref", struct.pack(">II", 0, len(entries)) + b"".join(entries), (b"moov", b"trak", b"mdia", b"minf", b"dinf")
    )


def replace_box(data: bytes, kind: bytes, payload: bytes, inside: tuple[bytes, ...]) -> bytes:
    """Give the first box of a kind another payload; the sizes of the boxes around it follow. `moov` must come last."""
    start = data.index(kind) - 4
    (length,) = struct.unpack_from(">I", data, start)
    made = box(kind, payload)
    data = data[:start] + made + data[start + length :]
    for outer in inside:
        at = data.index(outer) - 4
        (size,) = struct.unpack_from(">I", data, at)
        data = data[:at] + struct.pack(">I", size + len(made) - length) + data[at + 4 :]
    return data


def in_moov(extra: bytes) -> bytes:
    """A good MP4 with one more box at the end of `moov`."""
    data = plain()
    at = data.index(b"moov") - 4
    (size,) = struct.unpack_from(">I", data, at)
    return data[:at] + struct.pack(">I", size + len(extra)) + data[at + 4 : at + size] + extra + data[at + size :]


def _url(where: str) -> bytes:
    return box(b"url ", bytes(4) + where.encode() + b"\0")


def _alis(path: Path) -> bytes:
    """An alias record as QuickTime writes it: the media is in another file on the disk."""
    name, text = path.name.encode(), str(path).encode()
    text += b"\0" * (len(text) % 2)
    payload = bytes(4) + bytes(10) + bytes([1]) + b"/".ljust(27, b"\0") + bytes(12)
    payload += bytes([len(name)]) + name.ljust(63, b"\0") + bytes(16) + struct.pack(">HH", 1, 1) + bytes(16)
    payload += struct.pack(">HH", 2, len(str(path).encode())) + text
    payload += struct.pack(">HH", 18, len(str(path).encode())) + text + struct.pack(">HH", 0xFFFF, 0)
    return box(b"alis", payload)


def _reference_movie(where: str) -> bytes:
    rdrf = box(b"rdrf", bytes(4) + b"url " + struct.pack(">I", len(where) + 1) + where.encode() + b"\0")
    return video_files._FTYP + box(b"moov", box(b"rmra", box(b"rmda", rdrf)))


def _item_elsewhere(where: str) -> bytes:
    """`meta` with an item whose bytes are said to be behind a data reference."""
    iloc = box(b"iloc", bytes(4) + b"\x44\x00\x00\x01" + struct.pack(">HHHII", 1, 1, 1, 0, 16))
    dinf = box(b"dinf", box(b"dref", struct.pack(">II", 0, 1) + _url(where)))
    return box(b"meta", bytes(4) + box(b"hdlr", bytes(8) + b"pict" + bytes(13)) + dinf + iloc)


def _tagged(where: str) -> bytes:
    """Text in the user data: nothing to follow, so the video is good."""
    return in_moov(box(b"udta", box(b"\xa9url", struct.pack(">HH", len(where), 0) + where.encode())))


def _protocols(path: Path) -> bytes:
    return f"concat:{path}|subfile,,start,0,end,0,,:{path}".encode()


LURES: dict[str, tuple[Callable[[Lures], bytes], str]] = {
    "HLS, http": (lambda to: _hls(to.http), "fetch an address"),
    "HLS, file": (lambda to: _hls(to.file), "read another file"),
    "HLS, key": (lambda to: b'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="%s"\n' % to.http.encode() + _hls(to.http), "fetch a key"),
    "HLS behind blanks": (lambda to: b"\xef\xbb\xbf \r\n\t" + _hls(to.http), "get past a check of the first bytes"),
    "HLS behind ftyp": (lambda to: video_files._FTYP + _hls(to.http), "get past a check of the first bytes"),
    "HLS in a good MP4's free box": (lambda to: plain() + box(b"free", _hls(to.http)), "hide in a place that is not read"),
    "M3U, bare path": (lambda to: f"{to.canary}\n".encode(), "read another file"),
    "DASH, http": (lambda to: _dash(to.http), "fetch an address"),
    "DASH, file": (lambda to: _dash(to.file), "read another file"),
    "ffconcat, file": (lambda to: f"ffconcat version 1.0\nfile '{to.canary}'\n".encode(), "read another file"),
    "ffconcat, http": (lambda to: f"ffconcat version 1.0\nfile '{to.http}'\n".encode(), "fetch an address"),
    "SDP": (lambda to: _sdp(to.udp), "bind and send to UDP ports"),
    "SDP behind blanks": (lambda to: b"\n\n" + _sdp(to.udp), "get past a check of the first bytes"),
    "SMIL": (lambda to: _smil(to.http), "fetch an address"),
    "XSPF": (lambda to: _xspf(to.http), "fetch an address"),
    "ASX": (lambda to: _asx(to.http), "fetch an address"),
    "PLS": (lambda to: _pls(to.file), "read another file"),
    "IMF playlist": (lambda to: _imf(to.http), "fetch an address"),
    "text: http address": (lambda to: to.http.encode(), "be taken for an address"),
    "text: file address": (lambda to: to.file.encode(), "be taken for a path"),
    "text: path": (lambda to: str(to.canary).encode(), "be taken for a path"),
    "text: FFmpeg protocols": (lambda to: _protocols(to.canary), "be taken for a path"),
    "RTSP redirect": (lambda to: b"[Reference]\r\nRef1=%s?MSWMExt=.asf\r\n" % to.http.encode(), "fetch an address"),
    "data reference: http": (lambda to: with_dref(_url(to.http)), "media behind an address"),
    "data reference: file": (lambda to: with_dref(_url(to.file)), "media in another file"),
    "data reference: path": (lambda to: with_dref(_url(str(to.canary))), "media in another file"),
    "data reference: urn": (
        lambda to: with_dref(box(b"urn ", bytes(4) + b"urn:x\0" + to.http.encode() + b"\0")),
        "media elsewhere",
    ),
    "data reference: alias": (lambda to: with_dref(_alis(to.canary)), "media in another file"),
    "data reference: a second one": (
        lambda to: with_dref(box(b"url ", b"\0\0\0\1"), _alis(to.canary)),
        "media in another file",
    ),
    "reference movie": (lambda to: _reference_movie(to.http), "fetch an address"),
    "item behind a data reference": (lambda to: in_moov(_item_elsewhere(to.file)), "media in another file"),
    "address in the user data": (lambda to: _tagged(to.http), "have a tag followed"),
}
"""Name: (bytes, what it tries)."""
