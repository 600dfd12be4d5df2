"""What is intact in a damaged gallery, into a new one.

Each page that can be read gives its rows, whatever became of the others (:mod:`leakmatch.gallery.leaves`). A photo is
saved with its template and its hashes, or not at all. Nothing is guessed, and no older version of a page takes the
place of a lost one (:mod:`leakmatch.sealed.intact`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from leakmatch.database import Database, Row
from leakmatch.engine import SQLITE_MAGIC, storage
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.gallery.access import entry
from leakmatch.gallery.leaves import Leaf, leaves
from leakmatch.gallery.references import REFERENCE_KEY
from leakmatch.gallery.schema import APPLICATION_ID, SCHEMA, VERSION
from leakmatch.sealed.file import SealedFile
from leakmatch.sealed.header import MAGIC
from leakmatch.sealed.keys import Keys

_FLUSH: Final = 4096
_KEPT: Final = ("gallery", "last_photo", "imported", REFERENCE_KEY)
_WITHOUT_ROWID: Final = ("subjects", "hashes", "meta")


@dataclass(slots=True)
class Salvaged:
    """What was saved. ``incomplete``: subjects of whom a photo was lost; ``unnamed``: of whom name and date were.
    ``without_hashes``: templates of which the photo has no hashes (those that were imported never had any).

    ``damaged_places``: blocks or pages that could not be read. ``behind``: so many of the last changes are lost, and
    what was saved is the state before them.
    """

    subjects: int = 0
    templates: int = 0
    refused: int = 0
    lost_photos: int = 0
    incomplete: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    without_hashes: int = 0
    lost_values: list[str] = field(default_factory=list)
    damaged_places: int = 0
    behind: int = 0
    log_entries: int = 0
    log_broken: bool = False


def salvage(
    path: Path, new: Path, keys: Keys | None, new_keys: Keys | None, progress: Callable[[int, int], None]
) -> Salvaged:
    """Write what is intact in the gallery at ``path`` into a new gallery; ``path`` is only read.

    ``keys`` open the old one, ``new_keys`` seal the new (``None``: plain). ``progress``: pages done, and all. Raises
    :class:`IntegrityError` where nothing can be saved, :class:`~leakmatch.errors.WrongKey`, and :class:`UsageError`
    where ``new`` is there or ``path`` is no gallery.
    """
    if new.exists():
        raise UsageError(f"{new}: is there already. Name a new file to save into.")
    with storage(path), closing(_remains(path, keys)) as old:
        found = _Found(path, old, progress)
        made = Database.create(
            new, APPLICATION_ID, VERSION, SCHEMA, lambda empty: empty.put("gallery", found.about), new_keys
        )
        try:
            with made:
                return _fill(made, found)
        except BaseException:
            new.unlink(missing_ok=True)
            raise


class _Remains(Protocol):
    """A damaged file: its pages from 0, ``None`` for a lost one, and what is left of its log."""

    count: int
    damaged: int
    behind: int

    def page(self, number: int) -> bytes | None: ...

    def notes(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class _Sealed:
    def __init__(self, path: Path, keys: Keys) -> None:
        self._file = SealedFile.open(path, keys, lenient=True)
        self.count, self.damaged, self.behind = self._file.pages, self._file.lost, self._file.lost_commits

    def page(self, number: int) -> bytes | None:
        try:
            return self._file.read(number)
        except IntegrityError:
            return None

    def notes(self) -> Iterator[bytes]:
        return self._file.entries()

    def close(self) -> None:
        self._file.close()


class _Plain:
    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        head = self._file.read(100)
        size = int.from_bytes(head[16:18], "big")
        self._size = 65536 if size == 1 else max(size, 512)
        self.count = -(-path.stat().st_size // self._size)
        self.damaged = self.behind = 0

    def page(self, number: int) -> bytes | None:
        self._file.seek(number * self._size)
        return self._file.read(self._size)

    def notes(self) -> Iterator[bytes]:
        """The rows of the log, by their number. (Of a plain file nobody can tell which page was damaged.)"""
        found: dict[int, bytes] = {}
        for number in range(self.count):
            for leaf in leaves(self.page(number) or b"", first=number == 0):
                if leaf.rowid is not None and _kinds(leaf.row) == (None, bytes, bytes) and len(leaf.row[1]) == 32:
                    found[leaf.rowid] = leaf.row[2]
        for number in sorted(found):
            yield found[number]

    def close(self) -> None:
        self._file.close()


def _remains(path: Path, keys: Keys | None) -> _Remains:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such gallery.")
    with path.open("rb") as file:
        head = file.read(16)
    if head == SQLITE_MAGIC and keys is None:
        return _Plain(path)
    if head.startswith(MAGIC) or head != SQLITE_MAGIC:
        return _Sealed(path, keys or Keys())
    return _Plain(path)


class _Found:
    """The rows that are left, by table. Templates and hashes are read when they are asked for."""

    def __init__(self, path: Path, remains: _Remains, progress: Callable[[int, int], None]) -> None:
        self.path, self.remains, self._progress = path, remains, progress
        self.values: dict[str, Any] = {}
        for table, row in self._rows({"meta"}):
            assert table == "meta"
            try:
                self.values[row[0]] = json.loads(row[1])
            except ValueError:
                continue
        about = self.values.get("gallery")
        if not isinstance(about, dict) or type(about.get("dimension")) is not int:
            raise IntegrityError(f"{path}: nothing can be saved: the page that says what it holds is lost.")
        self.about: dict[str, Any] = about
        self.vector_bytes = 4 * about["dimension"]

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Each row that is left of the tables of a gallery, with the name of its table."""
        return self._rows({"photos", "templates", "hashes", "subjects", "erasures"}, count=True)

    def _rows(self, tables: set[str], *, count: bool = False) -> Iterator[tuple[str, Row]]:
        for number in range(self.remains.count):
            page = self.remains.page(number)
            if count:
                self._progress(number + 1, self.remains.count)
            for leaf in leaves(page or b"", first=number == 0):
                table = _table_of(leaf)
                if table not in tables or (table == "templates" and len(leaf.row[1]) != self.vector_bytes):
                    continue
                yield table, leaf.row if table in _WITHOUT_ROWID else (leaf.rowid, *leaf.row[1:])


