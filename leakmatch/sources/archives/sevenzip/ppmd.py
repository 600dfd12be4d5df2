"""PPMd variant H, as 7z has it, by libarchive's own reader of 7z.

The Python packages that decode it write where they must not when its data is damaged or ends early. libarchive reads
whole archives only, so the packed stream is shown to it as the only member of one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from struct import Struct
from typing import BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.records import Outcome
from leakmatch.sources.archives.sevenzip.header import SIGNATURE
from leakmatch.sources.guard import corrupt
from leakmatch.sources.streams import Seekable

METHOD: Final = b"\x03\x04\x01"
_PROPERTIES: Final = Struct("<BI")  # order, memory
_ORDERS: Final = range(2, 65)
_MEMORIES: Final = range(1 << 11, (1 << 32) - 36 + 1)
_VERSION: Final = b"\0\4"
_NEXT: Final = Struct("<QQI")  # where the header lies behind the start, its size and CRC-32
_NUMBER: Final = Struct("<BQ")  # the longest of the forms of a number
_OLDEST: Final = 3_006_001  # those before stop at the border of two blocks
_TOO_OLD: Final = (
    "PPMd in a 7z needs libarchive 3.6.1 or newer: apt-get install libarchive13 (or dnf install libarchive)"
)
_LARGEST: Final = 1 << 62
_MORE: Final = 1 << 20
"""What is told beyond the real end of both sides, with zeros as the input. At that end the range coder is at the lower
bound, so the zeros unpack to something without error. Without more to come the library reads no whole last block, or
asks in vain for the byte behind the last."""


def ppmd_memory(properties: bytes) -> int:
    """The bytes of memory that a stream with such properties needs. Raises :class:`ItemError` for impossible ones."""
    if len(properties) < _PROPERTIES.size:
        raise corrupt("its PPMd properties are cut off")
    order, memory = _PROPERTIES.unpack(properties[: _PROPERTIES.size])
    if order not in _ORDERS or memory not in _MEMORIES:
        raise corrupt("its PPMd properties are impossible")
    return int(memory)


def ppmd(properties: bytes, source: BinaryIO, packed: int, size: int) -> Iterator[bytes]:
    """The ``size`` bytes that the ``packed`` ones of ``source``, read from front to back, unpack to.

    The caller has found :func:`ppmd_memory` small enough. Raises :class:`ItemError`, also without the library, and what
    reading ``source`` raises.
    """
    from leakmatch.sources.archives.libarchive.binding import Pass, library

    if not size:
        return
    if library().status("version_number") < _OLDEST:
        raise ItemError(Outcome.NEEDS_EXTRA, "extra-missing", _TOO_OLD)
    if max(size, packed) > _LARGEST:
        raise corrupt("its size is impossible")
    shown = _Archive(source, packed, _header(properties[: _PROPERTIES.size], packed + _MORE, size + _MORE))
    archive = Pass(cast(BinaryIO, shown), 0, shown.size, ("7zip",), ())
    left = size
    try:
        blocks = archive.blocks() if archive.next() is not None else iter(())
        while left and (block := next(blocks, b"")[:left]):
            left -= len(block)
            yield block
    finally:
        archive.close()


def _header(properties: bytes, packed: int, size: int) -> bytes:
    """The header of a 7z with one folder of one coder and one member of the name "x"."""
    stream = b"\6\0\1\x09" + _number(packed) + b"\0"
    coder = bytes((0x20 | len(METHOD),)) + METHOD + bytes((len(properties),)) + properties
    folder = b"\7\x0b\1\0\1" + coder + b"\x0c" + _number(size) + b"\0"
    return b"\1\4" + stream + folder + b"\x08\0" + b"\0" + b"\5\1\x11\5\0x\0\0\0" + b"\0\0"


def _number(value: int) -> bytes:
    return _NUMBER.pack(0xFF, value)


class _Archive(Seekable):
    """The start of a 7z, then ``packed`` bytes of ``source`` and zeros, then ``header``.

    No read crosses the parts, so that the library can go to the header and back without having begun with ``source``,
    which is read from front to back only.
    """

    def __init__(self, source: BinaryIO, packed: int, header: bytes) -> None:
        super().__init__()
        following = _NEXT.pack(packed + _MORE, len(header), zlib.crc32(header))
        self._start = SIGNATURE + _VERSION + zlib.crc32(following).to_bytes(4, "little") + following
        self._source, self._header = source, header
        self._next = len(self._start)  # what of ``source`` comes next
        self._zeros_at = self._next + packed
        self._header_at = self._zeros_at + _MORE
        self.size = self._header_at + len(header)

    def _read_at(self, at: int, size: int) -> bytes:
        if at < len(self._start):
            return self._start[at : at + size]
        if at >= self._header_at:
            return self._header[at - self._header_at :][:size]
        if at >= self._zeros_at:
            return bytes(min(size, self._header_at - at))
        if at != self._next:
            raise RuntimeError("libarchive does not read it from front to back")
        data = self._source.read(min(size, self._zeros_at - at))
        if not data:
            raise EOFError
        self._next += len(data)
        return data
