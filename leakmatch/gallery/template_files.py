"""Template files, of LeakMatch and of other tools: npz and Parquet, read by parts.

==============  ============================  =========================================================
``vectors``     float32[N,D]                  a template of unit norm
``subject_id``  text[N]                       whose it is
``name``        text[N], optional             the subject's name
``expires``     text[N], optional             the last day on which to keep the subject, as 2027-01-31, or empty
``path``        text[N], optional             the photo it was made from
``sha256``      uint8[N,32], optional         of the photo; Parquet: 64 hexadecimal digits, or null
``quality``     float32[N], optional          of the face, 0 to 1
``detail``      text[N], optional             what was noted about the photo
``model_id``    text, in the file's metadata  the model, precision and recipe of all templates
==============  ============================  =========================================================

In npz each row of the table is an array; in Parquet a column, ``vectors`` being lists of float, and ``model_id`` an
entry of the schema's metadata. What LeakMatch exports has ``gallery.json`` besides (:mod:`leakmatch.gallery.about`), a
member of the npz or an entry of the metadata, and two columns for each kind of hash that this names: ``hash0_bits``
uint8[N,B] (Parquet: binary, null where a photo has none) and ``hash0_quality`` float32[N] (NaN or null there).

A file may be sealed (:mod:`leakmatch.sealed.stream`).
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from leakmatch.arrays import Array
from leakmatch.errors import MissingExtra, UsageError, os_error
from leakmatch.gallery.about import MEMBER, About, column_of
from leakmatch.gallery.table import HashColumn, Rows
from leakmatch.sealed.disk import is_sealed
from leakmatch.sealed.keys import Keys
from leakmatch.sealed.stream import open_stream

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows that are read at a time.
PART: Final = 16384

_HELP: Final = "docs/galleries.md says what a template file holds"
_TEXTS: Final = ("subject_id", "name", "expires", "path", "detail")
_COLUMNS: Final = ("vectors", *_TEXTS, "sha256", "quality")
_MOST_ABOUT: Final = 256 << 20
#: What a member of a damaged zip may raise.
_BROKEN: Final = (EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


class TemplateFile(Protocol):
    """A file of templates. ``model_id`` is empty where the file does not say it; ``about`` is, where it has no such
    part; ``sealed``: whether it is encrypted."""

    model_id: str
    count: int
    dimension: int
    about: About
    sealed: bool

    def parts(self) -> Iterator[Rows]:
        """All rows, in order. Raises :class:`UsageError` where the file is damaged."""

    def digest(self) -> str:
        """SHA-256 of its content, unsealed, in hexadecimal."""


@contextmanager
def open_templates(path: Path, keys: Keys | None = None) -> Iterator[TemplateFile]:
    """The template file ``path``, by its first bytes. ``keys`` open one that is sealed; all of it is authentic then.

    Raises :class:`UsageError` for anything else, and as :func:`~leakmatch.sealed.stream.open_stream`.
    """
    try:
        with ExitStack() as stack:
            stream: IO[bytes] = stack.enter_context(path.open("rb"))
            sealed = is_sealed(path)
            if sealed:
                stream = stack.enter_context(open_stream(path, keys or Keys()))
            head = stream.read(4)
            stream.seek(0)
            if head == b"PAR1":
                yield _ParquetFile(path, stream, sealed=sealed)
            elif head[:2] == b"PK":
                yield _NpzFile(path, stream, stack.enter_context(zipfile.ZipFile(stream)), sealed=sealed)
            else:
                raise UsageError(f"{path}: not a template file. Give an npz or a Parquet file ({_HELP}).")
    except zipfile.BadZipFile as error:
        raise UsageError(f"{path}: not an npz file, or damaged ({error}).") from error
    except OSError as error:
        raise os_error(error, path) from error


class _File:
    """What both kinds of files have in common."""

    def __init__(self, path: Path, stream: IO[bytes], *, sealed: bool) -> None:
        self._path = path
        self._stream = stream
        self.sealed = sealed

    def digest(self) -> str:
        """See :class:`TemplateFile`. Who reads the table seeks anew each time."""
        self._stream.seek(0)
        digest = hashlib.sha256()
        while part := self._stream.read(io.DEFAULT_BUFFER_SIZE * 16):
            digest.update(part)
        return digest.hexdigest()

    def _parse_about(self, content: bytes) -> About:
        try:
            return About.parse(content) if content else About()
        except (ValueError, RecursionError) as error:
            raise self._wrong(str(error)) from error

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"{self._path}: {what} ({_HELP}).")


class _NpzFile(_File):
    """Arrays within a zip; each is read from its beginning to its end, side by side with the others."""

    def __init__(self, path: Path, stream: IO[bytes], archive: zipfile.ZipFile, *, sealed: bool) -> None:
        super().__init__(path, stream, sealed=sealed)
        self._archive = archive
        with self._array("vectors") as vectors:
            if len(vectors.shape) != 2 or vectors.dtype.kind != "f":
                raise self._wrong("vectors is not a matrix of floating point numbers")
            self.count, self.dimension = vectors.shape
        self.model_id = ""
        if self._has("model_id"):
            with self._array("model_id") as model_id:
                self.model_id = str(model_id.read(1)[0])
        self.about = self._parse_about(self._read(MEMBER, _MOST_ABOUT) if MEMBER in archive.namelist() else b"")

    def _read(self, member: str, most: int) -> bytes:
        try:
            with self._archive.open(member) as stream:
                content = stream.read(most + 1)
        except _BROKEN as error:
            raise self._wrong(f"{member}: {error}") from error
        if len(content) > most:
            raise self._wrong(f"{member} is too large")
        return content

    def parts(self) -> Iterator[Rows]:
        """See :class:`TemplateFile`."""
        with ExitStack() as stack:
            columns = {
                name: stack.enter_context(self._array(name))
                for name in (*_COLUMNS, *_hash_names(self.about))
                if name not in _COLUMNS[2:] or self._has(name)
            }
            for name, column in columns.items():
                self._check(name, column)
            for start in range(0, self.count, PART):
                yield self._rows({name: c.read(min(PART, self.count - start)) for name, c in columns.items()})

    def _check(self, name: str, column: _Npy) -> None:
        if column.shape[0] != self.count:
            raise self._wrong(f"{name} has {column.shape[0]:,} rows, vectors {self.count:,}")
        if not self._fits(name, column):
            raise self._wrong(f"{name} is {column.dtype}{list(column.shape)}")

    def _fits(self, name: str, column: _Npy) -> bool:
        kind, row = column.dtype.kind, column.shape[1:]
        if name == "vectors":
            return kind == "f"
        if name.endswith("quality"):
            return kind == "f" and not row
        sizes = {"sha256": 32} | {f"{column_of(k)}_bits": hashed.size for k, hashed in enumerate(self.about.hashes)}
        if name in sizes:
            return column.dtype == np.uint8 and row == (sizes[name],)
        return kind == "U" and not row

    def _rows(self, columns: dict[str, Array]) -> Rows:
        n = len(columns["vectors"])
        texts = {name: columns[name].tolist() if name in columns else _default(name, n) for name in _TEXTS}
        digests = [row.tobytes() for row in columns["sha256"]] if "sha256" in columns else [b""] * n
        return Rows(
            vectors=columns["vectors"].astype(np.float32, copy=False),
            sha256=[digest if any(digest) else None for digest in digests],
            quality=columns["quality"].tolist() if "quality" in columns else [0.0] * n,
            hashes=[
                HashColumn(columns[f"{column_of(k)}_bits"], columns[f"{column_of(k)}_quality"].astype(np.float32))
                for k in range(len(self.about.hashes))
            ],
            **texts,
        )

    def _has(self, name: str) -> bool:
        return f"{name}.npy" in self._archive.namelist()

    @contextmanager
    def _array(self, name: str) -> Iterator[_Npy]:
        if not self._has(name):
            raise self._wrong(f"it has no array {name!r}")
        try:
            with self._archive.open(f"{name}.npy") as stream:
                yield _Npy(stream)
        except (ValueError, *_BROKEN) as error:
            raise self._wrong(f"{name}: {error}") from error


class _Npy:
    """An array within an npz, row by row. Raises ``ValueError`` where it is none, or ends early."""

    def __init__(self, stream: IO[bytes]) -> None:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, fortran, self.dtype = read(stream)
        if fortran and len(self.shape) > 1:
            raise ValueError("stored by columns; store it by rows (numpy.ascontiguousarray)")
        if self.dtype.hasobject:
            raise ValueError("holds Python objects; store texts as numpy.array(texts, dtype=str)")
        self._stream = stream

    def read(self, rows: int) -> Array:
        row = self.shape[1:]
        size = rows * int(np.prod(row, dtype=np.int64)) * self.dtype.itemsize
        data = self._stream.read(size)
        if len(data) != size:
            raise ValueError("ends early")
        return np.frombuffer(data, self.dtype).reshape(rows, *row)


class _ParquetFile(_File):
    """A Parquet file, read batch by batch."""

    def __init__(self, path: Path, stream: IO[bytes], *, sealed: bool) -> None:
        super().__init__(path, stream, sealed=sealed)
        pa, pq, self._list_length = _parquet()
        try:
            self._file = pq.ParquetFile(stream, pre_buffer=False)
        except (ValueError, OSError) as error:
            raise UsageError(f"{path}: not a Parquet file, or damaged ({error}).") from error
        schema = self._file.schema_arrow
        metadata = schema.metadata or {}
        self.model_id = metadata.get(b"model_id", b"").decode("utf-8", "replace")
        self.about = self._parse_about(metadata.get(MEMBER.encode(), b""))
        self._columns = [n for n in (*_COLUMNS, *_hash_names(self.about)) if n in schema.names]
        for needed in (*_COLUMNS[:2], *_hash_names(self.about)):
            if needed not in self._columns:
                raise self._wrong(f"it has no column {needed!r}")
        kind = schema.field("vectors").type
        if not (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind)):
            raise self._wrong(f"vectors are {kind}, not lists of numbers")
        self.count = self._file.metadata.num_rows
        first = next(self._file.iter_batches(1, columns=["vectors"]), None)
        self.dimension = 0 if first is None or not first.num_rows else len(first.column(0)[0].as_py() or ())

    def parts(self) -> Iterator[Rows]:
        """See :class:`TemplateFile`."""
        try:
            for batch in self._file.iter_batches(PART, columns=self._columns):
                yield self._rows(batch)
        except (ValueError, OSError) as error:
            raise self._wrong(str(error)) from error

    def _rows(self, batch: pa.RecordBatch) -> Rows:
        n = batch.num_rows
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        vectors = columns["vectors"]
        flat = np.asarray(vectors.flatten(), np.float32)
        lengths = np.asarray(self._list_length(vectors))
        if vectors.null_count or (lengths != self.dimension).any() or len(flat) != n * self.dimension:
            raise self._wrong(f"vectors are not lists of {self.dimension} numbers each")
        texts = {
            name: [str(v or "") for v in columns[name].to_pylist()] if name in columns else _default(name, n)
            for name in _TEXTS
        }
        digests = columns["sha256"].to_pylist() if "sha256" in columns else [None] * n
        quality = columns["quality"].to_pylist() if "quality" in columns else [0.0] * n
        return Rows(
            vectors=flat.reshape(n, self.dimension),
            sha256=[None if d is None else bytes.fromhex(d) for d in digests],
            quality=[float(q or 0.0) for q in quality],
            hashes=[self._hash_column(columns, k, kind.size) for k, kind in enumerate(self.about.hashes)],
            **texts,
        )

    def _hash_column(self, columns: dict[str, Any], number: int, size: int) -> HashColumn:
        name = f"{column_of(number)}_bits"
        bits = columns[name].to_pylist()
        if any(value is not None and (not isinstance(value, bytes) or len(value) != size) for value in bits):
            raise self._wrong(f"{name} are not {size} bytes each")
        quality = np.array(columns[f"{column_of(number)}_quality"].to_numpy(zero_copy_only=False), np.float32)
        quality[[value is None for value in bits]] = np.nan
        whole = np.frombuffer(b"".join(value or bytes(size) for value in bits), np.uint8)
        return HashColumn(whole.reshape(len(bits), size), quality)


def _default(name: str, count: int) -> list[str]:
    return ["imported" if name == "detail" else ""] * count


def _hash_names(about: About) -> list[str]:
    return [f"{column_of(number)}_{part}" for number in range(len(about.hashes)) for part in ("bits", "quality")]


def _parquet() -> tuple[Any, Any, Callable[[Any], Any]]:
    """pyarrow, its module for Parquet, and its function for the lengths of lists."""
    try:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("Parquet", "parquet") from error
    return pa, pq, pc.list_value_length
