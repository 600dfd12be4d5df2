"""Pickles, as LFW-style ``.bin`` files are: read as a row of instructions that are followed on paper only.

Nothing is imported, called or made. Bytes in collections become members, NumPy arrays of pictures too; whatever else a
pickle would build stays a name, and that is told. The instructions are those of ``pickletools``' documentation.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

import numpy as np

from leakmatch.errors import ItemError
from leakmatch.sources.datasets.arrays import check_size, describe, layout
from leakmatch.sources.datasets.npy import pictures_of
from leakmatch.sources.datasets.pickle_opcodes import Machine
from leakmatch.sources.datasets.pickle_steps import STEPS
from leakmatch.sources.datasets.pickle_values import Data, Numbers, Stopped
from leakmatch.sources.datasets.signatures import is_picture, is_plain_text
from leakmatch.sources.datasets.text import Search
from leakmatch.sources.guard import corrupt, over_budget, truncated, unsupported
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import CHUNK, Range

_HEAD: Final = 512
_MAX_ARRAY: Final = 128 << 20


def open_pickle(opening: Opening) -> Pickle:
    """The reader of pickles."""
    return Pickle(opening)


class Pickle:
    """A pickle. Members are numbered in stored order: ``0``, ``1``, ...; texts among the bytes are none."""

    def __init__(self, opening: Opening) -> None:
        self.notes: list[Note] = []
        self._opening = opening
        self._count = 0

    def members(self) -> Iterator[Member]:
        """Every value of bytes and every array, as soon as the collection that holds it is filled."""
        machine = Machine(self._opening.file, self._opening.size, STEPS)
        failure: ItemError | None = None
        try:
            for value in machine.run(self._opening.pulse):
                yield from self._value(value)
        except Stopped as error:
            failure = unsupported(str(error))
        except EOFError:
            failure = truncated("the pickle ends early")
        except (ValueError, LookupError, TypeError) as error:
            failure = corrupt(f"the pickle is damaged ({str(error)[:100]})")
        for value in machine.left():
            yield from self._value(value)
        if machine.unknown:
            names = ", ".join(decode_name(name.encode("utf-8", "replace"))[:80] for name in machine.unknown)
            failure = failure or unsupported(f"it would build objects of a kind that is not read: {names}")
        if failure is not None:
            raise failure

    def _value(self, value: Data | Numbers) -> Iterator[Member]:
        if isinstance(value, Numbers):
            yield from self._array(value)
            return
        if value.is_text:
            value = Data(value.start, value.size)
        head = value.open(self._opening.file).read(_HEAD)
        if is_picture(head) or not is_plain_text(head) or not head or self._has_pictures(value):
            name = self._name()
            yield Member(name.encode(), name, max(value.size, 1), lambda: value.open(self._opening.file))

    def _has_pictures(self, text: Data) -> bool:
        search = Search()
        stream = text.open(self._opening.file)
        while not search.found and (block := stream.read(CHUNK)):
            search.feed(block)
        return search.found

    def _name(self) -> str:
        self._count += 1
        return str(self._count - 1)

    def _array(self, array: Numbers) -> Iterator[Member]:
        name = self._name()
        dtype, shape = array.dtype, array.shape
        found = layout(shape, dtype)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if found is None and dtype.itemsize == 1 and len(shape) == 1:
            data = array.data
            yield Member(name.encode(), name, max(size, 1), lambda: data.open(self._opening.file))
        elif found is None:
            yield Member(name.encode(), name, max(size, 1), io.BytesIO, size, aside=describe(shape, dtype))
        else:
            check_size(found, dtype, self._opening.budget.pixels)
            yield from pictures_of(self._opening, name, found, dtype, self._plain(array.data), array.fortran)

    def _plain(self, data: Data) -> Range:
        """The bytes of an array as a range of a file."""
        if data.is_plain:
            return Range(self._opening.file, data.start, data.size)
        if data.size > _MAX_ARRAY:
            raise over_budget(f"an array of more than {_MAX_ARRAY >> 20} MiB that is kept as text")
        content = data.open(self._opening.file).read()
        return Range(cast(BinaryIO, io.BytesIO(content)), 0, len(content))
