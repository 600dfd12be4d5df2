"""The members of a 7z as its header lists them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from leakmatch.sources.archives.sevenzip.cursor import Cursor, Mark, is_set
from leakmatch.sources.guard import unsupported

_IS_FOLDER: Final = 0x10
_REPARSE: Final = 0x400
_UNIX: Final = 0x8000
_UNIX_LINK: Final = 0o120000


@dataclass(frozen=True, slots=True)
class File:
    """A member as the header lists it. ``name``: UTF-16 as stored."""

    name: bytes
    has_data: bool
    is_folder: bool = False
    is_anti: bool = False
    is_link: bool = False


class Files:
    """The list of files. Iterate it: it is never held but as bytes."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.parts: dict[int, bytes] = {}

    def __iter__(self) -> Iterator[File]:
        empty_stream, empty_file = self.parts.get(Mark.EMPTY_STREAM), self.parts.get(Mark.EMPTY_FILE)
        anti = self.parts.get(Mark.ANTI)
        names = self._names()
        attributes = self._attributes()
        empty = 0
        for index in range(self.count):
            name, attribute = next(names), next(attributes)
            if empty_stream is None or not _bit(empty_stream, index):
                yield File(name, True, is_link=_is_link(attribute))
                continue
            is_file = empty_file is not None and _bit(empty_file, empty)
            is_anti = anti is not None and _bit(anti, empty)
            empty += 1
            yield File(name, False, not is_file, is_anti, is_file and _is_link(attribute))

    def _names(self) -> Iterator[bytes]:
        names = self.parts.get(Mark.NAMES, b"\0")
        at = 1  # behind the byte that tells that they are here
        while True:
            end = names.find(b"\0\0", at)
            while end >= 0 and (end - at) % 2:
                end = names.find(b"\0\0", end + 1)
            yield names[at:end] if end >= 0 else names[at:]
            at = end + 2 if end >= 0 else len(names)

    def _attributes(self) -> Iterator[int]:
        data = self.parts.get(Mark.ATTRIBUTES)
        if data is not None:
            cursor = Cursor(data)
            defined = cursor.defined(self.count)
            cursor.byte()
            for index in range(self.count):
                yield int.from_bytes(cursor.take(4), "little") if is_set(defined, index) else 0
        while True:
            yield 0


def read_files(cursor: Cursor) -> Files:
    """The list of files behind its mark."""
    files = Files(cursor.number())
    while (part := cursor.number()) != Mark.END:
        body = cursor.take(cursor.number())
        if part in (Mark.EMPTY_STREAM, Mark.EMPTY_FILE, Mark.ANTI, Mark.NAMES, Mark.ATTRIBUTES):
            if part == Mark.NAMES and body[:1] not in (b"", b"\0"):
                raise unsupported("a 7z whose names lie elsewhere is not read")
            files.parts[part] = body
    return files


def _bit(vector: bytes, index: int) -> bool:
    return index >> 3 < len(vector) and is_set(vector, index)


def _is_link(attributes: int) -> bool:
    mode = attributes >> 16 if attributes & _UNIX else 0
    return mode & 0o170000 == _UNIX_LINK or bool(attributes & _REPARSE and not attributes & _IS_FOLDER)
