"""Compressed data as a stream, whatever the method, with everything given that lies before a damage."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Final, Protocol

import zstandard

from leakmatch.sources.streams import CHUNK, Stream

_ZSTD_INPUT: Final = 512  # its decompressor takes no output limit: a block of 128 KiB may come from 4 bytes
_XZ_MEMORY: Final = 256 << 20
_ZSTD_WINDOW: Final = 128 << 20
_LONGEST_SIGNATURE: Final = 6

ZSTD_SIGNATURES: Final = (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + i,)) + b"\x2a\x4d\x18" for i in range(16)))


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


class _Zlib:
    """zlib forgets what it has given when the same call meets a damage; here that is given first."""

    def __init__(self, window_bits: int) -> None:
        self._inner = zlib.decompressobj(window_bits)
        self._error: zlib.error | None = None

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


class _Zstd:
    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        self._out = memoryview(b"")

    @property
    def eof(self) -> bool:
        return self._inner.eof and not self._out

    @property
    def needs_input(self) -> bool:
        return not self._out

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if data:  # only ever fed when all output was taken
            self._out = memoryview(self._inner.decompress(data))
        taken, self._out = self._out[:max_length], self._out[max_length:]
        return bytes(taken)


def _deflate() -> Decompressor:
    return _Zlib(-15)


def _gzip() -> Decompressor:
    return _Zlib(31)


def _xz() -> Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)


def _lzma_alone() -> Decompressor:
    return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_XZ_MEMORY)


#: How to begin a stream of each method, and the signatures with which another may follow it.
METHODS: Final[dict[str, tuple[Callable[[], Decompressor], tuple[bytes, ...]]]] = {
    "deflate": (_deflate, ()),
    "gzip": (_gzip, (b"\x1f\x8b",)),
    "bzip2": (bz2.BZ2Decompressor, (b"BZh",)),
    "xz": (_xz, (b"\xfd7zXZ\0",)),
    "lzma": (_lzma_alone, ()),
    "zstd": (_Zstd, ZSTD_SIGNATURES),
}


class Decompressed(Stream):
    """What ``source`` (read from where it stands) decompresses to, through all streams that follow each other.

    Raises ``EOFError`` where the data ends early; ``error`` keeps what was raised. ``trailing`` is true once bytes that
    are no further stream, and no padding of zeros, were met at the end; they are left alone.
    """

    def __init__(self, source: BinaryIO, method: str) -> None:
        super().__init__()
        self._begin, self._follow = METHODS[method]
        self._source = source
        self._piece = _ZSTD_INPUT if method == "zstd" else CHUNK
        self._decompressor = self._begin()
        self._input = b""
        self._ended = False
        self.trailing = False
        self.error: Exception | None = None

    def _read(self, size: int) -> bytes:
        try:
            while not self._ended:
                if self._decompressor.eof:
                    self._next_stream()
                elif data := self._next_data(size):
                    return data
        except Exception as error:
            self.error = error
            raise
        return b""

    def _next_data(self, size: int) -> bytes:
        data, self._input = self._input[: self._piece], self._input[self._piece :]
        at_end = False
        if not data and self._decompressor.needs_input:
            data = self._source.read(self._piece)
            at_end = not data
        found = self._decompressor.decompress(data, size)
        if at_end and not found and not self._decompressor.eof:
            raise EOFError
        return found

    def _next_stream(self) -> None:
        rest = (self._decompressor.unused_data + self._input).lstrip(b"\0")
        while len(rest) < _LONGEST_SIGNATURE and (more := self._source.read(self._piece)):
            rest = (rest + more).lstrip(b"\0")
        if self._follow and rest.startswith(self._follow):
            self._decompressor, self._input = self._begin(), rest
        else:
            self._ended = True
            self.trailing = bool(rest)
