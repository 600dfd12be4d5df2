"""Decoders of single streams behind one interface, whoever wrote them.

Formats: RFC 1951, RFC 1952, RFC 8878; the LZ4 frame format 1.6.4; the lzip format (draft-diaz-lzip); for Deflate64
APPNOTE.TXT 6.3.10, chapter 4.4.5.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Callable, Generator
from typing import Any, Final, Protocol

import zstandard

from leakmatch.sources.compression.lzop import LZOP, lzop
from leakmatch.sources.compression.lzw import Lzw
from leakmatch.sources.guard import over_budget

_XZ_MEMORY: Final = 256 << 20
_LARGEST_DICTIONARY: Final = 255 << 20  # of a .lzma: one that claims more is read as far as it does with this
_LZMA_HEADER: Final = struct.Struct("<BIQ")  # properties, size of the dictionary, size of the data
_ZSTD_WINDOW: Final = 128 << 20

SKIPPABLE: Final = tuple(bytes((0x50 + i,)) + b"\x2a\x4d\x18" for i in range(16))  # of zstd and of LZ4
ZSTD: Final = b"\x28\xb5\x2f\xfd"
LZ4: Final = b"\x04\x22\x4d\x18"
LZ4_LEGACY: Final = b"\x02\x21\x4c\x18"
LZIP: Final = b"LZIP"
_LZ4_LEGACY_BLOCK: Final = 8 << 20
_LZIP_TRAILER: Final = struct.Struct("<IQQ")  # CRC-32, size, size of the whole member

Parts = Generator[int | bytes, bytes, bytes]


class Decompressor(Protocol):
    """What bz2, lzma and (adapted) zlib and zstandard have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether it has nothing more to give without new data."""

    @property
    def unused_data(self) -> bytes:
        """What was fed and lies behind the end of the stream."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Up to ``max_length`` bytes of output."""


class Zlib:
    """zlib forgets what it has given when the same call meets a damage; here that is given first."""

    def __init__(self, inner: zlib._Decompress) -> None:
        self._inner = inner
        self._error: zlib.error | None = None

    def copy(self) -> Zlib:
        """One that goes on from here by itself."""
        return Zlib(self._inner.copy())

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail and self._error is None

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if self._error is not None:
            raise self._error
        data = self._inner.unconsumed_tail + data
        before = self._inner.copy()
        try:
            return self._inner.decompress(data, max_length)
        except zlib.error as error:
            self._error = error
            if good := _before_damage(before, data, max_length):
                return good
            raise


def _before_damage(state: zlib._Decompress, data: bytes, most: int) -> bytes:
    """The longest output of fewer than ``most`` bytes that comes without an error."""
    good, least = b"", 1
    while least < most:
        middle = (least + most) // 2
        try:
            good, least = state.copy().decompress(data, middle), middle + 1
        except zlib.error:
            most = middle
    return good


class _Unbounded:
    """Gives piece by piece what ``decode`` makes of its input at once; ``inner`` says where the stream ends.

    For decoders that take no limit of their output, and are fed little at a time for that (:data:`PIECES`).
    """

    def __init__(self, inner: Any, decode: Callable[[bytes], bytes]) -> None:
        self._inner, self._decode = inner, decode
        self._out = memoryview(b"")

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof) and not self._out

    @property
    def needs_input(self) -> bool:
        return not self._out

    @property
    def unused_data(self) -> bytes:
        return getattr(self._inner, "unused_data", b"")

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if data:  # only ever fed when all output was taken
            self._out = memoryview(self._decode(data))
        taken, self._out = self._out[:max_length], self._out[max_length:]
        return bytes(taken)


def _zstd() -> Decompressor:
    inner = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
    return _Unbounded(inner, inner.decompress)


def _deflate64() -> Decompressor:
    """512 bytes give 15 MiB at most. What lies behind its end is not told."""
    import inflate64

    inner = inflate64.Inflater()
    return _Unbounded(inner, inner.inflate)


class _Lz4Frame:
    def __init__(self) -> None:
        import lz4.frame

        self._inner: Any = lz4.frame.LZ4FrameDecompressor()

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._inner.needs_input)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data or b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return bytes(self._inner.decompress(data, max_length))


class _Lzma:
    """An xz, or a .lzma whose dictionary was cut to ``cut`` bytes (0: to none): a want of memory is no damage."""

    def __init__(self, inner: lzma.LZMADecompressor, cut: int = 0) -> None:
        self._inner, self._cut = inner, cut
        self._given = 0

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._inner.needs_input

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        try:
            found = self._inner.decompress(data, max_length)
        except lzma.LZMAError as error:
            # With a smaller dictionary all is well until something refers to what it has forgotten. What this call
            # has made before that is lost.
            if "Memory usage" in str(error) or 0 < self._cut <= self._given + max_length:
                raise over_budget(f"its dictionary is larger than {_XZ_MEMORY >> 20} MiB") from error
            raise
        self._given += len(found)
        return found


def _alone(properties: int, dictionary: int, size: int) -> _Lzma:
    """The decoder of a .lzma, fed with its header."""
    inner = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_XZ_MEMORY)
    held = min(dictionary, _LARGEST_DICTIONARY)
    decoder = _Lzma(inner, held if held < dictionary else 0)
    decoder.decompress(_LZMA_HEADER.pack(properties, held, size))
    return decoder


