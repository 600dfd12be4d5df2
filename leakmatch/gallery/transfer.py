"""Templates from other tools into a gallery, and a gallery's templates out for other tools.

A template is as much of a person as a fingerprint: what is exported is no longer protected by the gallery.
"""

from __future__ import annotations

import csv
import hashlib
import io
import itertools
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from leakmatch.arrays import Array, BoolArray, FloatArray
from leakmatch.errors import MissingExtra, ModelMismatch, UsageError, os_error
from leakmatch.files import replacing
from leakmatch.gallery.store import Gallery, Photo
from leakmatch.gallery.template_files import Rows, TemplateFile, open_templates
from leakmatch.gallery.templates import NORM_TOLERANCE, PART

#: Refused rows that are listed one by one; all are counted.
_LISTED: Final = 20


#: Told how far an import or export is: done, and total templates.
Progress = Callable[[int, int], None]


def no_progress(done: int, total: int) -> None:
    """Keeps quiet."""


@dataclass(slots=True)
class Imported:
    """What became of the rows of a file. ``refused``: why, by row number from 1, the first few of them."""

    file: Path
    rows: int = 0
    added: int = 0
    known: int = 0
    refusals: int = 0
    refused: dict[int, str] = field(default_factory=dict)


def import_templates(
    gallery: Gallery, file: Path, *, trust_model: bool = False, progress: Progress = no_progress
) -> Imported:
    """Add the templates of an npz or Parquet ``file`` (:mod:`leakmatch.gallery.template_files`) to ``gallery``.

    All rows that can be taken are added in one step, or on any error none. A file that was imported before, or a photo
    (SHA-256) that its subject has already, adds nothing. A row is refused where its vector is not finite or not of unit
    norm, or where it names no subject. ``trust_model``: take a file that does not say which model made its templates.

    Raises :class:`ModelMismatch` for templates of another model or length, :class:`UsageError` for a file that is no
    template file, :class:`~leakmatch.errors.StorageError` where the disk is full.
    """
    with open_templates(file) as templates:
        _check_model(gallery, file, templates, trust_model)
        report = Imported(file, rows=templates.count)
        digest = _sha256(file)
        if gallery.was_imported(digest):
            report.known = templates.count
            return report

        def accepted() -> Iterator[tuple[list[Photo], FloatArray, dict[str, str]]]:
            done = 0
            for rows in templates.parts():
                progress(done, templates.count)
                good = _good(rows, done, report)
                names = {rows.subject_id[i]: rows.name[i] for i in good if rows.name[i]}
                yield [_photo(rows, i, f"{file.name}#{done + i + 1}") for i in good], rows.vectors[good], names
                done += len(rows.subject_id)

        report.added = gallery.add_templates(accepted(), digest)
    report.known = report.rows - report.added - report.refusals
    return report


def _check_model(gallery: Gallery, file: Path, templates: TemplateFile, trust_model: bool) -> None:
    if templates.model_id:
        if templates.model_id != gallery.model_id:
            raise ModelMismatch(
                f"{file}: its templates were made with the model {templates.model_id}, the gallery's with "
                f"{gallery.model_id}. They cannot be compared."
            )
    elif not trust_model:
        raise UsageError(
            f"{file}: does not say which model made its templates (model_id). Templates of two models cannot be "
            f"compared. If you know that it was {gallery.model_id}, add --trust-model."
        )
    if templates.count and templates.dimension != gallery.dimension:
        raise ModelMismatch(
            f"{file}: its templates have {templates.dimension} numbers, the gallery's {gallery.dimension}."
        )


def _good(rows: Rows, done: int, report: Imported) -> list[int]:
    """The numbers of the rows that can be taken; the others are counted in ``report``."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", rows.vectors, rows.vectors, dtype=np.float64))
        unit: BoolArray = np.abs(norms - 1) <= NORM_TOLERANCE
    good = []
    for i, subject_id in enumerate(rows.subject_id):
        text = (subject_id, rows.name[i], rows.path[i])
        if unit[i] and subject_id and all(map(_is_text, text)):
            good.append(i)
            continue
        report.refusals += 1
        if len(report.refused) < _LISTED:
            reason = "it names no subject" if not subject_id else "its subject, name or path is no Unicode text"
            norm = f"the norm of its vector is {norms[i]:.4g}, not 1"
            report.refused[done + i + 1] = reason if unit[i] else norm
    return good


def _is_text(value: str) -> bool:
    """Whether ``value`` can be stored; half of a surrogate pair cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _photo(rows: Rows, i: int, where: str) -> Photo:
    quality = min(max(rows.quality[i], 0.0), 1.0) if rows.quality[i] == rows.quality[i] else 0.0
    return Photo(rows.subject_id[i], rows.path[i] or where, rows.sha256[i], "", "imported", quality)


