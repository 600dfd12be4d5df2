"""Formats that the C library libarchive reads: cab, iso, cpio, ar, xar, lha, rpm; and rar where unrar is missing.

Nothing is extracted: the library is given blocks of the container and gives blocks of its members. Only formats and
filters that start no program are used, and not mtree, which would read files from the disk.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Final

from leakmatch.errors import ItemError
from leakmatch.sources.archives.libarchive.binding import Entry, Pass, library
from leakmatch.sources.guard import encrypted, truncated, unsupported, volume_missing
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.once import Once
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import CHUNK

_FORMATS: Final[dict[str, tuple[str, ...]]] = {
    "cab": ("cab",),
    "iso": ("iso9660",),
    "cpio": ("cpio",),
    "rpm": ("cpio", "tar"),
    "ar": ("ar",),
    "xar": ("xar",),
    "lha": ("lha",),
    "rar": ("rar", "rar5"),
}
_FILTERS: Final[dict[str, tuple[str, ...]]] = {"rpm": ("rpm", "gzip", "bzip2", "lzma", "xz", "zstd")}

#: Formats whose members lie as they are, so that a member takes as many bytes as it has.
_STORED: Final = frozenset({"iso", "cpio", "ar"})
#: Formats with an end mark, behind which another archive may follow.
_ENDED: Final = frozenset({"cpio", "lha"})
_CPIO: Final = (b"07070", b"\xc7\x71", b"\x71\xc7")
_MOST_FAILURES: Final = 1000

_CAB: Final = b"MSCF\0\0\0\0"
_CAB_FLAGS_AT: Final = 30
_CAB_BEFORE, _CAB_BEHIND = 1, 2
_UDF: Final = (b"NSR02", b"NSR03")
_SECTOR: Final = 2048
_DESCRIPTORS: Final = range(16, 64)


def open_libarchive(opening: Opening) -> Archive:
    """The reader of the formats above. Raises :class:`ItemError` (``needs-extra``) without the library."""
    library()
    return Archive(opening)


class Archive:
    """An archive that libarchive reads, from front to back."""

    def __init__(self, opening: Opening) -> None:
        self.notes: list[Note] = []
        self._opening = opening
        self._failure: ItemError | None = None

    def members(self) -> Iterator[Member]:
        """Every member in stored order; folders are left out. Archives that follow each other are read as one."""
        start: int | None = 0
        while start is not None:
            kind, size = self._opening.kind, self._opening.size
            reading = Pass(self._opening.file, start, size, _FORMATS[kind], _FILTERS.get(kind, ("none",)))
            try:
                ended = yield from self._members(reading)
                start = self._behind(start + reading.at) if ended else None
            finally:
                reading.close()
        self._beside()
        if self._failure is not None:
            raise self._failure

    def _members(self, reading: Pass) -> Generator[Member, None, bool]:
        """The members of one archive; returns whether it was read to its end mark."""
        failures = 0
        while failures < _MOST_FAILURES:
            try:
                entry = reading.next()
            except ItemError as error:
                self._failed(error)
                failures += 1
                if reading.is_over:
                    return False
                continue
            if entry is None:
                return True
            failures = 0
            if not entry.is_folder:
                with Once(_checked(reading, entry), self._opening.scratch) as once:
                    yield self._member(reading, entry, once)
        return False

    def _failed(self, error: ItemError) -> None:
        self._failure = self._failure or error

    def _member(self, reading: Pass, entry: Entry, once: Once) -> Member:
        notes: list[Note] = []
        special = entry.special
        if entry.is_link and not entry.size:
            special = "a hard link to another member"
        elif entry.is_link:
            notes.append(Note("link", "a hard link to another member that has data of its own"))
        if reading.warning is not None:
            notes.append(Note(reading.warning.code, str(reading.warning)))
        stored = self._opening.size
        if self._opening.kind in _STORED and entry.size is not None:
            stored = min(entry.size, stored)
        return Member(
            entry.name,
            decode_name(entry.name),
            max(stored, 1),
            once.open,
            entry.size,
            special,
            problem=encrypted(self._opening.passwords.failed()) if entry.is_encrypted else None,
            notes=tuple(notes),
        )

    # What the library does not say

    def _behind(self, end: int) -> int | None:
        """Where another archive begins behind the end mark, if one does."""
        if self._opening.kind not in _ENDED:
            return None
        self._opening.file.seek(end)
        while block := self._opening.file.read(CHUNK):
            rest = block.lstrip(b"\0")
            if rest:
                at = end + len(block) - len(rest)
                if self._opening.kind == "cpio" and rest.startswith(_CPIO):
                    return at
                self._opening.ends(at)
                return None
            end += len(block)
        return None

    def _beside(self) -> None:
        """Parts of the container that the library passes over."""
        if self._opening.kind == "iso" and self._has_udf():
            self._failed(unsupported("it has a UDF file system as well, which is not read by this version"))
        elif self._opening.kind == "cab" and (flags := self._cab_flags()):
            where = "before" if flags == _CAB_BEFORE else "behind" if flags == _CAB_BEHIND else "before and behind"
            # Whatever else was met has to do with it.
            self._failure = volume_missing(f"one cabinet of a set, which goes on {where} it; such sets are not read")

    def _has_udf(self) -> bool:
        for sector in _DESCRIPTORS:
            self._opening.file.seek(sector * _SECTOR + 1)
            if self._opening.file.read(5) in _UDF:
                return True
        return False

    def _cab_flags(self) -> int:
        self._opening.file.seek(0)
        head = self._opening.file.read(_CAB_FLAGS_AT + 2)
        if not head.startswith(_CAB) or len(head) < _CAB_FLAGS_AT + 2:
            return 0
        return head[_CAB_FLAGS_AT] & (_CAB_BEFORE | _CAB_BEHIND)


def _checked(reading: Pass, entry: Entry) -> Iterator[bytes]:
    """The blocks of a member. Raises :class:`ItemError` (``truncated``) where they are fewer than announced."""
    given = 0
    for block in reading.blocks():
        given += len(block)
        yield block
    if entry.size is not None and given < entry.size:
        raise truncated(f"it ends early, after {given} of {entry.size} bytes")
