"""TFRecord files of tf.train.Example (and SequenceExample): framing, checksums and messages are all read here.

Layout: tensorflow ``core/lib/io/record_writer.h`` and ``core/example/example.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

import numpy as np

from leakmatch.errors import ItemError
from leakmatch.sources.datasets.arrays import layout, picture_file
from leakmatch.sources.datasets.crc32c import crc32c, mask, masked_crc, masked_crcs
from leakmatch.sources.datasets.protobuf import BYTES, VARINT, Field, bytes_of, fields
from leakmatch.sources.datasets.signatures import is_picture, is_plain_text
from leakmatch.sources.guard import corrupt, truncated
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import CHUNK, Range, bytes_at

_HEADER: Final = 12  # a length and its checksum
_HEAD: Final = 512
_MAX_RAW: Final = 64 << 20
_MAX_NAME: Final = 4096
_SIDES: Final = (("height", "width", "depth"), ("image/height", "image/width", "image/channels"))


def open_tfrecord(opening: Opening) -> TFRecord:
    """The reader of TFRecord files."""
    return TFRecord(opening)


@dataclass(frozen=True, slots=True)
class _Value:
    key: bytes
    index: int
    place: Field
    sides: tuple[int, ...] = ()  # height, width and channels where the value is a row of bare pixels


class TFRecord:
    """Records front to back. Every value of bytes that is no text is a member ``RECORD/KEY``, or ``RECORD/KEY.N``.

    A record that is no Example is a member itself. Behind damage, reading goes on where a length fits its checksum.
    """

    def __init__(self, opening: Opening) -> None:
        self.notes: list[Note] = []
        self._file, self._size = opening.file, opening.size
        self._pulse = opening.pulse

    def members(self) -> Iterator[Member]:
        """Every value that may be a picture or a container, in stored order."""
        failure: ItemError | None = None
        at: int | None = 0
        number = 0
        while at is not None and at < self._size:
            header = bytes_at(self._file, at, _HEADER)
            size = int.from_bytes(header[:8], "little")
            if len(header) < _HEADER or masked_crc(header[:8]) != int.from_bytes(header[8:], "little"):
                short = len(header) < _HEADER
                failure = failure or (truncated("the last record ends early") if short else corrupt("a broken length"))
                at = self._search(at + 1)
                continue
            start = at + _HEADER
            problem = self._check(start, size)
            failure = failure or problem
            yield from self._record(start, min(size, self._size - start), number, problem)
            number += 1
            at = start + size + 4
        if failure is not None:
            raise failure

    def _check(self, start: int, size: int) -> ItemError | None:
        """Why the record is not whole, or ``None``."""
        if start + size + 4 > self._size:
            return truncated("a record ends early")
        crc, at = 0, start
        while at < start + size:
            block = bytes_at(self._file, at, min(1 << 20, start + size - at))
            if not block:
                return truncated("a record ends early")
            crc = crc32c(block, crc)
            at += len(block)
            self._pulse()
        if mask(crc) != int.from_bytes(bytes_at(self._file, at, 4), "little"):
            return corrupt("the checksum of a record is wrong")
        return None

    def _search(self, at: int) -> int | None:
        """The next place where a length has the right checksum, and a record of that length has room."""
        while len(block := bytes_at(self._file, at, CHUNK + _HEADER)) >= _HEADER:
            self._pulse()
            crcs = masked_crcs(block[:-4], 8)
            stored = np.lib.stride_tricks.sliding_window_view(np.frombuffer(block, np.uint8)[8:], 4)
            stored = stored.copy().view("<u4").reshape(-1)
            for place in np.flatnonzero(crcs == stored).tolist():
                size = int.from_bytes(block[place : place + 8], "little")
                if 0 < size <= self._size - at - place - _HEADER:
                    return int(at + place)
            at += len(block) - _HEADER + 1
        return None

    # One record

    def _record(self, start: int, size: int, number: int, problem: ItemError | None) -> Iterator[Member]:
        notes = (Note(problem.code, str(problem)),) if problem is not None else ()
        whole = Field(0, BYTES, 0, start, size)
        try:
            values = list(_values(self._file, whole))
        except ValueError:
            values = [] if problem is None or size == 0 else list(_until_damage(self._file, whole))
            if not values and size:
                yield self._member(str(number).encode(), _Value(b"", 0, whole), notes)
                return
        for value in values:
            head = bytes_of(self._file, value.place, _HEAD)
            if is_picture(head) or value.sides or not is_plain_text(head):
                suffix = b".%d" % value.index if value.index else b""
                yield self._member(b"%d/%b%b" % (number, value.key, suffix), value, notes)

    def _member(self, raw: bytes, value: _Value, notes: tuple[Note, ...]) -> Member:
        place = value.place

        def reopen() -> BinaryIO:
            data = cast(BinaryIO, Range(self._file, place.start, place.size, strict=True))
            if not value.sides:
                return data
            pixels = np.frombuffer(data.read(place.size), np.uint8)
            return picture_file(pixels.reshape(value.sides), "HWC")

        size = None if value.sides else place.size
        return Member(raw, decode_name(raw), max(place.size, 1), reopen, size, notes=notes)


def _values(file: BinaryIO, record: Field) -> Iterator[_Value]:
    """The values of bytes of an Example or SequenceExample. Raises ``ValueError`` where it is neither."""
    numbers: dict[bytes, int] = {}
    found: list[_Value] = []
    for key, feature in _features(file, record):
        for kind in fields(file, feature.start, feature.size):
            if kind.wire != BYTES or kind.number > 3:
                raise ValueError("no feature")
            if kind.number == 1:
                _add_bytes(file, key, kind, found)
            elif kind.number == 3:
                numbers[key] = _first_number(file, kind)
    sides = _sides(numbers)
    for value in found:
        is_raw = bool(sides) and value.place.size == np.prod(sides) and value.place.size <= _MAX_RAW
        if is_raw and not is_picture(bytes_of(file, value.place, _HEAD)):
            value = _Value(value.key, value.index, value.place, sides)
        yield value


def _until_damage(file: BinaryIO, record: Field) -> Iterator[_Value]:
    """What values there are before the place where a damaged record makes no sense any more."""
    try:
        for key, feature in _features(file, record, cut=True):
            for kind in _cut_fields(file, feature):
                if kind.number == 1:
                    for index, place in enumerate(_cut_fields(file, kind)):
                        yield _Value(key, index, place)
    except ValueError:
        return


def _features(file: BinaryIO, record: Field, *, cut: bool = False) -> Iterator[tuple[bytes, Field]]:
    """Key and value of every feature; those of a list of features one by one."""
    parse = _cut_fields if cut else _whole_fields
    for part in parse(file, record):
        if part.wire != BYTES or part.number > 2:
            raise ValueError("no Example")
        for entry in parse(file, part):
            if entry.wire != BYTES or entry.number != 1:
                raise ValueError("no Example")
            key = b""
            for field in parse(file, entry):
                if field.number == 1:
                    key = bytes_of(file, field, _MAX_NAME)
                elif field.number == 2 and part.number == 1:
                    yield key, field
                elif field.number == 2:
                    yield from ((key, feature) for feature in parse(file, field))


def _whole_fields(file: BinaryIO, field: Field) -> Iterator[Field]:
    return fields(file, field.start, field.size)


def _cut_fields(file: BinaryIO, field: Field) -> Iterator[Field]:
    """The fields of a message that was cut off: the last one as far as it goes."""
    end = field.start + field.size
    for found in fields(file, field.start, 1 << 62):
        if found.start >= end:
            return
        yield found._replace(size=min(found.size, end - found.start))


def _add_bytes(file: BinaryIO, key: bytes, values: Field, found: list[_Value]) -> None:
    for place in fields(file, values.start, values.size):
        if place.number != 1 or place.wire != BYTES:
            raise ValueError("no list of bytes")
        index = sum(1 for value in reversed(found) if value.key == key) if found and found[-1].key == key else 0
        found.append(_Value(key, index, place))


def _first_number(file: BinaryIO, values: Field) -> int:
    for field in fields(file, values.start, values.size):
        if field.wire == VARINT:
            return field.value
        for packed in fields_of_packed(bytes_of(file, field, 10)):
            return packed
    return 0


def fields_of_packed(data: bytes) -> Iterator[int]:
    """The numbers of a packed list of them."""
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            yield value
            value = shift = 0


def _sides(numbers: dict[bytes, int]) -> tuple[int, ...]:
    """Height, width and channels of bare pixels, where the Example tells them."""
    for names in _SIDES:
        height, width, depth = (numbers.get(name.encode(), 0) for name in names)
        shape = (height, width, depth or 3)
        if height and width and layout(shape, np.dtype(np.uint8)) is not None:
            return shape
    return ()
