"""Template files into a gallery, and a gallery into a file: to another gallery, from and to other tools.

A template is as much of a person as a fingerprint: what is exported without being sealed is protected by nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from leakmatch.arrays import BoolArray
from leakmatch.errors import ModelMismatch, UsageError
from leakmatch.files import replacing
from leakmatch.gallery.about import About
from leakmatch.gallery.access import entry
from leakmatch.gallery.joining import Added
from leakmatch.gallery.people import parse_date
from leakmatch.gallery.store import Gallery
from leakmatch.gallery.table import HashKind, Rows, Table
from leakmatch.gallery.template_files import TemplateFile, open_templates
from leakmatch.gallery.template_writers import Progress, write_faiss, write_npz, write_parquet, write_subjects
from leakmatch.gallery.templates import NORM_TOLERANCE
from leakmatch.sealed.keys import Keys, Secret
from leakmatch.sealed.stream import sealing

#: Refused rows that are listed one by one; all are counted.
_LISTED: Final = 20


def no_progress(done: int, total: int) -> None:
    """Keeps quiet."""


@dataclass(slots=True)
class Imported:
    """What became of the rows of a file. ``refused``: why, by row number from 1, the first few of them.

    ``hashes``: how many kinds of hashes it had. ``erased_before``: how many of the people it brought had been removed
    from the gallery earlier; ``who``: the first of them.
    """

    file: Path
    sealed: bool = False
    rows: int = 0
    added: int = 0
    known: int = 0
    subjects: int = 0
    hashes: int = 0
    refusals: int = 0
    refused: dict[int, str] = field(default_factory=dict)
    erased_before: int = 0
    who: list[str] = field(default_factory=list)


def import_templates(
    gallery: Gallery,
    file: Path,
    *,
    keys: Keys | None = None,
    trust_model: bool = False,
    hashes: bool = True,
    progress: Progress = no_progress,
) -> Imported:
    """Add the templates of an npz or Parquet ``file`` (:mod:`leakmatch.gallery.template_files`) to ``gallery``.

    All rows that can be taken are added in one step, or on any error none. A file that was imported before, or a photo
    (SHA-256) that its subject has already, adds nothing. A row is refused where its vector is not finite or not of unit
    norm, or where it names no subject. ``keys`` open a file that is sealed. ``trust_model``: take a file that does not
    say which model made its templates. ``hashes``: add the hashes that it has.

    Raises :class:`ModelMismatch` for templates of another model or length, or with other hashes; :class:`UsageError`
    for a file that is no template file, :class:`~leakmatch.errors.StorageError` where the disk is full.
    """
    with open_templates(file, keys) as templates:
        require_model(templates, file, gallery.model_id, gallery.dimension, trust_model=trust_model)
        kinds = templates.about.hashes if hashes else ()
        require_same_hashes(gallery, kinds, str(file))
        report = Imported(file, templates.sealed, rows=templates.count, hashes=len(kinds))
        digest = templates.digest()
        if gallery.was_imported(digest):
            report.known = templates.count
            return report

        def accepted() -> Iterator[Rows]:
            done = 0
            for rows in templates.parts():
                progress(done, templates.count)
                good = _good(rows, done, report)
                taken = rows.take(good)
                taken.path[:] = [
                    path or f"{file.name}#{done + i + 1}" for i, path in zip(good, taken.path, strict=True)
                ]
                taken.quality[:] = [_between_0_and_1(quality) for quality in taken.quality]
                if not kinds:
                    taken.hashes.clear()
                yield taken
                done += len(rows)

        def noted(added: Added) -> dict[str, Any]:
            where = str(file.absolute())
            return entry("imported", file=where, sealed=report.sealed, templates=added.templates)

        others = [p for p in templates.about.others if not _wrong_subject(p.subject_id, p.name, expires=p.expires)]
        added = gallery.add_table(accepted(), kinds, others=others, imported=digest, noted=noted)
    report.added, report.subjects = added.templates, added.subjects
    report.erased_before, report.who = added.erased_before, added.who
    report.known = report.rows - report.added - report.refusals
    return report


def require_same_hashes(gallery: Gallery, kinds: Collection[HashKind], what: str) -> None:
    """Raise :class:`ModelMismatch` where both have hashes, and not of the same kinds: some would never be found."""
    own = gallery.table().kinds if kinds else []
    if own and set(own) != set(kinds):
        lacking = ", ".join(map(str, sorted(set(own) - set(kinds), key=str))) or "none"
        strange = ", ".join(map(str, sorted(set(kinds) - set(own), key=str))) or "none"
        raise ModelMismatch(
            f"{what}: its hashes are not those of {gallery.path}: of the gallery's it lacks {lacking}, and has besides "
            f"{strange}. One of the two is of another version of LeakMatch; enrol its photos again."
        )


def require_model(
    templates: TemplateFile, file: Path, model_id: str, dimension: int, *, trust_model: bool = False
) -> None:
    """Raise :class:`ModelMismatch` or :class:`UsageError` unless the templates are of this model and length."""
    if templates.model_id:
        if templates.model_id != model_id:
            pack = f" (pack {templates.about.pack})" if templates.about.pack else ""
            raise ModelMismatch(
                f"{file}: its templates were made with the model {templates.model_id}{pack}, the gallery's with "
                f"{model_id}. They cannot be compared."
            )
    elif not trust_model:
        raise UsageError(
            f"{file}: does not say which model made its templates (model_id). Templates of two models cannot be "
            f"compared. If you know that it was {model_id}, add --trust-model."
        )
    if templates.count and templates.dimension != dimension:
        raise ModelMismatch(f"{file}: its templates have {templates.dimension} numbers, the gallery's {dimension}.")


def _good(rows: Rows, done: int, report: Imported) -> list[int]:
    """The numbers of the rows that can be taken; the others are counted in ``report``."""
    with np.errstate(over="ignore", invalid="ignore"):
        norms = np.sqrt(np.einsum("ij,ij->i", rows.vectors, rows.vectors, dtype=np.float64))
        unit: BoolArray = np.abs(norms - 1) <= NORM_TOLERANCE
    good = []
    for i, subject_id in enumerate(rows.subject_id):
        reason = _wrong_subject(subject_id, rows.name[i], rows.path[i], rows.detail[i], expires=rows.expires[i])
        if not unit[i]:
            reason = f"the norm of its vector is {norms[i]:.4g}, not 1"
        if not reason:
            good.append(i)
            continue
        report.refusals += 1
        if len(report.refused) < _LISTED:
            report.refused[done + i + 1] = reason
    return good


def _wrong_subject(subject_id: str, *texts: str, expires: str = "") -> str:
    """Why a subject cannot be stored as it is; empty where it can."""
    if not subject_id:
        return "it names no subject"
    if not all(map(_is_text, (subject_id, *texts))):
        return "its subject, name or path is no Unicode text"
    try:
        if expires:
            parse_date(expires)
    except UsageError as error:
        return f"its last day: {error}"
    return ""


def _is_text(value: str) -> bool:
    """Whether ``value`` can be stored; half of a surrogate pair cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def _between_0_and_1(quality: float) -> float:
    return min(max(quality, 0.0), 1.0) if quality == quality else 0.0


