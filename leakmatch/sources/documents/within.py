"""Whole pictures somewhere in bytes of no known format: caches, thumbnail stores, songs with a cover.

Only JPEG and PNG, and only where the header holds: of a JPEG every segment up to the first scan, of a PNG the checksum
of its first chunk. Random bytes do not pass, and what does is a picture that somebody put there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from typing import BinaryIO, Final, cast

import numpy as np

from leakmatch.arrays import ByteArray
from leakmatch.sources.documents.carve import SCAN, jpeg_end
from leakmatch.sources.guard import over_budget
from leakmatch.sources.members import Member, Note
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import Range, bytes_at

SMALLEST: Final = 24  # pixels of a side: what is smaller shows no face
MOST: Final = 100_000  # pictures of one item

_JPEG: Final = b"\xff\xd8\xff"
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_NEEDED: Final = 64  # bytes from any place that the next step of a check wants to see
_FRAMES: Final = frozenset((*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)))
_TABLES: Final = frozenset((0xC4, 0xCC, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE))
_SEGMENTS: Final = _FRAMES | _TABLES | {SCAN}  # any other code is of what follows a picture that was cut


class Pictures:
    """Looks for pictures in bytes that come in blocks. ``starts``: where one begins, also one within another.

    At most one more than :data:`MOST` is kept.
    """

    def __init__(self) -> None:
        self.starts: list[int] = []
        self._window = b""
        self._at = 0  # where the window begins
        self._pending: list[tuple[int, int, bool]] = []  # of a JPEG: its start, the next segment, its size was seen

    def feed(self, block: bytes) -> None:
        """The next bytes."""
        self._window += block
        self._look(len(self._window) - _NEEDED)

    def end(self) -> list[int]:
        """There are no more; where pictures begin, rising."""
        self._look(len(self._window))
        return sorted(self.starts)

    def _look(self, stop: int) -> None:
        """Go on with all that lies before ``stop`` of the window."""
        if stop <= 0:
            return
        window, at = self._window, self._at
        bytes_ = np.frombuffer(window, np.uint8)
        for start in _each(window, bytes_, _PNG, stop):
            if _png_size(window[start : start + 33]):
                self._found(at + start)
        pending = self._pending + [(at + start, at + start + 2, False) for start in _each(window, bytes_, _JPEG, stop)]
        self._pending = []
        for start, here, sized in pending:
            while here < at + stop:
                here, sized = _step(window, here - at, sized=sized)
                if here <= 0:
                    break
                here += at
            if here < 0:
                self._found(start)
            elif here:
                self._pending.append((start, here, sized))
        self._window, self._at = window[stop:], at + stop

    def _found(self, start: int) -> None:
        if len(self.starts) <= MOST:
            self.starts.append(start)


def _each(window: bytes, bytes_: ByteArray, signature: bytes, stop: int) -> list[int]:
    """Where ``signature`` stands before ``stop``. (By numpy: ``bytes.find`` takes longer.)"""
    stop = min(stop, len(window) - 1)
    hits = (bytes_[:stop] == signature[0]) & (bytes_[1 : stop + 1] == signature[1])
    return [at for at in np.flatnonzero(hits).tolist() if window.startswith(signature, at)] if hits.any() else []


def _step(window: bytes, at: int, *, sized: bool) -> tuple[int, bool]:
    """Where the segment behind that at ``at`` begins, and whether a size was seen; -1 at the scan, 0 at damage."""
    head = window[at : at + _NEEDED]
    if len(head) < 4 or head[0] != 0xFF:
        return 0, sized
    code, length = head[1], int.from_bytes(head[2:4], "big")
    if code == 0xFF:
        return at + 1, sized
    if code == SCAN:
        holds = sized and len(head) > 4 and 1 <= head[4] <= 4 and length == 6 + 2 * head[4]
        return -1 if holds else 0, sized
    if code in _FRAMES:
        return (at + 2 + length, True) if not sized and _is_frame(head, length) else (0, sized)
    return (at + 2 + length, sized) if code in _TABLES and length >= 2 else (0, sized)


def _is_frame(head: bytes, length: int) -> bool:
    if len(head) < 10:
        return False
    bits, height, width, channels = struct.unpack_from(">BHHB", head, 4)
    sides = width >= SMALLEST and (height >= SMALLEST or not height)
    return bits in (8, 12) and channels in (1, 3, 4) and length == 8 + 3 * channels and sides


def _png_size(head: bytes) -> bool:
    """Whether a PNG's first chunk holds, and tells a size that shows something."""
    if len(head) < 33 or head[8:16] != b"\0\0\0\rIHDR":
        return False
    width, height = struct.unpack_from(">II", head, 16)
    holds = zlib.crc32(head[12:29]) == int.from_bytes(head[29:33], "big")
    return holds and min(width, height) >= SMALLEST


# The container that such an item is


def open_within(opening: Opening) -> Within:
    """The reader of what has pictures in it, at the places that were found."""
    return Within(opening)


class Within:
    """Bytes whose pictures are the members, by their places; none that lies in another, as a thumbnail does.

    One without an end reaches to what cannot be of it, or to the next.
    """

    def __init__(self, opening: Opening) -> None:
        self.notes: list[Note] = []
        self._file, self._places, self._pulse = opening.file, opening.places, opening.pulse

    def members(self) -> Iterator[Member]:
        """Every picture, in order. Raises :class:`ItemError` behind them where there were too many."""
        reached = 0
        for start, following in pairwise(self._places[: MOST + 1]):
            if start < reached:
                continue
            self._pulse()
            end, whole = picture_end(self._file, start, self._places[-1])
            if not whole:
                end = min(end, following)
            reached = end
            raw = b"at %d" % start
            opened = cast("Callable[[], BinaryIO]", partial(Range, self._file, start, end - start, strict=True))
            yield Member(raw, raw.decode(), end - start, opened, end - start)
        if len(self._places) > MOST + 1:
            raise over_budget(f"more than {MOST:,} pictures in it")


def picture_end(file: BinaryIO, start: int, limit: int) -> tuple[int, bool]:
    """Where the JPEG or PNG at ``start`` ends, ``limit`` at most, and whether that is an end as its format has it."""
    if bytes_at(file, start, 8) == _PNG:
        end, whole = _png_end(file, start, limit)
    else:
        end, whole = jpeg_end(file, start, limit, _SEGMENTS)
    return min(end, limit), whole and end <= limit


def _png_end(file: BinaryIO, start: int, limit: int) -> tuple[int, bool]:
    at = start + 8
    while at < limit:
        header = bytes_at(file, at, 8)
        if len(header) < 8 or not header[4:].isalpha():
            return at, False
        at += 12 + int.from_bytes(header[:4], "big")
        if header[4:] == b"IEND":
            return at, True
    return limit, False
