"""The tables of an MP4's video track: what codec, how many frames, when each is shown and where its bytes stand.

Standard library only. Section numbers are those of ISO/IEC 14496-12:2015. No list grows by a number from the file that
has not been checked against the limits and the file's length.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate, pairwise

from .boxes import Box, boxes, find, only, refuse, show, table, unpack

_CODECS = {  # sample entry: our name, the box that configures the decoder
    b"avc1": ("h264", b"avcC"),
    b"avc3": ("h264", b"avcC"),
    b"hvc1": ("hevc", b"hvcC"),
    b"hev1": ("hevc", b"hvcC"),
    b"av01": ("av1", b"av1C"),
    b"vp09": ("vp9", b"vpcC"),
    b"mp4v": ("mpeg4", b"esds"),
}


def sample_entry(data: bytes, stsd: Box) -> tuple[str, int, int, bytes]:
    """Codec, width, height, and the payload of the box that configures the decoder (8.5.2, 12.1.3)."""
    (count,) = unpack("4xI", data, stsd, 0)
    entries = list(boxes(data, stsd.start + 8, stsd.end, "stsd"))
    if count != 1 or len(entries) != 1:
        refuse(f"it has {max(count, len(entries))} sample descriptions, and one is expected")
    entry = entries[0]
    if entry.kind == b"encv":
        refuse("it is encrypted", "Get an unencrypted copy.")
    if entry.kind not in _CODECS:
        known = ", ".join(sorted({codec for codec, _ in _CODECS.values()}))
        refuse(f"its codec {show(entry.kind)} is none of {known}")
    reference, width, height = unpack("6xH16xHH", data, entry, 0)
    if reference != 1:
        refuse(f"its samples use data reference {reference}, which is not there")
    unpack("78x", data, entry, 0)
    where = entry.kind.decode()
    codec, config_kind = _CODECS[entry.kind]
    config = only(list(boxes(data, entry.start + 78, entry.end, where)), config_kind, where)
    if codec == "mpeg4":
        _check_esds(data, config)
    return codec, width, height, data[config.start : config.end]


def _check_esds(data: bytes, esds: Box) -> None:
    """`mp4v` holds many codecs: only MPEG-4 Part 2 (object type 0x20) is taken (ISO/IEC 14496-1, 7.2.6)."""
    position = 4

    def tag(expected: int) -> None:
        nonlocal position
        (found,) = unpack("B", data, esds, position)
        if found != expected:
            refuse("its esds box does not describe one MPEG-4 stream")
        for _ in range(4):
            position += 1
            if not unpack("B", data, esds, position)[0] & 0x80:
                break
        position += 1

    tag(3)
    (flags,) = unpack("2xB", data, esds, position)
    position += 3
    if flags & 0xE0:
        refuse("its esds box refers to another stream or to an address")
    tag(4)
    (object_type,) = unpack("B", data, esds, position)
    if object_type != 0x20:
        refuse(f"its codec 'mp4v' with object type {object_type:#x} is not MPEG-4 video")


def sample_sizes(data: bytes, stsz: Box, max_frames: int) -> list[int]:
    size, count = unpack("4xII", data, stsz, 0)
    if count == 0:
        refuse("it has no frames")
    if count > max_frames:
        refuse(f"it has {count:,} frames; the limit is {max_frames:,}")
    sizes = [size] * count if size else [row[0] for row in table(data, stsz, "I", most=max_frames, at=12, rows=count)]
    if min(sizes) == 0:
        refuse("it has frames of 0 bytes")
    if sum(sizes) > len(data):
        refuse(f"its frames add up to {sum(sizes):,} bytes and the file has {len(data):,}: it is truncated or damaged")
    return sizes


def _spread(rows: list[tuple[int, ...]], count: int, box: str) -> list[int]:
    """Expand run-length rows (samples, value) to one value a sample; they must add up to `count`."""
    total = sum(row[0] for row in rows)
    if total != count:
        refuse(f"its tables disagree: {box} is for {total:,} frames and stsz for {count:,}")
    return [value for number, value in rows for _ in range(number)]


def sample_times(data: bytes, stbl: list[Box], count: int) -> tuple[list[int], list[int]]:
    """Presentation time and duration of each sample, in ticks and decoding order (8.6.1.2, 8.6.1.3)."""
    deltas = _spread(table(data, only(stbl, b"stts", "stbl"), "II", most=count), count, "stts")
    times = list(accumulate(deltas[:-1], initial=0))
    ctts = find(stbl, b"ctts", "stbl")
    if ctts is not None:
        shifts = _spread(table(data, ctts, "Ii", most=count), count, "ctts")
        times = [time + shift for time, shift in zip(times, shifts, strict=True)]
    return times, deltas


def sample_offsets(data: bytes, stbl: list[Box], sizes: list[int], mdats: list[Box]) -> list[int]:
    """Where each sample starts; every chunk must lie inside one mdat box (8.7.4, 8.7.5)."""
    stco, co64 = find(stbl, b"stco", "stbl"), find(stbl, b"co64", "stbl")
    if (stco is None) == (co64 is None):
        refuse("it must have one table of chunk offsets, stco or co64")
    most = len(sizes)
    rows = table(data, stco, "I", most=most) if stco else table(data, co64, "Q", most=most) if co64 else []
    chunks = [row[0] for row in rows]
    runs = table(data, only(stbl, b"stsc", "stbl"), "III", most=most)
    firsts = [run[0] for run in runs]
    if not runs or firsts[0] != 1 or any(b <= a for a, b in pairwise(firsts)):
        refuse("its stsc box does not start at chunk 1 and rise")
    if firsts[-1] > len(chunks):
        refuse(f"its tables disagree: stsc speaks of chunk {firsts[-1]:,} and there are {len(chunks):,}")
    if any(per_chunk == 0 or description != 1 for _, per_chunk, description in runs):
        refuse("its stsc box has empty chunks or a sample description that is not there")
    starts = [box.start for box in mdats]
    offsets: list[int] = []
    for (first, per_chunk, _), after in zip(runs, [*firsts[1:], len(chunks) + 1], strict=True):
        if per_chunk * (after - first) > len(sizes) - len(offsets):
            refuse(f"its tables disagree: stsc is for more frames than the {len(sizes):,} of stsz")
        for chunk in range(first - 1, after - 1):
            position = chunks[chunk]
            mdat = bisect_right(starts, position) - 1
            for _ in range(per_chunk):
                offsets.append(position)
                position += sizes[len(offsets) - 1]
            if position > len(data):
                refuse(f"frame data ends at byte {position:,} and the file has {len(data):,}: it is truncated")
            if mdat < 0 or position > mdats[mdat].end:
                refuse("frame data stands outside the file's mdat box")
    if len(offsets) != len(sizes):
        refuse(f"its tables disagree: stsc is for {len(offsets):,} frames and stsz for {len(sizes):,}")
    return offsets
