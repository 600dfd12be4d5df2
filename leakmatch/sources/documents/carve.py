"""Pictures inside other bytes, found by their first bytes and measured by their own structure."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator
from typing import BinaryIO, Final, NamedTuple

from leakmatch.sources.streams import CHUNK, bytes_at

_BEGINNING = re.compile(
    rb"\xff\xd8\xff[\xc0-\xfe]|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|II\x2a\0[\x08-\xff]|MM\0\x2a\0", re.DOTALL
)
_OVERLAP: Final = 32
_MAX_CHUNKS: Final = 1_000_000

# Markers of a JPEG.
SCAN: Final = 0xDA
_END_OF_IMAGE: Final = 0xD9
_NO_LENGTH: Final = frozenset((0x01, *range(0xD0, 0xD8)))
_ANY: Final = range(0x100)
_END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")

# Pictures of Office files: the kinds of record (1 id or 2), and what stands in front of the picture.
_BLIPS: Final = frozenset((0xF01D, 0xF01E, 0xF01F, 0xF029, 0xF02A))


class Place(NamedTuple):
    """Where a picture lies."""

    start: int
    size: int


def pictures(file: BinaryIO, size: int) -> Iterator[Place]:
    """The pictures in ``file``, in order, none inside another. One that never ends reaches to the end of the file."""
    at = 0
    while at < size:
        block = bytes_at(file, at, CHUNK + _OVERLAP)
        found = _BEGINNING.search(block)
        if found is None or found.start() >= CHUNK:
            if len(block) < CHUNK + _OVERLAP:
                return
            at += CHUNK
            continue
        start = at + found.start()
        end = min(_blip_end(file, start) or _end(file, start, size) or size, size)
        yield Place(start, end - start)
        at = max(end, start + 4)


def _blip_end(file: BinaryIO, start: int) -> int:
    """The end of a picture by the Office record around it; 0 where there is none."""
    for before in (25, 41):  # a header of 8 bytes, one or two ids of 16, a tag
        if start >= before:
            header = bytes_at(file, start - before, 8)
            kind, length = int.from_bytes(header[2:4], "little"), int.from_bytes(header[4:8], "little")
            if kind in _BLIPS and length > before - 8:
                return start - before + 8 + length
    return 0


def _end(file: BinaryIO, start: int, size: int) -> int:
    head = bytes_at(file, start, 12)
    if head.startswith(b"\xff\xd8"):
        end, whole = jpeg_end(file, start, size)
        return end if whole else 0
    if head.startswith(b"\x89PNG"):
        return _png_end(file, start, size)
    if head.startswith(b"RIFF"):
        return start + 8 + int.from_bytes(head[4:8], "little")
    return 0 if head.startswith(b"GIF") else size


def _png_end(file: BinaryIO, start: int, size: int) -> int:
    at = start + 8
    for _ in range(_MAX_CHUNKS):
        header = bytes_at(file, at, 8)
        if len(header) < 8 or at > size:
            return 0
        at += 12 + int.from_bytes(header[:4], "big")
        if header[4:] == b"IEND":
            return at
    return 0


def jpeg_end(file: BinaryIO, start: int, limit: int, known: Container[int] = _ANY) -> tuple[int, bool]:
    """Where the JPEG at ``start`` ends, and whether that is its end mark.

    Else it is where something stands that is no segment of a ``known`` code, or the ``limit``.
    """
    at = start + 2
    while at < limit:
        header = bytes_at(file, at, 4)
        if len(header) < 2 or header[0] != 0xFF:
            return at, False
        code = header[1]
        if code == _END_OF_IMAGE:
            return at + 2, True
        if code == 0xFF:
            at += 1
        elif code not in known:
            return at, False
        elif code in _NO_LENGTH:
            at += 2
        else:
            at += 2 + int.from_bytes(header[2:4], "big")
            if code == SCAN:
                at = _behind_scan(file, at, limit)
    return limit, False


def _behind_scan(file: BinaryIO, at: int, limit: int) -> int:
    """The marker behind the coded data of a scan."""
    while at < limit:
        block = bytes_at(file, at, CHUNK)
        if len(block) < 2:
            break
        if found := _END_OF_SCAN.search(block):
            return at + found.start()
        at += len(block) - 1
    return limit
