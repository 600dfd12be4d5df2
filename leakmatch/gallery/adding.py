"""What goes into a gallery: photos that were judged, and templates that were made elsewhere.

Each function changes the tables within a transaction of its own: all of it or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from leakmatch.arrays import FloatArray
from leakmatch.database import Database, Row
from leakmatch.gallery.references import reference
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
    """Accepted and refused photos; of their subjects the names, and the last days on which to keep them."""
    with database.transaction():
        subjects = {photo.subject_id for photo in refused} | {e.photo.subject_id for e in enrolments}
        _put_subjects(database, subjects, names, expires)
        photo = _last_photo(database)
        for offered in refused:
            if not _listed(database, offered):
                photo += 1
                database.insert("photos", [_photo_row(photo, offered)])
        for enrolment in enrolments:
            photo += 1
            database.delete(  # an earlier refusal of the same photo
                "photos",
                "subject_id = ? AND refusal <> '' AND (sha256 = ? OR sha256 IS NULL AND path = ?)",
                (enrolment.photo.subject_id, enrolment.photo.sha256, enrolment.photo.path),
            )
            database.insert("photos", [_photo_row(photo, enrolment.photo)])
            database.insert("templates", [(photo, enrolment.vector.astype("<f4").tobytes())])
            for scope, batches in ((PICTURE, enrolment.picture_hashes), (FACE, enrolment.face_hashes)):
                database.insert(
                    "hashes",
                    [(photo, scope, b.algorithm, b.bits[0].tobytes(), float(b.quality[0])) for b in batches],
                )
        database.put("last_photo", photo)  # so that an enrolment id is never given twice


def was_imported(database: Database, sha256: str) -> bool:
    """Whether the template file with this SHA-256 (hexadecimal) was imported before."""
    return reference(database, "file", sha256) in (database.get("imported") or [])


def add_templates(
    database: Database, parts: Iterable[tuple[list[Photo], FloatArray, dict[str, str]]], file_sha256: str
) -> int:
    """Templates that were made elsewhere; returns how many were new. See :meth:`Gallery.add_templates`."""
    added = 0
    with database.transaction(), database.large_cache():
        photo = _last_photo(database)
        for photos, vectors, names in parts:
            _put_subjects(database, {p.subject_id for p in photos}, names, {})
            keep = _new_photos(database, photos)
            numbers = range(photo + 1, photo + 1 + len(keep))
            database.insert("photos", [_photo_row(n, photos[i]) for n, i in zip(numbers, keep, strict=True)])
            blobs = vectors.astype("<f4", copy=False)
            database.insert("templates", [(n, blobs[i].tobytes()) for n, i in zip(numbers, keep, strict=True)])
            photo += len(keep)
            added += len(keep)
        database.put("last_photo", photo)
        # The digest of a file with one person's template would be one of their template.
        database.put("imported", [*(database.get("imported") or []), reference(database, "file", file_sha256)])
    return added


def _new_photos(database: Database, photos: list[Photo]) -> list[int]:
    """The positions of the photos that their subject does not have; earlier refusals of them are taken out."""
    seen: set[tuple[str, bytes]] = set()
    keep = []
    for i, offered in enumerate(photos):
        if offered.sha256 is not None:
            key = (offered.subject_id, offered.sha256)
            there = known(database, *key)
            if key in seen or (there is not None and not there.refusal):
                continue
            if there is not None:
                database.delete("photos", "subject_id = ? AND sha256 = ?", key)
            seen.add(key)
        keep.append(i)
    return keep


def _put_subjects(database: Database, subjects: set[str], names: Mapping[str, str], expires: Mapping[str, str]) -> None:
    query = "SELECT * FROM subjects WHERE subject_id IN (SELECT value FROM json_each(?))"
    before: dict[str, Row] = {row[0]: row for row in database.select(query, (json.dumps(sorted(subjects)),))}
    changed = []
    for subject_id in sorted(subjects):
        _, name, date = before.get(subject_id, (subject_id, "", ""))
        row = (subject_id, names.get(subject_id) or name, expires.get(subject_id) or date)
        if row != before.get(subject_id):
            changed.append(row)
            if subject_id in before:
                database.delete("subjects", "subject_id = ?", (subject_id,))
    database.insert("subjects", changed)


def _last_photo(database: Database) -> int:
    last = int(database.one("SELECT coalesce(max(photo), 0) FROM photos"))
    return max(last, int(database.get("last_photo") or 0))


def _listed(database: Database, offered: Photo) -> bool:
    """Whether a refused photo was listed before: by its bytes, or by its place where they could not be read."""
    if offered.sha256 is not None:
        return known(database, offered.subject_id, offered.sha256) is not None
    return bool(
        database.one(
            "SELECT 1 FROM photos WHERE subject_id = ? AND path = ? AND sha256 IS NULL",
            (offered.subject_id, offered.path),
        )
    )


def _photo_row(photo: int, offered: Photo) -> tuple[Any, ...]:
    return (
        photo,
        offered.subject_id,
        offered.path,
        offered.sha256,
        offered.refusal,
        offered.detail,
        float(offered.quality),
    )
