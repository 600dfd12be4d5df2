"""One file as a store: application id, schema version, content digest, log, one error mapping.

The gallery and the case are both such files: SQLite, plain or sealed (:mod:`leakmatch.engine`). Every row goes through
:meth:`Database.insert` and :meth:`Database.delete`, which keep a digest of the content
(:mod:`leakmatch.row_digest`). The log (who opened it, and what for) is beside the content, and not part of the digest.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import apsw

from leakmatch.engine import SQLITE_MAGIC, Engine, PlainFile, SealedTables, lock, new_file, sealed_copy, storage
from leakmatch.errors import IntegrityError, StorageError, UsageError, os_error
from leakmatch.row_digest import MODULUS, Row, plain_value, row_digest
from leakmatch.sealed.disk import is_sealed
from leakmatch.sealed.file import SealedFile
from leakmatch.sealed.keys import Keys, KeySlots

__all__ = ["Database", "Row", "Store"]

log = logging.getLogger(__name__)

_META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_DIGEST = "CREATE TABLE digest (value BLOB NOT NULL)"
_NOT_CONTENT: Final = ("digest", "log")

_LARGE_CACHE_KIB: Final = 256 * 1024


class Database:
    """A store in one file. Open it with :meth:`create` or :meth:`open`; close it, or use it as a context manager.

    All methods raise :class:`IntegrityError` (damaged), :class:`StorageError` (disk) or :class:`UsageError` (busy).
    """

    def __init__(self, path: Path, engine: Engine) -> None:
        self.path = path
        self._engine = engine
        self._sum = 0
        self._due: list[bytes] = []

    @property
    def _connection(self) -> apsw.Connection:
        return self._engine.connection

    @classmethod
    def create(
        cls,
        path: Path,
        application_id: int,
        version: int,
        schema: Sequence[str],
        fill: Callable[[Database], None],
        keys: Keys | None = None,
    ) -> Database:
        """Create the file, readable by its owner only, with its tables and the first rows, which ``fill`` inserts.

        ``keys``: what it is sealed with; ``None`` leaves it plain. It has its name only once it is complete. It must
        not exist. Raises :class:`UsageError` where the journal of a file of that name is there without it: SQLite would
        take the new file back to what is in there.
        """
        new = _unfinished(path)
        if keys is not None:
            keys.secret(str(path), new=True)  # asked for before anything is made
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if _journal(path).exists():
                raise UsageError(f"{_journal(path)}: is there without its file. Put it beside that, or remove it.")
            for left in (new, _journal(new)):  # by a process that was killed here
                left.unlink(missing_ok=True)
            if keys is None:
                os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except PermissionError as error:
            raise StorageError(f"{path}: you may not write in this folder. Choose another one.") from error
        except OSError as error:
            raise os_error(error, path) from error
        try:
            with storage(path):
                engine = _plain(new, writable=True) if keys is None else SealedTables.create(new, keys, path)
            with cls(path, engine) as database, storage(path, engine), database.transaction():
                for statement in (_META, _DIGEST, *schema):
                    database._connection.execute(statement)
                database._begin_digest()
                database._connection.execute(f"PRAGMA application_id = {application_id}")
                database._connection.execute(f"PRAGMA user_version = {version}")
                fill(database)
            with storage(path):
                give_name(new, path)
        except BaseException:
            with contextlib.suppress(OSError):  # on a failing disk it stays, until the next attempt removes it
                new.unlink(missing_ok=True)
            raise
        return cls.open(path, application_id, version, "store", keys=keys, writable=True)

    @classmethod
    def open(
        cls,
        path: Path,
        application_id: int,
        version: int,
        what: str,
        *,
        keys: Keys | None = None,
        writable: bool,
        steady: bool = False,
        noted: bool = False,
        upgrades: Mapping[int, Callable[[Database], None]] | None = None,
    ) -> Database:
        """Open an existing store of the kind ``what`` ("gallery", "case"). ``keys`` are for one that is sealed.

        ``upgrades``: by version, what brings an older one to the next version; a writer does, all or nothing.

        ``noted``: readers add to its log (:meth:`note_opening`), as far as the file can be written.
        ``steady``: as a reader who lets no writer in until it is closed; several such readers may be in.
        """
        try:
            if not path.is_file():
                raise UsageError(f"{path}: there is no such {what}.")
            with path.open("rb") as file:
                head = file.read(16)
            interrupted = _journal(path).is_file()
        except OSError as error:
            raise os_error(error, path) from error
        with storage(path):
            if head == SQLITE_MAGIC:
                # A writer that was killed left a journal, which takes write access to roll back, also for a reader.
                note = noted and os.access(path, os.W_OK)
                engine: Engine = _plain(path, writable=writable, recover=interrupted or note, steady=steady)
            elif is_sealed(path):
                engine = _sealed(path, keys or Keys(), what, writable=writable, steady=steady)
            else:
                raise UsageError(f"{path}: not a LeakMatch {what}.")
        database = cls(path, engine)
        try:
            with storage(path, engine):
                if writable:
                    _forget_unfinished(path)
                found = database._scalar("PRAGMA application_id")
                if found != application_id:
                    raise UsageError(f"{path}: not a LeakMatch {what}.")
                database._sum = database._stored_sum()
                database._bring_up_to(version, what, upgrades or {}, writable=writable)
                if not writable:
                    database._connection.execute("PRAGMA query_only = ON")
        except BaseException:
            database.close()
            raise
        return database

    def _bring_up_to(
        self, version: int, what: str, upgrades: Mapping[int, Callable[[Database], None]], *, writable: bool
    ) -> None:
        have = self._scalar("PRAGMA user_version")
        if have != version and have not in upgrades:
            raise UsageError(
                f"{self.path}: a {what} of format {have}; this LeakMatch reads format {version}. Read it with the "
                "version that wrote it, or begin a new one."
            )
        if have != version and not writable:
            raise UsageError(
                f"{self.path}: a {what} of format {have}; this LeakMatch reads format {version}. Any command "
                f"that changes it brings it up to date, for instance: leakmatch {what} seal {self.path}"
            )
        for step in range(have, version):
            with self.transaction():
                upgrades[step](self)
                self.define(f"PRAGMA user_version = {step + 1}")

    def define(self, statement: str) -> None:
        """Make or drop a table. Within a transaction."""
        with storage(self.path, self._engine):
            self._connection.execute(statement)

    def close(self) -> None:
        """Close the file. What was not committed is rolled back."""
        self._engine.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: committed to the disk at the end, rolled back on any exception."""
        before = self._sum
        try:
            with storage(self.path, self._engine):
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                if self._sum != before:
                    self._connection.execute("UPDATE digest SET value = ?", (self._sum.to_bytes(32, "big"),))
                due, self._due = self._due, []
                self._engine.commit(due)
        except BaseException:
            self._sum, self._due = before, []
            with storage(self.path, self._engine):
                self._engine.rollback()
            raise

    def note(self, entry: Mapping[str, Any]) -> None:
        """Add an entry (JSON values) to the log: with the transaction that is open, or at once where there is none."""
        if self._connection.in_transaction:
            self._due.append(_packed(entry))
            return
        with storage(self.path, self._engine):
            self._engine.add([_packed(entry)])

    @property
    def recovered(self) -> str:
        """What an interrupted change to a sealed file left behind, in a sentence; empty where nothing was."""
        return self.sealed.recovered if self.sealed is not None else ""

    def note_opening(self, entry: Mapping[str, Any]) -> None:
        """As :meth:`note`; of a file that cannot be written it is said that it was not noted."""
        with storage(self.path, self._engine):
            try:
                self._engine.add([_packed(entry)])
            except PermissionError:
                log.warning("%s: cannot be written, so that it was opened is not in its log.", self.path)

    def notes(self) -> Iterator[dict[str, Any]]:
        """The log, from its beginning. Raises :class:`IntegrityError` where it is not as it was written."""
        with storage(self.path, self._engine):
            for content in self._engine.entries():
                try:
                    entry = json.loads(content)
                except ValueError as error:
                    raise IntegrityError(f"{self.path}: an entry of its log is damaged.") from error
                yield entry if isinstance(entry, dict) else {}

    @property
    def sealed(self) -> SealedFile | None:
        """The sealed file it is in; ``None`` where it is plain."""
        return self._engine.file if isinstance(self._engine, SealedTables) else None

    def compact(self, entry: Mapping[str, Any], keys: Keys | None = None) -> None:
        """Write everything into a new file, put it in the place of this one, and make the old one unreadable.

        Nothing that was removed before is in the new one. ``keys``: seal it with these alone, under a new master key;
        else a sealed file keeps its keys, and a plain one stays plain. ``entry`` goes to the log. Open for writing.
        """
        new, old = _unfinished(self.path), self._engine
        _forget_unfinished(self.path)
        with storage(self.path, old):
            try:
                if keys is not None:
                    engine: Engine = sealed_copy(old, new_file(new, keys, self.path))
                else:
                    engine = old.rewritten(new)
            except BaseException:
                with contextlib.suppress(OSError):
                    new.unlink(missing_ok=True)
                raise
            try:
                if isinstance(engine, SealedTables):
                    engine.file.hold()
                engine.add([_packed(entry)])
                _like(new, self.path)
                new.replace(self.path.resolve())  # which a symbolic link goes on to name
                sync_folder(self.path.resolve())
            except BaseException:
                engine.close()
                with contextlib.suppress(OSError):
                    new.unlink(missing_ok=True)
                raise
            self._engine = engine
            engine.renamed(self.path)
            old.wipe()
            old.close()

    def set_slots(self, slots: KeySlots, entry: Mapping[str, Any]) -> None:
        """Change the keys that open it. Raises :class:`UsageError` where it is not sealed."""
        if self.sealed is None:
            raise UsageError(f"{self.path}: it is not sealed, so it has no keys. Seal it: leakmatch gallery seal")
        with storage(self.path, self._engine):
            self.sealed.set_slots(slots, [_packed(entry)])

    @contextmanager
    def large_cache(self) -> Iterator[None]:
        """Keep more pages in memory for a while: rows that come in random order fall on pages all over the file."""
        with storage(self.path, self._engine):
            before = self._scalar("PRAGMA cache_size")
            self._connection.execute(f"PRAGMA cache_size = {-_LARGE_CACHE_KIB}")
        try:
            yield
        finally:
            with storage(self.path, self._engine):
                self._connection.execute(f"PRAGMA cache_size = {before}")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is read within is of one state, also while another process writes (which waits meanwhile)."""
        with storage(self.path, self._engine):
            self._connection.execute("BEGIN")
        try:
            with storage(self.path, self._engine):
                self._sum = self._stored_sum()
            yield
        finally:
            with storage(self.path, self._engine):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        """Add whole rows of plain values or numpy scalars. Within a transaction.

        Raises ``TypeError`` or ``ValueError`` for a value that SQLite would not give back as it was.
        """
        rows = [tuple(map(plain_value, row)) for row in rows]
        if not rows:
            return
        marks = ",".join("?" * len(rows[0]))
        with storage(self.path, self._engine):
            self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        self._sum = (self._sum + sum(row_digest(table, row) for row in rows)) % MODULUS

    def delete(self, table: str, where: str, values: Row = ()) -> list[Row]:
        """Take out the rows for which the condition holds, and return them. Within a transaction."""
        rows = list(self.select(f"SELECT * FROM {table} WHERE {where}", values))
        with storage(self.path, self._engine):
            self._connection.execute(f"DELETE FROM {table} WHERE {where}", values)
        self._sum = (self._sum - sum(row_digest(table, row) for row in rows)) % MODULUS
        return rows

    def select(self, query: str, values: Row = ()) -> Iterator[Row]:
        """The rows of a query, streamed."""
        with storage(self.path, self._engine):
            # No "yield from": a reader who stops early would close the cursor, perhaps after the connection.
            for row in self._connection.execute(query, values):  # noqa: UP028
                yield row

    def one(self, query: str, values: Row = ()) -> Any:
        """The single value of a query, or ``None`` where there is no row."""
        with storage(self.path, self._engine):
            return self._scalar(query, values)

    def _scalar(self, query: str, values: Row = ()) -> Any:
        row = self._connection.execute(query, values).fetchone()
        return None if row is None else row[0]

    def get(self, key: str) -> Any:
        """A value of the meta table (JSON), or ``None``. Raises :class:`IntegrityError` if it is not JSON."""
        text = self.one("SELECT value FROM meta WHERE key = ?", (key,))
        try:
            return None if text is None else json.loads(text)
        except (ValueError, TypeError) as error:
            raise IntegrityError(f"{self.path}: the value of {key!r} is damaged.") from error

    def put(self, key: str, value: Any) -> None:
        """Set a value of the meta table. Within a transaction."""
        self.delete("meta", "key = ?", (key,))
        self.insert("meta", [(key, json.dumps(value, sort_keys=True))])

    def verify(self) -> None:
        """Raise :class:`IntegrityError` unless the file is sound and its content is what was written."""
        with storage(self.path, self._engine):
            problems = [row[0] for row in self._connection.execute("PRAGMA integrity_check(3)")]
            if problems != ["ok"]:
                raise IntegrityError(f"{self.path}: damaged ({problems[0]}). Restore it from a copy.")
            tables = [
                name
                for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                if name not in _NOT_CONTENT and not name.startswith("sqlite_")
            ]
            total = sum(
                row_digest(table, row) for table in tables for row in self._connection.execute(f"SELECT * FROM {table}")
            )
            stored = self._scalar("SELECT value FROM digest")
        if (total % MODULUS).to_bytes(32, "big") != stored:
            raise IntegrityError(
                f"{self.path}: its content is not what LeakMatch wrote; it was changed or damaged. "
                "Restore it from a copy."
            )

    def _begin_digest(self) -> None:
        self._connection.execute("INSERT INTO digest VALUES (?)", (bytes(32),))

    def _stored_sum(self) -> int:
        value = self._scalar("SELECT value FROM digest")
        if not isinstance(value, bytes) or len(value) != 32:
            raise IntegrityError(f"{self.path}: its content digest is missing. Restore it from a copy.")
        return int.from_bytes(value, "big")

    @property
    def digest(self) -> str:
        """The content digest, in hexadecimal."""
        return self._sum.to_bytes(32, "big").hex()


class Store:
    """What a gallery and a case have in common: a database that is opened, read and closed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    @property
    def digest(self) -> str:
        """The content digest, in hexadecimal: equal for equal content."""
        return self._database.digest


