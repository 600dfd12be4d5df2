"""Many people at once come into a gallery: those of a template file, or of another gallery."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from leakmatch.database import Database
from leakmatch.gallery.adding import known, last_photo, listed, photo_row, put_subjects, subject_rows
from leakmatch.gallery.people import People
from leakmatch.gallery.references import reference
from leakmatch.gallery.rows import Photo
from leakmatch.gallery.table import HashKind, Person, Rows

#: People who were erased before are named up to so many; all are counted.
_NAMED: Final = 20


@dataclass(slots=True)
class Added:
    """What was new: ``templates``, ``subjects``, photos that were ``refused`` at enrolment.

    ``erased_before``: how many of these subjects were removed from the gallery earlier, and came back so; ``who``: the
    first of them.
    """

    templates: int = 0
    subjects: int = 0
    refused: int = 0
    erased_before: int = 0
    who: list[str] = field(default_factory=list)


def was_imported(database: Database, sha256: str) -> bool:
    """Whether the template file with this SHA-256 (hexadecimal) was imported before."""
    return reference(database, "file", sha256) in (database.get("imported") or [])


def add_table(
    database: Database,
    parts: Iterable[Rows],
    kinds: Sequence[HashKind],
    *,
    refused: Iterable[Photo] = (),
    others: Sequence[Person] = (),
    names_stay: bool = False,
    imported: str = "",
    noted: Callable[[Added], Mapping[str, Any]] | None = None,
) -> Added:
    """Add every row of ``parts``, whose hashes are of ``kinds``, photos that were ``refused``, and ``others``.

    In a transaction of its own: all of it or nothing. Left out is a photo that its subject has already, by its SHA-256
    or, where that is not known, by its template. Of two last days on which to keep a subject the earlier holds; of two
    names the new one, or with ``names_stay`` the old one. ``imported``: SHA-256 of the file that they come from, to be
    remembered; ``noted``: the entry for the log.
    """
    with database.transaction(), database.large_cache():
        joining = _Joining(database, names_stay=names_stay)
        for rows in parts:
            joining.add(rows, kinds)
        joining.put([(person.subject_id, person.name, person.expires) for person in others])
        for photo in refused:
            joining.refuse(photo)
        database.put("last_photo", joining.photo)
        if imported:
            # The digest of a file with one person's template would be one of their template.
            digests = [*(database.get("imported") or []), reference(database, "file", imported)]
            database.put("imported", digests)
        if noted is not None:
            database.note(noted(joining.added))
    return joining.added


class _Joining:
    """What goes on within the transaction. ``photo``: the enrolment id that was given last."""

    def __init__(self, database: Database, *, names_stay: bool) -> None:
        self.added = Added()
        self.photo = last_photo(database)
        self._database = database
        self._names_stay = names_stay
        self._erased = bool(database.one("SELECT EXISTS (SELECT 1 FROM erasures)"))

    def add(self, rows: Rows, kinds: Sequence[HashKind]) -> None:
        """Add those rows that are new."""
        database = self._database
        self.put(list(zip(rows.subject_id, rows.name, rows.expires, strict=True)))
        keep = self._new(rows)
        numbers = range(self.photo + 1, self.photo + 1 + len(keep))
        numbered = list(zip(numbers, keep, strict=True))
        database.insert("photos", [photo_row(photo, _photo(rows, i)) for photo, i in numbered])
        blobs = rows.vectors.astype("<f4", copy=False)
        database.insert("templates", [(photo, blobs[i].tobytes()) for photo, i in numbered])
        for kind, column in zip(kinds, rows.hashes, strict=True):
            database.insert(
                "hashes",
                [
                    (photo, kind.scope, kind.algorithm, column.bits[i].tobytes(), float(column.quality[i]))
                    for photo, i in numbered
                    if column.quality[i] == column.quality[i]
                ],
            )
        self.photo += len(keep)
        self.added.templates += len(keep)

    def put(self, people: Sequence[tuple[str, str, str]]) -> None:
        """Subjects: id, name, the last day on which to keep them; empty where there is none."""
        names: dict[str, str] = {}
        expires: dict[str, str] = {}
        for subject_id, name, day in people:
            names[subject_id] = name or names.get(subject_id, "")
            expires[subject_id] = _earlier(day, expires.get(subject_id, ""))
        new = set(names)
        for subject_id, name, day in subject_rows(self._database, names):
            new.discard(subject_id)
            names[subject_id] = (name if self._names_stay else "") or names[subject_id]
            expires[subject_id] = _earlier(day, expires[subject_id])
        if self._erased:
            back = People(self._database).erased_before(new)
            self.added.erased_before += len(back)
            self.added.who += back[: _NAMED - len(self.added.who)]
        put_subjects(self._database, set(names), names, expires)
        self.added.subjects += len(new)

    def refuse(self, photo: Photo) -> None:
        """Add a photo that was refused, if it is new; its subject must be there."""
        if not listed(self._database, photo):
            self.photo += 1
            self.added.refused += 1
            self._database.insert("photos", [photo_row(self.photo, photo)])

    def _new(self, rows: Rows) -> list[int]:
        """The numbers of rows whose subject does not have the photo; earlier refusals of it are taken out."""
        seen: set[tuple[str, bytes]] = set()
        templates = self._unnamed({rows.subject_id[i] for i, sha256 in enumerate(rows.sha256) if sha256 is None})
        keep = []
        for i, (subject_id, sha256) in enumerate(zip(rows.subject_id, rows.sha256, strict=True)):
            if sha256 is None:
                key = (subject_id, _digest(rows.vectors[i].astype("<f4", copy=False).tobytes()))
                if key in templates:
                    continue
                templates.add(key)
            else:
                key = (subject_id, sha256)
                there = known(self._database, *key)
                if key in seen or (there is not None and not there.refusal):
                    continue
                if there is not None:
                    self._database.delete("photos", "subject_id = ? AND sha256 = ?", key)
                seen.add(key)
            keep.append(i)
        return keep

    def _unnamed(self, subjects: set[str]) -> set[tuple[str, bytes]]:
        """The templates of photos without SHA-256 that these subjects have: each as subject and a digest."""
        query = (
            "SELECT t.vector FROM photos p JOIN templates t USING (photo) WHERE p.subject_id = ? AND p.sha256 IS NULL"
        )
        return {
            (subject, _digest(vector)) for subject in subjects for (vector,) in self._database.select(query, (subject,))
        }


def _photo(rows: Rows, i: int) -> Photo:
    return Photo(rows.subject_id[i], rows.path[i], rows.sha256[i], "", rows.detail[i], rows.quality[i])


def _digest(vector: bytes) -> bytes:
    return hashlib.sha256(vector).digest()


def _earlier(a: str, b: str) -> str:
    """The earlier of two days written as 2027-01-31; that which is none is later than any."""
    return min(filter(None, (a, b)), default="")
