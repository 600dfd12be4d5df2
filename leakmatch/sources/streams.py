"""Streams over parts of other streams: a range, two joined, a checked view. Every one of them can be sought."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

CHUNK: Final = 1 << 16
FURTHEST: Final = 1 << 62  # no file reaches so far, and files refuse to seek much further


def bytes_at(file: BinaryIO, start: int, size: int) -> bytes:
    """The ``size`` bytes of ``file`` from ``start``, or what there is of them, in one read."""
    file.seek(min(start, FURTHEST))
    return file.read(size)


def next_match(file: BinaryIO, start: int, pattern: re.Pattern[bytes]) -> int:
    """Where ``pattern``, which is of one byte, first matches from ``start`` on; where nowhere, the end of ``file``."""
    while block := bytes_at(file, start, CHUNK):
        if found := pattern.search(block):
            return start + found.start()
        start += len(block)
    return start


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


class Seekable(Stream):
    """A stream with a position; subclasses give ``_read_at``."""

    def __init__(self) -> None:
        super().__init__()
        self._at = 0

    def _read(self, size: int) -> bytes:
        data = self._read_at(self._at, size)
        self._at += len(data)
        return data

    def _read_at(self, at: int, size: int) -> bytes:
        raise NotImplementedError

    def _end(self) -> int:
        raise io.UnsupportedOperation("the end is not known")

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to ``offset``. Costs nothing before the next read. Raises ``OSError`` from the end where none is known."""
        if whence == io.SEEK_CUR:
            offset += self._at
        elif whence == io.SEEK_END:
            offset += self._end()
        self._at = max(offset, 0)
        return self._at


class Range(Seekable):
    """``size`` bytes of ``file`` from ``start``; shares the file with others, so it seeks before each read.

    Where the file is shorter, ``EOFError`` is raised if ``strict``; else the range just ends there.
    """

    def __init__(self, file: BinaryIO, start: int, size: int, *, strict: bool = False) -> None:
        super().__init__()
        self._file, self._start, self._size, self._strict = file, start, size, strict

    def _read_at(self, at: int, size: int) -> bytes:
        size = min(size, self._size - at)
        if size <= 0:
            return b""
        self._file.seek(min(self._start + at, FURTHEST))
        data = self._file.read(size)
        if self._strict and not data:
            raise EOFError
        return data

    def _end(self) -> int:
        return self._size


class Ending(Range):
    """The first ``size`` bytes of ``file``; the last of them are at hand, as ``tail``, and not read again."""

    def __init__(self, file: BinaryIO, size: int, tail: bytes) -> None:
        super().__init__(file, 0, size)
        self._tail, self._before = tail, size - len(tail)

    def _read_at(self, at: int, size: int) -> bytes:
        if at >= self._before:
            return self._tail[at - self._before :][:size]
        return super()._read_at(at, size)


class Repeated(Seekable):
    """What ``begin`` gives in blocks; going back begins anew."""

    def __init__(self, begin: Callable[[], Iterator[bytes]]) -> None:
        super().__init__()
        self._begin = begin
        self._blocks: Iterator[bytes] = iter(())
        self._block, self._block_at = b"", -1

    def _read_at(self, at: int, size: int) -> bytes:
        if self._block_at < 0 or at < self._block_at:
            self._block, self._block_at = b"", 0
            self._blocks = self._begin()
        while at >= self._block_at + len(self._block):
            self._block_at += len(self._block)
            self._block = next(self._blocks, b"")
            if not self._block:
                return b""
        start = at - self._block_at
        return self._block[start : start + size]


class Joined(Seekable):
    """``head``, then what ``rest`` gives from where it stands."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        super().__init__()
        self._head, self._rest, self._start = head, rest, rest.tell()

    def _read_at(self, at: int, size: int) -> bytes:
        if at < len(self._head):
            return self._head[at : at + size]
        self._rest.seek(self._start + at - len(self._head))
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
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._want_size = self._want = None
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()