def _packed(entry: Mapping[str, Any]) -> bytes:
    return json.dumps(entry, sort_keys=True).encode()


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-journal")


def _unfinished(path: Path) -> Path:
    """What a new file is called until it is complete."""
    path = path.resolve()
    return path.with_name(f".{path.name}.new")


def _forget_unfinished(path: Path) -> None:
    """Remove what a process left that was killed while it made or rewrote the file. Whoever calls holds the file."""
    new = _unfinished(path)
    try:
        new.unlink(missing_ok=True)
    except OSError as error:
        raise os_error(error, new) from error


def _like(new: Path, old: Path) -> None:
    """Give ``new`` the owner, as far as one may, and the permissions of the file in whose place it comes."""
    about = old.stat()
    with contextlib.suppress(OSError):
        os.chown(new, about.st_uid, about.st_gid)
    new.chmod(stat.S_IMODE(about.st_mode))


def give_name(new: Path, path: Path) -> None:
    """Give the finished file its name, without replacing one that came to be meanwhile (``FileExistsError``)."""
    try:
        os.link(new, path)
        new.unlink()
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        new.rename(path)
    sync_folder(path)


def sync_folder(path: Path) -> None:
    """The name of ``path`` is on the disk before this returns."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _plain(path: Path, *, writable: bool, recover: bool = False, steady: bool = False) -> PlainFile:
    held = lock(path, shared=not writable) if writable or steady else None
    try:
        return PlainFile(path, held, writable=writable or recover)
    except BaseException:
        if held:
            held.close()
        raise


def _sealed(path: Path, keys: Keys, what: str, *, writable: bool, steady: bool) -> SealedTables:
    content = "alone" if writable else "shared" if steady else ""
    file = SealedFile.open(path, keys, content=content, change=writable)
    if file.recovered:
        log.warning("%s: %s.", path, file.recovered)
    try:
        if not file.read(0).startswith(SQLITE_MAGIC):
            raise UsageError(f"{path}: sealed, but not a LeakMatch {what}.")
        return SealedTables(file)
    except BaseException:
        file.close()
        raise
