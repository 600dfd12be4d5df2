"""Files by lzop (.lzo): blocks by LZO1X. Written here, since no kept library of Python reads them.

Sources: the chapter "LZO stream format as understood by Linux' LZO decompressor" of the Linux documentation, and the
format of lzop 1.04.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator
from typing import Final

LZOP: Final = b"\x89LZO\0\r\n\x1a\n"

_ADLER_OF_DATA, _ADLER_OF_BLOCK = 0x1, 0x2
_EXTRA, _FILTER = 0x40, 0x800
_CRC_OF_DATA, _CRC_OF_BLOCK = 0x100, 0x200
_NEWER: Final = 0x0940  # from this version of lzop on the header has more fields
_LARGEST_BLOCK: Final = 16 << 20  # lzop writes 256 KiB
_AFTER_LITERALS: Final = 4


def lzop() -> Generator[int | bytes, bytes, bytes]:
    """Parse one file: yields how many bytes it wants next, or bytes that came out."""
    yield len(LZOP)
    flags = yield from _header()
    while size := int.from_bytes((yield 4), "big"):
        stored = int.from_bytes((yield 4), "big")
        if size > _LARGEST_BLOCK or stored > size:
            raise ValueError("a block of a size that there is not")
        sums: dict[int, bytes] = {}
        for which in (_ADLER_OF_DATA, _CRC_OF_DATA):
            if flags & which:
                sums[which] = yield 4
        if stored < size:
            for which in (_ADLER_OF_BLOCK, _CRC_OF_BLOCK):
                if flags & which:
                    yield 4
        data = yield stored
        if stored < size:
            data = decompress(data, size)
        yield data
        _check(data, sums)
    return b""


def _header() -> Generator[int | bytes, bytes, int]:
    """Parse what is behind the signature; returns the flags."""
    version = int.from_bytes((yield 4)[:2], "big")
    if version >= _NEWER:
        yield 2
    method = (yield 1)[0]
    if version >= _NEWER:
        yield 1
    flags = int.from_bytes((yield 4), "big")
    if method not in (1, 2, 3) or flags & _FILTER:
        raise ValueError("a method or filter that is not read")
    yield 12 if version >= _NEWER else 8  # mode and time
    yield (yield 1)[0]  # the name
    yield 4
    if flags & _EXTRA:
        yield int.from_bytes((yield 4), "big") & 0xFFFF
        yield 4
    return flags


def _check(data: bytes, sums: dict[int, bytes]) -> None:
    have = {_ADLER_OF_DATA: zlib.adler32, _CRC_OF_DATA: zlib.crc32}
    if any(have[which](data) != int.from_bytes(value, "big") for which, value in sums.items()):
        raise ValueError("its checksum is wrong")


def decompress(data: bytes, size: int) -> bytes:
    """The ``size`` bytes of one block by LZO1X. Raises ``ValueError``, or ``IndexError`` where it ends early."""
    out = bytearray()
    at = state = 0
    if data[0] > 17:
        state = min(data[0] - 17, _AFTER_LITERALS)
        at = 1 + data[0] - 17
        out += data[1:at]
    while len(out) <= size:
        code = data[at]
        at += 1
        if code < 16 and state == 0:
            count, at = _length(data, at, code, 15)
            out += data[at : at + count + 3]
            at += count + 3
            state = _AFTER_LITERALS
            continue
        if code < 16:
            length = 3 if state == _AFTER_LITERALS else 2
            back = (data[at] << 2) + (code >> 2) + (2049 if state == _AFTER_LITERALS else 1)
            state, at = code & 3, at + 1
        elif code < 64:
            length, at = _length(data, at, code & (7 if code < 32 else 31), 7 if code < 32 else 31)
            length += 2
            word = data[at] | data[at + 1] << 8
            state, at = word & 3, at + 2
            back = (word >> 2) + (16384 + ((code & 8) << 11) if code < 32 else 1)
            if back == 16384:
                break
        else:
            length = (code >> 5) + 1
            back = (data[at] << 3) + (code >> 2 & 7) + 1
            state, at = code & 3, at + 1
        _repeat(out, back, length)
        out += data[at : at + state]
        at += state
    if len(out) != size:
        raise ValueError("a block of another size than it announces")
    return bytes(out)


def _length(data: bytes, at: int, short: int, most: int) -> tuple[int, int]:
    """A length of which ``short`` is the beginning, and where the data goes on."""
    if short:
        return short, at
    length = most
    while not data[at]:
        length, at = length + 255, at + 1
    return length + data[at], at + 1


def _repeat(out: bytearray, back: int, length: int) -> None:
    """Append ``length`` bytes from ``back`` bytes before the end; they may overlap what is being written."""
    start = len(out) - back
    if start < 0:
        raise ValueError("a distance that leads before the beginning")
    piece = out[start : start + length]
    while len(piece) < length:
        piece += piece[: length - len(piece)]
    out += piece