def _sha256(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise os_error(error, file) from error


# --- out --------------------------------------------------------------------------------------------------------


def export_templates(gallery: Gallery, target: Path, format: str, progress: Progress = no_progress) -> int:
    """Write all templates of ``gallery`` to ``target``, readable by its owner only; returns how many.

    ``format``: a key of :data:`FORMATS`. ``npz`` and ``parquet`` can be imported again. ``faiss`` is an index for inner
    product whose ids are the enrolment ids; the table of who they are is written beside it, as ``TARGET.csv``.
    Raises :class:`UsageError` for another format, :class:`~leakmatch.errors.StorageError` where the disk is full.
    """
    if format not in FORMATS:
        raise UsageError(f"There is no format {format!r}. There are: {', '.join(FORMATS)}.")
    with replacing(target) as stream:
        FORMATS[format](gallery, stream, progress)
    if format == "faiss":
        with replacing(target.with_name(f"{target.name}.csv")) as stream:
            _write_subjects(gallery, stream)
    return len(gallery.templates())


def _write_npz(gallery: Gallery, stream: IO[bytes], progress: Progress) -> None:
    """Each array in a pass of its own: none is ever in memory as a whole."""
    count, dimension = gallery.templates().shape
    widths = gallery.text_widths()
    arrays: dict[str, tuple[str, tuple[int, ...], Callable[[list[Any]], Array]]] = {
        "p.subject_id": (f"<U{widths['subject_id']}", (), np.array),
        "s.name": (f"<U{widths['name']}", (), np.array),
        "p.path": (f"<U{widths['path']}", (), np.array),
        "p.sha256": ("|u1", (32,), lambda found: np.frombuffer(b"".join(d or bytes(32) for d in found), np.uint8)),
        "p.quality": ("<f4", (), np.array),
    }
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        with _member(archive, "model_id") as member:
            np.lib.format.write_array(member, np.array(gallery.model_id), allow_pickle=False)
        with _member(archive, "vectors") as member:
            _header(member, "<f4", (count, dimension))
            for done, part in enumerate(gallery.templates().parts()):
                progress(done * PART, count)
                member.write(part.astype("<f4", copy=False).tobytes())
        for column, (dtype, row, array) in arrays.items():
            with _member(archive, column.partition(".")[2]) as member:
                _header(member, dtype, (count, *row))
                for values in _parts(gallery, column):
                    member.write(array([value for (value,) in values]).astype(dtype, copy=False).tobytes())


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    return archive.open(f"{name}.npy", "w", force_zip64=True)


def _header(member: IO[bytes], dtype: str, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(member, {"descr": dtype, "fortran_order": False, "shape": shape})


def _write_parquet(gallery: Gallery, stream: IO[bytes], progress: Progress) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtra("Parquet", "parquet") from error
    count, dimension = gallery.templates().shape
    texts = [pa.field(name, pa.string()) for name in ("subject_id", "name", "path", "sha256")]
    vectors = pa.field("vectors", pa.list_(pa.float32(), dimension))
    schema = pa.schema([*texts, pa.field("quality", pa.float32()), vectors], {"model_id": gallery.model_id})
    rows = _parts(gallery, "p.subject_id, s.name, p.path, lower(hex(p.sha256)), p.quality")
    with pq.ParquetWriter(stream, schema) as writer:
        for done, (part, values) in enumerate(zip(gallery.templates().parts(), rows, strict=True)):
            progress(done * PART, count)
            subject_id, name, path, sha256, quality = map(list, zip(*values, strict=True))
            columns = [pa.array(c, pa.string()) for c in (subject_id, name, path, [d or None for d in sha256])]
            columns.append(pa.array(quality, pa.float32()))
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(part.reshape(-1)), dimension))
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def _write_faiss(gallery: Gallery, stream: IO[bytes], progress: Progress) -> None:
    import faiss

    templates = gallery.templates()
    count, dimension = templates.shape
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(dimension))
    for start in range(0, count, PART):
        progress(start, count)
        index.add_with_ids(templates[start : start + PART], templates.enrolment_id[start : start + PART])
    faiss.write_index(index, faiss.PyCallbackIOWriter(stream.write))  # type: ignore[attr-defined]


def _write_subjects(gallery: Gallery, stream: IO[bytes]) -> None:
    text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(("enrolment_id", "subject_id", "name"))
    for values in _parts(gallery, "p.photo, p.subject_id, s.name"):
        writer.writerows(values)
    text.detach()  # flushes, and leaves the stream open


def _parts(gallery: Gallery, columns: str) -> Iterator[list[tuple[Any, ...]]]:
    """Columns of the photos that have a template, in the order of :meth:`Gallery.templates`, :data:`PART` at a time."""
    rows = gallery.template_rows(columns)
    while part := list(itertools.islice(rows, PART)):
        yield part


#: The formats of an export.
FORMATS: Final[dict[str, Callable[[Gallery, IO[bytes], Progress], None]]] = {
    "faiss": _write_faiss,
    "npz": _write_npz,
    "parquet": _write_parquet,
}
