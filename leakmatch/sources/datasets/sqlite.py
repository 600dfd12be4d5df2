"""SQLite databases: every BLOB, and every text with a picture in base64. Only ordinary tables are read.

The schema is hostile: views, triggers, virtual tables, generated columns and indexes are never touched, and an
authorizer refuses whatever is not the reading of a table.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.sources.datasets.sqlite_wal import with_log
from leakmatch.sources.datasets.text import Search, picture_in_base64
from leakmatch.sources.guard import corrupt, over_budget, truncated, unsupported
from leakmatch.sources.members import Member, Note
from leakmatch.sources.meter import OverBudget
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import CHUNK, Range, Seekable

_STEPS: Final = 100_000  # of SQLite's machine between two signs of life
_MAX_HELD: Final = 64 << 20  # a value of a table without row numbers
_MAX_IN_MEMORY: Final = 128 << 20
_NO_PATH: Final = "/proc"  # where files in memory have their names; SQLite wants one of its own
_SHORTEST_TEXT: Final = 48
_ROW_NUMBERS: Final = (b"rowid", b"_rowid_", b"oid")
_FUNCTIONS: Final = frozenset(("typeof", "length"))
# The second lets a database be read that is shorter than it says, or has a damaged entry in its schema.
_SETTINGS: Final = (
    "trusted_schema=0",
    "writable_schema=1",
    "query_only=1",
    "cell_size_check=1",
    "mmap_size=0",
    "cache_size=-8192",
)
_PRAGMAS: Final = frozenset(("table_xinfo", *(setting.partition("=")[0] for setting in _SETTINGS)))
_ALLOWED: Final = frozenset((sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ))


def open_sqlite(opening: Opening) -> Sqlite:
    """The reader of SQLite databases."""
    return Sqlite(opening)


class Sqlite:
    """A database. Members are named ``TABLE/ROW NUMBER/COLUMN``."""

    def __init__(self, opening: Opening) -> None:
        self.notes: list[Note] = []
        self._opening = opening
        self._failure: ItemError | None = None
        self._stopped: BaseException | None = None

    def members(self) -> Iterator[Member]:
        """Every value that may be a picture or a container, by table and row."""
        self._check_size()
        with with_log(self._opening, self.notes) as path:
            try:
                connection = self._connect(path)
            except sqlite3.Error as error:
                raise corrupt(f"the database cannot be opened ({_reason(error)})") from error
            with closing(connection):
                for table in self._tables(connection):
                    try:
                        yield from self._table(connection, table)
                    except (sqlite3.Error, ItemError) as error:
                        self._fail(error, f"the table {decode_name(table)[:100]!r}")
        if self._failure is not None:
            raise self._failure

    def _check_size(self) -> None:
        """Remember it if the file ends before its last page."""
        self._opening.file.seek(0)
        head = self._opening.file.read(100)
        page = int.from_bytes(head[16:18], "big")
        page = 65536 if page == 1 else page
        if head[24:28] == head[92:96] and int.from_bytes(head[28:32], "big") * page > self._opening.size:
            self._failure = truncated("the database ends before its last page")

    def _connect(self, path: Path) -> sqlite3.Connection:
        connection = self._opened(path)
        connection.text_factory = bytes
        for limit, value in (
            (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
            (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
            (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 100),
        ):
            connection.setlimit(limit, value)
        connection.set_progress_handler(self._progress, _STEPS)
        connection.set_authorizer(_authorize)
        for pragma in _SETTINGS:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    def _opened(self, path: Path) -> sqlite3.Connection:
        """A database that lies still: no locks, no journal, nothing that is written beside it."""
        if not path.is_relative_to(_NO_PATH):
            uri = path.absolute().as_uri() + "?mode=ro&immutable=1"
            return sqlite3.connect(uri, uri=True, isolation_level=None, cached_statements=0)
        if path.stat().st_size > _MAX_IN_MEMORY:
            raise over_budget(f"a database of more than {_MAX_IN_MEMORY >> 20} MiB, and no scratch folder to put it in")
        connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)
        connection.deserialize(path.read_bytes())
        return connection

    def _progress(self) -> int:
        """An exception here would be swallowed by SQLite, so it is kept."""
        try:
            self._opening.pulse()
        except BaseException as error:  # noqa: BLE001 - raised again in _fail
            self._stopped = error
            return 1
        return 0

    def _fail(self, error: Exception, what: str) -> None:
        if self._stopped is not None:
            raise self._stopped
        if isinstance(error, OverBudget):
            raise error
        if not isinstance(error, ItemError):
            error = corrupt(f"{what} cannot be read to its end ({_reason(error)})")
        self._failure = self._failure or error

    def _tables(self, connection: sqlite3.Connection) -> list[bytes]:
        """The ordinary tables. A virtual one has no page of its own; what it shows lies in ordinary ones."""
        found: list[bytes] = []
        try:
            rows = connection.execute("SELECT type, name, rootpage, sql FROM sqlite_schema")
            for kind, name, page, sql in rows:
                if kind == b"table" and isinstance(name, bytes) and isinstance(page, int) and page > 0:
                    found.append(name)
                elif kind == b"table" and isinstance(name, bytes) and isinstance(sql, bytes):
                    message = f"the virtual table {decode_name(name)[:100]!r} was not opened; the tables behind it were"
                    self.notes.append(Note("link", message)) if len(self.notes) < 20 else None
        except sqlite3.Error as error:
            self._fail(error, "the schema")
        return found

    # One table

    def _table(self, connection: sqlite3.Connection, table: bytes) -> Iterator[Member]:
        columns = [row[1] for row in connection.execute(f"PRAGMA table_xinfo({_quoted(table)})") if row[6] == 0]
        taken = {column.lower() for column in columns}
        for row_number in (name.decode() for name in _ROW_NUMBERS if name not in taken):
            try:
                connection.execute(f"SELECT {row_number} FROM {_quoted(table)} NOT INDEXED LIMIT 0")
            except sqlite3.OperationalError:
                break  # a table without row numbers
            yield from self._numbered(connection, table, columns, row_number)
            return
        yield from self._unnumbered(connection, table, columns)

    def _numbered(
        self, connection: sqlite3.Connection, table: bytes, columns: list[bytes], row_number: str
    ) -> Iterator[Member]:
        kinds = ", ".join(f"typeof({_quoted(c)})" for c in columns)
        rows = connection.execute(f"SELECT {row_number}, {kinds} FROM {_quoted(table)} NOT INDEXED")
        for number, *types in rows:
            for column, kind in zip(columns, types, strict=True):
                if kind in (b"blob", b"text"):
                    yield from self._value(connection, table, number, column, kind)

    def _value(
        self, connection: sqlite3.Connection, table: bytes, number: int, column: bytes, kind: bytes
    ) -> Iterator[Member]:
        raw = b"%b/%d/%b" % (table, number, column)
        try:
            blob = connection.blobopen(table.decode(), column.decode(), number, readonly=True)
        except sqlite3.Error as error:
            problem = corrupt(f"the value cannot be read ({_reason(error)})")
            yield Member(
                raw, decode_name(raw), 1, lambda: cast(BinaryIO, Range(self._opening.file, 0, 0)), problem=problem
            )
            return
        with closing(blob):
            data = _Blob(blob)
            if kind == b"blob":
                yield _member(raw, data)
            elif len(blob) >= _SHORTEST_TEXT:
                yield from _text(raw, data)

    def _unnumbered(self, connection: sqlite3.Connection, table: bytes, columns: list[bytes]) -> Iterator[Member]:
        fits = [f"CASE WHEN typeof({c}) = 'blob' AND length({c}) > {_MAX_HELD} THEN 0 ELSE {c} END, typeof({c})"
                for c in map(_quoted, columns)]  # fmt: skip
        rows = connection.execute(f"SELECT {', '.join(fits)} FROM {_quoted(table)} NOT INDEXED")
        for number, row in enumerate(rows, start=1):
            for column, value, kind in zip(columns, row[::2], row[1::2], strict=True):
                raw = b"%b/%d/%b" % (table, number, column)
                if kind == b"blob" and not isinstance(value, bytes):
                    problem = over_budget(f"a value of more than {_MAX_HELD >> 20} MiB in a table without row numbers")
                    yield Member(raw, decode_name(raw), 1, lambda: cast(BinaryIO, _Held(b"")), problem=problem)
                elif kind == b"blob":
                    yield _member(raw, _Held(value))
                elif kind == b"text" and len(value) >= _SHORTEST_TEXT:
                    yield from _text(raw, _Held(value))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:120]


def _authorize(action: int, first: str | None, second: str | None, *_: object) -> int:
    """Nothing but reading tables; of pragmas and functions those used here."""
    if (
        action in _ALLOWED
        or (action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS)
        or (action == sqlite3.SQLITE_PRAGMA and first in _PRAGMAS)
    ):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _quoted(name: bytes) -> str:
    """A name in SQL. Raises :class:`ItemError` where it can be in none."""
    try:
        text = name.decode()
    except UnicodeDecodeError as error:
        raise unsupported("a table or column whose name is not UTF-8") from error
    if "\0" in text:
        raise unsupported("a table or column whose name has a NUL in it")
    return '"' + text.replace('"', '""') + '"'


class _Value(Seekable):
    size = 0

    def _end(self) -> int:
        return self.size


class _Blob(_Value):
    """A value in the database, read piece by piece."""

    def __init__(self, blob: sqlite3.Blob) -> None:
        super().__init__()
        self._blob = blob
        self.size = len(blob)

    def _read_at(self, at: int, size: int) -> bytes:
        if at >= self.size:
            return b""
        try:
            self._blob.seek(at)
            return self._blob.read(min(size, CHUNK))
        except sqlite3.Error as error:
            raise corrupt(f"the value cannot be read ({_reason(error)})") from error


class _Held(_Value):
    """A value in memory."""

    def __init__(self, data: Any) -> None:
        super().__init__()
        self._data = bytes(data)
        self.size = len(self._data)

    def _read_at(self, at: int, size: int) -> bytes:
        return self._data[at : at + size]


def _member(raw: bytes, data: _Value) -> Member:
    def reopen() -> BinaryIO:
        return cast(BinaryIO, Range(cast(BinaryIO, data), 0, data.size))

    return Member(raw, decode_name(raw), max(data.size, 1), reopen, data.size)


def _text(raw: bytes, data: _Value) -> Iterator[Member]:
    """A text in which there is a picture: the picture, if it is nothing else."""
    search = Search()
    while not search.found and (block := data.read(CHUNK)):
        search.feed(block)
    if not search.found:
        return
    if data.size <= _MAX_HELD:
        data.seek(0)
        whole = b"".join(iter(lambda: data.read(CHUNK), b""))
        if (picture := picture_in_base64(whole)) is not None:
            yield _member(raw, _Held(picture))
            return
    yield _member(raw, data)
