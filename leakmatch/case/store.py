"""The case: one file that holds the ledger, the faces, the candidates and what the run was told.

Rows are keyed by where an item is (source file, position in its walk, frame), so that writing the same item twice is
impossible and an interrupted scan continues where it stopped. A case holds no templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from leakmatch.database import Database, Row
from leakmatch.errors import IntegrityError
from leakmatch.locator import Locator
from leakmatch.records import Entry, Evidence, ImageAnalysis, Incident, ItemKind, Outcome

APPLICATION_ID: Final = 0x4C4D4341  # "LMCA"
VERSION: Final = 1

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
        primary_file INTEGER, primary_position INTEGER,  -- of a duplicate: the item that was looked at
        PRIMARY KEY (file, position, frame)
    ) WITHOUT ROWID""",
    """CREATE INDEX items_by_sha256 ON items (sha256, file, position)
        WHERE primary_file IS NULL AND frame = 0 AND kind = 'image'""",
    """CREATE TABLE faces (
        file INTEGER NOT NULL, position INTEGER NOT NULL, frame INTEGER NOT NULL, face INTEGER NOT NULL,
        box BLOB NOT NULL,              -- float32[4]
        landmarks BLOB NOT NULL,        -- float32[5,2]
        detector_score REAL NOT NULL,
        quality REAL NOT NULL,
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
    """CREATE TABLE incidents (
        file INTEGER NOT NULL,
        locator TEXT NOT NULL,
        stage TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL
    )""",
    "CREATE INDEX incidents_by_item ON incidents (file, locator)",
)


class Key(NamedTuple):
    """Where an item is in a case: the source file, its position in the walk of that file, the frame (0: itself)."""

    file: int
    position: int
    frame: int = 0


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A file on disk below one of the source arguments, as it was when the case began."""

    file: int
    source: int
    locator: Locator
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """One subject who may be in one item. ``score`` has 4 decimals; the schema says what each field holds."""

    key: Key
    face: int | None
    subject_id: str
    enrolment: int
    rank: int
    score: float | None
    chance: float | None
    evidence: Evidence
    hash_distance: int | None = None
    picture_chance: float | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """What the figures of a case rest on.

    ``searches`` counts face templates compared with the gallery, ``pictures`` pictures whose hash was compared; a
    duplicate counts once. ``gallery_templates`` and ``gallery_pictures`` are the other side of each comparison.
    """

    searches: int
    pictures: int
    gallery_templates: int
    gallery_pictures: int

    @property
    def face_pairs(self) -> int:
        """The number of pairs of faces that were compared."""
        return self.searches * self.gallery_templates

    @property
    def picture_pairs(self) -> int:
        """The number of pairs of pictures that were compared."""
        return self.pictures * self.gallery_pictures

    def expected_false(self, candidate: Candidate) -> float | None:
        """How many candidates this strong chance alone would give in the whole scan; ``None`` if unknown.

        Where the face and the picture both speak, the stronger of the two counts.
        """
        by_face = None if candidate.chance is None else candidate.chance * self.face_pairs
        by_picture = None if candidate.picture_chance is None else candidate.picture_chance * self.picture_pairs
        known = [value for value in (by_face, by_picture) if value is not None]
        return min(known, default=None)


