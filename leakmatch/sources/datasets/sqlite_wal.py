"""The write-ahead log beside an SQLite database: what was committed and not yet moved into the database itself.

Layout: "The WAL File Format" in ``fileformat2.html`` of SQLite's documentation.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from leakmatch.sources.members import Note
from leakmatch.sources.opening import Opening

_HEADER = struct.Struct(">IIII8sII")  # magic, version, page size, checkpoint, salts, two checksums
_FRAME = struct.Struct(">II8sII")  # page, size of the database if this commits, salts, two checksums
_MAGIC: Final = (0x377F0682, 0x377F0683)
_MAX_FRAMES: Final = 4_000_000
_WRITE_VERSIONS: Final = slice(18, 20)  # 1: no log is needed


@dataclass(frozen=True, slots=True)
class _Log:
    """``pages``: where in the log the last committed content of a page is. ``count``: of the database, in pages."""

    file: BinaryIO
    page: int
    pages: dict[int, int]
    count: int


@contextmanager
def with_log(opening: Opening, notes: list[Note]) -> Iterator[Path]:
    """A path of the database, or of a copy that has what its log says."""
    name = opening.volumes.name
    try:
        file = opening.volumes.open(name + "-wal") if name else None
    except OSError:
        file = None
    if file is None:
        with opening.path() as path:
            yield path
        return
    with file:
        log = _read(file)
        if log is None:
            with opening.path() as path:
                yield path
            return
        notes.append(Note("ambiguous", f"read together with the log beside it ({len(log.pages):,} pages are newer)"))
        with opening.scratch.spool() as copy:
            for block in _merged(opening, log):
                copy.append(block)
            yield copy.named()


def _read(file: BinaryIO) -> _Log | None:
    """The committed part of a log; ``None`` where there is none."""
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    magic, _, page, _, salts, _, _ = _HEADER.unpack(header)
    if magic not in _MAGIC or page not in {512 << n for n in range(8)}:
        return None
    pages: dict[int, int] = {}
    waiting: dict[int, int] = {}
    count = 0
    at = _HEADER.size
    for _ in range(_MAX_FRAMES):
        file.seek(at)
        frame = file.read(_FRAME.size)
        if len(frame) < _FRAME.size:
            break
        number, size, own_salts, _, _ = _FRAME.unpack(frame)
        if own_salts != salts or not number:
            break
        waiting[number] = at + _FRAME.size
        at += _FRAME.size + page
        if size:
            file.seek(at - 1)
            if not file.read(1):
                break  # the frame that commits is cut off
            pages.update(waiting)
            waiting.clear()
            count = size
    return _Log(file, page, pages, count) if pages else None


def _merged(opening: Opening, log: _Log) -> Iterator[bytes]:
    for number in range(1, min(log.count, opening.size // log.page + len(log.pages) + 1) + 1):
        if number in log.pages:
            log.file.seek(log.pages[number])
            block = log.file.read(log.page)
        else:
            opening.file.seek((number - 1) * log.page)
            block = opening.file.read(log.page)
        block = block.ljust(log.page, b"\0")
        if number == 1:
            block = block[: _WRITE_VERSIONS.start] + b"\1\1" + block[_WRITE_VERSIONS.stop :]
        yield block
