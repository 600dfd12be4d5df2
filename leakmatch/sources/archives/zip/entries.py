"""Entries of a zip: from its central directory, or found by the members' own headers. Layout: APPNOTE.TXT 6.3.10."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Final

from leakmatch.sources.archives.zip.directory import (
    CENTRAL,
    END,
    END64,
    END_RECORD,
    MAX32,
    TAIL,
    Directory,
    directory_at,
    find_directory,
    narrow_directory,
)
from leakmatch.sources.guard import corrupt
from leakmatch.sources.names import decode_name
from leakmatch.sources.streams import CHUNK

LOCAL: Final = b"PK\x03\x04"
SPANNED: Final = b"PK\x07\x08" + LOCAL  # begins the first of several volumes
NOT_SPANNED: Final = b"PK00" + LOCAL  # meant to be several, became one
_DESCRIPTOR: Final = b"PK\x07\x08"
_DIGITAL_SIGNATURE: Final = b"PK\x05\x05"
_SIGNATURES: Final = (LOCAL, CENTRAL, END, END64, _DESCRIPTOR, b"PK\x06\x08")

LOCAL_HEADER: Final = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL_HEADER: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")

_DIRECTORY_BLOCK: Final = 1 << 20
_DESCRIPTOR_SEARCHES: Final = 16  # in vain, each to the end of the file

_ENCRYPTED: Final = 1
_DESCRIBED: Final = 8
_MASKED: Final = 0x2000
_UTF8: Final = 0x800
_UNIX: Final = 3
_ZIP64_EXTRA: Final = 1
_UNICODE_PATH_EXTRA: Final = 0x7075
AES_EXTRA: Final = 0x9901
_KNOWN_METHODS: Final = frozenset({*range(21), *range(92, 100)})
_HIGHEST_VERSION: Final = 100


@dataclass(frozen=True, slots=True)
class ZipEntry:
    """One member as a header announces it. ``None``: not known, as where its sizes follow the data.

    ``header``: where its own header is, in volume ``volume``; ``here``: whether that is this one. ``time`` of day, as
    MS-DOS has it.
    """

    raw: bytes
    extra: bytes
    flags: int
    method: int
    crc: int | None
    stored: int | None
    size: int | None
    header: int
    mode: int = 0
    volume: int = 0
    here: bool = True
    time: int = 0

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder, and nothing but that: data behind a folder's name is looked at."""
        return self.raw.endswith(b"/") and self.size == 0

    @property
    def name(self) -> str:
        """Info-ZIP's Unicode name if it was made for these bytes (APPNOTE 4.6.9), else a guess."""
        field = extra_field(self.extra, _UNICODE_PATH_EXTRA)
        if len(field) > 5 and int.from_bytes(field[1:5], "little") == zlib.crc32(self.raw):
            return decode_name(field[5:], utf8=True)
        return decode_name(self.raw, utf8=bool(self.flags & _UTF8))


