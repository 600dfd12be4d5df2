"""The bytes of a 7z header, read from front to back, and the marks that stand in them."""

from __future__ import annotations

from enum import IntEnum

from leakmatch.sources.guard import corrupt


class Mark(IntEnum):
    """What stands before each part of a header."""

    END = 0x0
    HEADER = 0x1
    PROPERTIES = 0x2
    ADDITIONAL = 0x3
    MAIN = 0x4
    FILES = 0x5
    PACK = 0x6
    UNPACK = 0x7
    SUBSTREAMS = 0x8
    SIZE = 0x9
    CRC = 0xA
    FOLDER = 0xB
    SIZES = 0xC
    COUNTS = 0xD
    EMPTY_STREAM = 0xE
    EMPTY_FILE = 0xF
    ANTI = 0x10
    NAMES = 0x11
    ATTRIBUTES = 0x15
    ENCODED = 0x17


class Cursor:
    """The bytes of a header, read from front to back. Raises :class:`ItemError` where they end early."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def byte(self) -> int:
        if self.at >= len(self.data):
            raise corrupt("the header ends early")
        self.at += 1
        return self.data[self.at - 1]

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise corrupt("the header ends early")
        self.at += count
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        """A number of one to nine bytes: the leading ones of the first tell how many follow."""
        first = self.byte()
        mask, value = 0x80, 0
        for shift in range(0, 64, 8):
            if not first & mask:
                return value | (first & (mask - 1)) << shift
            value |= self.byte() << shift
            mask >>= 1
        return value

    def count(self, bits: int = 8) -> int:
        """A number of things of which each takes so many bits in what follows."""
        count = self.number()
        if count * bits > self.left * 8:
            raise corrupt("the header announces more than it holds")
        return count

    def crc(self) -> int:
        """A number of four bytes."""
        return int.from_bytes(self.take(4), "little")

    def bits(self, count: int) -> bytes:
        """A vector of bits, packed; see :func:`is_set`."""
        return self.take((count + 7) // 8)

    def defined(self, count: int) -> bytes | None:
        """The same behind a byte that may say "all": then ``None``."""
        return None if self.byte() else self.bits(count)


def is_set(vector: bytes | None, index: int) -> bool:
    """A bit of a vector; ``None`` has all of them."""
    return vector is None or bool(vector[index >> 3] & 0x80 >> (index & 7))
