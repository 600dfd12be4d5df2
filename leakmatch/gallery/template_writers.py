"""A gallery's table in the formats of other tools: npz, Parquet, a FAISS index. Written by parts, never as a whole.

What the columns are, :mod:`leakmatch.gallery.template_files` says. The same table is the same bytes each time.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from typing import IO, Any, Final

import numpy as np

from leakmatch.arrays import Array
from leakmatch.errors import MissingExtra
from leakmatch.gallery import templates as stored
from leakmatch.gallery.about import MEMBER, About, column_of
from leakmatch.gallery.table import HashColumn, Rows, Table

#: Told how far an import or export is: done, and total templates.
Progress = Callable[[int, int], None]

_TEXTS: Final = {
    "subject_id": "p.subject_id",
    "name": "s.name",
    "expires": "s.expires",
    "path": "p.path",
    "detail": "p.detail",
}
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)  # what a zip can say at the earliest


def write_npz(table: Table, about: About, stream: IO[bytes], progress: Progress) -> None:
    """Each array in a pass of its own. Texts are compressed, for all are as wide as the longest."""
    count, dimension = table.templates.shape
    passes = _Passes(count, 1 + len(_TEXTS) + 2 + len(table.kinds), progress)
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        with _member(archive, MEMBER) as member:
            member.write(about.to_json().encode())
        with _member(archive, "model_id.npy") as member:
            np.lib.format.write_array(member, np.array(about.model_id), allow_pickle=False)
        vectors = (part.astype("<f4", copy=False) for part in table.templates.parts())
        _array(archive, "vectors", "<f4", (count, dimension), passes.watched(vectors))
        for name, column in _TEXTS.items():
            dtype = f"<U{table.width(column)}"
            texts = (np.array([text for (text,) in part], dtype) for part in table.columns(column))
            _array(archive, name, dtype, (count,), passes.watched(texts), packed=True)
        digests = (
            np.frombuffer(b"".join(digest or bytes(32) for (digest,) in part), np.uint8)
            for part in table.columns("p.sha256")
        )
        _array(archive, "sha256", "|u1", (count, 32), passes.watched(digests))
        quality = (np.array([q for (q,) in part], "<f4") for part in table.columns("p.quality"))
        _array(archive, "quality", "<f4", (count,), passes.watched(quality))
        for number, kind in enumerate(table.kinds):
            name, found = column_of(number), _Qualities(table.hashes(kind))
            _array(archive, f"{name}_bits", "|u1", (count, kind.size), passes.watched(found.bits()))
            _array(archive, f"{name}_quality", "<f4", (count,), iter(found.qualities))


class _Qualities:
    """The bits of a column of hashes, part by part; their qualities are kept for afterwards."""

    def __init__(self, parts: Iterator[HashColumn]) -> None:
        self._parts = parts
        self.qualities: list[Array] = []

    def bits(self) -> Iterator[Array]:
        for part in self._parts:
            self.qualities.append(part.quality.astype("<f4", copy=False))
            yield part.bits


class _Passes:
    """Tells of several passes over the table as of one."""

    def __init__(self, count: int, passes: int, progress: Progress) -> None:
        self._count, self._passes, self._progress = count, passes, progress
        self._parts = -(-count // stored.PART)
        self._done = 0

    def watched(self, parts: Iterator[Array]) -> Iterator[Array]:
        for part in parts:
            whole = max(self._parts * self._passes, 1)
            self._progress(self._count * self._done // whole, self._count)
            self._done += 1
            yield part


def _member(archive: zipfile.ZipFile, name: str, *, packed: bool = False) -> IO[bytes]:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    return archive.open(info, "w", force_zip64=True)


def _array(
    archive: zipfile.ZipFile,
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    parts: Iterator[Array],
    *,
    packed: bool = False,
) -> None:
    with _member(archive, f"{name}.npy", packed=packed) as member:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for part in parts:
            member.write(part.tobytes())


def write_parquet(table: Table, about: About, stream: IO[bytes], progress: Progress) -> None:
    """One pass. Raises :class:`MissingExtra` where pyarrow is not installed."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("Parquet", "parquet") from error
    count, dimension = table.templates.shape
    fields = [pa.field(name, pa.string()) for name in (*_TEXTS, "sha256")]
    fields += [pa.field("quality", pa.float32()), pa.field("vectors", pa.list_(pa.float32(), dimension))]
    for number, kind in enumerate(table.kinds):
        fields.append(pa.field(f"{column_of(number)}_bits", pa.binary(kind.size)))
        fields.append(pa.field(f"{column_of(number)}_quality", pa.float32()))
    schema = pa.schema(fields, {"model_id": about.model_id, MEMBER: about.to_json()})
    with pq.ParquetWriter(stream, schema) as writer:
        done = 0
        for rows in table.rows():
            progress(done, count)
            writer.write_batch(pa.RecordBatch.from_arrays(_arrow(pa, rows, schema), schema=schema))
            done += len(rows)


def _arrow(pa: Any, rows: Rows, schema: Any) -> list[Any]:
    """The columns of ``rows``, in the order of ``schema``."""
    found = [pa.array(getattr(rows, name), pa.string()) for name in _TEXTS]
    found.append(pa.array([None if digest is None else digest.hex() for digest in rows.sha256], pa.string()))
    found.append(pa.array(rows.quality, pa.float32()))
    found.append(pa.FixedSizeListArray.from_arrays(pa.array(rows.vectors.reshape(-1)), rows.vectors.shape[1]))
    for column in rows.hashes:
        none = np.isnan(column.quality)
        bits = [None if none[i] else column.bits[i].tobytes() for i in range(len(rows))]
        found += [pa.array(bits, schema.field(len(found)).type), pa.array(column.quality, pa.float32(), mask=none)]
    return found


def write_faiss(table: Table, about: About, stream: IO[bytes], progress: Progress) -> None:
    """An index for inner product whose ids are the enrolment ids. FAISS keeps all of it in memory."""
    import faiss

    templates = table.templates
    count, dimension = templates.shape
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
    for start in range(0, count, stored.PART):
        progress(start, count)
        part = slice(start, start + stored.PART)
        index.add_with_ids(templates[part], templates.enrolment_id[part])
    faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))  # type: ignore[attr-defined]


def write_subjects(table: Table, stream: IO[bytes]) -> None:
    """Whose the templates of an index are."""
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(("enrolment_id", "subject_id", "name"))
    for values in table.columns("p.photo", "p.subject_id", "s.name"):
        writer.writerows(values)
    text.detach()  # flushes, and leaves the stream open
