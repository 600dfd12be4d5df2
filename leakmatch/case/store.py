"""The case: one file that holds the ledger, the faces, the candidates and what the run was told.

Rows are keyed by where an item is (source file, position in its walk, frame), so that writing the same item twice is
impossible and an interrupted scan continues where it stopped. A case holds no templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from leakmatch.case.schema import APPLICATION_ID, MUST_BE_EMPTY, SCHEMA, VERSION
from leakmatch.case.sums import check_sums
from leakmatch.database import Database, Row, Store
from leakmatch.errors import IntegrityError
from leakmatch.locator import Locator, printable
from leakmatch.records import Entry, Evidence, ImageAnalysis, Incident, ItemKind, Outcome, QualityReason, Stop


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
    chance_low: float | None
    chance_high: float | None
    looks: int
    evidence: Evidence
    hash_distance: int | None = None
    picture_chance: float | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """What the figures of a case rest on.

    ``searches`` counts face templates compared with the gallery, ``pictures`` pictures whose hash was compared; a
    duplicate counts once. ``gallery_people`` (one template each) and ``gallery_pictures`` are the other side of each
    comparison. ``resolution``: the rarest chance that the calibration's data shows; 0 where there is none.
    """

    searches: int
    pictures: int
    gallery_people: int
    gallery_pictures: int
    resolution: float = 0.0

    @property
    def face_pairs(self) -> int:
        """The number of pairs of faces that were compared."""
        return self.searches * self.gallery_people

    @property
    def picture_pairs(self) -> int:
        """The number of pairs of pictures that were compared."""
        return self.pictures * self.gallery_pictures

    def expected_false(self, candidate: Candidate, chance: float | None) -> float | None:
        """How many candidates this strong chance alone would give in the whole scan; ``None`` if unknown.

        ``chance``: that of the face, or a limit of it. Where the face and the picture both speak, the stronger of the
        two counts. Hashes are compared per picture and per face crop; the larger number of pairs is taken for both.
        """
        by_face = None if chance is None else chance * self.face_pairs
        hashed = max(self.pictures, self.searches) * self.gallery_pictures
        by_picture = None if candidate.picture_chance is None else candidate.picture_chance * hashed
        known = [value for value in (by_face, by_picture) if value is not None]
        return min(known, default=None)


_CANDIDATE: Final = (
    *("file", "position", "frame", "face", "subject_id", "enrolment", "rank", "score", "chance", "chance_low"),
    *("chance_high", "looks", "evidence", "hash_distance", "picture_chance"),
)
#: The columns of a candidate, as :func:`as_candidate` takes them.
CANDIDATE: Final = ", ".join(_CANDIDATE)


def columns_of(table: str) -> str:
    """:data:`CANDIDATE` of a table by that name, for a query that joins it with others."""
    return ", ".join(f"{table}.{column}" for column in _CANDIDATE)


def as_candidate(case: Case, row: Row) -> Candidate:
    """The candidate in a row of :data:`CANDIDATE`. Raises :class:`IntegrityError` for an unknown kind of evidence."""
    fields = dict(zip(_CANDIDATE, row, strict=True))
    key = Key(*(fields.pop(name) for name in Key._fields))
    try:
        return Candidate(key, **(fields | {"evidence": Evidence(fields["evidence"])}))
    except ValueError as error:
        raise IntegrityError(f"{case.path}: damaged: {error}. Restore it from a copy.") from error


class Case(Store):
    """The truth about one scan. ``Case.open(path)`` to read, :meth:`create` and :meth:`resume` to write."""

    @classmethod
    def create(cls, path: Path, run: Mapping[str, Any], files: Iterable[SourceRow]) -> Case:
        """Begin a case. ``run`` holds everything that must not change while it goes on (JSON values)."""

        def fill(database: Database) -> None:
            database.put("run", dict(run))
            database.insert("files", ((f.file, f.source, f.locator.to_json(), f.size, f.mtime_ns) for f in files))

        return cls(Database.create(path, APPLICATION_ID, VERSION, SCHEMA, fill))

    @classmethod
    def resume(cls, path: Path) -> Case:
        """Open an existing case to continue it."""
        return cls(Database.open(path, APPLICATION_ID, VERSION, "case", writable=True))

    @classmethod
    def open(cls, path: Path | str) -> Case:
        """Open an existing case to read it."""
        return cls(Database.open(Path(path), APPLICATION_ID, VERSION, "case", writable=False))

    # What the run was told, and how it ended

    @property
    def run(self) -> dict[str, Any]:
        """What the case began with: sources, gallery, models, settings, machine."""
        return self._record("run") or {}

    @property
    def finished(self) -> dict[str, Any] | None:
        """How the scan ended (time, totals), or ``None`` while it has not."""
        return self._record("finished")

    @property
    def approximate(self) -> dict[str, Any] | None:
        """What was measured of an approximate comparison of faces so far; ``None`` where it is exact."""
        return self._record("approximate")

    def _record(self, key: str) -> dict[str, Any] | None:
        value = self._database.get(key)
        if value is not None and not isinstance(value, dict):
            raise IntegrityError(f"{self.path}: the value of {key!r} is damaged. Restore the case from a copy.")
        return value

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Record the end of the scan."""
        with self._database.transaction():
            self._database.put("finished", dict(summary))

    def totals(self) -> Totals:
        """The number of comparisons so far, read from the ledger."""
        gallery = self.run.get("gallery")
        if not isinstance(gallery, dict) or not {"enrolled", "pictures"} <= gallery.keys():
            raise IntegrityError(f"{self.path}: the case does not say which gallery it is about.")
        calibration = self.run.get("calibration")
        resolution = 1 / calibration["pairs"] if isinstance(calibration, dict) and calibration.get("pairs") else 0.0
        searches, pictures = next(
            self._database.select(
                """SELECT coalesce(sum(searches), 0), coalesce(sum(width IS NOT NULL), 0) FROM items
                   WHERE primary_file IS NULL"""
            )
        )
        return Totals(searches, pictures, gallery["enrolled"], gallery["pictures"], resolution)

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
            database.insert("stops", batch.stops)
            database.insert("finished_files", batch.finished_files)
            if batch.approximate is not None and batch.approximate != database.get("approximate"):
                database.put("approximate", batch.approximate)

    def _recorded(self, incident: Row) -> bool:
        """Whether an earlier, interrupted walk of the same file has met this incident."""
        return incident in self._database.select(
            "SELECT * FROM incidents WHERE file = ? AND locator = ?", (incident[0], incident[1])
        )

    def stored_positions(self, file: int) -> Iterator[int]:
        """Positions of the ledger of one source file that are committed, rising."""
        for (position,) in self._database.select(
            "SELECT position FROM items WHERE file = ? AND frame = 0 ORDER BY position", (file,)
        ):
            yield position

    def carriers(self, file: int) -> tuple[int, ...]:
        """Positions of pictures of one source file that have archives behind them, rising."""
        query = (
            "SELECT position FROM items WHERE file = ? AND frame = 0 AND kind <> ? AND members > 0 ORDER BY position"
        )
        return tuple(position for (position,) in self._database.select(query, (file, str(ItemKind.CONTAINER))))

    def stops(self, file: int) -> tuple[Stop, ...]:
        """Where walks of one source file end an item."""
        rows = self._database.select(
            "SELECT position, next, outcome, reason FROM stops WHERE file = ? ORDER BY position", (file,)
        )
        try:
            return tuple(Stop(position, end, Outcome(outcome), reason) for position, end, outcome, reason in rows)
        except ValueError as error:
            raise IntegrityError(f"{self.path}: damaged: {error}. Restore it from a copy.") from error

    def root_sha256(self, file: int) -> bytes | None:
        """SHA-256 of a source file, if its own row is committed and it could be read."""
        value = self._database.one("SELECT sha256 FROM items WHERE file = ? AND position = 0 AND frame = 0", (file,))
        return None if value is None else bytes(value)

    def primary(self, sha256: bytes) -> Key | None:
        """The first item with these bytes that was looked at, if one is committed."""
        rows = self._database.select(
            """SELECT file, position FROM items
               WHERE sha256 = ? AND primary_file IS NULL AND frame = 0 AND kind IN ('image', 'frame')
               ORDER BY file, position LIMIT 1""",
            (sha256,),
        )
        return next((Key(*row) for row in rows), None)

    def second_looks(self) -> set[tuple[int, int, int, int]]:
        """The faces (file, position, frame, face) that were looked at again."""
        return set(self._database.select("SELECT file, position, frame, face FROM second_looks"))

    def candidates_of(self, key: Key, face: int) -> list[Candidate]:
        """The candidates of one face."""
        where = "file = ? AND position = ? AND frame = ? AND face = ?"
        rows = self._database.select(f"SELECT {CANDIDATE} FROM candidates WHERE {where}", (*key, face))
        return [as_candidate(self, row) for row in rows]

    def write_second_looks(self, faces: Iterable[tuple[Key, int]], candidates: Iterable[Candidate]) -> None:
        """Commit what second looks at ``faces`` found in the place of what the first did."""
        batch = Batch()
        batch.add_candidates(candidates, {})
        with self._database.transaction():
            for key, face in faces:
                place = (*key, face)
                self._database.delete("candidates", "file = ? AND position = ? AND frame = ? AND face = ?", place)
                self._database.insert("second_looks", [place])
            self._database.insert("candidates", batch.candidates)

    def prune(self, keep: float) -> None:
        """Drop same-face candidates (and crops nobody needs) expected more than ``keep`` times by chance."""
        totals = self.totals()
        pairs = max(totals.face_pairs, 1)
        with self._database.transaction():
            self._database.delete(
                "candidates", "evidence = 'same-face' AND chance IS NOT NULL AND chance * ? > ?", (pairs, keep)
            )
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
        """Stored candidates of items that were looked at, in source order; in an item those without a score first."""
        for row in self._database.select(
            f"""SELECT {CANDIDATE} FROM candidates
               ORDER BY file, position, frame, score IS NOT NULL, score DESC, rank, face, subject_id"""
        ):
            yield as_candidate(self, row)

    def count(self, table: str) -> int:
        """The number of rows of a table of ``SCHEMA``."""
        return int(self._database.one(f"SELECT count(*) FROM {table}"))

    def crop(self, key: Key, face: int) -> bytes | None:
        """The aligned 112x112 JPEG of a candidate's face."""
        value = self._database.one(
            "SELECT jpeg FROM crops WHERE file = ? AND position = ? AND frame = ? AND face = ?", (*key, face)
        )
        return None if value is None else bytes(value)

    def outcomes(self) -> dict[Outcome, int]:
        """How many items ended in each outcome (further frames of image files not counted)."""
        counts = next(  # sums, not groups: SQLite would sort the whole ledger in memory
            self._database.select(f"SELECT {_SUMS} FROM items WHERE frame = 0")
        )
        return {outcome: count for outcome, count in zip(Outcome, counts, strict=True) if count}

    def snapshot(self) -> AbstractContextManager[None]:
        """Everything read within is of one state of the case, also while a scan goes on (which waits meanwhile)."""
        return self._database.snapshot()

    # Checking

    def verify(self) -> None:
        """Raise :class:`IntegrityError` unless the file is sound and its ledger adds up."""
        self._database.verify()
        self.check_ledger()

    def check_content(self) -> None:
        """Raise :class:`IntegrityError` unless the file is sound and its content is what was written."""
        self._database.verify()

    def check_ledger(self) -> None:
        """Raise :class:`IntegrityError` unless every item that was announced has exactly one row, and they agree.

        Items are counted in three ways: as positions that the walk gave out, as members that each container's reader
        gave, and as outcomes.
        """
        announced = 0
        for file, entries, found, highest in self._database.select(
            """SELECT f.file, f.entries, count(i.position), max(i.position) FROM finished_files f
               LEFT JOIN items i ON i.file = f.file AND i.frame = 0 GROUP BY f.file"""
        ):
            announced += entries
            if found != entries or highest != entries - 1:
                raise self._wrong(f"source file {file} has {found} rows of {entries}")
        try:
            check_sums(self._database.select(_TOLD))
        except ValueError as error:
            raise self._wrong(str(error)) from error
        for query, what in MUST_BE_EMPTY:
            count = self._database.one(query)
            if count:
                raise self._wrong(f"{count} {what}")
        missing = self._database.one("SELECT count(*) FROM files WHERE file NOT IN (SELECT file FROM finished_files)")
        if missing and self.finished is not None:
            raise IntegrityError(f"{self.path}: finished, but {missing} source files were not read to their end.")
        if not missing and (ended := sum(self.outcomes().values())) != announced:
            raise self._wrong(f"{announced} items were met, and {ended} have an outcome")

    def _wrong(self, what: str) -> IntegrityError:
        return IntegrityError(f"{self.path}: the ledger does not add up: {what}.")


