"""The wire format of protocol buffers, read from a file without holding more than a few bytes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from leakmatch.sources.streams import bytes_at

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class Field(NamedTuple):
    """One field. ``value`` is that of a number; ``start`` and ``size`` are the place of its bytes in the file."""

    number: int
    wire: int
    value: int
    start: int
    size: int


def fields(file: BinaryIO, start: int, size: int) -> Iterator[Field]:
    """The fields of the message in ``size`` bytes from ``start``. Raises ``ValueError`` where it is none."""
    end = start + size
    while start < end:
        key, start = _varint(file, start, end)
        wire, value, length = key & 7, 0, 0
        if wire == VARINT:
            value, start = _varint(file, start, end)
        elif wire == BYTES:
            length, start = _varint(file, start, end)
        elif wire in (FIXED32, FIXED64):
            length = 4 if wire == FIXED32 else 8
        else:
            raise ValueError("no protocol buffer")
        if length > end - start or not key >> 3:
            raise ValueError("no protocol buffer")
        yield Field(key >> 3, wire, value, start, length)
        start += length


def bytes_of(file: BinaryIO, field: Field, most: int) -> bytes:
    """Up to ``most`` bytes of a field."""
    return bytes_at(file, field.start, min(field.size, most))


def _varint(file: BinaryIO, start: int, end: int) -> tuple[int, int]:
    value = 0
    for count, byte in enumerate(bytes_at(file, start, min(10, end - start))):
        value |= (byte & 0x7F) << 7 * count
        if not byte & 0x80:
            return value, start + count + 1
    raise ValueError("no protocol buffer")
