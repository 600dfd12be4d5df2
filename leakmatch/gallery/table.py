"""All that a gallery knows of the people in it, as a table that is read by parts: what is exported, and merged.

A row is a template: the photo it was made from, that photo's hashes, and its subject. Refused photos have none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from leakmatch.arrays import ByteArray, FloatArray
from leakmatch.database import Database, Row
from leakmatch.errors import IntegrityError
from leakmatch.gallery import templates as stored
from leakmatch.gallery.templates import StoredTemplates


@dataclass(frozen=True, slots=True)
class HashKind:
    """Hashes of one ``scope`` ("picture", "face") and algorithm; each has ``size`` bytes."""

    scope: str
    algorithm: str
    size: int

    def __str__(self) -> str:
        return f"{self.algorithm} ({self.scope})"


@dataclass(frozen=True, slots=True)
class HashColumn:
    """Hashes of one kind: ``bits`` uint8[N,size], ``quality`` float32[N], NaN where a photo has no such hash."""

    bits: ByteArray
    quality: FloatArray


@dataclass(frozen=True, slots=True)
class Rows:
    """Some rows of the table: ``vectors`` float32[N,D] of unit norm; lists of N of the other columns.

    ``expires``: the last day on which to keep the subject, or empty. ``hashes``: a column for each kind of hash.
    """

    vectors: FloatArray
    subject_id: list[str]
    name: list[str]
    expires: list[str]
    path: list[str]
    sha256: list[bytes | None]
    quality: list[float]
    detail: list[str]
    hashes: list[HashColumn]

    def __len__(self) -> int:
        return len(self.subject_id)


def hash_kinds(database: Database) -> list[HashKind]:
    """The kinds of hashes in the gallery. Raises :class:`IntegrityError` where two of one kind differ in size."""
    found = [
        HashKind(*row)
        for row in database.select("SELECT DISTINCT scope, algorithm, length(bits) FROM hashes ORDER BY 1, 2")
    ]
    if len({(kind.scope, kind.algorithm) for kind in found}) != len(found):
        raise IntegrityError(f"{database.path}: its hashes are of several lengths. Restore it from a copy.")
    return found


def rows(database: Database, templates: StoredTemplates, kinds: Sequence[HashKind]) -> Iterator[Rows]:
    """Every row, by enrolment id, at most :data:`~leakmatch.gallery.templates.PART` at a time."""
    texts = parts(columns(database, "p.photo, p.subject_id, s.name, s.expires, p.path, p.sha256, p.quality, p.detail"))
    for vectors, values in zip(templates.parts(), texts, strict=True):
        photo, subject_id, name, expires, path, sha256, quality, detail = map(list, zip(*values, strict=True))
        hashes = _hashes(database, photo, kinds)
        yield Rows(vectors, subject_id, name, expires, path, sha256, quality, detail, hashes)


def columns(database: Database, wanted: str) -> Iterator[Row]:
    """``wanted`` (SQL; ``p`` a photo, ``s`` its subject) of every row of the table, by enrolment id."""
    return database.select(
        f"SELECT {wanted} FROM photos p JOIN subjects s USING (subject_id) WHERE p.refusal = '' ORDER BY p.photo"
    )


def parts(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """As many at a time as of the templates."""
    while part := list(itertools.islice(rows, stored.PART)):
        yield part


def hash_column(database: Database, kind: HashKind) -> Iterator[HashColumn]:
    """The hashes of one kind, in parts as :func:`rows`."""
    found = database.select(
        """SELECT h.bits, h.quality FROM photos p
           LEFT JOIN hashes h ON h.photo = p.photo AND h.scope = ? AND h.algorithm = ?
           WHERE p.refusal = '' ORDER BY p.photo""",
        (kind.scope, kind.algorithm),
    )
    none = bytes(kind.size)
    for part in parts(found):
        bits = np.frombuffer(b"".join(bits or none for bits, _ in part), np.uint8).reshape(len(part), kind.size)
        quality = np.array([np.nan if quality is None else quality for _, quality in part], np.float32)
        yield HashColumn(bits, quality)


def _hashes(database: Database, photos: list[int], kinds: Sequence[HashKind]) -> list[HashColumn]:
    """A column for each kind, of photos in ascending order."""
    n = len(photos)
    found = [HashColumn(np.zeros((n, k.size), np.uint8), np.full(n, np.nan, np.float32)) for k in kinds]
    by_kind = {(kind.scope, kind.algorithm): column for kind, column in zip(kinds, found, strict=True)}
    row = {photo: i for i, photo in enumerate(photos)}
    query = "SELECT photo, scope, algorithm, bits, quality FROM hashes WHERE photo BETWEEN ? AND ?"
    for photo, scope, algorithm, bits, quality in database.select(query, (photos[0], photos[-1])):
        if photo in row:
            column = by_kind[scope, algorithm]
            column.bits[row[photo]] = np.frombuffer(bits, np.uint8)
            column.quality[row[photo]] = quality
    return found