class ZipEntries:
    """Finds the entries of the archive in ``file``, of ``size`` bytes."""

    def __init__(self, file: BinaryIO, size: int, starts: tuple[int | None, ...] = ()) -> None:
        self._file = file
        self._size = size
        self._starts = starts
        self._searches = _DESCRIPTOR_SEARCHES
        self._window, self._window_at = b"", 0  # what find() looked through last

    def at(self, start: int, size: int) -> bytes:
        """The ``size`` bytes from ``start``, or what there is of them."""
        if not 0 <= start < self._size:
            return b""
        self._file.seek(start)
        return self._file.read(size)

    def directory(self) -> Directory | None:
        """Where the central directory is, or ``None`` without one."""
        tail = self.at(max(self._size - TAIL, 0), TAIL)
        found = find_directory(tail, self._size, self.at)
        if found is not None and self._starts:
            return replace(found, shift=0, starts=self._starts)
        if found is not None and found.shift and found.behind and self.at(0, 4) == LOCAL:
            return None  # that of a zip inside; the end of this one is lost
        return found

    def listed(self, directory: Directory) -> Iterator[tuple[ZipEntry, int]]:
        """The entries of the directory, by block of it in the order of their data, so that this is read forward.

        With each comes the room from its header to the next, which is more to be trusted than the size it announces.
        Raises :class:`ItemError` where the directory is damaged.
        """
        at, count = directory.start, 0
        while at < directory.stop:
            block = self.at(at, min(_DIRECTORY_BLOCK, directory.stop - at))
            if block.startswith(_DIGITAL_SIGNATURE):
                return
            entries: list[ZipEntry] = []
            used = 0
            while found := _central_entry(block, used, directory):
                entry, used = found
                entries.append(entry)
            entries.sort(key=lambda entry: (entry.volume, entry.header))
            headers = [entry.header for entry in entries[1:]] + [directory.start]
            for entry, following in zip(entries, headers, strict=False):
                yield entry, following - entry.header
            if not used:
                raise corrupt(f"the central directory is damaged after {count} members")
            at, count = at + used, count + len(entries)

    def other_directories(self, start: int, stop: int) -> Iterator[Directory]:
        """Every believable directory that an end record between ``start`` and ``stop`` points to, empty ones left out.

        One end record may point to two: its 32-bit fields to another than the 64-bit ones.
        """
        at = self.find(start, stop, (END,))
        while at is not None:
            record = self.at(at, END_RECORD.size)
            found = directory_at(record, at, self._size, self.at)
            if found is not None:
                yield found
                found = narrow_directory(record, at, found, self.at)
            if found is not None:
                yield found
            at = self.find(at + 1, stop, (END,))

    # Members' own headers

    def own(self, entry: ZipEntry) -> tuple[ZipEntry, int]:
        """A member as its own header has it, and where its data begins. What that leaves open is as in ``entry``.

        Raises :class:`ItemError` where there is no header.
        """
        header = self.at(entry.header, LOCAL_HEADER.size + len(entry.raw))
        if len(header) < LOCAL_HEADER.size or not header.startswith(LOCAL):
            raise corrupt("its own header is missing")
        _, _, flags, method, time, _, crc, stored, size, name_size, extra_size = LOCAL_HEADER.unpack_from(header)
        names = entry.header + LOCAL_HEADER.size
        raw, extra = header[LOCAL_HEADER.size :], entry.extra
        if len(raw) != name_size:
            raw = self.at(names, name_size)
        if MAX32 in (stored, size) or method != entry.method:
            extra = self.at(names + name_size, extra_size)
            stored, size, _ = _zip64(extra, stored, size, 0)
        own = replace(entry, raw=raw, extra=extra, flags=flags, method=method, time=time)
        # 0 is what writers put there that did not know it yet
        own = replace(own, crc=crc or entry.crc, stored=_known(stored) or entry.stored, size=_known(size) or entry.size)
        return own, names + name_size + extra_size

    def unlisted(self, start: int, stop: int, *, sure: bool = False) -> Iterator[ZipEntry]:
        """Entries between ``start`` and ``stop`` by their own headers, front to back.

        ``sure``: what has the signature of a header at the very beginning is one, whatever it says.
        """
        at = self.find(start, stop, (LOCAL,))
        while at is not None:
            found = self._local_entry(at, stop, sure=sure and not at)
            if found is None:
                at = self.find(at + 1, stop, (LOCAL,))
                continue
            entry, following = found
            yield entry
            at = self.find(following, stop, (LOCAL,))

    def _local_entry(self, at: int, stop: int, *, sure: bool) -> tuple[ZipEntry, int] | None:
        """The entry whose header is at ``at``, and where to look for the next; ``None`` if it is none."""
        header = self.at(at, LOCAL_HEADER.size)
        if len(header) < LOCAL_HEADER.size:
            return None
        _, version, flags, method, time, _, crc, stored, size, name_size, extra_size = LOCAL_HEADER.unpack(header)
        possible = name_size and method in _KNOWN_METHODS and version & 0xFF <= _HIGHEST_VERSION
        if not (possible or sure):
            return None
        rest = self.at(at + LOCAL_HEADER.size, name_size + extra_size)
        raw, extra = rest[:name_size], rest[name_size:]
        data = at + LOCAL_HEADER.size + name_size + extra_size
        if flags & _DESCRIBED:
            described = self._described(data, stop)
            if described is None:
                return ZipEntry(raw, extra, flags, method, None, None, None, at, time=time), at + len(LOCAL)
            crc, stored, size = described
        else:
            stored, size, _ = _zip64(extra, stored, size, 0)
        entry = ZipEntry(raw, extra, flags, method, crc, stored, size, at, time=time)
        believed = self._end(data, stored, method, stop)
        return entry, at + len(LOCAL) if believed is None else believed

    def _described(self, data: int, stop: int) -> tuple[int, int, int] | None:
        """CRC and sizes from the descriptor behind the data at ``data``: the first whose size leads back there."""
        at = self.find(data, stop, (_DESCRIPTOR,)) if self._searches else None
        while at is not None:
            record = self.at(at, 24)
            for width in (4, 8):
                stored = int.from_bytes(record[8 : 8 + width], "little")
                size = record[8 + width : 8 + 2 * width]
                if stored == at - data and len(size) == width:
                    return int.from_bytes(record[4:8], "little"), stored, int.from_bytes(size, "little")
            at = self.find(at + 1, stop, (_DESCRIPTOR,))
        self._searches = max(self._searches - 1, 0)
        return None

    def _end(self, data: int, stored: int, method: int, stop: int) -> int | None:
        """Where to go on behind a member; ``None`` where its size leads nowhere and is not to be believed."""
        end = data + stored
        if end <= self._size and (end == self._size or self.at(end, 4).startswith(_SIGNATURES)):
            return end
        if method == 0 and self.at(data, 4) == LOCAL:
            return stop  # a zip in the zip; its own reader finds what is in there
        return None

    def find(self, start: int, stop: int, signatures: tuple[bytes, ...]) -> int | None:
        """The first place from ``start``, before ``stop``, where one of the 4-byte signatures stands."""
        while start < stop:
            if not self._window_at <= start < self._window_at + len(self._window) - 3:
                self._window, self._window_at = self.at(start, CHUNK + 3), start
            hits = [self._window.find(signature, start - self._window_at) for signature in signatures]
            if max(hits) >= 0:
                first = self._window_at + min(hit for hit in hits if hit >= 0)
                return first if first < stop else None
            if len(self._window) < CHUNK + 3:
                return None
            start = self._window_at + CHUNK
        return None


