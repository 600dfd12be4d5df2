"""Faults below the store: damage, truncation, full and read-only disks, a second writer, a killed writer."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sqlite3
import stat
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from leakmatch import engine
from leakmatch.case.batch import Batch
from leakmatch.case.export import write
from leakmatch.case.store import Case
from leakmatch.case.tables import COLUMNS, rows
from leakmatch.errors import IntegrityError, LeakMatchError, StorageError, UsageError
from leakmatch.locator import Locator
from leakmatch.records import Entry, ItemKind, Outcome

PAGE = 4096


def many(start: int, number: int) -> Batch:
    """A batch of ledger rows."""
    batch = Batch()
    for position in range(start, start + number):
        locator = Locator(None, "source", "x" * 200, b"x" * 200).child("zip", f"{position}", b"%d" % position)
        batch.add_entry(0, Entry(locator, position, ItemKind.OTHER, 1, b"s" * 32, None), Outcome.NOT_IMAGE, "")
    return batch


def in_child(action: Callable[[], object]) -> str:
    """What ``action`` returns, or the error it raises, in a forked process."""
    read, write_ = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            outcome = str(action())
        except BaseException as error:  # noqa: BLE001 - it is reported to the parent
            outcome = f"{type(error).__name__}: {error}"
        os.write(write_, outcome.encode())
        os._exit(0)
    os.close(write_)
    with os.fdopen(read, "rb") as pipe:
        outcome = pipe.read().decode()
    os.waitpid(pid, 0)
    return outcome


def without_privilege() -> None:
    """Become nobody, where the tests run as root, whom no permission stops."""
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)


def content(path: Path) -> list[tuple[object, ...]]:
    """Every row of every table."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        tables = [n for (n,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY 1")]
        return [(t, *row) for t in tables for row in connection.execute(f"SELECT * FROM {t}")]
    finally:
        connection.close()


def test_a_changed_byte_in_any_page_is_found(sample, tmp_path):
    """Three bytes of every page, one at a time: each is found, or is in a place that holds no content."""
    original = sample.read_bytes()
    rng = np.random.default_rng(7)
    known = content(sample)
    found = 0
    for page in range(len(original) // PAGE):
        for offset in rng.integers(100 if page == 0 else 0, PAGE, 3):
            changed = bytearray(original)
            changed[page * PAGE + offset] ^= 0x41
            path = tmp_path / "changed.case"
            path.write_bytes(changed)
            try:
                with Case.open(path) as case:
                    case.verify()
            except LeakMatchError as error:
                assert page == 0 or isinstance(error, IntegrityError), (page, offset)
                found += 1
            else:
                assert content(path) == known, (page, offset)
    assert found > 10


def test_every_changed_byte_of_a_value_is_found(sample):
    """Aimed at content: every byte of the crops' pages that belongs to a crop."""
    with Case.open(sample) as case:
        ((jpeg,), *_) = list(case.select("SELECT jpeg FROM crops"))
    original = sample.read_bytes()
    start = original.index(jpeg[:400])
    for offset in range(0, 400, 37):
        sample.write_bytes(
            original[: start + offset] + bytes([original[start + offset] ^ 1]) + original[start + offset + 1 :]
        )
        with Case.open(sample) as case, pytest.raises(IntegrityError, match="not what LeakMatch wrote"):
            case.verify()


@pytest.mark.parametrize("keep", [17, 100, PAGE - 1, PAGE, 5 * PAGE, -1])
def test_a_truncated_case_is_refused(sample, keep):
    sample.write_bytes(sample.read_bytes()[:keep])
    with pytest.raises(IntegrityError), Case.open(sample) as case:
        case.verify()


@pytest.mark.parametrize("found", [b"", b"PK\x03\x04 a zip", b"SQLite format 3", os.urandom(9000)])
def test_what_is_no_case_is_refused(tmp_path, found):
    path = tmp_path / "no.case"
    path.write_bytes(found)
    with pytest.raises(UsageError, match="not a LeakMatch case"):
        Case.open(path)


def test_another_database_is_refused(tmp_path):
    path = tmp_path / "other.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t (a)")
    connection.close()
    with pytest.raises(UsageError, match="not a LeakMatch case"):
        Case.open(path)


def test_a_case_of_another_format_is_named(sample):
    connection = sqlite3.connect(sample)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(UsageError, match="format 99"):
        Case.open(sample)


@pytest.mark.parametrize("statement", ["DELETE FROM digest", "UPDATE digest SET value = 'text'", "DROP TABLE digest"])
def test_a_missing_digest_is_found(sample, statement):
    connection = sqlite3.connect(sample)
    with connection:
        connection.execute(statement)
    connection.close()
    with pytest.raises(IntegrityError):
        Case.open(sample)


