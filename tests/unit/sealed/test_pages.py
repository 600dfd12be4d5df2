"""SQLite on a sealed file: all of a transaction or nothing, and no file of SQLite's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest
from sealed_files import PAGE_BYTES, key_in, sealed_file

from leakmatch.engine import SealedTables
from leakmatch.errors import UsageError
from leakmatch.sealed.file import SealedFile
from leakmatch.sealed.header import BLOCKS_AT, ROOT_AT
from leakmatch.sealed.keys import Keys

#: More than SQLite keeps in memory, so that a transaction is written out before it is committed.
SPILLS = 1500


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return key_in(tmp_path)


@pytest.fixture
def path(tmp_path: Path, keys: Keys) -> Path:
    """A table of ten rows."""
    path = tmp_path / "tables.sealed"
    tables = SealedTables(sealed_file(path, keys))
    with transaction(tables, b"made"):
        tables.connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b BLOB)")
        fill(tables, 0, 10)
    tables.close()
    return path


@contextmanager
def transaction(tables: SealedTables, *entries: bytes) -> Iterator[None]:
    tables.connection.execute("BEGIN IMMEDIATE")
    yield
    tables.commit(entries)


@contextmanager
def opened(path: Path, keys: Keys) -> Iterator[SealedTables]:
    tables = SealedTables(SealedFile.open(path, keys, content="alone", change=True))
    tables.connection.execute("PRAGMA cache_size = -1024")
    try:
        yield tables
    finally:
        tables.close()


def fill(tables: SealedTables, start: int, stop: int) -> None:
    tables.connection.executemany(
        "INSERT INTO t VALUES (?, ?)", ((number, number.to_bytes(8, "big") * 700) for number in range(start, stop))
    )


def descriptors() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def rows(tables: SealedTables) -> int:
    """The number of rows, each of which is looked at."""
    found = list(tables.connection.execute("SELECT a, b FROM t ORDER BY a"))
    assert all(b == a.to_bytes(8, "big") * 700 for a, b in found)
    assert tables.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    return len(found)


def test_what_was_committed_is_there(path: Path, keys: Keys) -> None:
    with opened(path, keys) as tables:
        assert rows(tables) == 10
        assert list(tables.entries()) == [b"made"]


def test_a_transaction_that_is_written_out_early_is_one_commit(path: Path, keys: Keys) -> None:
    with opened(path, keys) as tables:
        before, commits = path.stat().st_size, tables.file.commits
        with transaction(tables, b"many"):
            fill(tables, 10, SPILLS)
            assert path.stat().st_size > before + (4 << 20)
            assert tables.file.commits == commits
        assert tables.file.commits == commits + 1
    with opened(path, keys) as tables:
        assert rows(tables) == SPILLS
        assert list(tables.entries()) == [b"made", b"many"]


def test_a_transaction_that_was_written_out_and_taken_back_leaves_nothing(path: Path, keys: Keys) -> None:
    before = path.read_bytes()
    with opened(path, keys) as tables:
        tables.connection.execute("BEGIN IMMEDIATE")
        fill(tables, 10, SPILLS)
        tables.connection.execute("UPDATE t SET b = x'00' WHERE a < 5")
        tables.rollback()
        assert rows(tables) == 10
        after = path.read_bytes()
        assert after[:ROOT_AT] + after[BLOCKS_AT:] == before[:ROOT_AT] + before[BLOCKS_AT:]
        with transaction(tables):
            fill(tables, 10, 20)
    with opened(path, keys) as tables:
        assert rows(tables) == 20


def test_a_statement_that_fails_takes_back_only_itself(path: Path, keys: Keys) -> None:
    with opened(path, keys) as tables:
        with transaction(tables):
            fill(tables, 10, SPILLS)
            with pytest.raises(apsw.ConstraintError):
                tables.connection.execute("INSERT INTO t SELECT 100000 - a, b FROM t UNION ALL SELECT 5, x'00'")
        assert rows(tables) == SPILLS


def test_a_process_that_ends_in_a_transaction_leaves_the_old_state(path: Path, keys: Keys) -> None:
    with opened(path, keys) as tables:
        tables.connection.execute("BEGIN IMMEDIATE")
        fill(tables, 10, SPILLS)
        os.fsync(tables.file._descriptor)
        cut = path.read_bytes()
        tables.rollback()
    path.write_bytes(cut)
    with opened(path, keys) as tables:
        assert tables.file.recovered == "a change that was interrupted was taken back"
        assert rows(tables) == 10


def test_rows_that_were_removed_shrink_the_copy(path: Path, keys: Keys, tmp_path: Path) -> None:
    with opened(path, keys) as tables:
        with transaction(tables):
            fill(tables, 10, SPILLS)
        with transaction(tables, b"removed"):
            tables.connection.execute("DELETE FROM t WHERE a >= 10")
        assert rows(tables) == 10
        copy = tables.rewritten(tmp_path / "copy")
        assert copy.file.size < 20 * PAGE_BYTES < tables.file.size
        assert copy.file.identity != tables.file.identity
        copy.close()
    with opened(tmp_path / "copy", keys) as tables:
        assert rows(tables) == 10
        assert list(tables.entries()) == [b"made", b"removed"]


def test_a_vacuum_in_place_works_too(path: Path, keys: Keys) -> None:
    with opened(path, keys) as tables:
        with transaction(tables):
            fill(tables, 10, SPILLS)
            tables.connection.execute("DELETE FROM t WHERE a >= 10")
        pages = tables.file.pages
        tables._pages.due([b"smaller"])
        tables.connection.execute("VACUUM")
        tables._pages.settle()
        assert tables.file.pages < pages
    with opened(path, keys) as tables:
        assert rows(tables) == 10


def test_sqlite_makes_no_file_of_its_own(path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for a sort, a temporary table or a journal, however large."""
    for name in ("TMPDIR", "SQLITE_TMPDIR"):
        monkeypatch.setenv(name, str(path.parent))
    before = sorted(path.parent.iterdir())
    open_before = descriptors()
    with opened(path, keys) as tables:
        with transaction(tables):
            fill(tables, 10, SPILLS)
            tables.connection.execute("CREATE TEMP TABLE sorted AS SELECT b, a FROM t ORDER BY b DESC, a")
            tables.connection.execute("CREATE INDEX i ON t (b)")
            assert descriptors() == open_before + 1
            assert sorted(path.parent.iterdir()) == before
        cursor = tables.connection.execute("SELECT a FROM t ORDER BY substr(b, 3), a DESC")
        assert descriptors() == open_before + 1
        assert len(cursor.fetchall()) == SPILLS
        assert sorted(path.parent.iterdir()) == before


def test_an_attached_database_is_no_file_beside_it(path: Path, keys: Keys) -> None:
    with opened(path, keys) as tables:
        tables.connection.execute("ATTACH 'beside.db' AS beside")
        assert [name for (name,) in tables.connection.execute("SELECT name FROM beside.sqlite_master")] == ["t"]
    assert not Path("beside.db").exists()


def test_what_went_wrong_beneath_is_told(path: Path, keys: Keys) -> None:
    with opened(path, keys) as tables, SealedFile.open(path, keys) as other:
        other.commit([b"an entry"])
        with transaction(tables):  # catches up
            fill(tables, 10, 11)
        path.rename(path.with_name("moved"))
        path.write_bytes(b"another file")
        tables.connection.execute("BEGIN IMMEDIATE")
        fill(tables, 11, 12)
        with pytest.raises(apsw.IOError):
            tables.commit([])
        assert isinstance(tables.failure, UsageError)
        assert "replaced by another" in str(tables.failure)
        tables.rollback()
        assert tables.failure is None
        assert rows(tables) == 11
