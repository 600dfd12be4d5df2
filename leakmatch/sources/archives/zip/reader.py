"""Zip: members by the central directory, and those that it does not list by their own headers.

Read here and not by ``zipfile``, which gives up a whole archive for one name that is not valid UTF-8, refuses members
whose two headers disagree, and holds the whole directory in memory.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.sources.archives.zip.directory import CENTRAL, Directory
from leakmatch.sources.archives.zip.entries import (
    LOCAL,
    LOCAL_HEADER,
    SPANNED,
    ZipEntries,
    ZipEntry,
    differences,
    reads_otherwise,
)
from leakmatch.sources.archives.zip.locks import Lock, Locks, lock_of, unlocked
from leakmatch.sources.archives.zip.methods import STORED, expanded, is_read, unread
from leakmatch.sources.guard import reading, truncated, volume_missing
from leakmatch.sources.members import Member, Note
from leakmatch.sources.opening import Opening
from leakmatch.sources.split.sets import zip_volumes
from leakmatch.sources.streams import Checked, Range

_FILE_TYPE, _SYMLINK = 0xF000, 0xA000
_MAX_DIRECTORIES: Final = 16
_MAX_GAPS: Final = 10_000
_NO_HEADER_FITS: Final = LOCAL_HEADER.size  # a gap of so few bytes; descriptors and padding are shorter


def open_zip(opening: Opening) -> Zip:
    """The reader of zip archives."""
    return Zip(opening)


class Zip:
    """A zip archive."""

    def __init__(self, opening: Opening) -> None:
        self.notes: list[Note] = []
        self._ends = opening.ends
        self._volumes = zip_volumes(opening.volumes, opening.pulse)
        if self._volumes is None:
            self._file, self._size = opening.file, opening.size
            self._entries = ZipEntries(opening.file, opening.size)
        else:
            self._file, self._size = self._volumes.data, self._volumes.size
            self._entries = ZipEntries(self._volumes.found, self._size, self._volumes.starts)
        self._in_doubt = False  # whether members can be read in two ways
        self._locks = Locks(opening, self.notes)
        self._reached = 0  # the furthest end of the members so far
        self._gaps: list[tuple[int, int]] = []  # between them

    def members(self) -> Iterator[Member]:
        """Every member; folders are left out. The unlisted ones, and all where there is no directory, come last."""
        directory, failure = self._directory()
        if directory is not None:
            if self._volumes is None:
                self._ends(self._size - directory.behind)
            failure = yield from self._listed(directory)
        if self._volumes is not None:
            failure = self._volumes.failure or failure
        elif directory.disk if directory else self._entries.at(0, len(SPANNED)) == SPANNED:
            failure = volume_missing("one part of a split archive; put all parts into one folder and scan that")
        listed: set[int] | None = None
        if directory is not None and self._in_doubt:
            yield from self._read_otherwise(directory)
        if failure is not None:
            self._gaps = [(0, self._size)]
        elif directory is not None and self._volumes is None:
            listed = yield from self._other_directories(directory)
        yield from self._unlisted(directory, listed)
        if failure is not None:
            raise failure

    def _directory(self) -> tuple[Directory | None, ItemError | None]:
        """Where the directory is, or why it is not known."""
        try:
            with reading("the central directory"):
                directory = self._entries.directory()
        except ItemError as error:
            return None, error
        if directory is None:
            return None, truncated("the central directory is missing; members were found without it")
        return directory, None

    def _listed(self, directory: Directory) -> Generator[Member, None, ItemError | None]:
        """The members of the directory; returns why it could not be read to its end."""
        count = 0
        entries = self._entries.listed(directory)
        while True:
            try:
                with reading("the central directory"):
                    entry, room = next(entries, (None, 0))
            except ItemError as error:
                return error
            if entry is None:
                break
            count += 1
            member = self._member(entry, room)
            if not entry.is_folder:
                yield member
        self._add_gap(directory.start)
        if count & 0xFFFF != directory.entries & 0xFFFF:
            self._note(f"the directory announces {directory.entries} members and lists {count}")
        return None

    def _read_otherwise(self, directory: Directory) -> Iterator[Member]:
        """Members whose own headers say otherwise than the directory, as these have it."""
        for entry, room in self._again(directory):
            with contextlib.suppress(ItemError):  # told when the member was met the first time
                own, _ = self._entries.own(entry)
                if reads_otherwise(entry, own):
                    yield self._member(own, room, "read as its own header has it, which the directory contradicts")

    def _other_directories(self, directory: Directory) -> Generator[Member, None, set[int] | None]:
        """Members of further directories; returns where the headers of all members are, if there are such."""
        listed: set[int] | None = None
        seen = {(directory.start, directory.stop)}
        for start, stop in [*self._gaps, (directory.stop, self._size)]:
            for other in self._entries.other_directories(start, stop):
                if (other.start, other.stop) in seen or len(seen) > _MAX_DIRECTORIES:
                    continue
                seen.add((other.start, other.stop))
                self._note(f"there is another directory at byte {other.start}; its members were read too", "ambiguous")
                listed = self._headers(directory) if listed is None else listed
                for entry, room in self._again(other):
                    if entry.is_folder or (entry.header in listed and not self._is_another(entry)):
                        continue
                    listed.add(entry.header)
                    yield self._member(entry, room, "listed by another directory of the same archive")
        return listed

    def _is_another(self, entry: ZipEntry) -> bool:
        """Whether an entry gives other bytes than the member's own header does."""
        try:
            with reading("its own header"):
                return reads_otherwise(entry, self._entries.own(entry)[0])
        except ItemError:
            return False

    def _again(self, directory: Directory) -> Iterator[tuple[ZipEntry, int]]:
        """The entries as far as they can be read; where they cannot is told when they are met the first time."""
        with contextlib.suppress(ItemError):
            yield from self._entries.listed(directory)

    def _unlisted(self, directory: Directory | None, listed: set[int] | None) -> Iterator[Member]:
        """Members in the gaps that no directory lists. ``listed``: where the headers of the others are, if known."""
        for start, stop in self._gaps:
            for entry in self._entries.unlisted(start, stop, sure=directory is None):
                if listed is None:
                    listed = self._headers(directory)
                if entry.header not in listed and not entry.is_folder:
                    if directory is not None:
                        self._note("there are members that the directory does not list; they were read as well")
                    yield self._member(entry, self._size - entry.header)

    def _headers(self, directory: Directory | None) -> set[int]:
        if directory is None:
            return set()
        return {entry.header for entry, _ in self._again(directory) if entry.here}

    def _note(self, message: str, code: str = "corrupt") -> None:
        note = Note(code, message)
        if note not in self.notes:
            self.notes.append(note)

    def _add_gap(self, until: int) -> None:
        if until - self._reached > _NO_HEADER_FITS:
            if len(self._gaps) < _MAX_GAPS:
                self._gaps.append((self._reached, until))
            else:
                self._gaps[-1] = (self._gaps[-1][0], until)

    # Members

    def _member(self, entry: ZipEntry, room: int, otherwise: str = "") -> Member:
        """``otherwise``: what to tell of a reading that is not the first."""
        notes = [Note("ambiguous", otherwise)] if otherwise else []
        data, problem = 0, None
        if entry.here:
            try:
                with reading("its own header"):
                    own, data = self._entries.own(entry)
                if not otherwise and (found := differences(entry, own)):
                    self._in_doubt = self._in_doubt or reads_otherwise(entry, own)
                    notes.append(Note("ambiguous", f"its own header contradicts the directory: {'; '.join(found)}"))
            except ItemError as error:
                problem = error
        else:
            problem = volume_missing("it lies in another part of the archive")
        if entry.mode & _FILE_TYPE == _SYMLINK:
            notes.append(Note("link", "a symbolic link; what it points to was not looked at"))
        stored = self._stored(entry, data)
        taken = max(min(stored, entry.header + room - data), 0)
        lock, key = None, b""
        try:
            if problem is None:
                lock, key = self._unlock(entry, data, stored)
        except ItemError as error:
            problem = error
        if data and not otherwise:
            self._add_extent(entry.header, data + taken)
        return Member(
            entry.raw,
            entry.name,
            max(taken, 1),
            lambda: self._open(entry, data, stored, lock, key),
            entry.size,
            problem=problem,
            notes=tuple(notes),
        )

    def _stored(self, entry: ZipEntry, data: int) -> int:
        """The bytes that it takes. Without a size: as far as the next header if it is not compressed, else unknown."""
        if entry.stored is not None:
            return entry.stored
        stop = self._entries.find(data, self._size, (LOCAL, CENTRAL)) if entry.method == STORED else None
        return (self._size if stop is None else stop) - data

    def _add_extent(self, start: int, stop: int) -> None:
        if start < self._reached:
            self._note("members overlap, or are listed in another order than they are stored")
        self._add_gap(start)
        self._reached = max(self._reached, stop)

    def _unlock(self, entry: ZipEntry, data: int, stored: int) -> tuple[Lock | None, bytes]:
        """How it is locked, if it is, and the key to it. Raises :class:`ItemError` where it cannot be opened."""
        lock = lock_of(entry)
        if lock is not None:
            with reading("the locked data"):
                return lock, self._locks.key(entry, lock, lambda: self._body(data, stored), stored)
        if not is_read(entry.method):
            raise unread(entry.method)
        return None, b""

    def _body(self, data: int, stored: int) -> BinaryIO:
        return cast(BinaryIO, Range(self._file, data, stored))

    def _open(self, entry: ZipEntry, data: int, stored: int, lock: Lock | None, key: bytes) -> BinaryIO:
        body = self._body(data, stored)
        if lock is not None:
            return unlocked(entry, lock, body, stored, key)
        content = expanded(body, entry.method, entry.flags, entry.size)
        return cast(BinaryIO, Checked(content, entry.size, entry.crc))
