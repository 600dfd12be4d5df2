"""The rows on one page of an SQLite database, without the rest of it (sqlite.org/fileformat2.html, sections 1.6, 2.1).

A query needs all pages above a row; where one of them is lost, rows that are whole cannot be reached. Rows themselves
are on leaf pages (and, in tables without rowid, on inner pages of their index as well), each complete in itself.
LeakMatch's stores overwrite what is deleted (``secure_delete``), so what a page lists is in the table.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from leakmatch.database import Row

_TABLE_LEAF: Final = 0x0D
_INDEX_LEAF: Final = 0x0A
_INDEX_INNER: Final = 0x02
_HEADERS: Final = {_TABLE_LEAF: 8, _INDEX_LEAF: 8, _INDEX_INNER: 12}
_FIRST_PAGE: Final = 100  # the first page begins with the header of the database
_REAL: Final = struct.Struct(">d")
_INTEGERS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A row, and its rowid: ``None`` where it is of an index or a table without rowid."""

    rowid: int | None
    row: Row


def leaves(page: bytes, *, first: bool) -> Iterator[Leaf]:
    """The rows of a page, in its order; none of a page that holds something else.

    A row that does not fit on the page, or cannot be read, is left out. ``first``: it is the first of the database.
    """
    start = _FIRST_PAGE if first else 0
    header = _HEADERS.get(page[start]) if len(page) > start else None
    if header is None:
        return
    kind = page[start]
    cells = int.from_bytes(page[start + 3 : start + 5], "big")
    most = len(page) - 35 if kind == _TABLE_LEAF else (len(page) - 12) * 64 // 255 - 23
    for number in range(cells):
        pointer = start + header + 2 * number
        try:
            yield _leaf(page, int.from_bytes(page[pointer : pointer + 2], "big"), kind, most)
        except (ValueError, IndexError, UnicodeDecodeError, struct.error):
            continue


def _leaf(page: bytes, at: int, kind: int, most: int) -> Leaf:
    if kind == _INDEX_INNER:
        at += 4
    size, at = _varint(page, at)
    rowid = None
    if kind == _TABLE_LEAF:
        rowid, at = _varint(page, at)
    if size > most or at + size > len(page):
        raise ValueError("continues on another page, or is none")
    return Leaf(rowid, _record(page[at : at + size]))


def _record(payload: bytes) -> Row:
    end, at = _varint(payload, 0)
    types = []
    while at < end:
        serial, at = _varint(payload, at)
        types.append(serial)
    values: list[int | float | bytes | str | None] = []
    for serial in types:
        size = _INTEGERS.get(serial, 8 if serial == 7 else (serial - 12) // 2 if serial >= 12 else 0)
        part = payload[at : at + size]
        if len(part) != size or serial in (10, 11):
            raise ValueError("ends early")
        at += size
        values.append(_value(serial, part))
    return tuple(values)


def _value(serial: int, part: bytes) -> int | float | bytes | str | None:
    if serial == 0:
        return None
    if serial in _INTEGERS:
        return int.from_bytes(part, "big", signed=True)
    if serial == 7:
        return float(_REAL.unpack(part)[0])
    if serial in (8, 9):
        return serial - 8
    return part.decode("utf-8") if serial % 2 else part


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of one to nine bytes, seven bits of each, eight of the ninth; and where it ends."""
    value = 0
    for number in range(9):
        byte = data[at + number]
        if number == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + number + 1
    raise AssertionError("unreachable")