_NO_PRIMARY: Final = (None, None)
_LARGEST: Final = (1 << 63) - 1
_TOLD: Final = """SELECT i.file, i.locator, i.members, i.outcome FROM finished_files f
    CROSS JOIN items i ON i.file = f.file AND i.frame = 0 ORDER BY f.file, i.position"""
_SUMS: Final = ", ".join(f"coalesce(sum(outcome = '{outcome}'), 0)" for outcome in Outcome)


class Batch:
    """Results waiting to be committed together by :meth:`Case.write`."""

    def __init__(self) -> None:
        self.items: list[Row] = []
        self.faces: list[Row] = []
        self.candidates: list[Row] = []
        self.crops: list[Row] = []
        self.incidents: list[Row] = []
        self.finished_files: list[Row] = []
        self.stops: list[Row] = []
        self.approximate: dict[str, Any] | None = None  #: how faces were compared so far, where not exactly

    def __len__(self) -> int:
        return len(self.items) + len(self.finished_files) + len(self.incidents) + len(self.stops)

    def add_entry(self, file: int, entry: Entry, outcome: Outcome, detail: str, primary: Key | None = None) -> None:
        """An item that is not (or no longer) looked at: a container, no picture, a duplicate, a failure."""
        self.items.append(
            (file, entry.position, 0, *_described(entry, entry.locator, entry.kind), str(outcome))
            + (printable(detail), None, None, 0, 0, None)
            + (_NO_PRIMARY if primary is None else (primary.file, primary.position))
            + (entry.members,)
        )

    def add_analysis(self, file: int, entry: Entry, analysis: ImageAnalysis, reasons: Sequence[QualityReason]) -> Key:
        """A picture that was looked at: its row and its faces, with the reason of a low quality for each."""
        key = Key(file, entry.position, analysis.frame)
        locator = entry.locator.frame(analysis.frame, analysis.seconds) if analysis.frame else entry.locator
        kind = ItemKind.FRAME if analysis.frame else entry.kind
        searches = 0 if analysis.templates is None else int(np.count_nonzero(analysis.templates.valid))
        seen = (
            str(analysis.outcome),
            printable(analysis.detail),
            analysis.width,
            analysis.height,
            len(analysis.faces),
            searches,
            # Straight phash and dhash come first; the turned ones are of no use for telling pictures apart.
            b"".join(batch.bits[0].tobytes() for batch in analysis.picture_hashes[:2]) or None,
        )
        members = None if analysis.frame else entry.members
        self.items.append((*key, *_described(entry, locator, kind), *seen, *_NO_PRIMARY, members))
        faces = analysis.faces
        for face, reason in enumerate(reasons):
            quality = 0.0 if analysis.templates is None else float(analysis.templates.quality[face])
            box, landmarks = faces.boxes[face].tobytes(), faces.landmarks[face].tobytes()
            self.faces.append((*key, face, box, landmarks, float(faces.scores[face]), quality, str(reason)))
        for stage, code, message in analysis.incidents:
            self.add_incident(file, Incident(locator, stage, code, message))
        return key

    def add_candidates(self, candidates: Iterable[Candidate], crops: Mapping[int, bytes]) -> None:
        """Candidates of one picture, and the crops of their faces by face number."""
        seen: set[int] = set()
        for c in candidates:
            face = (c.face, c.subject_id, c.enrolment, c.rank, c.score, c.chance, c.chance_low, c.chance_high, c.looks)
            self.candidates.append((*c.key, *face, str(c.evidence), c.hash_distance, c.picture_chance))
            if c.face is not None and c.face in crops and c.face not in seen:
                seen.add(c.face)
                self.crops.append((*c.key, c.face, crops[c.face]))

    def add_incident(self, file: int, incident: Incident) -> None:
        """Something that went wrong or is worth knowing."""
        message = printable(incident.message)
        self.incidents.append((file, incident.locator.to_json(), incident.stage, incident.code, message))

    def add_stop(self, file: int, stop: Stop) -> None:
        """Where walks of a source file end an item."""
        self.stops.append((file, stop.position, stop.next, str(stop.outcome), printable(stop.reason)))

    def add_finished_file(self, file: int, sha256: bytes | None, entries: int) -> None:
        """A source file that was read to its end."""
        self.finished_files.append((file, sha256, entries))


def _described(entry: Entry, locator: Locator, kind: ItemKind) -> Row:
    size = min(entry.size, _LARGEST)  # a hostile header may claim more than a column can hold
    return locator.to_json(), entry.sha256, size, str(kind)
