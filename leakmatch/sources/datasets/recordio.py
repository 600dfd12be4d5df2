"""MXNet's RecordIO (.rec): a row of records, each with an image header in front of the encoded picture.

Layout: dmlc-core ``recordio.h`` and mxnet ``recordio.py`` (IRHeader). A .rec is read without its .idx, which only tells
how many records there should be.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.sources.datasets.signatures import is_picture
from leakmatch.sources.guard import corrupt, truncated
from leakmatch.sources.members import Member, Note
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import CHUNK, Range, Seekable, bytes_at

_MAGIC: Final = b"\x0a\x23\xd7\xce"
_WHOLE, _FIRST, _MIDDLE, _LAST = range(4)
_HEADER = struct.Struct("<IfQQ")  # flag, label, id, second id
_MAX_PARTS: Final = 10_000  # one for each time the magic number occurs in a picture

Piece = tuple[int, int]  # start and size in the file; a start of -1 stands for the magic number itself


@dataclass(frozen=True, slots=True)
class _Record:
    pieces: list[Piece]
    end: int
    error: ItemError | None = None


def open_recordio(opening: Opening) -> RecordIO:
    """The reader of RecordIO files."""
    return RecordIO(opening)


class RecordIO:
    """A .rec file. A member is named ``LABEL/ID``, the first label and the id of its header."""

    def __init__(self, opening: Opening) -> None:
        self.notes: list[Note] = []
        self._opening = opening
        self._file, self._size = opening.file, opening.size

    def members(self) -> Iterator[Member]:
        """Every record in stored order; reading goes on at the next record behind damage."""
        failure: ItemError | None = None
        at: int | None = 0
        count = 0
        while at is not None and at < self._size:
            record = self._record(at)
            if record.pieces:
                yield self._member(record, count)
                count += 1
            if record.error is not None:
                failure = failure or record.error
                at = self._search(record.end)
            else:
                at = record.end
        if failure is not None:
            raise failure
        self._compare(count)

    def _record(self, at: int) -> _Record:
        """The record at ``at``. With an error, ``end`` is where to look for the next."""
        pieces: list[Piece] = []
        while True:
            head = bytes_at(self._file, at, 8)
            if not head and pieces:
                return _Record(pieces, at, truncated("a record in parts ends early"))
            if head[:4] != _MAGIC:
                return _Record(
                    pieces, max(at, 4) if pieces else at + 1, corrupt("a record does not begin as it should")
                )
            if len(head) < 8:
                return _Record(pieces, at + 8, truncated("the last record ends early"))
            word = int.from_bytes(head[4:], "little")
            part, size = word >> 29, word & 0x1FFFFFFF
            if part > _LAST or (part in (_MIDDLE, _LAST)) != bool(pieces):
                # A part without its beginning is looked at as well; a record without its end as far as it goes.
                if pieces:
                    return _Record(pieces, at, corrupt("a record lacks its last part"))
                return _Record(
                    [(at + 8, min(size, self._size - at - 8))], at + 8, corrupt("a part without a beginning")
                )
            pieces += [(-1, 4)] if pieces else []
            pieces.append((at + 8, min(size, self._size - at - 8)))
            if at + 8 + size > self._size:
                return _Record(pieces, at + 8, truncated("a record ends early"))
            at += 8 + (size + 3) // 4 * 4
            if part in (_WHOLE, _LAST):
                return _Record(pieces, at)
            if len(pieces) > _MAX_PARTS:
                return _Record(pieces, at, corrupt(f"a record has more than {_MAX_PARTS} parts"))

    def _search(self, at: int) -> int | None:
        """The next place at or after ``at`` where a record can begin, with another one or the end behind it."""
        at = -(-at // 4) * 4
        while block := bytes_at(self._file, at, CHUNK + 8):
            self._opening.pulse()
            found = block.find(_MAGIC)
            while found >= 0:
                if found % 4 == 0 and self._plausible(at + found):
                    return at + found
                found = block.find(_MAGIC, found + 1)
            if len(block) <= CHUNK:
                return None
            at += CHUNK
        return None

    def _plausible(self, at: int) -> bool:
        word = int.from_bytes(bytes_at(self._file, at + 4, 4), "little")
        part, size = word >> 29, word & 0x1FFFFFFF
        if part not in (_WHOLE, _FIRST):
            return False
        following = at + 8 + (size + 3) // 4 * 4
        return following >= self._size or bytes_at(self._file, following, 4) == _MAGIC

    def _member(self, record: _Record, number: int) -> Member:
        whole = _Pieces(self._file, record.pieces)
        head = whole.read(_HEADER.size)
        start, name = 0, str(number)
        if len(head) == _HEADER.size and not is_picture(head):
            labels, label, identity, _ = _HEADER.unpack(head)
            start = _HEADER.size
            if labels and start + 4 * labels <= whole.size:
                whole.seek(start)
                label = struct.unpack("<f", whole.read(4).ljust(4, b"\0"))[0]
                start += 4 * labels
            name = f"{label:g}/{identity}"
        size = whole.size - start

        def reopen() -> BinaryIO:
            return cast(BinaryIO, Range(cast(BinaryIO, _Pieces(self._file, record.pieces)), start, size))

        notes = (Note(record.error.code, str(record.error)),) if record.error is not None else ()
        return Member(name.encode(), name, max(size, 1), reopen if size else io.BytesIO, size, notes=notes)

    def _compare(self, count: int) -> None:
        """Say so where the index beside the file knows another number of records."""
        volumes = self._opening.volumes
        if not volumes.name.endswith(".rec"):
            return
        try:
            with volumes.open(volumes.name[:-4] + ".idx") as index:
                lines = sum(block.count(b"\n") for block in iter(lambda: index.read(CHUNK), b""))
        except OSError:
            return  # there is none, and none is needed
        if lines != count:
            self.notes.append(Note("corrupt", f"its index lists {lines:,} records; {count:,} were found"))


class _Pieces(Seekable):
    """Pieces of a file, one behind the other."""

    def __init__(self, file: BinaryIO, pieces: list[Piece]) -> None:
        super().__init__()
        self._file, self._pieces = file, pieces
        self.size = sum(size for _, size in pieces)

    def _read_at(self, at: int, size: int) -> bytes:
        for start, length in self._pieces:
            if at < length:
                if start < 0:
                    return _MAGIC[at : at + size]
                self._file.seek(start + at)
                return self._file.read(min(size, length - at))
            at -= length
        return b""

    def _end(self) -> int:
        return self.size
