"""Thrift's compact protocol, as far as Parquet's footers and page headers use it. Every length is checked before it is used."""

from __future__ import annotations

import struct
from typing import Any


class TooShort(Exception):
    """The bytes end before the struct does, or are not what the protocol allows."""


class Thrift:
    """Reads structs: field number -> bool, int, float, bytes, list, or dict for a struct."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The struct that begins here; `at` then stands behind it. Raises `TooShort`."""
        if depth > 12:
            raise TooShort
        fields: dict[int, Any] = {}
        number = 0
        data, at = self.data, self.at  # most fields are read here: a call costs more
        try:
            while True:
                byte = data[at]
                at += 1
                if byte == 0:
                    self.at = at
                    return fields
                kind = byte & 15
                if byte >> 4:
                    number += byte >> 4
                else:
                    self.at = at
                    number, at = self._zigzag(), self.at
                if number in fields:
                    raise TooShort  # readers differ on which one counts
                if 4 <= kind <= 6:
                    value = data[at]
                    at += 1
                    if value >= 0x80:
                        value, shift, byte = value & 0x7F, 0, 0x80
                        while byte >= 0x80:
                            if (shift := shift + 7) > 63:
                                raise TooShort
                            byte = data[at]
                            at += 1
                            value |= (byte & 0x7F) << shift
                    fields[number] = value >> 1 ^ -(value & 1)
                elif kind == 8 and data[at] < 0x80:
                    end = at + 1 + data[at]
                    if end > len(data):
                        raise TooShort
                    fields[number] = data[at + 1 : end]
                    at = end
                else:
                    self.at = at
                    fields[number], at = self._value(kind, depth), self.at
        except IndexError:
            raise TooShort from None

    def _value(self, kind: int, depth: int, *, in_list: bool = False) -> Any:
        if kind in (4, 5, 6):
            return self._zigzag()
        if kind == 8:
            return self._take(self._varint())
        if kind == 12:
            return self.struct(depth + 1)
        if kind in (9, 10):
            return self._list(depth)
        if kind in (1, 2):
            return self._byte() == 1 if in_list else kind == 1
        if kind == 3:
            return self._byte()
        if kind == 7:
            return struct.unpack("<d", self._take(8))[0]
        raise TooShort  # maps and unknown kinds: Parquet has none

    def _list(self, depth: int) -> list[Any]:
        byte = self._byte()
        count = byte >> 4 if byte >> 4 < 15 else self._varint()
        if count > len(self.data) - self.at or depth > 12:  # each takes a byte at least
            raise TooShort
        kind = byte & 15
        if kind == 12:
            return [self.struct(depth + 2) for _ in range(count)]
        if kind == 8 and count == 1 and self.data[self.at : self.at + 1] < b"\x80":
            return [self._take(self._byte())]
        if kind == 5 and self.data[self.at : self.at + count].isascii():  # as many numbers of a byte each
            numbers = self.data[self.at : self.at + count]
            self.at += count
            return [value >> 1 ^ -(value & 1) for value in numbers]
        return [self._value(kind, depth + 1, in_list=True) for _ in range(count)]

    def _byte(self) -> int:
        try:
            byte = self.data[self.at]
        except IndexError:
            raise TooShort from None
        self.at += 1
        return byte

    def _take(self, count: int) -> bytes:
        piece = self.data[self.at : self.at + count]
        if len(piece) < count:
            raise TooShort
        self.at += count
        return piece

    def _varint(self) -> int:
        value = shift = 0
        data, at = self.data, self.at
        try:
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 0x7F) << shift
                if byte < 0x80:
                    self.at = at
                    return value
                shift += 7
                if shift > 63:
                    raise TooShort
        except IndexError:
            raise TooShort from None

    def _zigzag(self) -> int:
        value = self._varint()
        return value >> 1 ^ -(value & 1)