@pytest.mark.parametrize("path", ["nowhere.case", "folder"])
def test_a_missing_case_is_named(tmp_path, path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="there is no such case"):
        Case.open(tmp_path / path)


def test_a_full_disk_loses_nothing(tmp_path, kit):
    path = kit.write_sample(tmp_path / "f.case", finished=False)
    with Case.resume(path) as case:
        digest, connection = case.digest, case._database._connection
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StorageError, match="Nothing that was recorded is lost"):
            case.write(many(100, 500))
        assert case.digest == digest
        case.verify()
        connection.execute("PRAGMA max_page_count = 1000000")
        case.write(many(100, 500))
        assert case.digest != digest
    with Case.open(path) as case:
        case.verify()
        assert case.count("items") == 511


def test_a_file_size_limit_loses_nothing(tmp_path, kit):
    path = kit.write_sample(tmp_path / "l.case", finished=False)
    before = content(path)

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        size = path.stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + PAGE, size + PAGE))
        with Case.resume(path) as case:
            case.write(many(100, 5000))

    assert in_child(fill).startswith("StorageError")
    with Case.open(path) as case:
        case.verify()
    assert content(path) == before


def test_a_case_is_not_begun_on_a_full_disk(tmp_path, kit):
    def begin() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * PAGE, 2 * PAGE))
        Case.create(tmp_path / "n.case", kit.RUN, [])

    assert in_child(begin).startswith("StorageError")
    assert list(tmp_path.iterdir()) == []


def test_an_export_on_a_full_disk_leaves_the_old_file(case, tmp_path):
    target = tmp_path / "out.jsonl"
    target.write_text("before")

    def fill() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
        write(rows(case, "items"), COLUMNS["items"], "jsonl", target)

    assert in_child(fill).startswith("StorageError")
    assert target.read_text() == "before"
    assert {entry.name for entry in tmp_path.iterdir()} == {"out.jsonl", "sample.case"}