# --- out --------------------------------------------------------------------------------------------------------


def export_templates(
    gallery: Gallery, target: Path, format: str, progress: Progress = no_progress, *, secret: Secret | None = None
) -> int:
    """Write all templates of ``gallery``, and what belongs to them, to ``target``; returns how many.

    ``format``: a key of :data:`FORMATS`. ``npz`` and ``parquet`` have all that the gallery knows of these people
    but the photos that were refused, and can be imported again. ``faiss`` is an index for inner product whose ids are
    the enrolment ids; the table of who they are is written beside it, as ``TARGET.csv``. ``secret``: what the file is
    sealed with; ``None`` leaves it open to whoever has it, and readable on this machine by its owner only.

    Raises :class:`UsageError` for another format, and for a sealed index, which no other tool could read;
    :class:`~leakmatch.errors.StorageError` where the disk is full.
    """
    if format not in FORMATS:
        raise UsageError(f"There is no format {format!r}. There are: {', '.join(FORMATS)}.")
    if format == FAISS and secret is not None:
        raise UsageError(
            "A faiss index is for other tools, and none of them can read what is sealed. Add --unsealed, and keep the "
            "index safe yourself; or export npz or parquet."
        )
    table = gallery.table()
    with replacing(target) if secret is None else sealing(target, secret) as stream:
        FORMATS[format](table, _about(gallery, table), stream, progress)
    if format == FAISS:
        with replacing(target.with_name(f"{target.name}.csv")) as stream:
            write_subjects(table, stream)
    return len(table)


def _about(gallery: Gallery, table: Table) -> About:
    info = gallery.info()
    return About(
        pack=info["pack"],
        model_id=gallery.model_id,
        gallery=gallery.id,
        created=info["created"],
        dimension=gallery.dimension,
        purpose=gallery.purpose,
        legal_basis=gallery.legal_basis,
        subjects=info["subjects"],
        templates=len(table),
        refused_left_out=info["photos_refused"],
        hashes=tuple(table.kinds),
        others=tuple(table.others()),
    )


FAISS: Final = "faiss"

#: The formats of an export.
FORMATS: Final[dict[str, Callable[[Table, About, IO[bytes], Progress], None]]] = {
    FAISS: write_faiss,
    "npz": write_npz,
    "parquet": write_parquet,
}
