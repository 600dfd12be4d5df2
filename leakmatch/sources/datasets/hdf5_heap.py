"""Where HDF5 keeps values of any length: collections of objects in a "global heap".

Read here wherever a dataset says where they are, since the library makes room for any length that a file claims, and
goes round in circles in some that are damaged. Layout: "Global Heap" in the HDF5 File Format Specification.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

from leakmatch.sources.guard import corrupt
from leakmatch.sources.streams import bytes_at

_SIGNATURE: Final = b"GCOL\1"
_OBJECT = struct.Struct("<HHIQ")  # index, references, nothing, size
_REFERENCE = struct.Struct("<IQI")  # length of the value, address of the collection, index
REFERENCE_SIZE: Final = _REFERENCE.size

Place = tuple[int, int]


class GlobalHeap:
    """The heap of a file whose addresses count from ``base``. The collection read last is kept."""

    def __init__(self, file: BinaryIO, size: int, base: int) -> None:
        self._file, self._size, self._base = file, size, base
        self._address = -1
        self._objects: dict[int, Place] = {}

    def value(self, at: int) -> Place:
        """Start and size of the value that the reference at ``at`` points to. Raises :class:`ItemError`."""
        reference = bytes_at(self._file, at, _REFERENCE.size)
        if len(reference) < _REFERENCE.size:
            raise EOFError
        length, address, index = _REFERENCE.unpack(reference)
        if not length:
            return 0, 0
        if address > self._size:
            raise corrupt("the place where the value should be is damaged")
        if address != self._address:
            self._objects, self._address = self._collection(address + self._base), address
        start, size = self._objects.get(index, (0, -1))
        if length > size:
            raise corrupt("the place where the value should be is damaged")
        return start, length

    def _collection(self, at: int) -> dict[int, Place]:
        head = bytes_at(self._file, at, 16)
        if not head.startswith(_SIGNATURE):
            raise corrupt("the place where the value should be is damaged")
        end = min(at + int.from_bytes(head[8:], "little"), self._size)
        found: dict[int, Place] = {}
        at += 16
        while at + _OBJECT.size <= end:
            index, _, _, size = _OBJECT.unpack(bytes_at(self._file, at, _OBJECT.size))
            if not index:
                break  # the room that is left
            found[index] = at + _OBJECT.size, min(size, self._size - at - _OBJECT.size)
            at += _OBJECT.size + (size + 7) // 8 * 8
        return found
