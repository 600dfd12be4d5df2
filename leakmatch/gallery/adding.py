"""What goes into a gallery: photos that were judged."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from leakmatch.database import Database, Row
from leakmatch.gallery.rows import FACE, PICTURE, Enrolment, Photo


def known(database: Database, subject_id: str, sha256: bytes) -> Photo | None:
    """The photo with these bytes if it was offered for this subject before."""
    rows = database.select(
        "SELECT subject_id, path, sha256, refusal, detail, quality FROM photos WHERE sha256 = ? AND subject_id = ?",
        (sha256, subject_id),
    )
    return next((Photo(*row) for row in rows), None)


def add(
    database: Database,
    enrolments: list[Enrolment],
    refused: list[Photo],
    names: Mapping[str, str],
    expires: Mapping[str, str],
) -> None:
    """Accepted and refused photos; of their subjects the names, and the last days on which to keep them.

    In a transaction of its own: all of it or nothing.
    """
    with database.transaction():
        subjects = {photo.subject_id for photo in refused} | {e.photo.subject_id for e in enrolments}
        put_subjects(database, subjects, names, expires)
        photo = last_photo(database)
        for offered in refused:
            if not listed(database, offered):
                photo += 1
                database.insert("photos", [photo_row(photo, offered)])
        for enrolment in enrolments:
            photo += 1
            database.delete(  # an earlier refusal of the same photo
                "photos",
                "subject_id = ? AND refusal <> '' AND (sha256 = ? OR sha256 IS NULL AND path = ?)",
                (enrolment.photo.subject_id, enrolment.photo.sha256, enrolment.photo.path),
            )
            database.insert("photos", [photo_row(photo, enrolment.photo)])
            database.insert("templates", [(photo, enrolment.vector.astype("<f4").tobytes())])
            for scope, batches in ((PICTURE, enrolment.picture_hashes), (FACE, enrolment.face_hashes)):
                database.insert(
                    "hashes",
                    [(photo, scope, b.algorithm, b.bits[0].tobytes(), float(b.quality[0])) for b in batches],
                )
        database.put("last_photo", photo)  # so that an enrolment id is never given twice


def put_subjects(database: Database, subjects: set[str], names: Mapping[str, str], expires: Mapping[str, str]) -> None:
    """Subjects with what is given of them; the rest stays as it is. Within a transaction, as all that follow."""
    changed = []
    before = {row[0]: row for row in subject_rows(database, subjects)}
    for subject_id in sorted(subjects):
        _, name, date = before.get(subject_id, (subject_id, "", ""))
        row = (subject_id, names.get(subject_id) or name, expires.get(subject_id) or date)
        if row != before.get(subject_id):
            changed.append(row)
            if subject_id in before:
                database.delete("subjects", "subject_id = ?", (subject_id,))
    database.insert("subjects", changed)


def subject_rows(database: Database, subjects: Collection[str]) -> Iterator[Row]:
    """Id, name and last day of those ``subjects`` that are in it."""
    query = "SELECT * FROM subjects WHERE subject_id IN (SELECT value FROM json_each(?))"
    return database.select(query, (json.dumps(sorted(subjects)),))


def last_photo(database: Database) -> int:
    """The highest enrolment id that was ever given."""
    last = int(database.one("SELECT coalesce(max(photo), 0) FROM photos"))
    return max(last, int(database.get("last_photo") or 0))


def listed(database: Database, offered: Photo) -> bool:
    """Whether a refused photo was listed before: by its bytes, or by its place where they could not be read."""
    if offered.sha256 is not None:
        return known(database, offered.subject_id, offered.sha256) is not None
    return bool(
        database.one(
            "SELECT 1 FROM photos WHERE subject_id = ? AND path = ? AND sha256 IS NULL",
            (offered.subject_id, offered.path),
        )
    )


def photo_row(photo: int, offered: Photo) -> tuple[Any, ...]:
    """As it is stored."""
    return (
        photo,
        offered.subject_id,
        offered.path,
        offered.sha256,
        offered.refusal,
        offered.detail,
        float(offered.quality),
    )