class _Lzip:
    """One member: the data of a .lzma, and behind it checksum and size."""

    def __init__(self, header: bytes) -> None:
        base = 1 << (header[5] & 31)
        size = base - (base >> 4) * (header[5] >> 5)
        if header[4] != 1 or not 4096 <= size <= 512 << 20:
            raise ValueError("a version or dictionary that there is not")
        self._inner = _alone(0x5D, size, (1 << 64) - 1)
        self._crc = self._size = 0
        self._behind = b""
        self.eof = False

    @property
    def needs_input(self) -> bool:
        return len(self._behind) < _LZIP_TRAILER.size if self._inner.eof else self._inner.needs_input

    @property
    def unused_data(self) -> bytes:
        return self._behind[_LZIP_TRAILER.size :]

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        found = b""
        if self._inner.eof:
            self._behind += data
        else:
            found = self._inner.decompress(data, max_length)
            self._crc, self._size = zlib.crc32(found, self._crc), self._size + len(found)
            self._behind = self._inner.unused_data
        if self._inner.eof and not found and not self.needs_input:
            crc, size, _ = _LZIP_TRAILER.unpack_from(self._behind)
            if (crc, size) != (self._crc, self._size):
                raise ValueError("its checksum is wrong")
            self.eof = True
        return found


class _Parts:
    """A decoder made of a generator, which yields how many bytes it wants next, or bytes that came out.

    A negative number: so many, if there is anything left at all. It returns what it took and does not belong to it.
    """

    def __init__(self, parse: Parts) -> None:
        self._parse = parse
        self._in = bytearray()
        self._out = memoryview(b"")
        self._ended = False
        self._wanted = 0
        self._advance(next(parse))

    @property
    def eof(self) -> bool:
        return self._ended and not self._out

    @property
    def needs_input(self) -> bool:
        return not self._out and len(self._in) < abs(self._wanted)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._in)

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if not data and not self._in and not self._out and self._wanted < 0:
            self._ended = True
        self._in += data
        while not self._out and not self._ended and len(self._in) >= abs(self._wanted):
            taken = bytes(self._in[: abs(self._wanted)])
            del self._in[: abs(self._wanted)]
            try:
                self._advance(self._parse.send(taken))
            except StopIteration as end:
                self._ended = True
                self._in[:0] = end.value
        given, self._out = self._out[:max_length], self._out[max_length:]
        return bytes(given)

    def _advance(self, found: int | bytes) -> None:
        if isinstance(found, bytes):
            self._out, self._wanted = memoryview(found), 0
        else:
            self._wanted = found


def _lz4_legacy() -> Parts:
    import lz4.block

    yield 4
    while True:
        field = yield -4
        size = int.from_bytes(field, "little")
        if size > 2 * _LZ4_LEGACY_BLOCK:  # no block: the signature of the next frame
            return field
        yield lz4.block.decompress((yield size), uncompressed_size=_LZ4_LEGACY_BLOCK)


def _skippable() -> Parts:
    yield 4
    left = int.from_bytes((yield 4), "little")
    while left:
        left -= len((yield min(left, 1 << 16)))
    return b""


class _Late:
    """A decoder that is chosen, or set, by the first ``size`` bytes; ``begin`` says how many of them it is fed."""

    def __init__(self, size: int, begin: Callable[[bytes], tuple[Decompressor, int]]) -> None:
        self._size, self._begin = size, begin
        self._head = b""
        self._inner: Decompressor | None = None

    @property
    def eof(self) -> bool:
        return self._inner is not None and self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._inner is None or self._inner.needs_input

    @property
    def unused_data(self) -> bytes:
        return b"" if self._inner is None else self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if self._inner is None:
            self._head += data
            if len(self._head) < self._size:
                return b""
            self._inner, used = self._begin(self._head)
            data = self._head[used:]
        return self._inner.decompress(data, max_length)


def _lz4(head: bytes) -> tuple[Decompressor, int]:
    if head.startswith(SKIPPABLE):
        return _Parts(_skippable()), 0
    return (_Parts(_lz4_legacy()) if head.startswith(LZ4_LEGACY) else _Lz4Frame()), 0


def _deflate() -> Decompressor:
    return Zlib(zlib.decompressobj(-15))


def _gzip() -> Decompressor:
    return Zlib(zlib.decompressobj(31))


def _xz() -> Decompressor:
    return _Lzma(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY))


def _lzma_alone() -> Decompressor:
    return _Late(_LZMA_HEADER.size, lambda head: (_alone(*_LZMA_HEADER.unpack_from(head)), _LZMA_HEADER.size))


#: How to begin a stream of each method, and the signatures with which another may follow it.
METHODS: Final[dict[str, tuple[Callable[[], Decompressor], tuple[bytes, ...]]]] = {
    "deflate": (_deflate, ()),
    "deflate64": (_deflate64, ()),
    "gzip": (_gzip, (b"\x1f\x8b",)),
    "bzip2": (bz2.BZ2Decompressor, (b"BZh",)),
    "xz": (_xz, (b"\xfd7zXZ\0",)),
    "lzma": (_lzma_alone, ()),
    "lzip": (lambda: _Late(6, lambda head: (_Lzip(head), 6)), (LZIP,)),
    "zstd": (_zstd, (ZSTD, *SKIPPABLE)),
    "lz4": (lambda: _Late(4, _lz4), (LZ4, LZ4_LEGACY, *SKIPPABLE)),
    "compress": (Lzw, ()),
    "lzop": (lambda: _Parts(lzop()), (LZOP,)),
}

#: How much to feed at once to those that take no limit of their output, by which little becomes much.
PIECES: Final = {"zstd": 512, "deflate64": 512}
