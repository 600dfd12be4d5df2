"""The case: one file that holds the ledger, the faces, the candidates and what the run was told.

Rows are keyed by where an item is (source file, position in its walk, frame), so that writing the same item twice is
impossible and an interrupted scan continues where it stopped. A case holds no templates, unless it was begun to keep
them; then they are sealed, and whoever reads the case without its key cannot see them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import Any, Final

from leakmatch.case.batch import Batch
from leakmatch.case.rows import CANDIDATE, Candidate, Key, SourceRow, Totals, as_candidate
from leakmatch.case.schema import APPLICATION_ID, KEPT, MUST_BE_EMPTY, SCHEMA, TAKEN_OVER, VERSION
from leakmatch.case.sums import check_sums
from leakmatch.database import Database, Row, Store
from leakmatch.errors import IntegrityError
from leakmatch.locator import Locator
from leakmatch.records import ItemKind, Outcome, Stop
from leakmatch.row_digest import row_digest
from leakmatch.sealed.keys import KeySlots, slots_of


class Case(Store):
    """The truth about one scan. ``Case.open(path)`` to read, :meth:`create` and :meth:`resume` to write."""

    @classmethod
    def create(
        cls, path: Path, run: Mapping[str, Any], files: Iterable[SourceRow], slots: KeySlots | None = None
    ) -> Case:
        """Begin a case. ``run`` holds everything that must not change while it goes on (JSON values).

        ``slots``: what opens the templates that it will keep; ``None``: it keeps none.
        """

        def fill(database: Database) -> None:
            database.put("run", dict(run))
            database.insert("files", ((f.file, f.source, f.locator.to_json(), f.size, f.mtime_ns) for f in files))
            if slots is not None:
                database.put("keys", {"format": KEPT_FORMAT, "slots": slots.to_json()})

        schema = SCHEMA if slots is None else (*SCHEMA, KEPT)
        return cls(Database.create(path, APPLICATION_ID, VERSION, schema, fill))

    @classmethod
    def resume(cls, path: Path) -> Case:
        """Open an existing case to continue it."""
        return cls(Database.open(path, APPLICATION_ID, VERSION, "case", writable=True))

    @classmethod
    def open(cls, path: Path | str, *, steady: bool = False) -> Case:
        """Open an existing case to read it. ``steady``: nobody can change it until it is closed."""
        return cls(Database.open(Path(path), APPLICATION_ID, VERSION, "case", writable=False, steady=steady))

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

    def finish(self, summary: Mapping[str, Any], seal: Callable[[bytes], str] | None = None) -> None:
        """Record the end of the scan. ``seal``: of a case that keeps templates, what seals :meth:`taken_over`."""
        with self._database.transaction():
            self._database.put("finished", dict(summary))
            if seal is not None:
                self._database.put("kept_end", seal(self.taken_over()))

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
            database.insert("kept", batch.kept)
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
        return [as_candidate(self.path, row) for row in rows]

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

    # The templates that it keeps

    @property
    def keeps(self) -> bool:
        """Whether it keeps the templates of all faces that were met."""
        return self._record("keys") is not None

    @property
    def slots(self) -> KeySlots:
        """What opens the templates that it keeps. Raises :class:`IntegrityError` where that is damaged."""
        record = self._record("keys")
        if record is not None and record.get("format") != KEPT_FORMAT:
            raise IntegrityError(
                f"{self.path}: its templates were kept in format {record.get('format')}; this LeakMatch reads format "
                f"{KEPT_FORMAT}. Use the version that scanned, or scan again."
            )
        return slots_of(record, str(self.path))

    @property
    def kept_end(self) -> str:
        """What was sealed at the end of a scan that keeps templates; empty where nothing was."""
        return str(self._database.get("kept_end") or "")

    @property
    def forgotten(self) -> dict[str, Any] | None:
        """When and by whom the templates that it kept were removed; ``None`` where they were not."""
        return self._record("forgotten")

    def taken_over(self) -> bytes:
        """SHA-256 over all that a rescan takes over from this case, and over which items have kept templates.

        Unlike the content digest, nothing can be exchanged in it such that it stays the same.
        """
        whole = hashlib.sha256(str(self._database.one("SELECT value FROM meta WHERE key = 'run'")).encode())
        for table, order in TAKEN_OVER.items():
            for row in self._database.select(f"SELECT * FROM {table} ORDER BY {order}"):
                whole.update(row_digest(table, row).to_bytes(32, "big"))
        for row in self._database.select("SELECT file, position FROM kept ORDER BY file, position"):
            whole.update(row_digest("kept", row).to_bytes(32, "big"))
        return whole.digest()

    def take_over(self, other: Case) -> None:
        """Copy the ledger of ``other`` into this case, which has the same source files and is empty."""
        for table in TAKEN_OVER.keys() - {"files"}:
            rows = other.select(f"SELECT * FROM {table} ORDER BY {TAKEN_OVER[table]}")
            while part := list(islice(rows, _COPIED_AT_ONCE)):
                with self._database.transaction():
                    self._database.insert(table, part)

    def probes(self) -> Iterator[tuple[Key, Locator, bytes | None, bytes | None]]:
        """Every item but duplicates, in source order: where it is, its SHA-256, and what is kept of it, sealed.

        ``None`` for the SHA-256 of one that could not be read to its end, and for what is kept of one that was not
        looked at.
        """
        for file, position, locator, sha256, sealed in self._database.select(
            """SELECT i.file, i.position, i.locator, i.sha256, k.sealed FROM items i
               LEFT JOIN kept k ON k.file = i.file AND k.position = i.position
               WHERE i.frame = 0 AND i.primary_file IS NULL ORDER BY i.file, i.position"""
        ):
            yield Key(file, position), Locator.from_json(locator), sha256, sealed

    def count_probes(self) -> int:
        """How many :meth:`probes` there are."""
        return int(self._database.one("SELECT count(*) FROM items WHERE frame = 0 AND primary_file IS NULL"))

    def forget(self, record: Mapping[str, Any]) -> None:
        """Remove the templates that it keeps, with their keys, for good; ``record`` (JSON values) tells of it.

        Once the first commit is made nothing can be opened any more. Called again, it goes on where it was stopped.
        """
        database = self._database
        if self.keeps:
            with database.transaction():
                database.delete("meta", "key IN ('keys', 'kept_end')")
                database.put("forgotten", dict(record))
        while (last := database.one(_SOME_KEPT)) is not None:
            with database.transaction():
                database.delete("kept", "rowid <= ?", (last,))
        database.compact(record)

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
            yield as_candidate(self.path, row)

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
        if self.keeps:
            self._check_kept()
        missing = self._database.one("SELECT count(*) FROM files WHERE file NOT IN (SELECT file FROM finished_files)")
        if missing and self.finished is not None:
            raise IntegrityError(f"{self.path}: finished, but {missing} source files were not read to their end.")
        if not missing and (ended := sum(self.outcomes().values())) != announced:
            raise self._wrong(f"{announced} items were met, and {ended} have an outcome")

    def _check_kept(self) -> None:
        """What was looked at, and nothing else, has kept templates."""
        for locator, seen in self._database.select(_NOT_KEPT):
            path = Locator.from_json(locator).path
            if seen:
                raise self._wrong(f"{path!r} was looked at, and its kept templates are missing")
            raise self._wrong(f"{path!r} was not looked at, and has kept templates")
        if self._database.one(_KEPT_OF_NOTHING):
            raise self._wrong("there are kept templates of no item")

    def _wrong(self, what: str) -> IntegrityError:
        return IntegrityError(f"{self.path}: the ledger does not add up: {what}.")


#: How what is kept is written (docs/rescan.md). To be raised when :mod:`leakmatch.pipeline.wire` writes it otherwise.
KEPT_FORMAT: Final = 1

_COPIED_AT_ONCE: Final = 20_000
_SOME_KEPT: Final = "SELECT max(number) FROM (SELECT rowid AS number FROM kept ORDER BY rowid LIMIT 1000)"

#: Items of which something is kept though they were not looked at, or the other way round. (An item that was looked at
#: has a width, which is 0 where it could not be decoded.)
_NOT_KEPT: Final = """SELECT i.locator, i.width IS NOT NULL AS seen FROM items i
    LEFT JOIN kept k ON k.file = i.file AND k.position = i.position
    WHERE i.frame = 0 AND seen <> (k.file IS NOT NULL) ORDER BY i.file, i.position LIMIT 1"""
_KEPT_OF_NOTHING: Final = """SELECT count(*) FROM kept k WHERE NOT EXISTS (
    SELECT 1 FROM items i WHERE i.file = k.file AND i.position = k.position AND i.frame = 0)"""

_TOLD: Final = """SELECT i.file, i.locator, i.members, i.outcome FROM finished_files f
    CROSS JOIN items i ON i.file = f.file AND i.frame = 0 ORDER BY f.file, i.position"""
_SUMS: Final = ", ".join(f"coalesce(sum(outcome = '{outcome}'), 0)" for outcome in Outcome)
