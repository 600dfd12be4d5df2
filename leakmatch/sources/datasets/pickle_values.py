"""What stands for the values of a pickle, which are never made."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, NamedTuple, cast

import numpy as np

from leakmatch.sources.streams import CHUNK, Range, Repeated


class Stopped(Exception):
    """An instruction that is not followed."""


class _Opaque:
    """Some value that does not matter."""


class _Mark:
    """Where a collection begins on the stack."""


OPAQUE: Final = _Opaque()
SHORT: Final = _Opaque()  # bytes, too few for a picture
MARK: Final = _Mark()


class Name(NamedTuple):
    """What would be imported."""

    name: str


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes in the file. ``coding``: empty as they are; ``utf8`` for characters below 256 in UTF-8; ``escaped`` and
    ``unicode`` for the quoted and unquoted lines of protocol 0."""

    start: int
    size: int
    coding: str = ""
    is_text: bool = False  # until something makes bytes of it

    @property
    def is_plain(self) -> bool:
        """Whether the bytes lie in the file as they are."""
        return not self.coding

    def open(self, file: BinaryIO) -> BinaryIO:
        """The bytes, decoded."""
        if self.is_plain:
            return cast(BinaryIO, Range(file, self.start, self.size, strict=True))
        return cast(BinaryIO, Repeated(lambda: _DECODERS[self.coding](file, self.start, self.size)))


@dataclass(slots=True)
class Numbers:
    """A NumPy array, once its state is known."""

    shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] = field(default_factory=lambda: np.dtype(np.uint8))
    fortran: bool = False
    data: Data = Data(0, 0)


@dataclass(slots=True)
class Type:
    """A NumPy type. ``order`` is set by its state."""

    code: str
    order: str = "|"

    def dtype(self) -> np.dtype[Any]:
        if not re.fullmatch(r"[uifb][1248]|b1", self.code):
            return np.dtype("V1")
        return np.dtype((self.order if self.order in "<>" else "<") + self.code)


def array_of(state: tuple[Any, ...]) -> Numbers | None:
    """An array by its state: version, shape, type, order, bytes."""
    if len(state) != 5 or not isinstance(state[2], Type) or not isinstance(state[4], Data):
        return None
    shape = (state[1],) if isinstance(state[1], int) else state[1]
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        return None
    dtype = state[2].dtype()
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if dtype.kind == "V" or (state[4].is_plain and size != state[4].size):
        return None
    return Numbers(shape, dtype, state[3] is True, state[4])


# Bytes that are kept as text


def _utf8(file: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    source = Range(file, start, size, strict=True)
    while block := source.read(CHUNK):
        if text := decoder.decode(block):
            yield text.encode("latin1")


def _line(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def _escaped(file: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    yield from _in_blocks(_ESCAPE.sub(_unescape, _line(file, start, size)))


def _unicode(file: BinaryIO, start: int, size: int) -> Iterator[bytes]:
    yield from _in_blocks(_line(file, start, size).decode("raw-unicode-escape").encode("latin1"))


def _in_blocks(data: bytes) -> Iterator[bytes]:
    stream = io.BytesIO(data)
    while block := stream.read(CHUNK):
        yield block


_DECODERS: Final = {"utf8": _utf8, "escaped": _escaped, "unicode": _unicode}
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|([nrt\\'\"]))")
_PLAIN: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"\\": b"\\", b"'": b"'", b'"': b'"'}


def _unescape(found: re.Match[bytes]) -> bytes:
    return bytes((int(found[1], 16),)) if found[1] else _PLAIN[found[2]]
