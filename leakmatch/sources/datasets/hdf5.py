"""HDF5 files with arrays of pictures, or with encoded pictures as bytes. h5py does the reading.

Nothing outside the file is ever opened: external links, external storage and virtual datasets are told, not followed.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

import numpy as np

from leakmatch.errors import ItemError
from leakmatch.sources.datasets.arrays import Layout, check_size, describe, layout, picture_file
from leakmatch.sources.datasets.hdf5_heap import REFERENCE_SIZE, GlobalHeap
from leakmatch.sources.guard import extra_missing, over_budget, reading, unsupported
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import Range

_MAX_CHUNK: Final = 64 << 20  # a chunk is expanded as a whole
_MAX_VALUE: Final = 256 << 20
_MAX_DEPTH: Final = 64
_MAX_PATH: Final = 4096
_DEFLATE, _FLETCHER32 = 1, 3
_CACHE: Final = 16 << 20


def open_hdf5(opening: Opening) -> Hdf5:
    """The reader of HDF5 files. Raises :class:`ItemError` (``needs-extra``) without h5py."""
    try:
        import h5py
    except ImportError as error:
        raise extra_missing("HDF5 files", "datasets") from error
    return Hdf5(opening, h5py)


class Hdf5:
    """A file. Members are named by the path of their dataset, with the index where it holds several."""

    def __init__(self, opening: Opening, h5py: Any) -> None:
        self.notes: list[Note] = []
        self._opening = opening
        self._h5py = h5py
        self._heap = GlobalHeap(opening.file, opening.size, 0)
        self._seen: set[Any] = set()
        self._failure: ItemError | None = None

    def members(self) -> Iterator[Member]:
        """Every picture of every dataset that is reached by hard links, group by group, by name."""
        source = Range(self._opening.file, 0, self._opening.size)
        with reading("the HDF5 file"):
            file = self._h5py.File(source, "r", rdcc_nbytes=_CACHE)
        self._heap = GlobalHeap(self._opening.file, self._opening.size, file.userblock_size)
        try:
            yield from self._group(file, "", 0)
        finally:
            file.close()
        if self._failure is not None:
            raise self._failure

    def _fail(self, error: ItemError) -> None:
        self._failure = self._failure or error

    def _is_new(self, thing: Any) -> bool:
        info = self._h5py.h5o.get_info(thing.id)
        key = (info.fileno, info.addr)
        new = key not in self._seen
        self._seen.add(key)
        return new

    def _group(self, group: Any, path: str, depth: int) -> Iterator[Member]:
        if not self._is_new(group):
            return
        if depth > _MAX_DEPTH:
            self._fail(over_budget(f"groups are nested more than {_MAX_DEPTH} deep"))
            return
        names: Iterator[str] = iter(())
        try:
            with reading("a group"):
                names = iter(list(group.keys()))
        except ItemError as error:
            self._fail(error)
        for name in names:
            self._opening.pulse()
            full = f"{path}/{name}" if path else name
            try:
                with reading(f"{full[:200]!r}"):
                    found = self._reached(group, name, full)
            except ItemError as error:
                self._fail(error)
                continue
            if isinstance(found, Member):
                yield found
            elif isinstance(found, self._h5py.Group):
                yield from self._group(found, full[:_MAX_PATH], depth + 1)
            elif isinstance(found, self._h5py.Dataset):
                yield from self._dataset(found, full)

    def _reached(self, group: Any, name: str, full: str) -> Any:
        """What a hard link leads to; of any other link, the member that tells of it."""
        link = group.get(name, getlink=True)
        if isinstance(link, self._h5py.HardLink):
            return group[name]
        if isinstance(link, self._h5py.ExternalLink):
            return _special(full, "a link into another file")
        return _special(full, "a link inside the file")

    # Datasets

    def _dataset(self, dataset: Any, name: str) -> Iterator[Member]:
        try:
            with reading("the dataset"):
                if not self._is_new(dataset):
                    return
                members = self._members(dataset, name)
        except ItemError as error:
            yield _problem(name, error)
            return
        while True:
            try:
                with reading("the dataset"):
                    member = next(members, None)
            except ItemError as error:
                yield _problem(name, error)
                return
            if member is None:
                return
            yield member

    def _members(self, dataset: Any, name: str) -> Iterator[Member]:
        h5py = self._h5py
        if dataset.is_virtual or dataset.external:
            raise unsupported("its data lie in other files, which are not opened")
        shape, dtype = dataset.shape, dataset.dtype
        if shape is None or 0 in shape:
            yield _aside(name, 0, "an empty dataset")
            return
        self._check_chunks(dataset)
        inner = h5py.check_vlen_dtype(dtype)
        is_bytes = dtype.kind in "uiV" and dtype.itemsize == 1
        if (inner is not None and (inner in (bytes, str) or np.dtype(inner).itemsize == 1)) or (
            dtype.kind in "SV" and dtype.itemsize > 1 and dtype.fields is None
        ):
            yield from self._values(dataset, name)
        elif inner is not None or dtype.kind == "O" or dtype.fields is not None:
            yield from self._fields(dataset, name)
        elif is_bytes and len(shape) == 1:
            yield self._bytes(dataset, name)
        elif found := layout(shape, dtype):
            yield from self._pictures(dataset, name, found)
        else:
            yield _aside(name, dataset.id.get_storage_size(), describe(shape, dtype))

    def _fields(self, dataset: Any, name: str) -> Iterator[Member]:
        """A table of several columns, or references: the columns that hold bytes."""
        dtype = dataset.dtype
        columns = [
            column
            for column in (dtype.names or ())
            if self._h5py.check_vlen_dtype(dtype[column]) is not None or dtype[column].kind in "SV"
        ]
        if not columns:
            yield _aside(name, dataset.id.get_storage_size(), describe(dataset.shape, dtype))
        for column in columns:
            yield from self._values(dataset.fields(column), f"{name}.{column}", dataset)

    def _values(self, dataset: Any, name: str, owner: Any = None) -> Iterator[Member]:
        """Values of bytes, one after the other."""
        owner = dataset if owner is None else owner
        if owner.dtype.itemsize > _MAX_CHUNK:
            raise over_budget(f"values of more than {_MAX_CHUNK >> 20} MiB")
        shape = owner.shape
        count = int(np.prod(shape, dtype=object))
        stored = max(owner.id.get_storage_size() // max(count, 1), 1)
        for number in self._numbers(owner, count):
            index = tuple(int(i) for i in np.unravel_index(number, shape)) if shape else ()
            suffix = "[" + ",".join(map(str, index)) + "]" if shape else ""

            def reopen(index: tuple[int, ...] = index) -> BinaryIO:
                with reading("the value"):
                    place = self._reference(owner, index[0]) if owner is dataset and index else None
                    if place is None:
                        return io.BytesIO(_as_bytes(dataset[index]))
                    start, size = self._heap.value(place)
                    return cast(BinaryIO, Range(self._opening.file, start, size, strict=True))

            yield _member(name + suffix, stored, reopen)

    def _reference(self, dataset: Any, number: int) -> int | None:
        """Where in the file the reference to a value of any length is; ``None`` where only HDF5 can tell."""
        if len(dataset.shape) != 1 or self._h5py.check_vlen_dtype(dataset.dtype) is None:
            return None
        if dataset.id.get_type().get_size() != REFERENCE_SIZE:
            return None
        start: int | None = None
        if dataset.chunks is None:
            start = dataset.id.get_offset()
        elif dataset.id.get_create_plist().get_nfilters() == 0:
            first = number - number % dataset.chunks[0]
            start = dataset.id.get_chunk_info_by_coord((first,)).byte_offset
            number -= first
        return None if start is None else start + number * REFERENCE_SIZE

    def _bytes(self, dataset: Any, name: str) -> Member:
        """A row of bytes: a picture in itself."""
        size = dataset.shape[0]
        if size > _MAX_VALUE:
            raise over_budget(f"a row of more than {_MAX_VALUE >> 20} MiB")

        def blocks() -> BinaryIO:
            with reading("the dataset"):
                return io.BytesIO(dataset[:].tobytes())

        return _member(name, max(dataset.id.get_storage_size(), 1), blocks)

    def _pictures(self, dataset: Any, name: str, found: Layout) -> Iterator[Member]:
        check_size(found, dataset.dtype, self._opening.budget.pixels)
        stored = max(dataset.id.get_storage_size() // found.count, 1)
        for number in self._numbers(dataset, found.count):
            index = found.index(number)

            def reopen(index: tuple[int, ...] = index) -> BinaryIO:
                with reading("the picture"):
                    return picture_file(np.asarray(dataset[index]), found.order)

            yield _member(name + found.suffix(number), stored, reopen)

    def _numbers(self, dataset: Any, count: int) -> Iterator[int]:
        """The numbers of the pictures that the file has bytes of; a dataset may claim any number of others."""
        rows = dataset.shape[0] if dataset.shape else 1
        stored = dataset.id.get_storage_size()
        if not stored:
            self.notes.append(Note("corrupt", f"{dataset.name[:200]!r} has no data in the file"))
            return
        each = count // max(rows, 1)
        if dataset.chunks is None:
            size = max(int(np.prod(dataset.shape, dtype=object)) * dataset.dtype.itemsize // count, 1)
            yield from range(min(count, self._opening.size // size + 1))
            return
        told = False
        covered = 0
        for start, end in _covered(dataset):
            told = told or start > covered
            covered = max(covered, end)
            yield from range(start * each, min(end, rows) * each)
        if told or covered < rows:
            self.notes.append(Note("corrupt", f"parts of {dataset.name[:200]!r} have no data in the file"))

    # Bombs

    def _check_chunks(self, dataset: Any) -> None:
        """Raise :class:`ItemError` for chunks that would not fit into memory when expanded.

        HDF5 expands a chunk to whatever comes out of it, so what is deflated is counted here first.
        """
        size = dataset.dtype.itemsize
        if dataset.chunks is None:
            return
        chunk = int(np.prod(dataset.chunks, dtype=object)) * size
        if chunk > _MAX_CHUNK:
            raise over_budget(f"a chunk of more than {_MAX_CHUNK >> 20} MiB")
        properties = dataset.id.get_create_plist()
        filters = [properties.get_filter(n)[0] for n in range(properties.get_nfilters())]
        if _DEFLATE not in filters:
            return
        for number, info in enumerate(_chunks(dataset)):
            self._opening.pulse()
            if info.size > _MAX_CHUNK:
                raise over_budget(f"a chunk of more than {_MAX_CHUNK >> 20} MiB")
            if info.size * 1032 > 4 * _MAX_CHUNK and not self._fits(dataset, info, filters, chunk):
                raise over_budget(f"chunk {number} expands to more than its size")

    def _fits(self, dataset: Any, info: Any, filters: list[int], chunk: int) -> bool:
        if filters[-1] == _FLETCHER32:
            filters = filters[:-1]
        if filters[-1] != _DEFLATE:
            return True
        _, raw = dataset.id.read_direct_chunk(info.chunk_offset)
        inflate = zlib.decompressobj()
        most = chunk + 64
        given = 0
        data: bytes = raw
        while data and given <= most and not inflate.eof:
            given += len(inflate.decompress(data, 1 << 20))
            data = inflate.unconsumed_tail
        return given <= most


def _chunks(dataset: Any) -> list[Any]:
    found: list[Any] = []
    dataset.id.chunk_iter(found.append)
    return found


def _covered(dataset: Any) -> Iterator[tuple[int, int]]:
    """Which rows (of the first axis) have a chunk, as ranges without overlaps, in order."""
    starts = sorted({int(info.chunk_offset[0]) for info in _chunks(dataset)})
    length = dataset.chunks[0]
    start = end = -1
    for following in starts:
        if following == end:
            end = following + length
            continue
        if end > start:
            yield start, end
        start, end = following, following + length
    if end > start:
        yield start, end


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return value if isinstance(value, bytes) else np.asarray(value).tobytes()


def _member(name: str, stored: int, reopen: Any, **more: Any) -> Member:
    raw = name.encode("utf-8", "surrogateescape")
    return Member(raw, decode_name(raw), stored, reopen, **more)


def _special(name: str, what: str) -> Member:
    return _member(name, 1, io.BytesIO, special=what)


def _aside(name: str, size: int, what: str) -> Member:
    return _member(name, max(size, 1), io.BytesIO, size=size, aside=what)


def _problem(name: str, error: ItemError) -> Member:
    return _member(name, 1, io.BytesIO, problem=error)
