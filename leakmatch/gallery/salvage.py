"""What is intact in a damaged gallery, into a new one.

Every row is read on its own; one that lies in a damaged part is lost, and what belongs to it is left out. Nothing is
guessed, and no older version of a row takes the place of a lost one (:mod:`leakmatch.sealed.intact`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from leakmatch.database import Database, Row
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.gallery.access import entry
from leakmatch.gallery.references import REFERENCE_KEY
from leakmatch.gallery.schema import APPLICATION_ID, SCHEMA, VERSION
from leakmatch.sealed.keys import Keys

_RANGE: Final = 1024
#: A row takes at least so many bytes: there are no more photos than fit into the file.
_ROW_BYTES: Final = 16


@dataclass(slots=True)
class Salvaged:
    """What was saved. ``incomplete``: subjects of whom a photo was lost; ``unnamed``: of whom all else was.

    ``behind``: so many of the last changes are lost, and what was saved is the state before them.
    """

    subjects: int = 0
    templates: int = 0
    refused: int = 0
    lost_photos: int = 0
    lost_hashes: int = 0
    incomplete: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    lost_tables: list[str] = field(default_factory=list)
    damaged_places: int = 0
    behind: int = 0
    log_entries: int = 0
    log_broken: bool = False


def salvage(
    path: Path, new: Path, keys: Keys | None, new_keys: Keys | None, progress: Callable[[int, int], None]
) -> Salvaged:
    """Write what is intact in the gallery at ``path`` into a new gallery; ``path`` is only read.

    ``keys`` open the old one, ``new_keys`` seal the new (``None``: plain). ``progress``: photos done, and all. Raises
    :class:`IntegrityError` where nothing can be saved, and :class:`UsageError` where ``new`` is there.
    """
    if new.exists():
        raise UsageError(f"{new}: is there already. Name a new file to save into.")
    with Database.remains(path, keys) as old:
        return _Rescue(old, progress).into(new, new_keys)


class _Rescue:
    def __init__(self, old: Database, progress: Callable[[int, int], None]) -> None:
        self._old, self._progress = old, progress
        self._saved = Salvaged()
        if old.sealed is not None:
            self._saved.damaged_places = old.sealed.lost
            self._saved.behind = old.sealed.lost_commits

    def into(self, new: Path, keys: Keys | None) -> Salvaged:
        about = self._about()
        created = Database.create(new, APPLICATION_ID, VERSION, SCHEMA, lambda made: made.put("gallery", about), keys)
        try:
            with created:
                self._fill(created)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        return self._saved

    def _about(self) -> dict[str, Any]:
        try:
            if self._old.sealed is not None and not self._old.sealed.pages:
                raise IntegrityError("no part of it that was completed is left")
            if self._old.one("PRAGMA application_id") != APPLICATION_ID:
                raise UsageError(f"{self._old.path}: not a LeakMatch gallery.")
            if (version := self._old.one("PRAGMA user_version")) != VERSION:
                raise UsageError(f"{self._old.path}: a gallery of format {version}; this LeakMatch saves {VERSION}.")
            about = self._old.get("gallery")
        except IntegrityError as error:
            raise IntegrityError(
                f"{self._old.path}: nothing can be saved: the part that says what it holds is damaged ({error})"
            ) from error
        if not isinstance(about, dict):
            raise IntegrityError(f"{self._old.path}: nothing can be saved: it does not say which model it is for.")
        return about

    def _fill(self, new: Database) -> None:
        last = self._last()
        with new.transaction(), new.large_cache():
            subjects: set[str] = set()
            for start in range(1, last + 1, _RANGE):
                stop = min(start + _RANGE, last + 1)
                photos = {row[0]: row for row in self._rows("photos", start, stop)}
                templates = {row[0]: row for row in self._rows("templates", start, stop)}
                hashes = [row for row in self._rows("hashes", start, stop) if row[0] in templates]
                whole = {photo: row for photo, row in photos.items() if _is_refused(row) or photo in templates}
                for photo, row in photos.items():
                    if photo not in whole:
                        self._lose(row)
                self._saved.lost_photos += len(templates.keys() - photos.keys())
                new.insert("photos", whole.values())
                new.insert("templates", [row for photo, row in templates.items() if photo in whole])
                new.insert("hashes", [row for row in hashes if row[0] in whole])
                subjects.update(row[1] for row in whole.values())
                self._saved.templates += sum(photo in whole for photo in templates)
                self._saved.refused += sum(map(_is_refused, whole.values()))
                self._progress(stop - 1, last)
            self._subjects(new, subjects)
            self._others(new)
            self._log(new)
        self._saved.subjects = len(subjects)

    def _lose(self, photo: Row) -> None:
        self._saved.lost_photos += 1
        if photo[1] not in self._saved.incomplete:
            self._saved.incomplete.append(photo[1])

    def _last(self) -> int:
        """The highest enrolment id there may be."""
        try:
            last = self._old.get("last_photo")
            if isinstance(last, int):
                return last
            return int(self._old.one("SELECT coalesce(max(photo), 0) FROM photos"))
        except IntegrityError:
            return int(self._old.path.stat().st_size // _ROW_BYTES)

    def _rows(self, table: str, start: int, stop: int) -> list[Row]:
        """The rows of photos ``start`` to ``stop`` (exclusive) that can be read."""
        try:
            query = f"SELECT * FROM {table} WHERE photo >= ? AND photo < ?"
            return list(self._old.select(query, (start, stop)))
        except IntegrityError:
            if stop - start == 1:
                if table == "hashes":
                    self._saved.lost_hashes += 1
                return []
        middle = (start + stop) // 2
        return self._rows(table, start, middle) + self._rows(table, middle, stop)

    def _subjects(self, new: Database, subjects: set[str]) -> None:
        empty = ("",) * (len(list(new.select("PRAGMA table_info(subjects)"))) - 1)
        for subject_id in sorted(subjects):
            try:
                rows = list(self._old.select("SELECT * FROM subjects WHERE subject_id = ?", (subject_id,)))
            except IntegrityError:
                rows = []
            if not rows:
                self._saved.unnamed.append(subject_id)
            new.insert("subjects", rows or [(subject_id, *empty)])

    def _others(self, new: Database) -> None:
        """Small tables, as far as they can be read."""
        done = {"photos", "templates", "hashes", "subjects", "digest", "log"}
        tables = new.select("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
        for (table,) in list(tables):
            if table in done:
                continue
            if table == "meta":
                self._metadata(new)
                continue
            try:
                for row in self._old.select(f"SELECT * FROM {table}"):
                    new.insert(table, [row])
            except IntegrityError:
                self._saved.lost_tables.append(table)

    def _metadata(self, new: Database) -> None:
        """What the gallery knows beside its people; a calibration of people of whom some are lost is left behind."""
        for key in ("last_photo", "imported", REFERENCE_KEY):
            try:
                value = self._old.get(key)
            except IntegrityError:
                self._saved.lost_tables.append(f"meta {key}")
                continue
            if value is not None:
                new.put(key, value)

    def _log(self, new: Database) -> None:
        for told in self._notes():
            new.note(told)
            self._saved.log_entries += 1
        new.note(
            entry(
                "salvage",
                source=str(self._old.path.absolute()),
                templates=self._saved.templates,
                lost_photos=self._saved.lost_photos,
                lost_changes=self._saved.behind,
                log_broken=self._saved.log_broken,
            )
        )

    def _notes(self) -> Iterator[dict[str, Any]]:
        try:
            yield from self._old.notes()
        except IntegrityError:
            self._saved.log_broken = True


def _is_refused(photo: Row) -> bool:
    return bool(photo[4])