def _fill(new: Database, found: _Found) -> Salvaged:
    saved = Salvaged(damaged_places=found.remains.damaged, behind=found.remains.behind)
    with new.transaction(), new.large_cache():
        _insert(new, found.rows())
        _prune(new, saved)
        for key in _KEPT:
            if key in found.values and key != "gallery":
                new.put(key, found.values[key])
            elif key == REFERENCE_KEY:
                saved.lost_values.append("the key of its erasure records")
        last = int(new.one("SELECT coalesce(max(photo), 0) FROM photos"))
        new.put("last_photo", max(last, int(found.values.get("last_photo") or 0)))
        saved.templates = new.one("SELECT count(*) FROM templates")
        saved.subjects = new.one("SELECT count(*) FROM subjects")
        saved.without_hashes = new.one("SELECT count(*) FROM templates WHERE photo NOT IN (SELECT photo FROM hashes)")
        saved.refused = new.one("SELECT count(*) FROM photos WHERE refusal <> ''")
        if not saved.templates and (saved.damaged_places or saved.behind):
            raise IntegrityError(f"{found.path}: nothing can be saved: no photo of it is intact.")
        _log(new, found, saved)
    return saved


def _insert(new: Database, rows: Iterable[tuple[str, Row]]) -> None:
    waiting: dict[str, dict[Row, Row]] = {}
    keys = {"hashes": 3}
    known: dict[str, set[Row]] = {}
    for table, row in rows:
        key = row[: keys.get(table, 1)]
        if key in known.setdefault(table, set()):
            continue  # a state before a change that was lost in part
        known[table].add(key)
        waiting.setdefault(table, {})[key] = row
        if len(waiting[table]) >= _FLUSH:
            new.insert(table, waiting.pop(table).values())
    for table, left in waiting.items():
        new.insert(table, left.values())


def _prune(new: Database, saved: Salvaged) -> None:
    """Take out what lacks a part, and give each subject a row."""
    alone = new.delete("photos", "refusal = '' AND photo NOT IN (SELECT photo FROM templates)")
    saved.incomplete = sorted({row[1] for row in alone})
    nobodys = new.delete("templates", "photo NOT IN (SELECT photo FROM photos WHERE refusal = '')")
    saved.lost_photos = len(alone) + len(nobodys)
    new.delete("hashes", "photo NOT IN (SELECT photo FROM photos)")
    new.delete("subjects", "subject_id NOT IN (SELECT subject_id FROM photos)")
    unnamed = new.select(
        "SELECT DISTINCT subject_id FROM photos WHERE subject_id NOT IN (SELECT subject_id FROM subjects) ORDER BY 1"
    )
    saved.unnamed = [subject_id for (subject_id,) in unnamed]
    new.insert("subjects", [(subject_id, "", "") for subject_id in saved.unnamed])


def _log(new: Database, found: _Found, saved: Salvaged) -> None:
    try:
        for content in found.remains.notes():
            told = json.loads(content)
            if isinstance(told, dict):
                new.note(told)
                saved.log_entries += 1
    except (IntegrityError, ValueError):
        saved.log_broken = True
    new.note(
        entry(
            "salvage",
            source=str(found.path.absolute()),
            templates=saved.templates,
            damaged_places=saved.damaged_places,
            lost_changes=saved.behind,
            log_broken=saved.log_broken,
        )
    )


_TABLES: Final[dict[tuple[bool, tuple[type | None, ...]], str]] = {
    (True, (None, str, str, bytes, str, str, float)): "photos",
    (True, (None, str, str, None, str, str, float)): "photos",
    (True, (None, bytes)): "templates",
    (True, (None, str, str, str, str, str, int, int, int)): "erasures",
    (False, (int, str, str, bytes, float)): "hashes",
    (False, (str, str, str)): "subjects",
    (False, (str, str)): "meta",
}


def _table_of(leaf: Leaf) -> str | None:
    """Which table a row is of. No two tables or indexes of a gallery have rows of like columns."""
    kinds = _kinds(leaf.row)
    if len(kinds) in (5, 7) and kinds[-1] is int:  # a real number without fraction is stored as an integer
        kinds = (*kinds[:-1], float)
    return _TABLES.get((leaf.rowid is not None, kinds))


def _kinds(row: Row) -> tuple[type | None, ...]:
    return tuple(None if value is None else type(value) for value in row)
