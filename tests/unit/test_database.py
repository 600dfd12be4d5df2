"""A database in one file, plain or sealed: the same rows, the same log, the same promises."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sealed_files import key_in

from leakmatch.database import Database
from leakmatch.errors import IntegrityError, StorageError, UsageError, WrongKey
from leakmatch.sealed.header import KEY_PAGE_BYTES, ROOT_AT
from leakmatch.sealed.keys import Keys, KeySlots

KIND = 0x54455354
SCHEMA = ("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT NOT NULL)",)
CANARY = "a name that must not stay"


@pytest.fixture(params=["plain", "sealed"])
def keys(request: pytest.FixtureRequest, tmp_path: Path) -> Keys | None:
    return key_in(tmp_path) if request.param == "sealed" else None


@pytest.fixture
def sealing(tmp_path: Path) -> Keys:
    return key_in(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where nothing but the store and what belongs to it is."""
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


def made(path: Path, keys: Keys | None) -> Database:
    """A store with one row and one entry in its log."""

    def fill(new: Database) -> None:
        new.insert("t", [(1, "one")])
        new.note({"made": 1})

    return Database.create(path, KIND, 1, SCHEMA, fill, keys)


def opened(path: Path, keys: Keys | None, *, writable: bool = False, steady: bool = False) -> Database:
    return Database.open(path, KIND, 1, "store", keys=keys, writable=writable, steady=steady, noted=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rows(database: Database) -> list[tuple[object, ...]]:
    database.verify()
    return list(database.select("SELECT * FROM t ORDER BY a"))


def test_rows_and_log_survive(folder: Path, keys: Keys | None) -> None:
    path = folder / "a.store"
    with made(path, keys) as database:
        with database.transaction():
            database.insert("t", [(2, "two")])
            database.note({"added": 2})
        database.note({"alone": 3})
    with opened(path, keys) as database:
        assert rows(database) == [(1, "one"), (2, "two")]
        assert list(database.notes()) == [{"made": 1}, {"added": 2}, {"alone": 3}]
        assert (database.sealed is not None) == (keys is not None)
    assert names(folder) == ["a.store"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_entry_of_a_transaction_that_failed_is_not_there(folder: Path, keys: Keys | None) -> None:
    with made(folder / "a.store", keys) as database:
        with pytest.raises(ZeroDivisionError), database.transaction():
            database.insert("t", [(2, "two")])
            database.note({"added": 2})
            raise ZeroDivisionError
        with database.transaction():
            database.insert("t", [(3, "three")])
        assert rows(database) == [(1, "one"), (3, "three")]
        assert list(database.notes()) == [{"made": 1}]


def test_only_rows_of_a_reader_are_out_of_reach(folder: Path, keys: Keys | None) -> None:
    """A reader changes the log, and nothing else."""
    path = folder / "a.store"
    made(path, keys).close()
    with opened(path, keys) as database:
        database.note_opening({"read": 1})
        with pytest.raises(StorageError), database.transaction():
            database.insert("t", [(2, "two")])
    with opened(path, keys) as database:
        assert rows(database) == [(1, "one")]
        assert list(database.notes()) == [{"made": 1}, {"read": 1}]


def test_a_steady_reader_and_a_writer_keep_each_other_out(folder: Path, keys: Keys | None) -> None:
    path = folder / "a.store"
    made(path, keys).close()
    one, two = opened(path, keys, steady=True), opened(path, keys, steady=True)
    with one, two, pytest.raises(UsageError, match="in use"):
        opened(path, keys, writable=True)
    with opened(path, keys, writable=True), pytest.raises(UsageError, match="in use"):
        opened(path, keys, steady=True)


def test_two_steady_readers_write_one_log(folder: Path, keys: Keys | None) -> None:
    path = folder / "a.store"
    made(path, keys).close()
    with opened(path, keys, steady=True) as one, opened(path, keys, steady=True) as two:
        for number in range(3):
            one.note_opening({"one": number})
            two.note_opening({"two": number})
    with opened(path, keys) as database:
        assert list(database.notes())[1:] == [{who: number} for number in range(3) for who in ("one", "two")]


def test_what_is_removed_is_gone_after_compaction(folder: Path, keys: Keys | None) -> None:
    path = folder / "a.store"
    with made(path, keys) as database:
        with database.transaction():
            database.insert("t", [(2, CANARY)])
        with database.transaction():
            database.delete("t", "a = 2")
        before = database.sealed.identity if database.sealed else ""
        with path.open("rb") as old:
            database.compact({"compacted": 1})
            assert CANARY.encode() not in old.read()  # the old file, which has no name any more
            assert old.seek(0, os.SEEK_END) == 0
        assert rows(database) == [(1, "one")]
        with database.transaction():
            database.insert("t", [(3, "three")])
    assert names(folder) == ["a.store"]
    with opened(path, keys, writable=True) as database:
        assert rows(database) == [(1, "one"), (3, "three")]
        assert list(database.notes()) == [{"made": 1}, {"compacted": 1}]
        assert (database.sealed.identity if database.sealed else "none") != before


def test_compaction_keeps_permissions_and_the_link_that_was_given(folder: Path, keys: Keys | None) -> None:
    path, link = folder / "a.store", folder / "link"
    made(path, keys).close()
    path.chmod(0o640)
    link.symlink_to(path)
    with opened(link, keys, writable=True) as database:
        database.compact({"compacted": 1})
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    with opened(path, keys) as database:
        assert rows(database) == [(1, "one")]
    assert names(folder) == ["a.store", "link"]


def test_a_plain_store_is_sealed_in_its_place(folder: Path, sealing: Keys) -> None:
    path = folder / "a.store"
    with made(path, None) as database, path.open("rb") as old:
        database.compact({"sealed": 1}, sealing)
        assert old.read() == b""
        assert database.sealed is not None
        assert rows(database) == [(1, "one")]
    assert names(folder) == ["a.store"]
    assert b"one" not in path.read_bytes()
    with opened(path, sealing) as database:
        assert rows(database) == [(1, "one")]
        assert list(database.notes()) == [{"made": 1}, {"sealed": 1}]
    with pytest.raises(UsageError, match="no key was given"):
        opened(path, None)


def test_keys_that_are_exchanged_shut_out_the_old_one(folder: Path, sealing: Keys, tmp_path: Path) -> None:
    path, other = folder / "a.store", key_in(tmp_path, "other")
    with made(path, sealing) as database:
        database.compact({"rotated": 1}, other)
        assert rows(database) == [(1, "one")]
    with pytest.raises(WrongKey):
        opened(path, sealing)
    with opened(path, other, writable=True) as database:
        assert database.sealed is not None
        slots = database.sealed.slots.added(sealing.secret("x"), database.sealed.master).without(0)
        database.set_slots(slots, {"changed": 1})
    with pytest.raises(WrongKey):
        opened(path, other)
    with opened(path, sealing) as database:
        assert list(database.notes()) == [{"made": 1}, {"rotated": 1}, {"changed": 1}]


def test_a_plain_store_has_no_keys(folder: Path, sealing: Keys) -> None:
    slots, _ = KeySlots.new(sealing.secret("x"))
    with made(folder / "a.store", None) as database, pytest.raises(UsageError, match="not sealed"):
        database.set_slots(slots, {})


def test_what_a_killed_process_left_is_removed_by_the_next_writer(folder: Path, keys: Keys | None) -> None:
    path = folder / "a.store"
    made(path, keys).close()
    left = folder / ".a.store.new"
    left.write_bytes(path.read_bytes()[:30000])
    opened(path, keys).close()
    assert left.exists()
    opened(path, keys, writable=True).close()
    assert names(folder) == ["a.store"]


def test_a_store_that_could_not_be_made_leaves_nothing(folder: Path, keys: Keys | None) -> None:
    def fail(new: Database) -> None:
        new.insert("t", [(1, "one")])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Database.create(folder / "a.store", KIND, 1, SCHEMA, fail, keys)
    assert names(folder) == []


def test_a_sealed_file_is_known_by_either_key_page(folder: Path, sealing: Keys) -> None:
    """A changed byte at its very beginning is damage of a sealed file, and not a file of another kind."""
    path = folder / "a.store"
    made(path, sealing).close()
    whole = path.read_bytes()
    for part in (slice(0, 1), slice(15, 16), slice(0, KEY_PAGE_BYTES), slice(KEY_PAGE_BYTES, ROOT_AT)):
        changed = bytearray(whole)
        changed[part] = bytes(len(whole[part]))
        path.write_bytes(changed)
        with pytest.raises(IntegrityError, match="damaged"):
            opened(path, sealing)
    path.write_bytes(bytes(ROOT_AT) + whole[ROOT_AT:])
    with pytest.raises(UsageError, match="not a LeakMatch store"):
        opened(path, sealing)


def test_a_sealed_store_of_another_kind_is_refused(folder: Path, sealing: Keys) -> None:
    path = folder / "a.store"
    made(path, sealing).close()
    with pytest.raises(UsageError, match="not a LeakMatch gallery"):
        Database.open(path, KIND + 1, 1, "gallery", keys=sealing, writable=False)
    with pytest.raises(UsageError, match="of format 1; this LeakMatch reads format 2"):
        Database.open(path, KIND, 2, "gallery", keys=sealing, writable=False)


def test_a_journal_beside_a_sealed_store_is_none_of_its_business(folder: Path, sealing: Keys) -> None:
    """SQLite would roll a plain database back to what is in such a file; anybody can put one there."""
    path, journal = folder / "a.store", folder / "a.store-journal"
    made(path, sealing).close()
    hot = bytes.fromhex("d9d505f920a163d7") + os.urandom(4096)
    journal.write_bytes(hot)
    with opened(path, sealing, writable=True) as database:
        with database.transaction():
            database.insert("t", [(2, "two")])
        assert rows(database) == [(1, "one"), (2, "two")]
    assert journal.read_bytes() == hot


def test_a_reader_is_told_that_the_store_was_compacted_meanwhile(folder: Path, sealing: Keys) -> None:
    path = folder / "a.store"
    with made(path, sealing) as database, database.transaction():
        database.insert("t", [(number, "x" * 1000) for number in range(2, 3000)])
    with opened(path, sealing) as reader:
        found = reader.select("SELECT * FROM t ORDER BY a")
        assert next(found) == (1, "one")
        with opened(path, sealing, writable=True) as writer:
            writer.compact({"compacted": 1})
        with pytest.raises(UsageError, match="replaced by another"):
            list(found)
