"""Zip: the central directory is read entry by entry; where it is missing, the local headers are searched for.

Read here and not by ``zipfile``, which gives up a whole archive for one name that is not valid UTF-8, refuses members
whose two headers disagree, and holds the whole directory in memory. Layout: PKWARE's APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.records import Outcome
from leakmatch.sources.guard import corrupt, encrypted, truncated, unsupported
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.streams import CHUNK, Decompressed, Range, Stream

LOCAL: Final = b"PK\x03\x04"
CENTRAL: Final = b"PK\x01\x02"
END: Final = b"PK\x05\x06"
_END64: Final = b"PK\x06\x06"
_END64_LOCATOR: Final = b"PK\x06\x07"
_DESCRIPTOR: Final = b"PK\x07\x08"

_LOCAL_HEADER: Final = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL_HEADER: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END_RECORD: Final = struct.Struct("<4sHHHHIIH")
_END64_RECORD: Final = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR64: Final = struct.Struct("<4sIQI")

TAIL: Final = _END_RECORD.size + 0xFFFF  # the end record lies in the last bytes of the file

_ENCRYPTED, _DESCRIBED, _UTF8 = 1, 8, 0x800
_UNIX: Final = 3
_SYMLINK: Final = 0xA000
_MAX32: Final = 0xFFFFFFFF
_METHODS: Final = {8: "deflate", 12: "bzip2", 93: "zstd"}
_AES: Final = 99
_ZIP64_EXTRA: Final = 1
_UNICODE_PATH_EXTRA: Final = 0x7075


@dataclass(frozen=True, slots=True)
class _End:
    """Where the central directory is. ``shift``: bytes before the archive proper (a self-extractor)."""

    entries: int
    start: int
    size: int
    shift: int


@dataclass(frozen=True, slots=True)
class _Entry:
    raw: bytes
    extra: bytes
    flags: int
    method: int
    crc: int
    stored: int | None  # None: unknown, as in a local header whose sizes follow the data
    size: int | None
    header: int
    mode: int


def is_zip_tail(tail: bytes) -> bool:
    """Whether the last bytes of a file (:data:`TAIL`, or all) end in a zip, as those of a self-extractor do."""
    found = tail.rfind(END)
    if found < 0 or len(tail) - found < _END_RECORD.size:
        return False
    _, disk, _, _, entries, size, _, comment = _END_RECORD.unpack_from(tail, found)
    return (
        disk in (0, 0xFFFF)
        and entries > 0
        and size >= _CENTRAL_HEADER.size
        and (len(tail) - found == _END_RECORD.size + comment)
    )


class Zip:
    """A zip archive over a seekable ``file`` of ``size`` bytes."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.notes: list[Note] = []
        self._file = file
        self._size = size

    def members(self) -> Iterator[Member]:
        """By the central directory; by local headers where that is missing or damaged."""
        end = self._end()
        listed: set[int] = set()  # only filled where the directory breaks, to find what it did not list
        failure: ItemError | None = None
        if end is None:
            failure = truncated("the central directory is missing; members were found by their own headers")
        else:
            furthest = 0
            try:
                for entry in self._directory(end):
                    if entry.header < furthest and not self.notes:
                        self.notes.append(Note("corrupt", "members overlap or are listed out of order"))
                    furthest = max(furthest, entry.header + (entry.stored or 0))
                    listed.add(entry.header) if len(listed) < 1_000_000 else None
                    yield self._member(entry)
            except ItemError as error:
                failure = error
        if failure is None:
            return
        for entry in self._local_headers():
            if entry.header not in listed:
                yield self._member(entry)
        raise failure

    # The directory

    def _at(self, start: int, size: int) -> bytes:
        if start < 0:
            return b""
        self._file.seek(start)
        return self._file.read(size)

    def _end(self) -> _End | None:
        tail = self._at(max(self._size - TAIL, 0), TAIL)
        found = tail.rfind(END)
        if found < 0 or len(tail) - found < _END_RECORD.size:
            return None
        at = max(self._size - TAIL, 0) + found
        _, disk, first_disk, _, entries, size, start, _ = _END_RECORD.unpack_from(tail, found)
        directory_end = at
        locator = self._at(at - _LOCATOR64.size, _LOCATOR64.size)
        if locator[:4] == _END64_LOCATOR and len(locator) == _LOCATOR64.size:
            record_at = _LOCATOR64.unpack(locator)[2]
            for candidate in (record_at, at - _LOCATOR64.size - _END64_RECORD.size):
                record = self._at(candidate, _END64_RECORD.size)
                if record[:4] == _END64 and len(record) == _END64_RECORD.size:
                    _, _, _, _, disk, first_disk, _, entries, size, start = _END64_RECORD.unpack(record)
                    directory_end = candidate
                    break
        if disk not in (0, 0xFFFF) or first_disk not in (0, 0xFFFF, disk):
            message = f"part {disk + 1} of a split archive; the other parts are needed"
            raise ItemError(Outcome.NEEDS_VOLUME, "volume-missing", message)
        return _End(entries, start, size, directory_end - size - start)

    def _directory(self, end: _End) -> Iterator[_Entry]:
        at, stop = end.start + end.shift, end.start + end.shift + end.size
        if end.shift < 0 or at < 0:
            raise corrupt("the central directory is damaged; members were found by their own headers")
        count = 0
        while at < stop:
            header = self._at(at, _CENTRAL_HEADER.size)
            if len(header) < _CENTRAL_HEADER.size or header[:4] != CENTRAL:
                raise corrupt(f"the central directory is damaged after {count} members")
            (_, made_by, _, flags, method, _, _, crc, stored, size, name_size, extra_size, comment_size, _, _) = (
                _CENTRAL_HEADER.unpack(header)[:15]
            )
            attributes, start = _CENTRAL_HEADER.unpack(header)[15:]
            rest = self._at(at + _CENTRAL_HEADER.size, name_size + extra_size)
            raw, extra = rest[:name_size], rest[name_size:]
            stored, size, start = _zip64(extra, stored, size, start)
            at += _CENTRAL_HEADER.size + name_size + extra_size + comment_size
            count += 1
            mode = attributes >> 16 if made_by >> 8 == _UNIX else 0
            if not raw.endswith(b"/"):
                yield _Entry(raw, extra, flags, method, crc, stored, size, start + end.shift, mode)
        if count & 0xFFFF != end.entries & 0xFFFF:
            self.notes.append(Note("corrupt", f"the directory announces {end.entries} members and lists {count}"))

    def _local_headers(self) -> Iterator[_Entry]:
        """Entries found by their own headers, front to back."""
        at = self._find(0, (LOCAL,))
        while at is not None:
            header = self._at(at, _LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size:
                return
            _, _, flags, method, _, _, crc, stored, size, name_size, extra_size = _LOCAL_HEADER.unpack(header)
            rest = self._at(at + _LOCAL_HEADER.size, name_size + extra_size)
            raw, extra = rest[:name_size], rest[name_size:]
            data = at + _LOCAL_HEADER.size + name_size + extra_size
            known = not flags & _DESCRIBED
            if known:
                stored, size, _ = _zip64(extra, stored, size, 0)
            if raw and not raw.endswith(b"/"):
                yield _Entry(raw, extra, flags, method, crc, stored if known else None, size if known else None, at, 0)
            at = self._find(data + stored if known else data, (LOCAL,))

    def _find(self, start: int, signatures: tuple[bytes, ...]) -> int | None:
        """The first place at or after ``start`` where one of the 4-byte signatures stands."""
        while start < self._size:
            block = self._at(start, CHUNK + 3)
            hits = [hit for signature in signatures if (hit := block.find(signature)) >= 0]
            if hits:
                return start + min(hits)
            if len(block) < CHUNK + 3:
                return None
            start += CHUNK
        return None

    # Members

    def _member(self, entry: _Entry) -> Member:
        name = _name(entry)
        notes: list[Note] = []
        problem: ItemError | None = None
        data, stored = 0, entry.stored
        header = self._at(entry.header, _LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or header[:4] != LOCAL:
            problem = corrupt("its own header is missing")
        else:
            name_size, extra_size = _LOCAL_HEADER.unpack(header)[9:]
            data = entry.header + _LOCAL_HEADER.size + name_size + extra_size
            own = self._at(entry.header + _LOCAL_HEADER.size, name_size)
            if own != entry.raw:
                notes.append(Note("corrupt", f"its own header names it {decode_name(own)[:200]!r}"))
        if entry.flags & _ENCRYPTED or entry.method == _AES:
            problem = encrypted("locked with a password")
        elif entry.method not in _METHODS and entry.method != 0:
            problem = unsupported(f"zip method {entry.method} is not read by this version")
        if stored is None:
            stop = self._find(data, (_DESCRIPTOR, LOCAL, CENTRAL)) if entry.method == 0 else None
            stored = (self._size if stop is None else stop) - data
        special = "a symbolic link" if entry.mode & 0xF000 == _SYMLINK else ""
        span = max(stored, 0)

        def reopen() -> BinaryIO:
            body = cast(BinaryIO, Range(self._file, data, span))
            plain = body if entry.method == 0 else cast(BinaryIO, Decompressed(body, _METHODS[entry.method]))
            return cast(BinaryIO, _Checked(plain, entry.crc if entry.stored is not None else None, entry.size))

        return Member(entry.raw, name, max(span, 1), reopen, entry.size, special, problem, tuple(notes))


class _Checked(Stream):
    """Passes bytes on; at the end raises where they are too few, or not those that the CRC was made of."""

    def __init__(self, source: BinaryIO, crc: int | None, size: int | None) -> None:
        super().__init__()
        self._source, self._want, self._size = source, crc, size
        self._crc, self._at = 0, 0

    def _read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._crc = zlib.crc32(data, self._crc)
        self._at += len(data)
        if size and not data:
            if self._size is not None and self._at < self._size:
                raise truncated(f"{self._at} of {self._size} bytes are there")
            if self._want is not None and self._crc != self._want:
                raise corrupt("its checksum (CRC-32) is wrong")
        return data


def _zip64(extra: bytes, stored: int, size: int, start: int) -> tuple[int, int, int]:
    """Sizes and offset with the 64-bit values of the extra field where the 32-bit ones are full (APPNOTE 4.5.3)."""
    field = _extra(extra, _ZIP64_EXTRA)
    values = [size, stored, start]
    at = 0
    for i, value in enumerate(values):
        if value == _MAX32 and len(field) >= at + 8:
            values[i] = int.from_bytes(field[at : at + 8], "little")
            at += 8
    return values[1], values[0], values[2]


def _extra(extra: bytes, wanted: int) -> bytes:
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return b""


def _name(entry: _Entry) -> str:
    """The name as text: Info-ZIP's Unicode field if it was made for these bytes (APPNOTE 4.6.9), else a guess."""
    field = _extra(entry.extra, _UNICODE_PATH_EXTRA)
    if len(field) > 5 and int.from_bytes(field[1:5], "little") == zlib.crc32(entry.raw):
        return decode_name(field[5:], utf8=True)
    return decode_name(entry.raw, utf8=bool(entry.flags & _UTF8))