def _central_entry(block: bytes, at: int, directory: Directory) -> tuple[ZipEntry, int] | None:
    """The entry at ``at`` of a block of the directory and where the next is; ``None`` if it is not all there."""
    if len(block) - at < _CENTRAL_HEADER.size:
        return None
    (signature, made_by, _, flags, method, time, _, crc, stored, size, name_size, extra_size, comment_size, disk, _) = (
        _CENTRAL_HEADER.unpack_from(block, at)[:15]
    )
    attributes, header = _CENTRAL_HEADER.unpack_from(block, at)[15:]
    names = at + _CENTRAL_HEADER.size
    end = names + name_size + extra_size + comment_size
    if signature != CENTRAL or end > len(block):
        return None
    raw, extra = block[names : names + name_size], block[names + name_size : end - comment_size]
    if MAX32 in (stored, size, header):
        stored, size, header = _zip64(extra, stored, size, header)
    mode = attributes >> 16 if made_by >> 8 == _UNIX else 0
    header, here = directory.place(disk, header)
    return ZipEntry(raw, extra, flags, method, crc, stored, size, header, mode, disk, here, time), end


def _known(size: int) -> int:
    return 0 if size == MAX32 else size


def differences(entry: ZipEntry, own: ZipEntry) -> list[str]:
    """What a member's own header says otherwise than the directory does, in words."""
    if entry.flags & _MASKED:
        return []  # the values of its own header are hidden with the directory
    pairs = [
        ("method", entry.method, own.method),
        ("CRC", entry.crc, own.crc),
        ("stored bytes", entry.stored, own.stored),
        ("bytes", entry.size, own.size),
    ]
    found = [f"{what} {theirs}, not {ours}" for what, ours, theirs in pairs if ours != theirs]
    if (entry.flags ^ own.flags) & _ENCRYPTED:
        found.append("locked" if own.flags & _ENCRYPTED else "not locked")
    if entry.raw != own.raw:
        found.append(f"the name {decode_name(own.raw)[:200]!r}")
    return found


def reads_otherwise(entry: ZipEntry, own: ZipEntry) -> bool:
    """Whether other bytes come out of a member when it is read by its own header."""
    if entry.flags & _MASKED:
        return False
    return entry.method != own.method or entry.stored != own.stored or bool((entry.flags ^ own.flags) & _ENCRYPTED)


def _zip64(extra: bytes, stored: int, size: int, start: int) -> tuple[int, int, int]:
    """Sizes and offset with the 64-bit values of the extra field where the 32-bit ones are full (APPNOTE 4.5.3)."""
    field = extra_field(extra, _ZIP64_EXTRA)
    values = [size, stored, start]
    at = 0
    for i, value in enumerate(values):
        if value == MAX32 and len(field) >= at + 8:
            values[i] = int.from_bytes(field[at : at + 8], "little")
            at += 8
    return values[1], values[0], values[2]


def extra_field(extra: bytes, wanted: int) -> bytes:
    """The first extra field of the number ``wanted``, or nothing."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return b""
