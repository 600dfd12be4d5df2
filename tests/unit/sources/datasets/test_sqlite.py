"""SQLite databases whose schema is hostile, damaged ones, and the log beside one."""

from __future__ import annotations

import base64
import shutil
import sqlite3

import datasets
import pytest
from archives import picture, walked, zip_of

from leakmatch.records import Outcome

BLOB = ("INSERT INTO t VALUES (?, ?)", ("a", picture(1)))


def names(walk, depth=1):
    return [e.locator.name for e in walk.below(depth)]


def test_every_blob_of_every_table():
    script = (
        'CREATE TABLE t (name, photo); CREATE TABLE "odd ""name" (x); CREATE TABLE w (k PRIMARY KEY, v) WITHOUT ROWID'
    )
    rows = [
        BLOB,
        ('INSERT INTO "odd ""name" VALUES (?)', (picture(2),)),
        ("INSERT INTO w VALUES (?, ?)", (7, picture(3))),
    ]
    walk = walked(datasets.in_sqlite(script, rows))
    assert walk.pictures == [picture(n) for n in (1, 2, 3)]
    assert names(walk) == ["t/1/photo", 'odd "name/1/x', "w/1/v"]
    assert not walk.incidents


def test_columns_that_take_the_names_of_the_row_number():
    rows = [("INSERT INTO t VALUES (?, ?, ?)", (1, 2, picture(1)))]
    walk = walked(datasets.in_sqlite("CREATE TABLE t (rowid, oid, _rowid_)", rows))
    assert walk.pictures == [picture(1)]


def test_base64_and_longer_texts():
    text = base64.b64encode(picture(1)).decode()
    rows = [
        ("INSERT INTO t VALUES (?)", (text,)),
        ("INSERT INTO t VALUES (?)", ("data:image/jpeg;base64," + text,)),
        ("INSERT INTO t VALUES (?)", (f'{{"photo": "{text}"}}',)),
        ("INSERT INTO t VALUES (?)", ("plain text " * 100,)),
    ]
    walk = walked(datasets.in_sqlite("CREATE TABLE t (x TEXT)", rows))
    assert walk.pictures == [picture(1)] * 3
    assert names(walk) == ["t/1/x", "t/2/x", "t/3/x"]
    assert names(walk, 2) == ["1/photo"]


def test_hostile_schema():
    script = """
        CREATE TABLE t (name, photo, made AS (name || replace(hex(zeroblob(9)), '0', name)) VIRTUAL);
        CREATE VIEW v AS SELECT load_extension('evil') FROM t;
        CREATE VIRTUAL TABLE f USING fts5(x);
        CREATE TABLE "v2" (x DEFAULT (randomblob(10)));
        CREATE TRIGGER g AFTER INSERT ON v2 BEGIN SELECT zeroblob(1000000000); END;
        CREATE INDEX i ON t (length(name));
    """
    walk = walked(datasets.in_sqlite(script, [("INSERT INTO t (name, photo) VALUES (?, ?)", ("a", picture(1)))]))
    assert walk.pictures == [picture(1)]
    assert walk.root.outcome is Outcome.WALKED
    assert walk.codes == {"link"}, "the virtual table is told"


def test_a_recursive_view_in_the_place_of_a_table():
    data = bytearray(datasets.in_sqlite("CREATE TABLE t (name, photo)", [BLOB]))
    place = data.find(b"CREATE TABLE t (name, photo)")
    assert place > 0
    data[place : place + 28] = b"CREATE VIEW t AS SELECT 1  --"[:28]
    assert walked(bytes(data)).root.outcome in (Outcome.UNREADABLE, Outcome.PARTIAL, Outcome.WALKED)


def test_a_name_that_is_no_utf8():
    data = datasets.in_sqlite("CREATE TABLE tabelle (name, photo); CREATE TABLE good (a, b)", [
        ("INSERT INTO tabelle VALUES (?, ?)", ("a", picture(1))),
        ("INSERT INTO good VALUES (?, ?)", ("a", picture(2))),
    ])  # fmt: skip
    walk = walked(data.replace(b"tabelle", b"tab\xff\xfele"))
    assert picture(2) in walk.pictures
    assert walk.root.outcome is Outcome.UNREADABLE


def test_the_log_beside_it(tmp_path):
    path = tmp_path / "live.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE t (name, photo)")
    connection.execute(*BLOB)
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("INSERT INTO t VALUES (?, ?)", ("b", picture(2, 30_000)))
    connection.commit()
    copy = tmp_path / "seized"
    copy.mkdir()
    for name in ("live.db", "live.db-wal"):
        shutil.copy(tmp_path / name, copy / name)
    connection.close()
    walk = walked(copy / "live.db")
    assert walk.pictures == [picture(1), picture(2, 30_000)]
    assert walk.codes == {"ambiguous"}
    (copy / "live.db-wal").unlink()
    assert walked(copy / "live.db").pictures == [picture(1)]
    assert [p.name for p in copy.iterdir()] == ["live.db"], "nothing is written beside it"


@pytest.mark.parametrize("step", [97])
def test_damage_and_truncation(step):
    rows = [("INSERT INTO t VALUES (?, ?)", (str(n), picture(n, 5000))) for n in range(20)]
    data = datasets.in_sqlite("CREATE TABLE t (name, photo)", rows)
    for cut in range(20, len(data), len(data) // step):
        walk = walked(data[:cut])
        assert walk.root.outcome is not Outcome.WALKED
        walk = walked(data[:cut] + bytes((data[cut] ^ 0x55,)) + data[cut + 1 :])
        assert walk.entries
    half = walked(data[: len(data) // 2])
    assert len([p for p in half.pictures if p]) >= 8


def test_inside_another_container():
    data = datasets.in_sqlite("CREATE TABLE t (name, photo)", [BLOB])
    assert walked(zip_of([(b"a.db", data)], 8)).pictures == [picture(1)]
