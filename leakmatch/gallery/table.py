"""All that a gallery knows of the people in it, as a table that is read by parts: what is exported, and merged.

A row is a template: the photo it was made from, that photo's hashes, and its subject. Refused photos have none.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from leakmatch.arrays import ByteArray, FloatArray
from leakmatch.database import Database, Row
from leakmatch.errors import IntegrityError
from leakmatch.gallery import templates as stored
from leakmatch.gallery.rows import Photo
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

    def take(self, numbers: Sequence[int]) -> Rows:
        """The rows with these numbers."""
        lists = {name: [getattr(self, name)[i] for i in numbers] for name in _LISTS}
        hashes = [HashColumn(column.bits[numbers], column.quality[numbers]) for column in self.hashes]
        return Rows(vectors=self.vectors[numbers], hashes=hashes, **lists)


_LISTS: Final = ("subject_id", "name", "expires", "path", "sha256", "quality", "detail")


@dataclass(frozen=True, slots=True)
class Person:
    """A subject who is in no row of a table, for want of a template. ``expires`` as in :class:`Rows`."""

    subject_id: str
    name: str
    expires: str


class Table:
    """The table of a gallery. Keep it from being changed meanwhile (``Gallery.open(..., steady=True)``)."""

    def __init__(self, database: Database, templates: StoredTemplates) -> None:
        """Raises :class:`IntegrityError` where two hashes of one kind differ in size."""
        self._database = database
        self.templates = templates
        query = "SELECT DISTINCT scope, algorithm, length(bits) FROM hashes ORDER BY 1, 2"
        self.kinds = [HashKind(*row) for row in database.select(query)]
        if len({(kind.scope, kind.algorithm) for kind in self.kinds}) != len(self.kinds):
            raise IntegrityError(f"{database.path}: its hashes are of several lengths. Restore it from a copy.")

    def __len__(self) -> int:
        return len(self.templates)

    def rows(self) -> Iterator[Rows]:
        """Every row, by enrolment id, at most :data:`~leakmatch.gallery.templates.PART` at a time."""
        wanted = ("p.photo", "p.subject_id", "s.name", "s.expires", "p.path", "p.sha256", "p.quality", "p.detail")
        for vectors, values in zip(self.templates.parts(), self.columns(*wanted), strict=True):
            photo, subject_id, name, expires, path, sha256, quality, detail = map(list, zip(*values, strict=True))
            yield Rows(vectors, subject_id, name, expires, path, sha256, quality, detail, self._hashes(photo))

    def columns(self, *wanted: str) -> Iterator[list[Row]]:
        """``wanted`` (SQL; ``p`` a photo, ``s`` its subject) of every row, in parts as :meth:`rows`."""
        return _parts(
            self._database.select(
                f"""SELECT {", ".join(wanted)} FROM photos p JOIN subjects s USING (subject_id)
                    WHERE p.refusal = '' ORDER BY p.photo"""
            )
        )

    def width(self, column: str) -> int:
        """The most characters of a text in a column (SQL, as in :meth:`columns`), at least 1."""
        query = f"SELECT max(length({column})) FROM photos p JOIN subjects s USING (subject_id) WHERE p.refusal = ''"
        return max(int(self._database.one(query) or 0), 1)

    def hashes(self, kind: HashKind) -> Iterator[HashColumn]:
        """The hashes of one kind, in parts as :meth:`rows`."""
        found = self._database.select(
            """SELECT h.bits, h.quality FROM photos p
               LEFT JOIN hashes h ON h.photo = p.photo AND h.scope = ? AND h.algorithm = ?
               WHERE p.refusal = '' ORDER BY p.photo""",
            (kind.scope, kind.algorithm),
        )
        none = bytes(kind.size)
        for part in _parts(found):
            bits = np.frombuffer(b"".join(bits or none for bits, _ in part), np.uint8).reshape(len(part), kind.size)
            yield HashColumn(
                bits, np.array([np.nan if quality is None else quality for _, quality in part], np.float32)
            )

    def _hashes(self, photos: list[int]) -> list[HashColumn]:
        """A column for each kind, of photos in ascending order."""
        n = len(photos)
        found = [HashColumn(np.zeros((n, k.size), np.uint8), np.full(n, np.nan, np.float32)) for k in self.kinds]
        by_kind = {(kind.scope, kind.algorithm): column for kind, column in zip(self.kinds, found, strict=True)}
        number = {photo: i for i, photo in enumerate(photos)}
        query = "SELECT photo, scope, algorithm, bits, quality FROM hashes WHERE photo BETWEEN ? AND ?"
        for photo, scope, algorithm, bits, quality in self._database.select(query, (photos[0], photos[-1])):
            if photo in number:
                column = by_kind[scope, algorithm]
                column.bits[number[photo]] = np.frombuffer(bits, np.uint8)
                column.quality[number[photo]] = quality
        return found

    # Whose it is

    def subject_ids(self) -> Iterator[str]:
        """Every subject, those without a template too."""
        return (subject for (subject,) in self._database.select("SELECT subject_id FROM subjects ORDER BY 1"))

    def photos_of(self, subject_id: str) -> set[bytes]:
        """What tells the enrolled photos of a subject from others: their SHA-256, and that of their template.

        Of a subject without any, a digest of the name and of what was refused stands for these.
        """
        query = "SELECT p.sha256, t.vector FROM photos p JOIN templates t USING (photo) WHERE p.subject_id = ?"
        found: set[bytes | None] = {None}
        for sha256, vector in self._database.select(query, (subject_id,)):
            found |= {sha256, _digest(vector)}
        if found == {None}:
            query = "SELECT sha256, path FROM photos WHERE subject_id = ? ORDER BY 1, 2"
            name = self._database.one("SELECT name FROM subjects WHERE subject_id = ?", (subject_id,))
            found.add(_digest(repr((name, list(self._database.select(query, (subject_id,))))).encode()))
        return {key for key in found if key is not None}

    def photos_of_several(self) -> int:
        """How many photos are enrolled for more than one subject."""
        query = """SELECT count(*) FROM (SELECT 1 FROM photos WHERE refusal = '' AND sha256 IS NOT NULL
                   GROUP BY sha256 HAVING count(*) > 1)"""
        return int(self._database.one(query))

    # What is in no row

    def others(self) -> Iterator[Person]:
        """The people without a template."""
        query = """SELECT * FROM subjects s WHERE NOT EXISTS
                   (SELECT 1 FROM photos p WHERE p.subject_id = s.subject_id AND p.refusal = '') ORDER BY subject_id"""
        return (Person(*row) for row in self._database.select(query))

    def refused(self) -> Iterator[Photo]:
        """The photos that were refused at enrolment."""
        query = (
            "SELECT subject_id, path, sha256, refusal, detail, quality FROM photos WHERE refusal <> '' ORDER BY photo"
        )
        return (Photo(*row) for row in self._database.select(query))


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def _parts(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """As many at a time as of the templates."""
    while part := list(itertools.islice(rows, stored.PART)):
        yield part
