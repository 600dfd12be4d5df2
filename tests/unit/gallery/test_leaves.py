"""Rows read from single pages are those that SQLite gives."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakmatch.gallery.leaves import leaves

PAGE = 4096
VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
    st.binary(max_size=60),
)


def database(path: Path, schema: str, rows: list[tuple[object, ...]]) -> bytes:
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA page_size = {PAGE}")
    connection.execute(schema)
    connection.executemany(f"INSERT INTO t VALUES ({','.join('?' * len(rows[0]))})", rows)
    connection.commit()
    connection.close()
    return path.read_bytes()


def found(content: bytes) -> list[tuple[int | None, tuple[object, ...]]]:
    pages = [content[at : at + PAGE] for at in range(0, len(content), PAGE)]
    return [(leaf.rowid, leaf.row) for n, page in enumerate(pages) for leaf in leaves(page, first=n == 0)]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES), min_size=1, max_size=200))
def test_every_row_of_a_table_is_found(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[object, ...]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "leaves.db"
    content = database(path, "CREATE TABLE t (a, b)", rows)
    got = [(rowid, row) for rowid, row in found(content) if len(row) == 2]
    assert [repr(row) for _, row in sorted(got, key=lambda leaf: leaf[0] or 0)] == [repr(row) for row in rows]


def test_every_row_of_a_table_without_rowid_is_found_on_inner_pages_too(tmp_path: Path) -> None:
    rows = [(n, f"name {n}", bytes([n % 256]) * 20) for n in range(5000)]
    content = database(tmp_path / "d", "CREATE TABLE t (a INTEGER PRIMARY KEY, b, c) WITHOUT ROWID", list(rows))
    assert sorted(row for rowid, row in found(content) if len(row) == 3 and rowid is None) == rows


def test_rows_that_continue_on_another_page_are_left_out(tmp_path: Path) -> None:
    content = database(tmp_path / "d", "CREATE TABLE t (a)", [("x" * 9000,), ("short",)])
    assert [row for _, row in found(content) if len(row) == 1] == [("short",)]


@settings(max_examples=80, deadline=None)
@given(st.binary(min_size=0, max_size=600), st.sampled_from([0x0D, 0x0A, 0x02, 0x05, 0xFF]))
def test_no_page_whatever_is_on_it_raises(content: bytes, kind: int) -> None:
    list(leaves(bytes([kind]) + content, first=False))
    list(leaves(content, first=True))


def test_what_was_deleted_is_not_found(tmp_path: Path) -> None:
    path = tmp_path / "d"
    database(path, "CREATE TABLE t (a)", [(f"row {n}",) for n in range(1000)])
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("DELETE FROM t WHERE rowid % 3 = 0 OR rowid > 700")
    connection.commit()
    kept = connection.execute("SELECT a FROM t").fetchall()
    connection.close()
    assert sorted(row for _, row in found(path.read_bytes()) if len(row) == 1) == sorted(kept)
    assert b"row 900" not in path.read_bytes()
