"""The tables of a case, and what must hold between them."""

from __future__ import annotations

from typing import Final

from leakmatch.records import Evidence, Outcome, QualityReason

APPLICATION_ID: Final = 0x4C4D4341  # "LMCA"
VERSION: Final = 3

SCHEMA: Final = (
    """CREATE TABLE files (
        file INTEGER PRIMARY KEY,       -- order of the inventory
        source INTEGER NOT NULL,        -- index of the source argument
        locator TEXT NOT NULL,
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL
    )""",
    """CREATE TABLE finished_files (
        file INTEGER PRIMARY KEY,
        sha256 BLOB,
        entries INTEGER NOT NULL        -- rows of the ledger that the walk of this file announced
    )""",
    """CREATE TABLE stops (           -- where every walk of a file ends an item: see docs/isolation.md
        file INTEGER NOT NULL, position INTEGER NOT NULL,
        next INTEGER NOT NULL,          -- the position of what comes after the item and all that is in it
        outcome TEXT NOT NULL, reason TEXT NOT NULL,
        PRIMARY KEY (file, position)
    ) WITHOUT ROWID""",
    """CREATE TABLE items (
        file INTEGER NOT NULL, position INTEGER NOT NULL, frame INTEGER NOT NULL,
        locator TEXT NOT NULL,
        sha256 BLOB,
        bytes INTEGER NOT NULL,
        kind TEXT NOT NULL,
        outcome TEXT NOT NULL,
        detail TEXT NOT NULL,
        width INTEGER, height INTEGER,
        faces INTEGER NOT NULL,
        searches INTEGER NOT NULL,      -- templates of this item that were compared with the gallery
        hash BLOB,                      -- phash and dhash of the picture, 16 bytes; null where no picture was decoded
        primary_file INTEGER, primary_position INTEGER,  -- of a duplicate: the item that was looked at
        members INTEGER,                -- of a container: how many its reader gave; null where it was not opened as one
        PRIMARY KEY (file, position, frame)
    ) WITHOUT ROWID""",
    """CREATE INDEX items_by_sha256 ON items (sha256, file, position)
        WHERE primary_file IS NULL AND frame = 0 AND kind IN ('image', 'frame')""",
    """CREATE TABLE faces (
        file INTEGER NOT NULL, position INTEGER NOT NULL, frame INTEGER NOT NULL, face INTEGER NOT NULL,
        box BLOB NOT NULL,              -- float32[4]
        landmarks BLOB NOT NULL,        -- float32[5,2]
        detector_score REAL NOT NULL,
        quality REAL NOT NULL,
        quality_reason TEXT NOT NULL,   -- what bounds a low quality; empty for a good one
        PRIMARY KEY (file, position, frame, face)
    ) WITHOUT ROWID""",
    """CREATE TABLE candidates (
        file INTEGER NOT NULL, position INTEGER NOT NULL, frame INTEGER NOT NULL,
        face INTEGER,                   -- null where only the file or the picture matched
        subject_id TEXT NOT NULL,
        enrolment INTEGER NOT NULL,     -- the enrolled photo that gave the score or the picture
        rank INTEGER NOT NULL,
        score REAL,
        chance REAL,                    -- probability per pair of faces that chance alone does as well; null: unknown
        chance_low REAL, chance_high REAL,  -- its 95 % interval
        looks INTEGER NOT NULL,         -- 2 where the score is from a second look
        evidence TEXT NOT NULL,
        hash_distance INTEGER,
        picture_chance REAL             -- the same per pair of pictures; null where the picture did not match
    )""",
    "CREATE INDEX candidates_by_item ON candidates (file, position, frame)",
    """CREATE TABLE crops (
        file INTEGER NOT NULL, position INTEGER NOT NULL, frame INTEGER NOT NULL, face INTEGER NOT NULL,
        jpeg BLOB NOT NULL,
        PRIMARY KEY (file, position, frame, face)
    )""",
    """CREATE TABLE second_looks (     -- faces that were looked at again, whatever came of it
        file INTEGER NOT NULL, position INTEGER NOT NULL, frame INTEGER NOT NULL, face INTEGER NOT NULL,
        PRIMARY KEY (file, position, frame, face)
    ) WITHOUT ROWID""",
    """CREATE TABLE incidents (
        file INTEGER NOT NULL,
        locator TEXT NOT NULL,
        stage TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL
    )""",
    "CREATE INDEX incidents_by_item ON incidents (file, locator)",
)

