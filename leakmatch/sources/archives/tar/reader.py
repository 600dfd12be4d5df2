"""Tar: members front to back. A damaged header, or an end mark with more behind it, does not end the reading."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.sources.archives.tar.headers import BLOCK, DIRECTORY, GLOBAL, Extents, Header, Headers, is_header
from leakmatch.sources.guard import reading, truncated
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import CHUNK, Range, Seekable, bytes_at

_NOTHING_INSIDE: Final = {
    b"1": "a hard link to another member",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    DIRECTORY: "a folder",
    b"6": "a pipe",
    b"V": "a volume label",
}
_CONTINUED: Final = b"M"


def open_tar(opening: Opening) -> Tar:
    """The reader of tar archives."""
    return Tar(opening.file, opening.ends)


class Tar:
    """A tar archive over a seekable ``file``; only ever read forward."""

    def __init__(self, file: BinaryIO, ends: Callable[[int], None] = lambda _: None) -> None:
        self.notes: list[Note] = []
        self._file, self._ends = file, ends
        self._headers = Headers(file)

    def members(self) -> Iterator[Member]:
        """Every member in stored order; folders are left out."""
        failure: ItemError | None = None
        at: int | None = 0
        while at is not None:
            block = bytes_at(self._file, at, BLOCK)
            if len(block) < BLOCK:
                failure = failure or truncated("the archive ends without an end mark; members may be missing")
                break
            if not any(block):
                at = self._behind_end_mark(at)
                continue
            try:
                with reading("a header"):
                    header = self._headers.read(at)
            except ItemError as error:
                failure = failure or error
                at = self._search(at + BLOCK)
                continue
            has_data = header.kind not in _NOTHING_INSIDE or self._has_data(header)
            if header.kind != GLOBAL and (header.kind != DIRECTORY or has_data):
                yield self._member(header, has_data)
            at = header.end if has_data else header.data
        if failure is not None:
            raise failure

    def _behind_end_mark(self, at: int) -> int | None:
        following = self._search(at)
        if following is not None:
            self._note("further members behind the end mark; they were read as well")
        else:
            self._ends(at)
        return following

    def _note(self, message: str) -> None:
        note = Note("corrupt", message)
        if note not in self.notes:
            self.notes.append(note)

    def _search(self, at: int) -> int | None:
        """The next block at or after ``at`` that is a header."""
        while block := bytes_at(self._file, at, CHUNK):
            if block.count(0) < len(block):
                for start in range(0, len(block), BLOCK):
                    if is_header(block[start : start + BLOCK]):
                        return at + start
            at += CHUNK
        return None

    def _has_data(self, header: Header) -> bool:
        """Whether an entry that should have no data has some all the same, as pax may give to a hard link."""
        if not header.stored:
            return False
        block = bytes_at(self._file, header.data, BLOCK)
        return len(block) == BLOCK and any(block) and not is_header(block)

    def _member(self, header: Header, has_data: bool) -> Member:
        name = decode_name(header.name)
        if not has_data:
            return Member(header.name, name, 1, io.BytesIO, 0, _NOTHING_INSIDE[header.kind])

        def reopen() -> BinaryIO:
            body = cast(BinaryIO, Range(self._file, header.data, header.stored, strict=True))
            if header.extents is None:
                return body
            return cast(BinaryIO, Sparse(body, header.size, header.extents))

        notes: tuple[Note, ...] = ()
        if header.kind in _NOTHING_INSIDE:
            notes = (Note("link", f"{_NOTHING_INSIDE[header.kind]} that has data of its own"),)
        elif header.kind == _CONTINUED:
            notes = (Note("volume-missing", "it begins in an earlier volume of the archive"),)
        return Member(header.name, name, max(header.stored, 1), reopen, header.size, notes=notes)


class Sparse(Seekable):
    """A file of ``size`` bytes of which ``stored`` has those in ``extents`` (offset, length); the rest are zeros.

    Raises ``ValueError`` for extents that overlap or lie outside.
    """

    def __init__(self, stored: BinaryIO, size: int, extents: Extents) -> None:
        super().__init__()
        self._stored, self._size = stored, size
        self._extents: list[tuple[int, int, int]] = []  # offset, end, where in ``stored``
        end = stored_at = 0
        for offset, length in extents:
            if offset < end or offset + length > size:
                raise ValueError("the map of a sparse file contradicts itself")
            end = offset + length
            self._extents.append((offset, end, stored_at))
            stored_at += length

    def _read_at(self, at: int, size: int) -> bytes:
        size = min(size, self._size - at, CHUNK)
        following = bisect_right(self._extents, at, key=lambda extent: extent[0])
        if following:
            offset, end, stored_at = self._extents[following - 1]
            if at < end:
                self._stored.seek(stored_at + at - offset)
                return self._stored.read(min(size, end - at))
        if following < len(self._extents):
            size = min(size, self._extents[following][0] - at)
        return bytes(max(size, 0))

    def _end(self) -> int:
        return self._size
