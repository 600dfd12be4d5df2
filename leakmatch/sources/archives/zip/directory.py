"""Where the central directory of a zip is, by the end records. Layout: APPNOTE.TXT 6.3.10, 4.3.14 to 4.3.16."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

CENTRAL: Final = b"PK\x01\x02"
END: Final = b"PK\x05\x06"
END64: Final = b"PK\x06\x06"
_END64_LOCATOR: Final = b"PK\x06\x07"

END_RECORD: Final = struct.Struct("<4sHHHHIIH")
_END64_RECORD: Final = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR64: Final = struct.Struct("<4sIQI")

TAIL: Final = END_RECORD.size + 0xFFFF  # the end record lies in the last bytes of the file
MAX16, MAX32 = 0xFFFF, 0xFFFFFFFF  # in the place of a value that stands elsewhere


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the central directory is, and how many entries it is said to have.

    ``shift``: bytes before the archive proper (a self-extractor). ``behind``: bytes behind it and its comment.
    ``disk``: the number of this volume, from 0. ``starts``: where each volume begins, where all are read as one file;
    ``None`` for one that is missing.
    """

    entries: int
    start: int
    stop: int
    shift: int
    behind: int
    disk: int
    starts: tuple[int | None, ...] = ()

    def place(self, disk: int, header: int) -> tuple[int, bool]:
        """Where the header at ``header`` of a volume is in the file, and whether that volume is there."""
        if not self.starts:
            return header + self.shift, disk in (self.disk, MAX16)
        start = self.starts[disk] if disk < len(self.starts) else None
        return header + (start or 0), start is not None


def is_zip_tail(tail: bytes, size: int) -> bool:
    """Whether the last bytes (:data:`TAIL`, or all) of a file of ``size`` bytes end a zip, as in a self-extractor."""
    before = size - len(tail)
    directory = find_directory(tail, size, lambda at, length: tail[at - before :][:length] if at >= before else b"")
    return directory is not None and directory.stop > directory.start


def last_disk(tail: bytes) -> int:
    """The number of the volume that a file with this end says it is; 0 where it is the only one, or says nothing."""
    at = tail.rfind(END)
    if at < 0 or len(tail) - at < END_RECORD.size:
        return 0
    disk = int(END_RECORD.unpack_from(tail, at)[1])
    if disk == MAX16 and tail[at - _LOCATOR64.size : at].startswith(_END64_LOCATOR) and at >= _LOCATOR64.size:
        disk = int(_LOCATOR64.unpack_from(tail, at - _LOCATOR64.size)[3]) - 1
    return disk if disk < MAX16 else 0


def find_directory(tail: bytes, size: int, read: Callable[[int, int], bytes]) -> Directory | None:
    """The directory that the last believable end record points to; an empty one only where there is no other.

    ``read(start, length)`` gives bytes from elsewhere in the file.
    """
    empty: Directory | None = None
    found = len(tail)
    while (found := tail.rfind(END, 0, found)) >= 0:
        directory = directory_at(tail[found : found + END_RECORD.size], size - len(tail) + found, size, read)
        if directory is not None and directory.stop > directory.start:
            return directory
        empty = empty or directory
    return empty


def directory_at(record: bytes, at: int, size: int, read: Callable[[int, int], bytes]) -> Directory | None:
    """The directory that the end ``record`` at ``at`` of a file of ``size`` bytes points to, if there is one."""
    if len(record) < END_RECORD.size:
        return None
    _, disk, _, _, entries, length, start, comment = END_RECORD.unpack(record)
    stop = at
    behind = max(size - at - END_RECORD.size - comment, 0)
    locator = read(at - _LOCATOR64.size, _LOCATOR64.size) if at >= _LOCATOR64.size else b""
    if locator.startswith(_END64_LOCATOR) and len(locator) == _LOCATOR64.size:
        for candidate in (_LOCATOR64.unpack(locator)[2], at - _LOCATOR64.size - _END64_RECORD.size):
            record = read(candidate, _END64_RECORD.size) if 0 <= candidate < at else b""
            if record.startswith(END64) and len(record) == _END64_RECORD.size:
                _, _, _, _, disk, _, _, entries, length, start = _END64_RECORD.unpack(record)
                stop = candidate
                break
    shift = stop - length - start  # less than 0 where the beginning of the file is lost
    if stop < length or (length and read(stop - length, 4) not in ((CENTRAL,) if shift < 0 else (CENTRAL, b""))):
        return None
    return Directory(entries, stop - length, stop, shift, behind, 0 if disk == MAX16 else disk)


def narrow_directory(record: bytes, at: int, wide: Directory, read: Callable[[int, int], bytes]) -> Directory | None:
    """The directory by the 32-bit fields of an end record, where they have another than ``wide``."""
    _, _, _, _, entries, length, start, _ = END_RECORD.unpack(record)
    start += wide.shift
    if MAX32 in (length, start) or not length or start + length > at or start == wide.start:
        return None
    return replace(wide, entries=entries, start=start, stop=start + length) if read(start, 4) == CENTRAL else None
