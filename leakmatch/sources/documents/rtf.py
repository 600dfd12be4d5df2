r"""RTF: pictures as hexadecimal digits behind ``\pict``, and as bytes behind ``\bin``; embedded objects likewise."""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, cast

from leakmatch.sources.datasets.signatures import is_picture
from leakmatch.sources.documents.carve import Place, pictures
from leakmatch.sources.members import Member, Note
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import CHUNK, Range, Repeated, bytes_at, next_match

# A run of digits long enough to be no word of the text, or the count of bytes that follow.
_DATA = re.compile(rb"(?<![0-9a-zA-Z\\])(?:[0-9a-fA-F]{2}[ \t\r\n]*){48}|\\bin([1-9]\d{0,9})(?:[^\d]|\Z)")
_LONGEST: Final = 512
_NO_DIGIT = re.compile(rb"[^0-9a-fA-F \t\r\n]")
_SPACE: Final = b" \t\r\n"
_HEAD: Final = 64
_MAX_CARVED: Final = 64 << 20


def open_rtf(opening: Opening) -> Rtf:
    """The reader of RTF documents."""
    return Rtf(opening)


class Rtf:
    """A document. Members are numbered: ``picture 1``, and so on."""

    def __init__(self, opening: Opening) -> None:
        self.notes: list[Note] = []
        self._file, self._size = opening.file, opening.size
        self._pulse = opening.pulse
        self._count = 0

    def members(self) -> Iterator[Member]:
        """Every picture, and every object that is none and has pictures in it."""
        at = 0
        while at < self._size:
            self._pulse()
            block = bytes_at(self._file, at, CHUNK + _LONGEST)
            found = _DATA.search(block)
            if found is None or found.start() >= CHUNK:
                at += CHUNK
                continue
            start = at + found.start()
            if found[1]:
                at += found.end(1) + 1
                size = min(int(found[1]), self._size - at)
                yield from self._binary(at, size)
                at += size
            else:
                at = next_match(self._file, start, _NO_DIGIT)
                yield from self._digits(start, at)

    def _binary(self, start: int, size: int) -> Iterator[Member]:
        yield self._member(size, lambda: cast(BinaryIO, Range(self._file, start, size, strict=True)))

    def _digits(self, start: int, end: int) -> Iterator[Member]:
        def reopen() -> BinaryIO:
            return cast(BinaryIO, Repeated(lambda: _decoded(self._file, start, end)))

        yield self._member(end - start, reopen)
        if is_picture(reopen().read(_HEAD)) or end - start > _MAX_CARVED:
            return
        size = sum(map(len, _decoded(self._file, start, end)))
        for place in pictures(reopen(), size):
            yield self._member(place.size, self._part(reopen, place))

    @staticmethod
    def _part(reopen: Callable[[], BinaryIO], place: Place) -> Callable[[], BinaryIO]:
        return lambda: cast(BinaryIO, Range(reopen(), place.start, place.size, strict=True))

    def _member(self, stored: int, reopen: Callable[[], BinaryIO]) -> Member:
        self._count += 1
        name = f"picture {self._count}"
        return Member(name.encode(), name, max(stored, 1), reopen)


def _decoded(file: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    left = b""
    while start < end:
        file.seek(start)
        block = file.read(min(CHUNK, end - start))
        if not block:
            raise EOFError
        start += len(block)
        digits = left + block.translate(None, _SPACE)
        whole = len(digits) // 2 * 2
        left = digits[whole:]
        if whole:
            yield binascii.a2b_hex(digits[:whole])
