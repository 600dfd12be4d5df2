"""WARC, the archive of web crawls: every record is a member; of a response, what follows the header of HTTP.

Read here and not by libarchive, which passes over records of most types, and over those whose address it dislikes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.sources.guard import corrupt, truncated
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import CHUNK, Range, Stream, bytes_at

_MAGIC: Final = b"WARC/"
_END: Final = (b"\r\n\r\n", b"\n\n")
_LONGEST_HEADER: Final = 1 << 16
_BETWEEN: Final = 16  # line ends between two records; there should be two
_LONGEST_SIZE: Final = 32  # of a line with the size of a chunk


def open_warc(opening: Opening) -> Warc:
    """The reader of WARC files."""
    return Warc(opening)


@dataclass(frozen=True, slots=True)
class _Record:
    fields: dict[bytes, bytes]
    body: int
    size: int


class Warc:
    """A WARC file."""

    def __init__(self, opening: Opening) -> None:
        self.notes: list[Note] = []
        self._file = opening.file
        self._size = opening.size

    def members(self) -> Iterator[Member]:
        """Every record in stored order. After a damaged header the next record is looked for."""
        failure: ItemError | None = None
        at: int | None = 0
        while at is not None:
            record = self._record(at)
            if record is None:
                failure = failure or corrupt("the header of a record is damaged; the next record was looked for")
                at = self._search(at + 1)
                continue
            yield self._member(record)
            end = record.body + record.size
            if end > self._size:
                failure = failure or truncated("the last record ends early")
            at = self._search(end)
            if at is not None and at - end > _BETWEEN:
                failure = failure or corrupt("there are bytes between two records")
            elif at is None and bytes_at(self._file, end, _BETWEEN).strip(b"\r\n\0"):
                failure = failure or corrupt("there are bytes behind the last record")
        if failure is not None:
            raise failure

    def _search(self, start: int) -> int | None:
        """Where the next record begins."""
        at = start
        while block := bytes_at(self._file, at, CHUNK):
            found = block.find(_MAGIC)
            if found >= 0:
                return at + found
            at += max(len(block) - len(_MAGIC) + 1, 1)
        return None

    def _record(self, at: int) -> _Record | None:
        head = bytes_at(self._file, at, _LONGEST_HEADER)
        length = _header_length(head)
        if not head.startswith(_MAGIC) or not length:
            return None
        fields = _fields(head[:length])
        size = fields.get(b"content-length", b"")
        if not size.isdigit() or len(size) > 18:
            return None
        return _Record(fields, at + length, int(size))

    def _member(self, record: _Record) -> Member:
        start, size = record.body, record.size
        is_chunked = False
        if record.fields.get(b"content-type", b"").lower().startswith(b"application/http"):
            head = bytes_at(self._file, start, min(size, _LONGEST_HEADER))
            length = _header_length(head) if head.startswith(b"HTTP/") else 0
            is_chunked = b"chunked" in _fields(head[:length]).get(b"transfer-encoding", b"").lower()
            start, size = start + length, size - length
        raw = record.fields.get(b"warc-target-uri", b"").strip(b"<>") or record.fields.get(b"warc-record-id", b"")
        stored = max(min(size, self._size - start), 1)

        def reopen() -> BinaryIO:
            body = cast(BinaryIO, Range(self._file, start, size, strict=True))
            return cast(BinaryIO, _Chunked(body)) if is_chunked else body

        return Member(raw, decode_name(raw), stored, reopen, None if is_chunked else size)


class _Chunked(Stream):
    """A body in chunks (RFC 9112, 7.1), put together. Data that is in none, though announced so, is given as it is."""

    def __init__(self, source: BinaryIO) -> None:
        super().__init__()
        self._source = source
        self._left: int | None = 0  # in this chunk; None: until the end
        self._begun = False

    def _read(self, size: int) -> bytes:
        if self._left == 0 and not self._next():
            return b""
        data = self._source.read(size if self._left is None else min(size, self._left))
        if self._left is not None:
            self._left -= len(data)
        return data

    def _next(self) -> bool:
        """Go to the next chunk; whether there is one."""
        begin = self._source.tell()
        line = _line(self._source) or (_line(self._source) if self._begun else b"")
        digits = line.split(b";")[0].strip()
        try:
            self._left = int(digits, 16)
        except ValueError:
            if self._begun:
                raise ValueError("its chunks are damaged") from None
            self._source.seek(begin)
            self._left = None
        self._begun = True
        return self._left is None or self._left > 0

    def seekable(self) -> bool:
        return False


def _line(source: BinaryIO) -> bytes:
    line = b""
    while len(line) < _LONGEST_SIZE and (byte := source.read(1)) != b"\n":
        line += byte
    return line.strip()


def _header_length(head: bytes) -> int:
    """Up to and with the empty line; 0 where there is none."""
    ends = [at + len(end) for end in _END if (at := head.find(end)) >= 0]
    return min(ends, default=0)


def _fields(head: bytes) -> dict[bytes, bytes]:
    lines = (line.partition(b":") for line in head.splitlines())
    return {name.strip().lower(): value.strip() for name, colon, value in lines if colon}
