"""The tables of a gallery, and what an older gallery lacks."""

from __future__ import annotations

import secrets
from typing import Final

from leakmatch.database import Database
from leakmatch.gallery.references import REFERENCE_KEY, reference

APPLICATION_ID: Final = 0x4C4D4741  # "LMGA"
VERSION: Final = 2

_SUBJECTS: Final = """CREATE TABLE subjects (
        subject_id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        expires TEXT NOT NULL DEFAULT ''    -- the last day on which to keep it, as 2027-01-31; empty: no such day
    ) WITHOUT ROWID"""

# Nothing in it tells of a face: no template, no hash, no digest of a photo.
_ERASURES: Final = """CREATE TABLE erasures (
        number INTEGER PRIMARY KEY,
        erased TEXT NOT NULL,           -- when, UTC
        who TEXT NOT NULL,              -- account and machine
        reason TEXT NOT NULL,           -- as the user gave it
        scope TEXT NOT NULL,            -- subject: all of it; enrolments: some of its photos
        subject TEXT NOT NULL,          -- a keyed digest of the subject id (references.py)
        photos INTEGER NOT NULL,
        templates INTEGER NOT NULL,
        hashes INTEGER NOT NULL
    )"""

SCHEMA: Final = (
    _SUBJECTS,
    """CREATE TABLE photos (
        photo INTEGER PRIMARY KEY,      -- the enrolment id
        subject_id TEXT NOT NULL,
        path TEXT NOT NULL,             -- where it was enrolled from, printable
        sha256 BLOB,
        refusal TEXT NOT NULL,          -- reason code; empty where a template was made
        detail TEXT NOT NULL,
        quality REAL NOT NULL
    )""",
    "CREATE UNIQUE INDEX photos_by_sha256 ON photos (sha256, subject_id)",
    "CREATE INDEX photos_by_subject ON photos (subject_id)",
    "CREATE TABLE templates (photo INTEGER PRIMARY KEY, vector BLOB NOT NULL)",  # float32[D], little-endian
    """CREATE TABLE hashes (
        photo INTEGER NOT NULL,
        scope TEXT NOT NULL,            -- picture, face
        algorithm TEXT NOT NULL,
        bits BLOB NOT NULL,
        quality REAL NOT NULL,
        PRIMARY KEY (photo, scope, algorithm)
    ) WITHOUT ROWID""",
    _ERASURES,
)

MUST_BE_EMPTY: Final = (
    (
        "SELECT count(*) FROM photos WHERE refusal = '' AND photo NOT IN (SELECT photo FROM templates)",
        "enrolled photos have no template",
    ),
    (
        "SELECT count(*) FROM templates WHERE photo NOT IN (SELECT photo FROM photos WHERE refusal = '')",
        "templates have no photo",
    ),
    ("SELECT count(*) FROM hashes WHERE photo NOT IN (SELECT photo FROM photos)", "hashes have no photo"),
    (
        "SELECT count(*) FROM photos WHERE subject_id NOT IN (SELECT subject_id FROM subjects)",
        "photos have no subject",
    ),
)


def fill(database: Database, about: dict[str, object]) -> None:
    """The first rows of a new gallery. Within a transaction."""
    database.put("gallery", about)
    database.put(REFERENCE_KEY, secrets.token_hex(32))


def _from_1(database: Database) -> None:
    """Dates, erasures, and what the gallery is for."""
    people = database.delete("subjects", "1")
    database.define("DROP TABLE subjects")
    for statement in (_SUBJECTS, _ERASURES):
        database.define(statement)
    database.insert("subjects", [(*person, "") for person in people])
    fill(database, {**(database.get("gallery") or {}), "purpose": "", "legal_basis": ""})
    imported = [reference(database, "file", sha256) for sha256 in database.get("imported") or []]
    if imported:
        database.put("imported", imported)


#: By version: what brings a gallery to the next one, within a transaction.
UPGRADES: Final = {1: _from_1}
