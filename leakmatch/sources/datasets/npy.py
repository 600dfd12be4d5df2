"""NumPy's .npy files (an .npz is a zip of them): stacks of pictures. The header is parsed here, nothing unpickled."""

from __future__ import annotations

import ast
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.lib.format import descr_to_dtype

from leakmatch.sources.datasets.arrays import Layout, blocks_of, check_size, describe, layout, picture_file
from leakmatch.sources.guard import corrupt, over_budget, truncated, unsupported
from leakmatch.sources.members import Member, Note
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import Range

_MAX_HEADER: Final = 1 << 16
#: Arrays in Fortran's order have the numbers of one picture all over the file, so they are read whole.
_MAX_FORTRAN: Final = 128 << 20


def open_npy(opening: Opening) -> Npy:
    """The reader of .npy files."""
    return Npy(opening)


class Npy:
    """One array. Its members are the pictures of a stack, or its bytes if it is one row of bytes."""

    def __init__(self, opening: Opening) -> None:
        self.notes: list[Note] = []
        self._opening = opening

    def members(self) -> Iterator[Member]:
        """Every picture. An array of another shape is a member that is no picture."""
        shape, dtype, fortran, start = _header(self._opening.file)
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        room = self._opening.size - start
        name = self._name()
        if dtype.kind in "uiV" and dtype.itemsize == 1 and len(shape) <= 1:
            yield self._bytes(name, start, min(size, room))
        elif dtype.kind in "SV" and dtype.names is None:
            yield from self._values(name, start, dtype.itemsize, min(size, room))
        elif found := layout(shape, dtype):
            check_size(found, dtype, self._opening.budget.pixels)
            yield from pictures_of(self._opening, name, found, dtype, Range(self._opening.file, start, room), fortran)
        else:
            raw = name.encode("utf-8", "surrogateescape")
            yield Member(raw, name, max(size, 1), io.BytesIO, size, aside=describe(shape, dtype))
        if room < size:
            raise truncated("the array ends early")
        if room > size:
            self._opening.ends(start + size)

    def _bytes(self, name: str, start: int, size: int) -> Member:
        raw = name.encode("utf-8", "surrogateescape")
        return Member(
            raw, name, max(size, 1), lambda: cast(BinaryIO, Range(self._opening.file, start, size, strict=True)), size
        )

    def _values(self, name: str, start: int, each: int, room: int) -> Iterator[Member]:
        """Values of bytes of one size; what is shorter is filled up with zeros."""
        for number in range(-(-room // each) if each else 0):
            self._opening.pulse()
            yield self._bytes(f"{name}[{number}]", start + number * each, each)

    def _name(self) -> str:
        base = self._opening.name.rsplit("/", 1)[-1]
        return base.removesuffix(".npy") or "array"


def pictures_of(
    opening: Opening, name: str, found: Layout, dtype: np.dtype[Any], data: Range, fortran: bool
) -> Iterator[Member]:
    """The pictures of an array whose bytes are ``data``, as many as are whole, and the first that is not."""
    size = found.values * dtype.itemsize
    room = data.seek(0, io.SEEK_END)
    if fortran and found.count * size > _MAX_FORTRAN:
        raise over_budget(f"an array in Fortran's order of more than {_MAX_FORTRAN >> 20} MiB")
    if fortran:
        whole = np.frombuffer(_read(data, 0, found.count * size), dtype)
        array = whole.reshape((*found.outer, *found.shape), order="F")
    for number in range(min(found.count, -(-room // size))):
        opening.pulse()

        def reopen(number: int = number) -> BinaryIO:
            if fortran:
                return picture_file(array[found.index(number)], found.order)
            values = np.frombuffer(_read(data, number * size, size), dtype).reshape(found.shape)
            return picture_file(values, found.order)

        full = name + found.suffix(number)
        yield Member(full.encode("utf-8", "surrogateescape"), full, max(size, 1), reopen)


def _read(data: Range, start: int, size: int) -> bytes:
    data.seek(start)
    return b"".join(blocks_of(cast(BinaryIO, data), size))


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any], bool, int]:
    """Shape, type, whether in Fortran's order, and where the numbers begin. Raises ``ValueError`` and others."""
    file.seek(0)
    version = file.read(8)[6:8]
    if version not in (b"\1\0", b"\2\0", b"\3\0"):
        raise unsupported(f"version {version.hex('.')} of the npy format is not read")
    width = 2 if version == b"\1\0" else 4
    length = int.from_bytes(file.read(width), "little")
    if length > _MAX_HEADER:
        raise corrupt(f"its header of {length:,} bytes is too long")
    text = file.read(length)
    if len(text) < length:
        raise truncated("the header ends early")
    try:
        fields = ast.literal_eval(text.decode("utf-8" if version == b"\3\0" else "latin1").strip())
        shape, fortran, descr = fields["shape"], fields["fortran_order"], fields["descr"]
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise corrupt("its header is damaged") from error
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 64:
        raise corrupt("its shape is none that an array can have")
    dtype: np.dtype[Any] = descr_to_dtype(descr)
    if dtype.hasobject:
        raise unsupported("an array of Python objects (a pickle), which is never read")
    return shape, dtype, bool(fortran), 8 + width + length
