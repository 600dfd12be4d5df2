"""What a :class:`~leakmatch.database.Database` stands on: an SQLite file as it is, or one that is sealed.

Both give an SQLite connection, commit, keep a log beside the tables, and can be rewritten without what was removed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, Protocol

import apsw

from leakmatch.errors import IntegrityError, LeakMatchError, StorageError, UsageError, os_error
from leakmatch.sealed.content import NO_ENTRY, link
from leakmatch.sealed.file import PAGE_BYTES, SealedFile
from leakmatch.sealed.header import KeyPage
from leakmatch.sealed.keys import Keys, KeySlots
from leakmatch.sealed.pages import SealedPages

log = logging.getLogger(__name__)

SQLITE_MAGIC: Final = b"SQLite format 3\0"

# A reader holds up a commit for as long as its query runs. The writer waits in short steps, so that Ctrl-C is served.
_WAIT_MILLISECONDS: Final = 10_000
_WAITS: Final = 60

_LOG: Final = "CREATE TABLE IF NOT EXISTS log (number INTEGER PRIMARY KEY, previous BLOB NOT NULL, entry BLOB NOT NULL)"
_STEP: Final = 1 << 20


class Engine(Protocol):
    """An open file with SQLite tables, and a hash-chained log of entries (bytes)."""

    connection: apsw.Connection

    def commit(self, entries: Sequence[bytes]) -> None:
        """End the transaction that is open, and add ``entries`` to the log with it."""

    def rollback(self) -> None:
        """Take back the transaction that is open."""

    def add(self, entries: Sequence[bytes]) -> None:
        """Add to the log alone. Raises ``PermissionError`` where the file cannot be written."""

    def entries(self) -> Iterator[bytes]:
        """The log, from its beginning. Raises :class:`IntegrityError` where its chain is broken."""

    def rewritten(self, path: Path) -> Engine:
        """The same rows and entries in a new file, without any trace of what was removed."""

    def renamed(self, path: Path) -> None:
        """The file has this name now."""

    def wipe(self) -> None:
        """Make what this file holds unreadable, as far as writing over it does. It was replaced by another."""

    def close(self) -> None:
        """Close the file. What was not committed is gone."""


class PlainFile:
    """An SQLite file. It is locked by :func:`lock` while it is written to, or relied upon."""

    def __init__(self, path: Path, held: IO[bytes] | None, *, writable: bool) -> None:
        self.path, self._held = path, held
        self.connection = self._connect(writable=writable)

    def _connect(self, *, writable: bool) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READWRITE if writable else apsw.SQLITE_OPEN_READONLY
        connection = apsw.Connection(self.path.resolve().as_uri(), flags=flags | apsw.SQLITE_OPEN_URI)
        connection.set_busy_timeout(_WAIT_MILLISECONDS)
        # EXTRA: the removal of the journal, too, is on the disk before a commit returns. With FULL, a power cut
        # may bring the journal back, and with it the state before a commit that was reported as done.
        connection.execute("PRAGMA synchronous = EXTRA")
        prepare(connection)
        return connection

    def commit(self, entries: Sequence[bytes]) -> None:
        """See :class:`Engine`."""
        self._chain(entries)
        for attempt in range(_WAITS):
            try:
                self.connection.execute("COMMIT")
            except apsw.BusyError:
                if attempt == _WAITS - 1:
                    raise
            else:
                return

    def rollback(self) -> None:
        """See :class:`Engine`."""
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")

    def add(self, entries: Sequence[bytes]) -> None:
        """See :class:`Engine`."""
        if self.connection.readonly("main"):
            raise PermissionError(f"{self.path} cannot be written")
        ((reading,),) = self.connection.execute("PRAGMA query_only")
        self.connection.execute("PRAGMA query_only = OFF")
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            self.commit(entries)
        except BaseException:
            self.rollback()
            raise
        finally:
            self.connection.execute(f"PRAGMA query_only = {reading}")

    def _chain(self, entries: Sequence[bytes]) -> None:
        if not entries:
            return
        self.connection.execute(_LOG)
        last = self.connection.execute("SELECT previous, entry FROM log ORDER BY number DESC LIMIT 1").fetchone()
        head = NO_ENTRY if last is None else link(b"".join(last))
        for entry in entries:
            self.connection.execute("INSERT INTO log (previous, entry) VALUES (?, ?)", (head, entry))
            head = link(head + entry)

    def entries(self) -> Iterator[bytes]:
        """See :class:`Engine`."""
        if not self.connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'log'").fetchone():
            return
        head = NO_ENTRY
        for previous, entry in self.connection.execute("SELECT previous, entry FROM log ORDER BY number"):
            if previous != head:
                raise IntegrityError(f"{self.path}: its log was changed: an entry does not follow the one before.")
            head = link(previous + entry)
            yield entry

    def rewritten(self, path: Path) -> PlainFile:
        """See :class:`Engine`."""
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        self.connection.execute("VACUUM INTO ?", (str(path.resolve()),))
        return PlainFile(path, lock(path, shared=False), writable=True)

    def renamed(self, path: Path) -> None:
        """See :class:`Engine`. SQLite made names of journals from the old name, so the file is opened again."""
        self.connection.close()
        self.path = path
        self.connection = self._connect(writable=True)

    def wipe(self) -> None:
        """See :class:`Engine`."""
        if self._held is None:
            log.warning("%s: the old file could not be overwritten before it was removed.", self.path)
            return
        file = self._held
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        for start in range(0, size, _STEP):
            file.write(bytes(min(_STEP, size - start)))
        file.flush()
        os.fsync(file.fileno())
        file.truncate(0)

    def close(self) -> None:
        """See :class:`Engine`."""
        self.connection.close()
        if self._held:
            self._held.close()


class SealedTables:
    """SQLite tables in a sealed file."""

    def __init__(self, file: SealedFile) -> None:
        self.file = file
        self._pages = SealedPages(file)
        try:
            self.connection = self._pages.connect()
            prepare(self.connection)
        except apsw.Error as error:
            raise self._pages.failure or error from error

    @classmethod
    def create(cls, path: Path, keys: Keys, name: Path) -> SealedTables:
        """A new file at ``path`` without tables, which will be called ``name``."""
        return cls(new_file(path, keys, name))

    def commit(self, entries: Sequence[bytes]) -> None:
        """See :class:`Engine`."""
        self._pages.due(entries)
        self.connection.execute("COMMIT")
        self._pages.settle()

    def rollback(self) -> None:
        """See :class:`Engine`."""
        with suppress(apsw.Error):  # SQLite may fail to write back what is forgotten the next moment
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        self._pages.rollback()

    def add(self, entries: Sequence[bytes]) -> None:
        """See :class:`Engine`."""
        try:
            self.file.commit(entries)
        except BaseException:
            self.file.rollback()
            raise

    def entries(self) -> Iterator[bytes]:
        """See :class:`Engine`."""
        return self.file.entries()

    def rewritten(self, path: Path) -> SealedTables:
        """See :class:`Engine`."""
        return sealed_copy(self, self.file.successor(path))

    def renamed(self, path: Path) -> None:
        """See :class:`Engine`."""
        self.file.path = path

    def wipe(self) -> None:
        """See :class:`Engine`. Without its keys nothing in it can be read."""
        self.file.forget_keys()

    def close(self) -> None:
        """See :class:`Engine`."""
        self.connection.close()
        self._pages.close()

    @property
    def failure(self) -> Exception | None:
        """What went wrong beneath SQLite."""
        return self._pages.failure


def new_file(path: Path, keys: Keys, name: Path) -> SealedFile:
    """A new sealed file at ``path``, which will be called ``name``."""
    slots, master = KeySlots.new(keys.secret(str(name), new=True))
    return SealedFile.create(path, KeyPage.new(slots, master), master)


def sealed_copy(engine: Engine, file: SealedFile) -> SealedTables:
    """The rows and entries of ``engine`` in the new, empty ``file``."""
    pages = SealedPages(file)
    try:
        engine.connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")  # which VACUUM makes that of the new database
        engine.connection.execute("VACUUM INTO ?", (f"file:sealed?vfs={pages.vfs}",))
        file.commit(list(engine.entries()))
    except BaseException as error:
        pages.close()
        if isinstance(error, apsw.Error) and pages.failure is not None:
            raise pages.failure from error
        raise
    pages.unregister()
    return SealedTables(file)


def prepare(connection: apsw.Connection) -> None:
    """What holds for every connection."""
    for pragma in ("temp_store = MEMORY", "secure_delete = ON", "cell_size_check = ON", "trusted_schema = OFF"):
        connection.execute(f"PRAGMA {pragma}")


def lock(path: Path, *, shared: bool) -> IO[bytes] | None:
    """Refuse a writer beside a writer or a steady reader. SQLite alone would let two scans of one case take turns."""
    try:
        import fcntl
    except ImportError:  # Windows: SQLite's own locks remain
        return None
    try:
        writable = not shared and os.access(path, os.W_OK)  # where it is not, SQLite says so in better words
        file = path.open("r+b" if writable else "rb")
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


# SQLite result codes by what they mean to the user (sqlite.org/rescode.html).
_STORAGE: Final = {"SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM"}
_DAMAGED: Final = {"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT", "SQLITE_MISMATCH"}
_BUSY: Final = {"SQLITE_BUSY", "SQLITE_LOCKED"}
_DEFECTS: Final = (
    apsw.BindingsError,
    apsw.ConnectionClosedError,
    apsw.CursorClosedError,
    apsw.ThreadingViolationError,
    apsw.MisuseError,
)


def sqlite_error(error: apsw.Error, path: Path | str) -> LeakMatchError:
    """Map an SQLite error on the store at ``path`` to the tree."""
    result = getattr(error, "result", 0)
    extended = getattr(error, "extendedresult", 0)
    name = str(apsw.mapping_result_codes.get(result, ""))
    if extended == apsw.SQLITE_READONLY_ROLLBACK:
        return StorageError(
            f"{path}: the last run was stopped in the middle of a write, and this place is read-only. "
            f"Copy the file together with {path}-journal to a folder that can be written."
        )
    if name in _STORAGE:
        return StorageError(
            f"{path}: {error}. Nothing that was recorded is lost; check the disk and run the same command again."
        )
    if name in _DAMAGED:
        return IntegrityError(f"{path}: damaged or truncated ({error}). Restore it from a copy.")
    if name in _BUSY:
        return UsageError(f"{path}: in use by another LeakMatch process. Wait for it to end.")
    if not isinstance(error, _DEFECTS):
        return IntegrityError(f"{path}: its content is not what LeakMatch wrote ({error}).")
    return LeakMatchError(f"{path}: {error}")


@contextmanager
def storage(path: Path | str, engine: Engine | None = None) -> Iterator[None]:
    """Map SQLite and operating system errors on the store at ``path`` to the tree."""
    try:
        yield
    except apsw.Error as error:
        beneath = engine.failure if isinstance(engine, SealedTables) else None
        if isinstance(beneath, LeakMatchError):
            raise beneath from error
        if isinstance(beneath, OSError):
            raise os_error(beneath, path) from error
        raise sqlite_error(error, path) from error
    except OSError as error:
        raise os_error(error, path) from error