@pytest.fixture
def open_folder():
    """A folder that everybody may enter (pytest's own are private)."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o755)
    yield path
    path.chmod(0o755)
    shutil.rmtree(path)


def test_a_read_only_folder_can_be_read_and_not_written(open_folder, kit):
    path = kit.write_sample(open_folder / "r.case")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600  # biometric data: for its owner only
    path.chmod(0o444)
    open_folder.chmod(0o555)

    def read() -> str:
        without_privilege()
        with Case.open(path) as case:
            case.verify()
            return f"{len(list(case.candidates()))} candidates"

    def resume() -> None:
        without_privilege()
        with Case.resume(path) as case:
            case.write(many(100, 1))

    def create() -> None:
        without_privilege()
        Case.create(open_folder / "new.case", kit.RUN, [])

    assert in_child(read) == "6 candidates"
    assert in_child(resume).startswith("StorageError")
    assert in_child(create).startswith("StorageError")


def test_no_permission_to_read_is_one_sentence(open_folder, kit):
    path = kit.write_sample(open_folder / "p.case")
    path.chmod(0o000)

    def read() -> None:
        without_privilege()
        Case.open(path)

    assert in_child(read) == f"UsageError: {path}: Permission denied."


def killed_in_a_write(path: Path) -> None:
    """Let a process die while half a transaction is in the file."""
    pid = os.fork()
    if pid == 0:
        case = Case.resume(path)
        connection = case._database._connection
        connection.execute("PRAGMA cache_size = 5")
        connection.execute("BEGIN IMMEDIATE")
        case._database.insert("items", many(100, 2000).items)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert path.with_name(f"{path.name}-journal").stat().st_size > 0


def test_a_case_whose_writer_was_killed_can_be_read_and_resumed(tmp_path, kit):
    path = kit.write_sample(tmp_path / "k.case", finished=False)
    before = content(path)
    killed_in_a_write(path)
    with Case.open(path) as case:
        case.verify()
    assert content(path) == before
    killed_in_a_write(path)
    with Case.resume(path) as case:
        case.write(many(100, 10))
        case.verify()


def test_a_killed_case_on_a_read_only_disk_says_what_to_do(open_folder, kit):
    path = kit.write_sample(open_folder / "k.case", finished=False)
    killed_in_a_write(path)
    path.chmod(0o444)
    path.with_name("k.case-journal").chmod(0o444)
    open_folder.chmod(0o555)

    def read() -> None:
        without_privilege()
        Case.open(path)

    told = in_child(read)
    assert told.startswith("StorageError") and "k.case-journal" in told


def test_a_second_writer_is_refused_and_a_reader_is_not(tmp_path, kit):
    path = kit.write_sample(tmp_path / "s.case", finished=False)
    with Case.resume(path) as first:
        with pytest.raises(UsageError, match="in use by another"):
            Case.resume(path)
        with Case.open(path) as reader:
            assert reader.count("items") == 11
        first.write(many(100, 1))
    with Case.resume(path) as again:
        assert again.count("items") == 12
        again.verify()


def test_a_writer_waits_for_a_reader_who_sees_one_state(tmp_path, kit, monkeypatch):
    monkeypatch.setattr(engine, "_WAIT_MILLISECONDS", 50)
    path = kit.write_sample(tmp_path / "w.case", finished=False)

    def scan() -> None:
        with Case.resume(path) as writer:
            writer.write(many(100, 5))

    writer = threading.Thread(target=scan)
    with Case.open(path) as reader:
        with reader.snapshot():
            seen = reader.digest
            writer.start()
            time.sleep(0.3)
            assert writer.is_alive()
            assert reader.count("items") == 11
            reader.verify()
        writer.join(timeout=10)
        with reader.snapshot():
            assert reader.count("items") == 16
            assert reader.digest != seen
            reader.verify()


def test_a_writer_gives_up_on_a_reader_who_never_leaves_and_loses_nothing(tmp_path, kit, monkeypatch):
    monkeypatch.setattr(engine, "_WAIT_MILLISECONDS", 20)
    monkeypatch.setattr(engine, "_WAITS", 2)
    path = kit.write_sample(tmp_path / "w.case", finished=False)
    with Case.resume(path) as writer, Case.open(path) as reader:
        digest = writer.digest
        with reader.snapshot(), pytest.raises(UsageError, match="in use"):
            writer.write(many(100, 5))
        assert writer.digest == digest
        writer.write(many(100, 5))
        writer.verify()


@pytest.mark.parametrize(
    ("value", "error"), [(float("nan"), ValueError), (bytearray(b"x"), TypeError), (object(), TypeError)]
)
def test_what_sqlite_would_give_back_changed_is_not_stored(sample, value, error):
    with Case.resume(sample) as case:
        store = case._database
        with pytest.raises(error), store.transaction():
            store.insert("incidents", [(0, "x", "y", "z", value)])
        case.verify()


def test_numbers_come_back_as_the_digest_knew_them(sample):
    """A column of reals gives 1 back as 1.0, and minus zero as zero."""
    with Case.resume(sample) as case:
        store = case._database
        with store.transaction():
            store.insert(
                "faces", [(0, 3, 0, 5, b"b", b"l", 1, -0.0, ""), (0, 3, 0, 6, b"b", b"l", True, np.float64(0.5), "")]
            )
            store.insert("faces", [(np.int64(0), 3, 0, 7, b"b", b"l", np.float32(0.1), 1e300, "")])
        store.verify()


def test_a_name_left_by_a_killed_maker_is_removed(tmp_path, kit):
    """Between giving a new file its name and removing its first one, there is a moment to be killed in."""
    path = kit.write_sample(tmp_path / "x.case", finished=False)
    first = tmp_path / ".x.case.new"
    os.link(path, first)
    with Case.open(path) as case:
        case.verify()
    assert first.exists()  # a reader changes nothing
    with Case.resume(path) as case:
        case.verify()
    assert not first.exists()


def test_what_a_killed_maker_began_is_begun_anew(tmp_path, kit):
    (tmp_path / ".y.case.new").write_bytes(b"half a case")
    (tmp_path / ".y.case.new-journal").write_bytes(b"a journal")
    with Case.create(tmp_path / "y.case", kit.RUN, []) as case:
        case.verify()
    assert [entry.name for entry in tmp_path.iterdir()] == ["y.case"]


def test_a_journal_without_its_case_is_not_taken_for_that_of_a_new_one(tmp_path, kit):
    path = kit.write_sample(tmp_path / "j.case", finished=False)
    killed_in_a_write(path)
    path.unlink()
    with pytest.raises(UsageError, match=r"j\.case-journal: is there without its file"):
        Case.create(path, kit.RUN, [])
    path.with_name("j.case-journal").unlink()
    with Case.create(path, kit.RUN, []) as case:
        case.verify()


def test_a_commit_is_on_the_disk_with_its_folder(tmp_path, kit):
    with Case.create(tmp_path / "s.case", kit.RUN, []) as case:
        connection = case._database._connection
        assert connection.execute("PRAGMA synchronous").fetchone() == (3,)  # EXTRA
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
