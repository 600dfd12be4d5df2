"""One SQLite file as a store: application id, schema version, content digest, one error mapping.

The gallery and the case are both such files. Every row goes through :meth:`Database.insert` and
:meth:`Database.delete`, which keep a digest of the content: the sum, modulo 2**256, of the SHA-256 of each row. It
does not depend on order, and is changed by a row at the cost of that row (Bellare and Micciancio 1997, AdHash).
It shows damage and clumsy tampering; it is no signature, since whoever can write the file can compute it anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Self

import numpy as np

from leakmatch.errors import IntegrityError, StorageError, UsageError, os_error, storage

Row = tuple[Any, ...]

_META = "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
_DIGEST = "CREATE TABLE digest (value BLOB NOT NULL)"
_MODULUS = 1 << 256

# A reader holds up a commit for as long as its query runs. The writer waits in short steps, so that Ctrl-C is served.
_WAIT_SECONDS: Final = 10
_WAITS: Final = 60

_LARGE_CACHE_KIB: Final = 256 * 1024


class Database:
    """A store in one file. Open it with :meth:`create` or :meth:`open`; close it, or use it as a context manager.

    All methods raise :class:`IntegrityError` (damaged), :class:`StorageError` (disk) or :class:`UsageError` (busy).
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: IO[bytes] | None) -> None:
        self.path = path
        self._connection = connection
        self._lock = lock
        self._sum = 0
        self._columns: dict[str, int] = {}

    @classmethod
    def create(
        cls, path: Path, application_id: int, version: int, schema: Sequence[str], fill: Callable[[Database], None]
    ) -> Database:
        """Create the file, readable by its owner only, with its tables and the first rows, which ``fill`` inserts.

        It has its name only once it is complete. It must not exist. Raises :class:`UsageError` where the journal of a
        file of that name is there without it: SQLite would take the new file back to what is in there.
        """
        new = _unfinished(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if _journal(path).exists():
                raise UsageError(f"{_journal(path)}: is there without its file. Put it beside that, or remove it.")
            for left in (new, _journal(new)):  # by a process that was killed here
                left.unlink(missing_ok=True)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except PermissionError as error:
            raise StorageError(f"{path}: you may not write in this folder. Choose another one.") from error
        except OSError as error:
            raise os_error(error, path) from error
        database = cls._connect(new, writable=True)
        try:
            with storage(path), database.transaction():
                for statement in (_META, _DIGEST, *schema):
                    database._connection.execute(statement)
                database._connection.execute("INSERT INTO digest VALUES (?)", (bytes(32),))
                database._connection.execute(f"PRAGMA application_id = {application_id}")
                database._connection.execute(f"PRAGMA user_version = {version}")
                fill(database)
            database.close()
            with storage(path):
                _name(new, path)
        except BaseException:
            database.close()
            with contextlib.suppress(OSError):  # on a failing disk it stays, until the next attempt removes it
                new.unlink(missing_ok=True)
            raise
        created = cls._connect(path, writable=True)
        created._sum = database._sum
        return created

    @classmethod
    def open(
        cls, path: Path, application_id: int, version: int, what: str, *, writable: bool, steady: bool = False
    ) -> Database:
        """Open an existing store of the kind ``what`` ("gallery", "case").

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
        if head != b"SQLite format 3\0":
            raise UsageError(f"{path}: not a LeakMatch {what}.")
        # A writer that was killed left a journal, which takes write access to roll back, also for a reader.
        database = cls._connect(path, writable=writable, recover=interrupted, steady=steady)
        try:
            with storage(path):
                if writable:
                    _forget_unfinished(path)
                found = database._scalar("PRAGMA application_id")
                if found != application_id:
                    raise UsageError(f"{path}: not a LeakMatch {what}.")
                have = database._scalar("PRAGMA user_version")
                if have != version:
                    raise UsageError(
                        f"{path}: a {what} of format {have}; this LeakMatch reads format {version}. Read it with the "
                        "version that wrote it, or begin a new one."
                    )
                database._sum = database._stored_sum()
                if not writable:
                    database._connection.execute("PRAGMA query_only = ON")
        except BaseException:
            database.close()
            raise
        return database

    @classmethod
    def _connect(cls, path: Path, *, writable: bool, recover: bool = False, steady: bool = False) -> Database:
        lock = _lock(path, shared=not writable) if writable or steady else None
        mode = "rw" if writable or recover else "ro"
        try:
            with storage(path):
                uri = f"{path.resolve().as_uri()}?mode={mode}"
                connection = sqlite3.connect(
                    uri,
                    uri=True,
                    timeout=_WAIT_SECONDS,
                    isolation_level=None,
                    check_same_thread=not steady,  # a steady reader may be read by several threads, one at a time
                )
                # EXTRA: the removal of the journal, too, is on the disk before a commit returns. With FULL, a power cut
                # may bring the journal back, and with it the state before a commit that was reported as done.
                connection.execute("PRAGMA synchronous = EXTRA")
                connection.execute("PRAGMA temp_store = MEMORY")
                connection.execute("PRAGMA secure_delete = ON")
                connection.execute("PRAGMA cell_size_check = ON")
                connection.execute("PRAGMA trusted_schema = OFF")
        except BaseException:
            if lock:
                lock.close()
            raise
        return cls(path, connection, lock)

    def close(self) -> None:
        """Close the file. What was not committed is rolled back."""
        self._connection.close()
        if self._lock:
            self._lock.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing: committed to the disk at the end, rolled back on any exception."""
        before = self._sum
        try:
            with storage(self.path):
                self._connection.execute("BEGIN IMMEDIATE")
                yield
                if self._sum != before:
                    self._connection.execute("UPDATE digest SET value = ?", (self._sum.to_bytes(32, "big"),))
                self._commit()
        except BaseException:
            self._sum = before
            with storage(self.path):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
            raise

    def _commit(self) -> None:
        for attempt in range(_WAITS):
            try:
                self._connection.execute("COMMIT")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or attempt == _WAITS - 1:
                    raise
            else:
                return

    @contextmanager
    def large_cache(self) -> Iterator[None]:
        """Keep more pages in memory for a while: rows that come in random order fall on pages all over the file."""
        with storage(self.path):
            before = self._scalar("PRAGMA cache_size")
            self._connection.execute(f"PRAGMA cache_size = {-_LARGE_CACHE_KIB}")
        try:
            yield
        finally:
            with storage(self.path):
                self._connection.execute(f"PRAGMA cache_size = {before}")

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All that is read within is of one state, also while another process writes (which waits meanwhile)."""
        with storage(self.path):
            self._connection.execute("BEGIN")
        try:
            with storage(self.path):
                self._sum = self._stored_sum()
            yield
        finally:
            with storage(self.path):
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def insert(self, table: str, rows: Iterable[Row]) -> None:
        """Add whole rows of plain values or numpy scalars. Within a transaction.

        Raises ``TypeError`` or ``ValueError`` for a value that SQLite would not give back as it was.
        """
        rows = [tuple(map(_plain, row)) for row in rows]
        if not rows:
            return
        marks = ",".join("?" * len(rows[0]))
        with storage(self.path):
            self._connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
        self._sum = (self._sum + sum(_row_hash(table, row) for row in rows)) % _MODULUS

    def delete(self, table: str, where: str, values: Row = ()) -> list[Row]:
        """Take out the rows for which the condition holds, and return them. Within a transaction."""
        rows = list(self.select(f"SELECT * FROM {table} WHERE {where}", values))
        with storage(self.path):
            self._connection.execute(f"DELETE FROM {table} WHERE {where}", values)
        self._sum = (self._sum - sum(_row_hash(table, row) for row in rows)) % _MODULUS
        return rows

    def select(self, query: str, values: Row = ()) -> Iterator[Row]:
        """The rows of a query, streamed."""
        with storage(self.path):
            # No "yield from": a reader who stops early would close the cursor, perhaps after the connection.
            for row in self._connection.execute(query, values):  # noqa: UP028
                yield row

    def one(self, query: str, values: Row = ()) -> Any:
        """The single value of a query, or ``None`` where there is no row."""
        with storage(self.path):
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
        with storage(self.path):
            problems = [row[0] for row in self._connection.execute("PRAGMA integrity_check(3)")]
            if problems != ["ok"]:
                raise IntegrityError(f"{self.path}: damaged ({problems[0]}). Restore it from a copy.")
            tables = [
                name
                for (name,) in self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                if name != "digest" and not name.startswith("sqlite_")
            ]
            total = sum(
                _row_hash(table, row) for table in tables for row in self._connection.execute(f"SELECT * FROM {table}")
            )
            stored = self._scalar("SELECT value FROM digest")
        if (total % _MODULUS).to_bytes(32, "big") != stored:
            raise IntegrityError(
                f"{self.path}: its content is not what LeakMatch wrote; it was changed or damaged. "
                "Restore it from a copy."
            )

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


def _plain(value: Any) -> Any:
    """``value`` as SQLite gives it back. Left to itself it stores a numpy scalar as raw bytes, and NaN as null."""
    if type(value) in (int, str, bytes) or value is None:
        return value
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        if value != value:
            raise ValueError("NaN cannot be stored")
        return value
    if isinstance(value, int | str):  # a bool, a StrEnum
        return int(value) if isinstance(value, int) else str(value)
    raise TypeError(f"a {type(value).__name__} cannot be stored")


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-journal")


def _unfinished(path: Path) -> Path:
    """What a new file is called until it is complete."""
    return path.with_name(f".{path.name}.new")


def _forget_unfinished(path: Path) -> None:
    """Remove the first name of a file whose maker was killed between giving it its own and removing this one."""
    new = _unfinished(path)
    if new.exists() and new.samefile(path):
        new.unlink(missing_ok=True)


def _name(new: Path, path: Path) -> None:
    """Give the finished file its name, without replacing one that came to be meanwhile."""
    try:
        os.link(new, path)
        new.unlink()
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _row_hash(table: str, row: Row) -> int:
    """SHA-256 over an injective encoding: type and length before each value.

    A number is written by its value, since a column decides whether 1 comes back as 1 or as 1.0.
    """
    known = _ENCODED.get
    parts = [table.encode(), b"\0"]
    for value in row:
        if type(value) is bytes:
            parts += (b"bytes:%d:" % len(value), value)
        else:
            parts.append(known(value) or _encoded(value))
    return int.from_bytes(hashlib.sha256(b"".join(parts)).digest(), "big")


#: The first values that were met, encoded: most of a row is words and small numbers that come again and again.
_ENCODED: Final[dict[int | float | str | None, bytes]] = {}
_MOST_ENCODED: Final = 8192
_LONGEST_ENCODED: Final = 64


def _encoded(value: float | str | None) -> bytes:
    """A value that is no bytes. (Equal numbers of two types are encoded alike, so one may stand for the other.)"""
    kind = type(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    data = repr(value).encode("utf-8", "surrogatepass")
    name = b"number" if kind is int or kind is float else kind.__name__.encode()
    encoded = b"%b:%d:%b" % (name, len(data), data)
    if len(data) <= _LONGEST_ENCODED and len(_ENCODED) < _MOST_ENCODED:
        _ENCODED[value] = encoded
    return encoded


def _lock(path: Path, *, shared: bool) -> IO[bytes] | None:
    """Refuse a writer beside a writer or a steady reader. SQLite alone would let two scans of one case take turns."""
    try:
        import fcntl
    except ImportError:  # Windows: SQLite's own locks remain
        return None
    try:
        file = path.open("rb")
    except OSError as error:
        raise os_error(error, path) from error
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UsageError(f"{path}: in use by another LeakMatch process. Wait for it to end.") from error
    except OSError:
        return file  # a file system without locks (some network mounts): SQLite's own locks remain
    return file
