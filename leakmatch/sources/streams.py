"""Streams over parts of other streams: a range, a checked view, one that can be read again."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import BinaryIO, Final

CHUNK: Final = 1 << 16


class Stream(io.RawIOBase):
    """A readable raw stream; subclasses give ``_read``, which is never asked for 0 bytes."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes, by one read below; nothing at the end. All that is left for -1."""
        if size < 0:
            return self.readall() or b""
        return self._read(size) if size else b""

    def _read(self, size: int) -> bytes:
        raise NotImplementedError


class Range(Stream):
    """``size`` bytes of ``file`` from ``start``; shares the file with others, so it seeks before each read.

    Where the file is shorter, ``EOFError`` is raised if ``strict``; else the range just ends there.
    """

    def __init__(self, file: BinaryIO, start: int, size: int, *, strict: bool = False) -> None:
        super().__init__()
        self._file, self._start, self._size, self._strict, self._at = file, start, size, strict, 0

    def _read(self, size: int) -> bytes:
        size = min(size, self._size - self._at)
        if size <= 0:
            return b""
        self._file.seek(self._start + self._at)
        data = self._file.read(size)
        if self._strict and not data:
            raise EOFError
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


class Joined(Stream):
    """``head``, then everything that ``rest`` gives."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head, self._rest = head, rest

    def _read(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._rest.read(size)


class Checked(Stream):
    """Passes bytes on. At the end raises ``EOFError`` where they are too few, and ``ValueError`` where they are too
    many, or not those that the CRC-32 was made of. ``None``: not known. After a seek nothing is checked."""

    def __init__(self, source: BinaryIO, size: int | None, crc: int | None) -> None:
        super().__init__()
        self._source, self._want_size, self._want = source, size, crc
        self._crc, self._at = 0, 0

    def _read(self, size: int) -> bytes:
        data = self._source.read(size)
        if data:
            self._at += len(data)
            if self._want is not None:
                self._crc = zlib.crc32(data, self._crc)
        elif self._want_size is not None and self._at != self._want_size:
            if self._at < self._want_size:
                raise EOFError
            raise ValueError("more bytes than its header announces")
        elif self._want is not None and self._crc != self._want:
            raise ValueError("its checksum is wrong")
        return data

    def seekable(self) -> bool:
        return self._source.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._want_size = self._want = None
        return self._source.seek(offset, whence)


class Rewindable(Stream):
    """A seekable view of data that can only be read forward: going back opens it anew and reads up to there.

    ``size``: what can be read of it; the view ends there, whatever happens behind.
    """

    def __init__(self, reopen: Callable[[], BinaryIO], size: int) -> None:
        super().__init__()
        self._reopen, self._size = reopen, size
        self._stream = reopen()
        self._stream_at = 0
        self._at = 0

    def _read(self, size: int) -> bytes:
        size = min(size, self._size - self._at)
        if size <= 0:
            return b""
        if self._at < self._stream_at:
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
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at
