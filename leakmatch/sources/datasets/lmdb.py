"""LMDB (data.mdb), read page by page here: the library maps the file and trusts every number in it.

Layout: ``mdb.c`` of LMDB 0.9. Only what a page really holds is followed, so the size of the map does not matter.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.sources.datasets.caffe import datum_picture
from leakmatch.sources.guard import corrupt, truncated
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import Range, bytes_at

_PAGE = struct.Struct("<QHHHH")  # number, pad, flags, lower, upper
_DATABASE = struct.Struct("<IHHQQQQQ")  # pad, flags, depth, branch, leaf, overflow pages, entries, root
_NODE = struct.Struct("<HHHH")  # low and high part of the size or page, flags, size of the key
_BRANCH, _LEAF, _OVERFLOW, _LEAF2 = 1, 2, 4, 0x20
_BIG, _DATABASE_INSIDE, _DUPLICATES = 1, 2, 4
_SEVERAL: Final = 4  # values for one key
_META_DATABASES: Final = 16 + 24
_TRANSACTION: Final = _META_DATABASES + 2 * _DATABASE.size + 8
_NO_PAGE: Final = (1 << 64) - 1
_DEEPEST: Final = 64


@dataclass(frozen=True, slots=True)
class _Value:
    key: bytes
    start: int
    size: int


def open_lmdb(opening: Opening) -> Lmdb:
    """The reader of LMDB files."""
    return Lmdb(opening)


class Lmdb:
    """Every value of every database in the file is a member named by its key, in hexadecimal if that is no text.

    A Caffe Datum becomes the picture that it holds. Where the tree is damaged, the leaves that were not reached are
    looked for page by page.
    """

    def __init__(self, opening: Opening) -> None:
        self.notes: list[Note] = []
        self._file, self._size = opening.file, opening.size
        self._pulse = opening.pulse
        self._page = 4096
        self._seen = bytearray()  # one bit for each page
        self._count = 0  # of the values of the main database
        self._failure: ItemError | None = None

    def members(self) -> Iterator[Member]:
        """Every value, by key; behind damage in the order of the pages."""
        root, announced = self._meta()
        self._seen = bytearray(self._size // self._page // 8 + 1)
        if root != _NO_PAGE:
            yield from map(self._member, self._tree(root, b"", 0))
        if announced is not None and self._count != announced:
            self._fail(corrupt(f"it announces {announced:,} values and lists {self._count:,}"))
        if self._failure is not None:
            yield from map(self._member, self._stray())
            raise self._failure

    def _meta(self) -> tuple[int, int | None]:
        """Root page and number of values by the newer of the two meta pages; sets the page size."""
        first = bytes_at(self._file, 0, _TRANSACTION + 8)
        if len(first) < _TRANSACTION + 8:
            raise truncated("the first page ends early")
        self._page = int(_DATABASE.unpack_from(first, _META_DATABASES)[0])
        if self._page not in {512 << n for n in range(8)}:
            raise corrupt("its page size is none that a database has")
        metas = [first]
        second = bytes_at(self._file, self._page, _TRANSACTION + 8)
        if second[16:20] == first[16:20] and len(second) == len(first):
            metas.append(second)
        else:
            self._fail(corrupt("the second of its first pages is damaged"))
        newest = max(metas, key=lambda meta: int.from_bytes(meta[_TRANSACTION : _TRANSACTION + 8], "little"))
        _, flags, *_, entries, root = _DATABASE.unpack_from(newest, _META_DATABASES + _DATABASE.size)
        return root, None if flags & _SEVERAL else entries

    def _fail(self, error: ItemError) -> None:
        self._failure = self._failure or error

    def _take(self, number: int) -> bool:
        """Whether a page is met for the first time; each is read once, so there is no way round in circles."""
        if number >= self._size // self._page + 1:
            return False
        byte, bit = number >> 3, 1 << (number & 7)
        new = not self._seen[byte] & bit if byte < len(self._seen) else False
        if new:
            self._seen[byte] |= bit
        return new

    # The tree

    def _tree(self, number: int, prefix: bytes, depth: int) -> Iterator[_Value]:
        self._pulse()
        if depth > _DEEPEST or number >= _NO_PAGE or not self._take(number):
            self._fail(corrupt("its tree of pages is damaged"))
            return
        page = bytes_at(self._file, number * self._page, self._page)
        if len(page) < self._page:
            self._fail(truncated("the file ends early"))
            return
        own, _, flags, _, _ = _PAGE.unpack_from(page)
        if own != number or not flags & (_BRANCH | _LEAF):
            self._fail(corrupt("a page of the tree is damaged"))
            return
        if flags & _BRANCH:
            for _, (low, high, top, _), _ in self._nodes(page):
                yield from self._tree(low | high << 16 | top << 32, prefix, depth + 1)
        else:
            yield from self._leaf(page, number * self._page, prefix, depth)

    def _nodes(self, page: bytes) -> Iterator[tuple[int, tuple[int, int, int, int], bytes]]:
        """Place, header and key of each node of a page."""
        count = (_PAGE.unpack_from(page)[3] - _PAGE.size) // 2
        if not 0 <= count <= len(page) // 2 - 8:
            self._fail(corrupt("a page of the tree is damaged"))
            return
        for place in struct.unpack_from(f"<{count}H", page, _PAGE.size):
            if not _PAGE.size + 2 * count <= place <= len(page) - _NODE.size:
                self._fail(corrupt("a page of the tree is damaged"))
                continue
            header = _NODE.unpack_from(page, place)
            key = page[place + _NODE.size : place + _NODE.size + header[3]]
            if len(key) < header[3]:
                self._fail(corrupt("a key of the tree is damaged"))
                continue
            yield place, header, key

    def _leaf(
        self, page: bytes, start: int, prefix: bytes, depth: int, within: bytes | None = None
    ) -> Iterator[_Value]:
        """The values of a leaf at ``start`` of the file; of a page of duplicates, of the key ``within``."""
        _, pad, flags, lower, _ = _PAGE.unpack_from(page)
        if flags & _LEAF2:  # keys of one size, nothing else: the values of one key
            for place in range(_PAGE.size, _PAGE.size + (lower - _PAGE.size) // 2 * pad, max(pad, 1)):
                yield _Value(within or prefix, start + place, pad)
            return
        for place, (low, high, kind, size_of_key), key in self._nodes(page):
            size, data = low | high << 16, place + _NODE.size + size_of_key
            self._count += within is None and not prefix
            if within is not None:  # the duplicates of a key are kept as keys
                yield _Value(within, start + place + _NODE.size, size_of_key)
            elif kind & _DATABASE_INSIDE:
                yield from self._inner(page[data : data + size], kind, prefix, key, depth)
            elif kind & _DUPLICATES:
                yield from self._leaf(page[data : data + size], start + data, prefix, depth, prefix + key)
            elif kind & _BIG:
                yield from self._big(page[data : data + 8], prefix + key, size)
            elif data + size > len(page):
                self._fail(corrupt("a value reaches out of its page"))
            else:
                yield _Value(prefix + key, start + data, size)

    def _inner(self, record: bytes, kind: int, prefix: bytes, key: bytes, depth: int) -> Iterator[_Value]:
        """A database of its own, or the many duplicates of a key."""
        if len(record) < _DATABASE.size:
            self._fail(corrupt("a database inside it is damaged"))
            return
        root = _DATABASE.unpack_from(record)[-1]
        if root == _NO_PAGE:
            return
        if not kind & _DUPLICATES:
            yield from self._tree(root, prefix + key + b"/", depth + 1)
            return
        yield from self._duplicates(root, prefix + key, depth + 1)

    def _duplicates(self, number: int, key: bytes, depth: int) -> Iterator[_Value]:
        if depth > _DEEPEST or not self._take(number):
            self._fail(corrupt("its tree of pages is damaged"))
            return
        page = bytes_at(self._file, number * self._page, self._page)
        if len(page) < self._page:
            self._fail(truncated("the file ends early"))
        elif _PAGE.unpack_from(page)[2] & _BRANCH:
            for _, (low, high, top, _), _ in self._nodes(page):
                yield from self._duplicates(low | high << 16 | top << 32, key, depth + 1)
        else:
            yield from self._leaf(page, number * self._page, b"", depth, key)

    def _big(self, reference: bytes, key: bytes, size: int) -> Iterator[_Value]:
        """A value in pages of its own."""
        number = int.from_bytes(reference, "little")
        start = number * self._page
        head = bytes_at(self._file, start, _PAGE.size)
        if len(head) < _PAGE.size or not _PAGE.unpack(head)[2] & _OVERFLOW:
            short = start + _PAGE.size > self._size
            self._fail(truncated("the file ends early") if short else corrupt("a page of a large value is damaged"))
            return
        room = self._size - start - _PAGE.size
        if size > room:
            self._fail(truncated("the file ends early"))
        yield _Value(key, start + _PAGE.size, min(size, room))

    def _stray(self) -> Iterator[_Value]:
        """The values of leaves that the tree did not lead to."""
        for number in range(2, self._size // self._page):
            self._pulse()
            head = bytes_at(self._file, number * self._page, _PAGE.size)
            own, _, flags, _, _ = _PAGE.unpack(head.ljust(_PAGE.size, b"\0"))
            if own == number and flags & 0xFF == _LEAF and self._take(number):
                page = bytes_at(self._file, number * self._page, self._page)
                if len(page) == self._page:
                    yield from self._leaf(page, number * self._page, b"", 0)

    # Members

    def _member(self, value: _Value) -> Member:
        key = value.key.rstrip(b"\0") or value.key  # of C's strings
        name = decode_name(key) if _is_text(key) else value.key.hex()
        data = Range(self._file, value.start, value.size)
        datum = datum_picture(cast(BinaryIO, data), value.size)

        def reopen() -> BinaryIO:
            place = cast(BinaryIO, Range(self._file, value.start, value.size, strict=True))
            return place if datum is None else datum(place)

        size = value.size if datum is None else None
        raw = key if _is_text(key) else name.encode()
        return Member(raw, name, max(value.size, 1), reopen, size)


def _is_text(key: bytes) -> bool:
    try:
        return key.decode().isprintable()
    except UnicodeDecodeError:
        return False
