"""The picture size that H.264 and HEVC streams state themselves: a decoder allocates by this, not by the MP4's header.

Standard library only, used by `mp4.py`, so that a header of 96x96 can't hide a stream of 16384x16384. Sequence
parameter sets (SPS) are read in the MP4's decoder configuration (ISO/IEC 14496-15) and in the samples, by ITU-T H.264
7.3.2.1.1 and H.265 7.3.2.2.1. The size of other codecs is bounded where they are decoded, in `decoders.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

_MAX_CONFIG_BYTES = 65_536
_MAX_SPS_BYTES = 4096
_MAX_UNITS = 1_000_000  # NAL units in a file
_SPS_TYPE = {"h264": 7, "hevc": 33}
_HIGH_PROFILES = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})


class NalError(ValueError):
    """The coded stream is not what the MP4's header says of it, or can't be read."""


def check_picture_size(codec: str, config: bytes, samples: Iterator[memoryview], size: tuple[int, int]) -> None:
    """Check that every SPS in configuration and samples states `size` (width, height); else raise `NalError`.

    `config` is the payload of an `avcC` or `hvcC` box. Codecs other than "h264" and "hevc" are not checked.
    """
    if codec not in _SPS_TYPE:
        return
    if len(config) > _MAX_CONFIG_BYTES:
        raise NalError("its decoder configuration is longer than any real one")
    length_size, found = _read_avcc(config) if codec == "h264" else _read_hvcc(config)
    units = 0
    for sample in samples:
        for unit in _units(sample, length_size):
            units += 1
            if units > _MAX_UNITS:
                raise NalError(f"it has more than {_MAX_UNITS:,} NAL units")
            unit_type = unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F
            if unit_type == _SPS_TYPE[codec] and (sps := bytes(unit[: _MAX_SPS_BYTES + 1])) not in found:
                if len(found) >= 64:
                    raise NalError("it changes its sequence parameters all the time")
                found.append(sps)
    if not found:
        raise NalError("the stream does not state its picture size (no SPS)")
    for sps in found:
        stated = _h264_size(sps) if codec == "h264" else _hevc_size(sps)
        if stated != size:
            stream, header = f"{stated[0]}x{stated[1]}", f"{size[0]}x{size[1]}"
            raise NalError(f"the coded frames are {stream} pixels and the header says {header}")


def _units(sample: memoryview, length_size: int) -> Iterator[memoryview]:
    position = 0
    while position < len(sample):
        start = position + length_size
        length = int.from_bytes(sample[position:start], "big")
        position = start + length
        if length == 0 or position > len(sample):
            raise NalError("the length of a coded unit does not fit its frame")
        yield sample[start:position]


def _take(data: bytes, position: int, count: int) -> bytes:
    if position + count > len(data):
        raise NalError("its decoder configuration is cut off")
    return data[position : position + count]


def _read_avcc(data: bytes) -> tuple[int, list[bytes]]:
    """Size of the unit lengths, and the SPS units (ISO/IEC 14496-15, 5.3.3.1)."""
    head = _take(data, 0, 6)
    if head[0] != 1:
        raise NalError("its avcC box has an unknown version")
    found, position = [], 6
    for _ in range(head[5] & 0x1F):
        length = int.from_bytes(_take(data, position, 2), "big")
        found.append(_take(data, position + 2, length))
        position += 2 + length
    return (head[4] & 3) + 1, found


def _read_hvcc(data: bytes) -> tuple[int, list[bytes]]:
    """Size of the unit lengths, and the SPS units (ISO/IEC 14496-15, 8.3.3.1)."""
    head = _take(data, 0, 23)
    if head[0] != 1:
        raise NalError("its hvcC box has an unknown version")
    found, position = [], 23
    for _ in range(head[22]):
        array = _take(data, position, 3)
        position += 3
        for _ in range(int.from_bytes(array[1:], "big")):
            length = int.from_bytes(_take(data, position, 2), "big")
            unit = _take(data, position + 2, length)
            position += 2 + length
            if array[0] & 0x3F == 33 or (unit and unit[0] >> 1 & 0x3F == 33):
                found.append(unit)
    return (head[21] & 3) + 1, found


class _Bits:
    """Reads a NAL unit's payload bit by bit; past the end it raises `NalError`."""

    def __init__(self, unit: bytes, header: int) -> None:
        if len(unit) > _MAX_SPS_BYTES:
            raise NalError("its SPS is longer than any real one")
        payload = unit[header:].replace(b"\0\0\3", b"\0\0")  # emulation prevention
        self._value, self._left = int.from_bytes(payload, "big"), 8 * len(payload)

    def u(self, bits: int) -> int:
        if bits > self._left:
            raise NalError("its SPS is cut off")
        self._left -= bits
        return self._value >> self._left & ((1 << bits) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.u(1):
            zeros += 1
            if zeros > 32:
                raise NalError("its SPS can't be read")
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code & 1 else -(code // 2)


def _h264_size(sps: bytes) -> tuple[int, int]:
    bits = _Bits(sps, 1)
    profile = bits.u(8)
    bits.u(16)
    bits.ue()
    chroma, separate = 1, 0
    if profile in _HIGH_PROFILES:
        chroma = bits.ue()
        if chroma == 3:
            separate = bits.u(1)
        bits.ue()
        bits.ue()
        bits.u(1)
        if bits.u(1):
            for index in range(8 if chroma != 3 else 12):
                if bits.u(1):
                    _skip_scaling_list(bits, 16 if index < 6 else 64)
    bits.ue()
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.se()
        bits.se()
        cycle = bits.ue()
        if cycle > 255:
            raise NalError("its SPS can't be read")
        for _ in range(cycle):
            bits.se()
    bits.ue()
    bits.u(1)
    width = 16 * (bits.ue() + 1)
    height_units = bits.ue() + 1
    frame_only = bits.u(1)
    if not frame_only:
        bits.u(1)
    bits.u(1)
    height = 16 * height_units * (2 - frame_only)
    if bits.u(1):
        left, right, top, bottom = (bits.ue() for _ in range(4))
        planes = 0 if separate else chroma
        across = 2 if planes in (1, 2) else 1
        down = (2 if planes == 1 else 1) * (2 - frame_only)
        width, height = width - across * (left + right), height - down * (top + bottom)
    return width, height


def _skip_scaling_list(bits: _Bits, count: int) -> None:
    last = following = 8
    for _ in range(count):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _hevc_size(sps: bytes) -> tuple[int, int]:
    bits = _Bits(sps, 2)
    bits.u(4)
    layers = bits.u(3)
    bits.u(1)
    bits.u(96)  # general profile, tier and level
    present = [(bits.u(1), bits.u(1)) for _ in range(layers)]
    if layers:
        bits.u(2 * (8 - layers))
    for profile, level in present:
        bits.u(88 * profile + 8 * level)
    bits.ue()
    chroma = bits.ue()
    if chroma == 3:
        bits.u(1)
    width, height = bits.ue(), bits.ue()
    if bits.u(1):
        left, right, top, bottom = (bits.ue() for _ in range(4))
        across, down = (2 if chroma in (1, 2) else 1), (2 if chroma == 1 else 1)
        width, height = width - across * (left + right), height - down * (top + bottom)
    return width, height
