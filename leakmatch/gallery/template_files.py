"""Template files that other tools write: npz and Parquet, read by parts.

==============  ============================  =========================================================
``vectors``     float32[N,D]                  a template of unit norm
``subject_id``  text[N]                       whose it is
``name``        text[N], optional             the subject's name
``path``        text[N], optional             the photo it was made from
``sha256``      uint8[N,32], optional         of the photo; Parquet: 64 hexadecimal digits, or null
``quality``     float32[N], optional          of the face, 0 to 1
``model_id``    text, in the file's metadata  the model, precision and recipe of all templates
==============  ============================  =========================================================

In npz each row of the table is an array; in Parquet a column, ``vectors`` being lists of float, and ``model_id`` an
entry of the schema's metadata.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from leakmatch.arrays import Array, FloatArray
from leakmatch.errors import MissingExtra, UsageError, os_error

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows that are read or written at a time.
PART: Final = 16384

_HELP: Final = "docs/galleries.md says what a template file holds"
_TEXTS: Final = ("subject_id", "name", "path")


@dataclass(frozen=True, slots=True)
class Rows:
    """Some templates of a file: ``vectors`` float32[N,D]; lists of N of the other columns."""

    vectors: FloatArray
    subject_id: list[str]
    name: list[str]
    path: list[str]
    sha256: list[bytes | None]
    quality: list[float]


class TemplateFile(Protocol):
    """A file of templates. ``model_id`` is empty where the file does not say it."""

    model_id: str
    count: int
    dimension: int

    def parts(self) -> Iterator[Rows]:
        """All rows, in order. Raises :class:`UsageError` where the file is damaged."""


@contextmanager
def open_templates(path: Path) -> Iterator[TemplateFile]:
    """The template file ``path``, by its first bytes. Raises :class:`UsageError` for anything else."""
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
            stream.seek(0)
            if head == b"PAR1":
                yield _ParquetFile(path, stream)
            elif head[:2] == b"PK":
                with zipfile.ZipFile(stream) as archive:
                    yield _NpzFile(path, archive)
            else:
                raise UsageError(f"{path}: not a template file. Give an npz or a Parquet file ({_HELP}).")
    except zipfile.BadZipFile as error:
        raise UsageError(f"{path}: not an npz file, or damaged ({error}).") from error
    except OSError as error:
        raise os_error(error, path) from error


class _NpzFile:
    """Arrays within a zip; each is read from its beginning to its end, side by side with the others."""

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path = path
        self._archive = archive
        with self._array("vectors") as vectors:
            if len(vectors.shape) != 2 or vectors.dtype.kind != "f":
                raise self._wrong("vectors is not a matrix of floating point numbers")
            self.count, self.dimension = vectors.shape
        self.model_id = ""
        if self._has("model_id"):
            with self._array("model_id") as model_id:
                self.model_id = str(model_id.read(1)[0])

    def parts(self) -> Iterator[Rows]:
        """See :class:`TemplateFile`."""
        with ExitStack() as stack:
            columns = {
                name: stack.enter_context(self._array(name))
                for name in ("vectors", *_TEXTS, "sha256", "quality")
                if name in ("vectors", "subject_id") or self._has(name)
            }
            for name, column in columns.items():
                self._check(name, column)
            for start in range(0, self.count, PART):
                yield self._rows({name: c.read(min(PART, self.count - start)) for name, c in columns.items()})

    def _check(self, name: str, column: _Npy) -> None:
        if column.shape[0] != self.count:
            raise self._wrong(f"{name} has {column.shape[0]:,} rows, vectors {self.count:,}")
        fits = {
            "vectors": column.dtype.kind == "f",
            "sha256": column.dtype == np.uint8 and column.shape[1:] == (32,),
            "quality": column.dtype.kind == "f" and len(column.shape) == 1,
        }.get(name, column.dtype.kind == "U" and len(column.shape) == 1)
        if not fits:
            raise self._wrong(f"{name} is {column.dtype}{list(column.shape)}")

    def _rows(self, columns: dict[str, Array]) -> Rows:
        n = len(columns["vectors"])
        texts = {name: columns[name].tolist() if name in columns else [""] * n for name in _TEXTS}
        digests = [row.tobytes() for row in columns["sha256"]] if "sha256" in columns else [b""] * n
        return Rows(
            vectors=columns["vectors"].astype(np.float32, copy=False),
            sha256=[digest if any(digest) else None for digest in digests],
            quality=columns["quality"].tolist() if "quality" in columns else [0.0] * n,
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
        except (ValueError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
            raise self._wrong(f"{name}: {error}") from error

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"{self._path}: {what} ({_HELP}).")


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


class _ParquetFile:
    """A Parquet file, read batch by batch."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        pa, pq, self._list_length = _parquet()
        self._path = path
        try:
            self._file = pq.ParquetFile(stream)
        except (ValueError, OSError) as error:
            raise UsageError(f"{path}: not a Parquet file, or damaged ({error}).") from error
        schema = self._file.schema_arrow
        self._columns = [n for n in ("vectors", *_TEXTS, "sha256", "quality") if n in schema.names]
        for needed in ("vectors", "subject_id"):
            if needed not in self._columns:
                raise self._wrong(f"it has no column {needed!r}")
        self.model_id = (schema.metadata or {}).get(b"model_id", b"").decode("utf-8", "replace")
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
            name: [str(v or "") for v in columns[name].to_pylist()] if name in columns else [""] * n for name in _TEXTS
        }
        digests = columns["sha256"].to_pylist() if "sha256" in columns else [None] * n
        quality = columns["quality"].to_pylist() if "quality" in columns else [0.0] * n
        return Rows(
            vectors=flat.reshape(n, self.dimension),
            sha256=[None if d is None else bytes.fromhex(d) for d in digests],
            quality=[float(q or 0.0) for q in quality],
            **texts,
        )

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"{self._path}: {what} ({_HELP}).")


def _parquet() -> tuple[Any, Any, Callable[[Any], Any]]:
    """pyarrow, its module for Parquet, and its function for the lengths of lists."""
    try:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("Parquet", "parquet") from error
    return pa, pq, pc.list_value_length
