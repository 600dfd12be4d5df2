"""Streams over parts of other streams: a range, a decompressed view, one that can be read again."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Final, Protocol

import zstandard

CHUNK: Final = 1 << 16
_ZSTD_INPUT: Final = 512  # its decompressor takes no output limit: a block of 128 KiB may come from 4 bytes
_XZ_MEMORY: Final = 256 << 20
_ZSTD_WINDOW: Final = 128 << 20


class Stream(io.RawIOBase):
    """A readable raw stream; subclasses give ``_read``. Seekable where they give ``_seek``."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        raise NotImplementedError


class Range(Stream):
    """``size`` bytes of ``file`` from ``start``; shares the file with others, so it seeks before each read."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        super().__init__()
        self._file, self._start, self._size, self._at = file, start, size, 0

    def _read(self, size: int) -> bytes:
        size = min(size, self._size - self._at)
        if size <= 0:
            return b""
        self._file.seek(self._start + self._at)
        data = self._file.read(size)
        self._at += len(data)
        return data

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at


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
    def __init__(self, window_bits: int) -> None:
        self._inner = zlib.decompressobj(window_bits)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max(max_length, 0))


class _Zstd:
    def __init__(self) -> None:
        self._inner = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        self._out = b""

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
        if data:
            self._out += self._inner.decompress(data)
        taken, self._out = self._out[:max_length], self._out[max_length:]
        return taken


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
    "zstd": (_Zstd, (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + i,)) + b"\x2a\x4d\x18" for i in range(16)))),
}


class Decompressed(Stream):
    """What ``source`` (read from where it stands) decompresses to, through all streams that follow each other.

    Raises ``EOFError`` where the data ends early. ``trailing`` is true once bytes that are no further stream, and no
    padding of zeros, were met at the end; they are left alone. ``broken`` is true until the end was reached.
    """

    def __init__(self, source: BinaryIO, method: str) -> None:
        super().__init__()
        self._begin, self._follow = METHODS[method]
        self._source = source
        self._size = _ZSTD_INPUT if method == "zstd" else CHUNK
        self._decompressor = self._begin()
        self._input = b""
        self._ended = False
        self.trailing = False
        self.broken = True  # until its end was seen

    def _read(self, size: int) -> bytes:
        while not self._ended:
            if self._decompressor.eof:
                self._next_stream()
                continue
            if self._decompressor.needs_input and not self._input:
                self._input = self._source.read(self._size)
                if not self._input:
                    data = self._decompressor.decompress(b"", size)
                    if not data and not self._decompressor.eof:
                        raise EOFError("compressed data ends early")
                    if data:
                        return data
                    continue
            data, self._input = self._decompressor.decompress(self._input, size), b""
            if data:
                return data
        return b""

    def _next_stream(self) -> None:
        rest = (self._decompressor.unused_data + self._source.read(CHUNK)).lstrip(b"\0")
        while not rest and (more := self._source.read(CHUNK)):
            rest = more.lstrip(b"\0")
        if self._follow and rest.startswith(self._follow):
            self._decompressor = self._begin()
            self._input = rest
        else:
            self._ended, self.broken = True, False
            self.trailing = bool(rest)


class Rewindable(Stream):
    """A seekable view of data that can only be read forward: going back opens it anew and reads up to there.

    ``size`` is found by reading to the end where it is not given.
    """

    def __init__(self, reopen: Callable[[], BinaryIO], size: int | None = None) -> None:
        super().__init__()
        self._reopen = reopen
        self._stream = reopen()
        self._stream_at = 0
        self._at = 0
        self._size = size

    def _read(self, size: int) -> bytes:
        if self._at < self._stream_at:
            self._stream.close()
            self._stream, self._stream_at = self._reopen(), 0
        while self._stream_at < self._at:
            skipped = len(self._stream.read(min(CHUNK, self._at - self._stream_at)))
            if not skipped:
                return b""
            self._stream_at += skipped
        data = self._stream.read(size)
        self._stream_at += len(data)
        self._at = self._stream_at
        return data

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence == io.SEEK_END and self._size is None:
            while self._read(CHUNK):
                pass
            self._size = self._at
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size or 0}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def close(self) -> None:
        self._stream.close()
        super().close()