#: The one table more of a case that keeps templates. Other cases do not have it.
KEPT: Final = """CREATE TABLE kept (
    file INTEGER NOT NULL, position INTEGER NOT NULL,  -- of an item that was looked at
    sealed BLOB NOT NULL,           -- all that was seen in it, its frames included: see docs/rescan.md
    PRIMARY KEY (file, position)
)"""

#: What a rescan takes over from the case that it is of, and the order in which it is sealed.
TAKEN_OVER: Final = {
    "files": "file",
    "finished_files": "file",
    "stops": "file, position",
    "items": "file, position, frame",
    "faces": "file, position, frame, face",
    "incidents": "rowid",
}

#: Queries that count what breaks the ledger, and how to say it. All must give 0.
MUST_BE_EMPTY: Final = (
    (
        f"SELECT count(*) FROM items WHERE outcome NOT IN ({', '.join(repr(str(o)) for o in Outcome)})",
        "items have no known outcome",
    ),
    (
        "SELECT count(*) FROM items WHERE outcome = 'duplicate' AND primary_file IS NULL",
        "duplicates do not say of what",
    ),
    (
        """SELECT (SELECT count(*) FROM items WHERE file NOT IN (SELECT file FROM files))
           + (SELECT count(*) FROM finished_files WHERE file NOT IN (SELECT file FROM files))""",
        "rows belong to no source file",
    ),
    (
        """SELECT count(*) FROM items i WHERE primary_file IS NULL AND faces <> (SELECT count(*) FROM faces f
           WHERE f.file = i.file AND f.position = i.position AND f.frame = i.frame)""",
        "items have another number of faces than they say",
    ),
    (
        """SELECT count(*) FROM faces f WHERE NOT EXISTS (SELECT 1 FROM items i
           WHERE i.file = f.file AND i.position = f.position AND i.frame = f.frame)""",
        "faces have no item",
    ),
    (
        f"SELECT count(*) FROM faces WHERE quality_reason NOT IN ({', '.join(repr(str(r)) for r in QualityReason)})",
        "faces have no known reason of their quality",
    ),
    (
        f"SELECT count(*) FROM candidates WHERE evidence NOT IN ({', '.join(repr(str(e)) for e in Evidence)})",
        "candidates have no known evidence",
    ),
    (
        """SELECT count(*) FROM candidates c WHERE c.face IS NOT NULL AND NOT EXISTS (SELECT 1 FROM faces f
           WHERE f.file = c.file AND f.position = c.position AND f.frame = c.frame AND f.face = c.face)""",
        "candidates have no face",
    ),
    (
        """SELECT count(*) FROM candidates c WHERE NOT EXISTS (SELECT 1 FROM items i
           WHERE i.file = c.file AND i.position = c.position AND i.frame = c.frame)""",
        "candidates have no item",
    ),
    (
        """SELECT count(*) FROM items d WHERE d.primary_file IS NOT NULL AND EXISTS (
             SELECT 1 FROM finished_files f WHERE f.file = d.primary_file) AND NOT EXISTS (
             SELECT 1 FROM items i WHERE i.file = d.primary_file AND i.position = d.primary_position
             AND i.frame = 0 AND i.sha256 = d.sha256 AND i.primary_file IS NULL)""",
        "duplicates have no original",
    ),
)