class Case:
    """The truth about one scan. ``Case.open(path)`` to read, :meth:`create` and :meth:`resume` to write."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def create(cls, path: Path, run: Mapping[str, Any], files: Iterable[SourceRow]) -> Case:
        """Begin a case. ``run`` holds everything that must not change while it goes on (JSON values)."""
        database = Database.create(path, APPLICATION_ID, VERSION, SCHEMA)
        with database.transaction():
            database.put("run", dict(run))
            database.insert("files", ((f.file, f.source, f.locator.to_json(), f.size, f.mtime_ns) for f in files))
        return cls(database)

    @classmethod
    def resume(cls, path: Path) -> Case:
        """Open an existing case to continue it."""
        return cls(Database.open(path, APPLICATION_ID, VERSION, "case", writable=True))

    @classmethod
    def open(cls, path: Path | str) -> Case:
        """Open an existing case to read it."""
        return cls(Database.open(Path(path), APPLICATION_ID, VERSION, "case", writable=False))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Case:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    # What the run was told, and how it ended

    @property
    def run(self) -> dict[str, Any]:
        """What the case began with: sources, gallery, models, settings, machine."""
        return dict(self._database.get("run") or {})

    @property
    def finished(self) -> dict[str, Any] | None:
        """How the scan ended (time, totals), or ``None`` while it has not."""
        value = self._database.get("finished")
        return None if value is None else dict(value)

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Record the end of the scan."""
        with self._database.transaction():
            self._database.put("finished", dict(summary))

    def totals(self) -> Totals:
        """The number of comparisons so far, read from the ledger."""
        run = self.run
        searches, pictures = next(
            self._database.select(
                """SELECT coalesce(sum(searches), 0), coalesce(sum(width IS NOT NULL), 0) FROM items
                   WHERE primary_file IS NULL"""
            )
        )
        return Totals(searches, pictures, run["gallery"]["templates"], run["gallery"]["pictures"])

    # Source files

    def files(self) -> list[SourceRow]:
        """The inventory the case began with, in order."""
        return [
            SourceRow(file, source, Locator.from_json(locator), size, mtime_ns)
            for file, source, locator, size, mtime_ns in self._database.select(
                "SELECT file, source, locator, size, mtime_ns FROM files ORDER BY file"
            )
        ]

    def finished_files(self) -> dict[int, bytes | None]:
        """SHA-256 of the source files that were read to their end."""
        return dict(self._database.select("SELECT file, sha256 FROM finished_files"))

    # Writing, one transaction at a time

    def write(self, batch: Batch) -> None:
        """Commit a batch of results: all of it or nothing."""
        database = self._database
        with database.transaction():
            database.insert("items", batch.items)
            database.insert("faces", batch.faces)
            database.insert("candidates", batch.candidates)
            database.insert("crops", batch.crops)
            database.insert("incidents", [row for row in dict.fromkeys(batch.incidents) if not self._recorded(row)])
            database.insert("finished_files", batch.finished_files)

    def _recorded(self, incident: Row) -> bool:
        """Whether an earlier, interrupted walk of the same file has met this incident."""
        return incident in self._database.select(
            "SELECT * FROM incidents WHERE file = ? AND locator = ?", (incident[0], incident[1])
        )

    def stored_positions(self, file: int) -> set[int]:
        """Positions of the ledger of one source file that are committed."""
        return {
            position
            for (position,) in self._database.select("SELECT position FROM items WHERE file = ? AND frame = 0", (file,))
        }

    def primary(self, sha256: bytes) -> Key | None:
        """The first item with these bytes that was looked at, if one is committed."""
        rows = self._database.select(
            """SELECT file, position FROM items
               WHERE sha256 = ? AND primary_file IS NULL AND frame = 0 AND kind = 'image'
               ORDER BY file, position LIMIT 1""",
            (sha256,),
        )
        return next((Key(*row) for row in rows), None)

    def prune(self, keep: float) -> None:
        """Drop same-face candidates (and crops nobody needs) expected more than ``keep`` times by chance."""
        totals = self.totals()
        pairs = max(totals.face_pairs, 1)
        with self._database.transaction():
            dropped = self._database.delete(
                "candidates", "evidence = 'same-face' AND chance IS NOT NULL AND chance * ? > ?", (pairs, keep)
            )
            if dropped:
                self._database.delete(
                    "crops",
                    """NOT EXISTS (SELECT 1 FROM candidates c WHERE c.file = crops.file
                       AND c.position = crops.position AND c.frame = crops.frame AND c.face = crops.face)""",
                )

    # Reading, in source order

    def select(self, query: str, values: Row = ()) -> Iterator[Row]:
        """Rows of a query over the tables of ``SCHEMA``; for export and report."""
        return self._database.select(query, values)

    def candidates(self) -> Iterator[Candidate]:
        """Stored candidates of items that were looked at, in source order, then rank."""
        for row in self._database.select(
            """SELECT file, position, frame, face, subject_id, enrolment, rank, score, chance, evidence, hash_distance,
                      picture_chance
               FROM candidates
               ORDER BY file, position, frame, score IS NULL, score DESC, rank, face, subject_id"""
        ):
            *key, face, subject, enrolment, rank, score, chance, evidence, distance, picture = row
            yield Candidate(
                Key(*key), face, subject, enrolment, rank, score, chance, Evidence(evidence), distance, picture
            )

    def crop(self, key: Key, face: int) -> bytes | None:
        """The aligned 112x112 JPEG of a candidate's face."""
        value = self._database.one(
            "SELECT jpeg FROM crops WHERE file = ? AND position = ? AND frame = ? AND face = ?", (*key, face)
        )
        return None if value is None else bytes(value)

    def outcomes(self) -> dict[Outcome, int]:
        """How many items ended in each outcome (frames of animations not counted)."""
        return {
            Outcome(outcome): count
            for outcome, count in self._database.select(
                "SELECT outcome, count(*) FROM items WHERE frame = 0 GROUP BY outcome ORDER BY outcome"
            )
        }

    # Checking

    def verify(self) -> None:
        """Raise :class:`IntegrityError` unless the file is sound and its ledger adds up."""
        self._database.verify()
        for file, entries, found, highest in self._database.select(
            """SELECT f.file, f.entries, count(i.position), max(i.position) FROM finished_files f
               LEFT JOIN items i ON i.file = f.file AND i.frame = 0 GROUP BY f.file"""
        ):
            if found != entries or highest != entries - 1:
                raise IntegrityError(
                    f"{self.path}: the ledger does not add up: source file {file} has {found} rows of {entries}."
                )
        for query, what in _MUST_BE_EMPTY:
            count = self._database.one(query)
            if count:
                raise IntegrityError(f"{self.path}: the ledger does not add up: {count} {what}.")
        if self.finished is not None:
            missing = self._database.one(
                "SELECT count(*) FROM files WHERE file NOT IN (SELECT file FROM finished_files)"
            )
            if missing:
                raise IntegrityError(f"{self.path}: finished, but {missing} source files were not read to their end.")

    @property
    def digest(self) -> str:
        """The content digest, in hexadecimal."""
        return self._database.digest


