"""Caffe's Datum: a protocol buffer with a picture, encoded or as bare numbers. Layout: caffe ``caffe.proto``."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, Final, cast

import numpy as np

from leakmatch.sources.datasets.arrays import layout, picture_file
from leakmatch.sources.datasets.protobuf import BYTES, FIXED32, VARINT, Field, bytes_of, fields
from leakmatch.sources.datasets.signatures import is_picture
from leakmatch.sources.streams import Range

_CHANNELS, _HEIGHT, _WIDTH, _DATA, _LABEL, _FLOATS, _ENCODED = range(1, 8)
_NUMBERS: Final = frozenset((_CHANNELS, _HEIGHT, _WIDTH, _LABEL, _ENCODED))
_MAX_PIXELS: Final = 64 << 20  # bytes of bare numbers
_MAX_FIELDS: Final = 8


def datum_picture(file: BinaryIO, size: int) -> Callable[[BinaryIO], BinaryIO] | None:
    """How to make the picture from the value in ``file``, or ``None`` where it is no Datum."""
    head = file.read(16)
    if not head or is_picture(head):
        return None
    numbers: dict[int, int] = {}
    data: Field | None = None
    try:
        for count, field in enumerate(fields(file, 0, size)):
            if field.number == _DATA and field.wire == BYTES and data is None:
                data = field
            elif field.number in _NUMBERS and field.wire == VARINT and count < _MAX_FIELDS:
                numbers[field.number] = field.value
            elif field.number != _FLOATS or field.wire not in (BYTES, FIXED32) or count >= _MAX_FIELDS:
                return None
    except ValueError:
        return None
    if data is None or not data.size:
        return None
    return _encoded(data) if is_picture(bytes_of(file, data, 64)) or numbers.get(_ENCODED) else _bare(data, numbers)


def _encoded(data: Field) -> Callable[[BinaryIO], BinaryIO]:
    return lambda file: cast(BinaryIO, Range(file, data.start, data.size, strict=True))


def _bare(data: Field, numbers: dict[int, int]) -> Callable[[BinaryIO], BinaryIO] | None:
    """Bytes by channel, row and column; the channels are blue, green and red."""
    shape = (numbers.get(_CHANNELS, 0), numbers.get(_HEIGHT, 0), numbers.get(_WIDTH, 0))
    found = layout(shape, np.dtype(np.uint8))
    if found is None or found.order != "CHW" or found.values != data.size or data.size > _MAX_PIXELS:
        return None

    def make(file: BinaryIO) -> BinaryIO:
        values = np.frombuffer(bytes_of(file, data, data.size), np.uint8).reshape(shape)
        return picture_file(values[::-1] if shape[0] == 3 else values, "CHW")

    return make
