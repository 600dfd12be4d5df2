"""Parquet and Arrow files with columns of pictures: bytes, ``{bytes, path}`` as Hugging Face has it, lists of them, or
base64. pyarrow does the reading, in batches of a few rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final, cast

import numpy as np

from leakmatch.errors import ItemError
from leakmatch.sources.datasets.arrays import check_size, layout, picture_file
from leakmatch.sources.datasets.text import Search, picture_in_base64
from leakmatch.sources.guard import corrupt, encrypted, extra_missing, over_budget, reading
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import Range, Seekable

_BATCH_BYTES: Final = 16 << 20
_MOST_ROWS: Final = 64
_BUFFER: Final = 1 << 20
_MAX_SCHEMA: Final = 16 << 20
_MAX_DEPTH: Final = 8
_SHORTEST_TEXT: Final = 48
_MAX_NAME: Final = 4096


def open_parquet(opening: Opening) -> Columns:
    """The reader of Parquet files. Raises :class:`ItemError` (``needs-extra``) without pyarrow."""
    return Columns(opening, _pyarrow("Parquet files"), _parquet)


def open_arrow(opening: Opening) -> Columns:
    """The reader of Arrow files and streams, and of Feather. Raises like :func:`open_parquet`."""
    return Columns(opening, _pyarrow("Arrow files"), _arrow)


def _pyarrow(what: str) -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise extra_missing(what, "datasets") from error
    return pyarrow


class Columns:
    """A table. Members are named by the path that stands beside the bytes, else ``COLUMN[ROW]``.

    Every value of bytes is a member; a text is one where there is a picture in it in base64.
    """

    def __init__(self, opening: Opening, pyarrow: Any, batches: _Batches) -> None:
        self.notes: list[Note] = []
        self.opening = opening
        self.pyarrow = pyarrow
        self.failure: ItemError | None = None
        self._batches = batches
        self._outside = 0

    def members(self) -> Iterator[Member]:
        """Every value, by row group, column and row."""
        for column, first, values, stored in self._batches(self):
            for offset in range(len(values) if values.null_count < len(values) else 0):
                self.opening.pulse()
                yield from self._value(values[offset], column, f"{column}[{first + offset}]", stored, 0)
        if self._outside:
            message = f"{self._outside:,} rows name a picture that lies outside the file; it is not looked for"
            self.notes.append(Note("link", message))
        if self.failure is not None:
            raise self.failure

    def fail(self, error: ItemError) -> None:
        """Remember the first reason why not all could be read."""
        self.failure = self.failure or error

    def _value(self, value: Any, column: str, name: str, stored: int, depth: int) -> Iterator[Member]:
        """The members in one Arrow scalar."""
        types = self.pyarrow.types
        kind = value.type
        if not value.is_valid or depth > _MAX_DEPTH:
            return
        if isinstance(value, self.pyarrow.ExtensionScalar) or types.is_dictionary(kind):
            yield from self._value(value.value, column, name, stored, depth + 1)
        elif is_bytes(self.pyarrow, kind):
            yield _member(name, memoryview(value.as_buffer()), stored)
        elif is_string(self.pyarrow, kind):
            yield from _text(name, memoryview(value.as_buffer()), stored)
        elif types.is_struct(kind):
            yield from self._struct(value, column, name, stored, depth)
        elif is_list(self.pyarrow, kind) and types.is_primitive(leaf(self.pyarrow, kind)):
            yield from self._numbers(value, name, stored)
        elif is_list(self.pyarrow, kind) and value.values is not None:
            for index in range(len(value.values)):
                yield from self._value(value.values[index], column, f"{name}[{index}]", stored, depth + 1)

    def _numbers(self, value: Any, name: str, stored: int) -> Iterator[Member]:
        """Lists of numbers: bytes, or pictures in lists of lists."""
        shape: list[int] = []
        flat = value.values
        while flat is not None and is_list(self.pyarrow, flat.type):
            shape.append(len(flat))
            flat = flat.flatten()
        if flat is None or flat.null_count or not len(flat):
            return
        numbers = flat.to_numpy(zero_copy_only=False)
        full = tuple(side // before for side, before in zip((*shape, len(flat)), (1, *shape), strict=True))
        found = layout(full, numbers.dtype) if int(np.prod(full)) == len(flat) else None
        if found is not None:
            check_size(found, numbers.dtype, self.opening.budget.pixels)
            pictures = numbers.reshape((found.count, *found.shape))
            for number, picture in enumerate(pictures):
                data = memoryview(picture_file(picture, found.order).read())
                yield _member(name + found.suffix(number), data, stored)
        elif is_byte(self.pyarrow, flat.type):
            yield _member(name, memoryview(numbers.tobytes()), stored)

    def _struct(self, value: Any, column: str, name: str, stored: int, depth: int) -> Iterator[Member]:
        names = [field.name for field in value.type]
        path = value["path"].as_py() if "path" in names and is_string(self.pyarrow, value["path"].type) else None
        if "bytes" in names and path:
            if value["bytes"].is_valid:
                name = path[:_MAX_NAME]
            else:
                self._outside += 1
        for index, field in enumerate(names):
            if field != "path" or "bytes" not in names:
                full = name if field == "bytes" else f"{name}.{field}"
                yield from self._value(value[index], column, full, stored, depth + 1)


_Batches = Callable[[Columns], Iterator[tuple[str, int, Any, int]]]  # column, first row, values, bytes of each


def is_bytes(pyarrow: Any, kind: Any) -> bool:
    """Whether values of an Arrow type are bytes."""
    types = pyarrow.types
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_fixed_size_binary(kind)
        or types.is_binary_view(kind)
    )


def is_string(pyarrow: Any, kind: Any) -> bool:
    """Whether values of an Arrow type are texts."""
    types = pyarrow.types
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def is_list(pyarrow: Any, kind: Any) -> bool:
    """Whether values of an Arrow type are lists."""
    types = pyarrow.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def is_byte(pyarrow: Any, kind: Any) -> bool:
    """Whether values of an Arrow type are numbers of one byte."""
    return bool(pyarrow.types.is_uint8(kind) or pyarrow.types.is_int8(kind))


def leaf(pyarrow: Any, kind: Any) -> Any:
    """The type inside lists of lists."""
    for _ in range(_MAX_DEPTH):
        if not is_list(pyarrow, kind):
            break
        kind = kind.value_type
    return kind


def _may_hold(pyarrow: Any, kind: Any, depth: int = 0) -> bool:
    """Whether values of an Arrow type have bytes or texts in them."""
    types = pyarrow.types
    if depth > _MAX_DEPTH:
        return False
    if isinstance(kind, pyarrow.BaseExtensionType):
        return _may_hold(pyarrow, kind.storage_type, depth + 1)
    if is_list(pyarrow, kind) and types.is_primitive(leaf(pyarrow, kind)):
        return is_byte(pyarrow, kind.value_type) or is_list(pyarrow, kind.value_type)
    if types.is_dictionary(kind) or is_list(pyarrow, kind):
        return _may_hold(pyarrow, kind.value_type, depth + 1)
    if types.is_struct(kind):
        return any(_may_hold(pyarrow, field.type, depth + 1) for field in kind)
    return is_bytes(pyarrow, kind) or is_string(pyarrow, kind)


# Parquet


def _parquet(columns: Columns) -> Iterator[tuple[str, int, Any, int]]:
    opening, pyarrow = columns.opening, columns.pyarrow
    opening.file.seek(0)
    if opening.file.read(4) == b"PARE":
        raise encrypted("locked with a key")
    with mapped(pyarrow, "the Parquet file"):
        file = pyarrow.parquet.ParquetFile(
            pyarrow.PythonFile(Range(opening.file, 0, opening.size), "r"),
            buffer_size=_BUFFER,
            pre_buffer=False,
            thrift_string_size_limit=_MAX_SCHEMA,
            thrift_container_size_limit=_MAX_SCHEMA,
            page_checksum_verification=True,
        )
        metadata = file.metadata
        wanted = [field.name for field in file.schema_arrow if _may_hold(pyarrow, field.type)]
    # What the file says of each column's size is not asked for: pyarrow ends the process where that is damaged.
    stored = max(opening.size // max(metadata.num_rows * len(wanted), 1), 1)
    first = 0
    for group in range(metadata.num_row_groups):
        with mapped(pyarrow, "a row group"):
            rows, size = metadata.row_group(group).num_rows, metadata.row_group(group).total_byte_size
        if rows < 0 or first + rows > opening.budget.ratio * opening.size:
            columns.fail(over_budget(f"more than {first + rows:,} rows in a file of {opening.size:,} bytes"))
            return
        most = min(max(_BATCH_BYTES // max(size // max(rows, 1), 1), 1), _MOST_ROWS)
        for column in wanted:
            yield from _batches(columns, file, group, column, first, most, stored)
        first += rows


def _batches(
    columns: Columns, file: Any, group: int, column: str, first: int, size: int, stored: int
) -> Iterator[tuple[str, int, Any, int]]:
    try:
        with mapped(columns.pyarrow, f"{column[:100]!r}"):
            batches = file.iter_batches(size, row_groups=[group], columns=[column], use_threads=False)
        at = first
        while True:
            with mapped(columns.pyarrow, f"{column[:100]!r}"):
                batch = next(batches, None)
            if batch is None:
                return
            yield column, at, batch.column(0), stored
            at += len(batch)
    except ItemError as error:
        columns.fail(error)


# Arrow


def _arrow(columns: Columns) -> Iterator[tuple[str, int, Any, int]]:
    opening, pyarrow = columns.opening, columns.pyarrow
    opening.file.seek(0)
    is_file = opening.file.read(6) == b"ARROW1"
    source = pyarrow.PythonFile(Range(opening.file, 0, opening.size), "r")
    with mapped(pyarrow, "the Arrow file"):
        table = pyarrow.ipc.open_file(source) if is_file else pyarrow.ipc.open_stream(source)
        wanted = [n for n, field in enumerate(table.schema) if _may_hold(pyarrow, field.type)]
    first = 0
    number = 0
    while True:
        with mapped(pyarrow, "a batch of rows"):
            if is_file and number >= table.num_record_batches:
                return
            try:
                batch = table.get_batch(number) if is_file else table.read_next_batch()
            except StopIteration:
                return
            batch.validate(full=True)
        number += 1
        for index in wanted:
            column = batch.column(index)
            yield table.schema.field(index).name, first, column, max(column.nbytes // max(len(column), 1), 1)
        first += len(batch)


# Members


class mapped(reading):  # noqa: N801 - used as a statement
    """Like :class:`reading`, for what pyarrow raises too."""

    __slots__ = ("_pyarrow",)

    def __init__(self, pyarrow: Any, what: str) -> None:
        super().__init__(what)
        self._pyarrow = pyarrow

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, self._pyarrow.ArrowException) and not isinstance(error, MemoryError):
            raise corrupt(f"{self._what} is damaged ({' '.join(str(error).split())[:120]})") from error
        super().__exit__(kind, error, trace)


class _View(Seekable):
    def __init__(self, data: memoryview) -> None:
        super().__init__()
        self._data = data

    def _read_at(self, at: int, size: int) -> bytes:
        return bytes(self._data[at : at + size])

    def _end(self) -> int:
        return len(self._data)


def _member(name: str, data: memoryview, stored: int) -> Member:
    raw = name.encode("utf-8", "surrogateescape")
    return Member(raw, decode_name(raw), stored, lambda: cast(BinaryIO, _View(data)), len(data))


def _text(name: str, data: memoryview, stored: int) -> Iterator[Member]:
    """A text in which there is a picture: the picture, if it is nothing else."""
    if len(data) < _SHORTEST_TEXT:
        return
    search = Search()
    search.feed(bytes(data))
    if search.found:
        picture = picture_in_base64(bytes(data))
        yield _member(name, data if picture is None else memoryview(picture), stored)