_MUST_BE_EMPTY: Final = (
    (
        f"SELECT count(*) FROM items WHERE outcome NOT IN ({', '.join(repr(str(o)) for o in Outcome)})",
        "items have no known outcome",
    ),
    (
        """SELECT count(*) FROM items i WHERE primary_file IS NULL AND faces <> (SELECT count(*) FROM faces f
           WHERE f.file = i.file AND f.position = i.position AND f.frame = i.frame)""",
        "items have another number of faces than they say",
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


_NO_PRIMARY: Final = (None, None)


class Batch:
    """Results waiting to be committed together by :meth:`Case.write`."""

    def __init__(self) -> None:
        self.items: list[Row] = []
        self.faces: list[Row] = []
        self.candidates: list[Row] = []
        self.crops: list[Row] = []
        self.incidents: list[Row] = []
        self.finished_files: list[Row] = []

    def __len__(self) -> int:
        return len(self.items) + len(self.finished_files) + len(self.incidents)

    def add_entry(self, file: int, entry: Entry, outcome: Outcome, detail: str, primary: Key | None = None) -> None:
        """An item that is not (or no longer) looked at: a container, no picture, a duplicate, a failure."""
        self.items.append(
            (file, entry.position, 0, entry.locator.to_json(), entry.sha256, entry.size, str(entry.kind), str(outcome))
            + (detail, None, None, 0, 0)
            + (_NO_PRIMARY if primary is None else (primary.file, primary.position))
        )

    def add_analysis(self, file: int, entry: Entry, analysis: ImageAnalysis) -> Key:
        """A picture that was looked at: its row and its faces."""
        key = Key(file, entry.position, analysis.frame)
        locator = entry.locator.frame(analysis.frame) if analysis.frame else entry.locator
        kind = ItemKind.FRAME if analysis.frame else entry.kind
        searches = 0 if analysis.templates is None else int(np.count_nonzero(analysis.templates.valid))
        seen = (str(analysis.outcome), analysis.detail, analysis.width, analysis.height, len(analysis.faces), searches)
        self.items.append((*key, locator.to_json(), entry.sha256, entry.size, str(kind), *seen, *_NO_PRIMARY))
        faces = analysis.faces
        for face in range(len(faces)):
            quality = 0.0 if analysis.templates is None else float(analysis.templates.quality[face])
            box, landmarks = faces.boxes[face].tobytes(), faces.landmarks[face].tobytes()
            self.faces.append((*key, face, box, landmarks, float(faces.scores[face]), quality))
        for stage, code, message in analysis.incidents:
            self.add_incident(file, Incident(locator, stage, code, message))
        return key

    def add_candidates(self, candidates: Iterable[Candidate], crops: Mapping[int, bytes]) -> None:
        """Candidates of one picture, and the crops of their faces by face number."""
        seen: set[int] = set()
        for c in candidates:
            face = (c.face, c.subject_id, c.enrolment, c.rank, c.score, c.chance)
            self.candidates.append((*c.key, *face, str(c.evidence), c.hash_distance, c.picture_chance))
            if c.face is not None and c.face in crops and c.face not in seen:
                seen.add(c.face)
                self.crops.append((*c.key, c.face, crops[c.face]))

    def add_incident(self, file: int, incident: Incident) -> None:
        """Something that went wrong or is worth knowing."""
        self.incidents.append((file, incident.locator.to_json(), incident.stage, incident.code, incident.message))

    def add_finished_file(self, file: int, sha256: bytes | None, entries: int) -> None:
        """A source file that was read to its end."""
        self.finished_files.append((file, sha256, entries))
