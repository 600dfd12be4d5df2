"""A sealed file: what is committed is there, what is not never was, and two processes do not spoil it."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sealed_files import PAGE_BYTES, key_in, page_of, sealed_file

from leakmatch.errors import Damaged, IntegrityError, StorageError, Tampered, UsageError, WrongKey
from leakmatch.sealed.blocks import OVERHEAD
from leakmatch.sealed.file import SealedFile
from leakmatch.sealed.header import BLOCKS_AT, KEY_PAGE_BYTES, ROOT_AT, ROOT_BYTES, Tail
from leakmatch.sealed.keys import Keys

KEYS = slice(0, ROOT_AT)
ROOT = slice(ROOT_AT, ROOT_AT + ROOT_BYTES)


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return key_in(tmp_path)


@pytest.fixture
def path(tmp_path: Path, keys: Keys) -> Path:
    """A file of two commits: pages 0 to 2 with an entry, then page 1 again with another."""
    path = tmp_path / "file.sealed"
    with sealed_file(path, keys) as file:
        for page in range(3):
            file.write(page, page_of(f"first {page}"))
        file.commit([b"one"])
        file.write(1, page_of("second 1"))
        file.commit([b"two"])
    return path


def content(path: Path, keys: Keys) -> tuple[list[bytes], list[bytes], str]:
    """Its pages, entries, and what was recovered."""
    with SealedFile.open(path, keys) as file:
        return [file.read(page).rstrip(b"-") for page in range(file.pages)], list(file.entries()), file.recovered


FIRST = [b"first 0", b"first 1", b"first 2"]
SECOND = [b"first 0", b"second 1", b"first 2"]


def patched(path: Path, part: slice, data: bytes) -> None:
    """Overwrite a part of the file."""
    whole = bytearray(path.read_bytes())
    whole[part] = data
    path.write_bytes(whole)


def test_what_was_committed_is_there_and_nothing_else(path: Path, keys: Keys) -> None:
    with SealedFile.open(path, keys) as file:
        file.write(0, page_of("never"))
        assert file.read(0) == page_of("never")
        assert file.read(9) == b""
    assert content(path, keys) == (SECOND, [b"one", b"two"], "")


def test_a_rollback_takes_back_pages_sizes_and_bytes(path: Path, keys: Keys) -> None:
    size = path.stat().st_size
    with SealedFile.open(path, keys) as file:
        for page in range(300):  # more than it keeps in memory
            file.write(page, page_of("never"))
        assert path.stat().st_size > size
        file.resize(1)
        file.rollback()
        assert path.stat().st_size == size
        assert file.pages == 3
        assert file.read(1) == page_of("second 1")
        file.write(3, page_of("third"))
        file.commit()
    assert content(path, keys) == ([*SECOND, b"third"], [b"one", b"two"], "")


def test_pages_that_were_dropped_are_gone(path: Path, keys: Keys) -> None:
    with SealedFile.open(path, keys) as file:
        file.resize(1)
        file.commit()
        assert file.read(1) == b""
        file.write(2, page_of("new"))
        file.commit()
        assert file.read(1) == b""
    assert content(path, keys) == ([b"first 0", b"", b"new"], [b"one", b"two"], "")


def test_a_commit_of_nothing_writes_nothing_and_lets_others_append(path: Path, keys: Keys) -> None:
    size = path.stat().st_size
    with SealedFile.open(path, keys) as file:
        file.commit()
        file.write(5, page_of("dropped again"))
        file.resize(3)
        file.commit()
        with SealedFile.open(path, keys) as other:
            other.commit([b"three"])
        file.commit([b"four"])
    assert path.stat().st_size > size
    assert content(path, keys) == (SECOND, [b"one", b"two", b"three", b"four"], "")


def test_entries_may_be_longer_than_pages(path: Path, keys: Keys) -> None:
    long = [os.urandom(PAGE_BYTES * 2), os.urandom(5 << 20), b""]
    with SealedFile.open(path, keys) as file:
        file.commit(long)
        assert list(file.entries())[2:] == long
        with pytest.raises(ValueError, match="do not fit"):
            file.commit([bytes(17 << 20)])
    assert content(path, keys) == (SECOND, [b"one", b"two", *long], "")


def test_a_damaged_file_is_refused_and_left_as_it_is(path: Path, keys: Keys) -> None:
    """It was once cut off behind its last intact commit when it was opened: what could be saved was gone."""
    for at in range(BLOCKS_AT + 100, path.stat().st_size, PAGE_BYTES):
        whole = bytearray(path.read_bytes())
        whole[at] ^= 1
        damaged = path.with_name("damaged")
        damaged.write_bytes(whole)
        with pytest.raises(Damaged):
            SealedFile.open(damaged, keys)
        SealedFile.open(damaged, keys, lenient=True).close()
        assert damaged.read_bytes() == whole


def test_only_a_key_that_opens_it_opens_it(path: Path, keys: Keys, tmp_path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises(WrongKey, match="wrong key"):
        SealedFile.open(path, key_in(tmp_path, "other"))
    with pytest.raises(WrongKey, match="opened with a key file"):
        SealedFile.open(path, Keys(passphrase="a passphrase"))
    with pytest.raises(UsageError, match="no key was given"):
        SealedFile.open(path, Keys())
    assert path.read_bytes() == before


# Two processes


def test_two_appenders_catch_up_with_each_other(path: Path, keys: Keys) -> None:
    with SealedFile.open(path, keys, content="shared") as one, SealedFile.open(path, keys, content="shared") as two:
        for number in range(3):
            one.commit([f"one {number}".encode()])
            two.commit([f"two {number}".encode()])
        assert one.read(1) == two.read(1) == page_of("second 1")
    expected = [f"{who} {number}".encode() for number in range(3) for who in ("one", "two")]
    assert content(path, keys) == (SECOND, [b"one", b"two", *expected], "")


_APPENDER = """
import sys
from pathlib import Path
from leakmatch.sealed.file import SealedFile
from leakmatch.sealed.keys import Keys
with SealedFile.open(Path(sys.argv[1]), Keys(key_file=Path(sys.argv[2])), content="shared") as file:
    print("open", flush=True)
    sys.stdin.readline()
    for number in range(20):
        file.commit([f"{sys.argv[3]} {number}".encode()])
"""


def test_two_processes_append_at_the_same_time(path: Path, keys: Keys) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _APPENDER, str(path), str(keys.key_file), who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for who in ("one", "two")
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "open\n"
    for process in processes:
        process.communicate("go\n", timeout=60)
        assert process.returncode == 0
    pages, entries, recovered = content(path, keys)
    assert (pages, recovered) == (SECOND, "")
    for who in ("one", "two"):
        assert [e for e in entries if e.startswith(f"{who} ".encode())] == [f"{who} {n}".encode() for n in range(20)]
    assert len(entries) == 42


def test_a_reader_keeps_what_it_opened_while_a_writer_commits(path: Path, keys: Keys) -> None:
    with SealedFile.open(path, keys) as reader, SealedFile.open(path, keys, content="alone", change=True) as writer:
        for page in range(3):
            writer.write(page, page_of("later"))
        writer.commit([b"three"])
        assert [reader.read(page).rstrip(b"-") for page in range(3)] == SECOND
        with pytest.raises(UsageError, match="changed by another"):
            reader.commit([b"of the reader"])
    assert content(path, keys) == ([b"later"] * 3, [b"one", b"two", b"three"], "")


def test_a_steady_reader_keeps_writers_out_and_readers_in(path: Path, keys: Keys) -> None:
    with SealedFile.open(path, keys, content="shared"):
        with pytest.raises(UsageError, match="in use"):
            SealedFile.open(path, keys, content="alone", change=True)
        SealedFile.open(path, keys, content="shared").close()
    with SealedFile.open(path, keys, content="alone", change=True):
        with pytest.raises(UsageError, match="in use"):
            SealedFile.open(path, keys, content="shared")
        SealedFile.open(path, keys).close()


def test_a_reader_of_a_file_that_was_replaced_is_told_so(path: Path, keys: Keys) -> None:
    with SealedFile.open(path, keys) as reader:
        with SealedFile.open(path, keys, content="alone", change=True) as old:
            new = old.successor(path.with_name("new"))
            new.write(0, page_of("compacted"))
            new.commit()
            new.close()
            path.with_name("new").replace(path)
            old.forget_keys()
        for attempt in (lambda: reader.read(0), lambda: reader.commit([b"lost"]), lambda: list(reader.entries())):
            with pytest.raises(UsageError, match="replaced by another"):
                attempt()
    assert content(path, keys)[0] == [b"compacted"]


def test_a_file_that_is_replaced_and_wiped_while_it_is_opened_is_not_damaged(path: Path, keys: Keys) -> None:
    class Slow(SealedFile):
        def _read_all(self, pages: list[bytes]) -> Tail:
            new = path.with_name("new")
            new.write_bytes(path.read_bytes())
            with path.open("r+b") as old:
                new.replace(path)
                old.write(os.urandom(BLOCKS_AT))
            return super()._read_all(pages)

    with pytest.raises(UsageError, match="replaced by another"):
        Slow.open(path, keys)
    assert content(path, keys)[0] == SECOND


def test_the_keys_may_change_between_two_looks_at_them(path: Path, keys: Keys, tmp_path: Path) -> None:
    """A reader whose key takes long to derive reads the key page before others can be kept out, and then again."""

    class Slow(SealedFile):
        waited = False

        def _end_held(self):  # type: ignore[no-untyped-def]
            if not self.waited:
                self.waited = True
                with SealedFile.open(path, keys, content="alone") as writer:
                    writer.set_slots(writer.slots.added(key_in(tmp_path, "more").secret("x"), writer.master), [b"key"])
            return super()._end_held()

    with Slow.open(path, keys) as file:
        assert len(file.slots) == 2
    assert content(path, keys) == (SECOND, [b"one", b"two", b"key"], "")


# Disks


@contextmanager
def _without_privileges() -> Iterator[None]:
    """Root may write everything; here it is nobody for a while."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_that_cannot_be_written_is_read(path: Path, keys: Keys) -> None:
    before = path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        locked = Path(folder) / "locked"
        locked.write_bytes(before)
        locked.chmod(0o444)
        Path(folder).chmod(0o755)
        secret = Keys()
        secret._answers[str(locked)] = keys.secret(str(path))
        with _without_privileges():
            with SealedFile.open(locked, secret, content="shared") as file:
                assert file.read(1) == page_of("second 1")
                with pytest.raises(PermissionError):
                    file.commit([b"an entry"])
            with pytest.raises(StorageError, match="cannot be written"):
                SealedFile.open(locked, secret, change=True)
        assert locked.read_bytes() == before


@contextmanager
def _no_file_larger_than(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_old_state(path: Path, keys: Keys) -> None:
    size = path.stat().st_size
    for room in (0, 10, OVERHEAD + PAGE_BYTES, OVERHEAD + PAGE_BYTES + 20):
        with SealedFile.open(path, keys) as file:
            with _no_file_larger_than(size + room):
                file.write(0, page_of("no room"))
                with pytest.raises(OSError, match="File too large"):
                    file.commit([b"three"])
            file.rollback()
            assert path.stat().st_size == size
            assert file.read(0) == page_of("first 0")
        assert content(path, keys) == (SECOND, [b"one", b"two"], "")


def test_a_commit_whose_root_could_not_be_written_is_all_or_nothing(
    path: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk fails, or Ctrl-C comes, just when the root is written: never a file that ends before its root says."""
    real = os.pwrite
    for after in (False, True):

        def pwrite(descriptor: int, data: bytes, offset: int, after: bool = after) -> int:
            if offset == ROOT_AT:
                if after:
                    real(descriptor, data, offset)
                raise KeyboardInterrupt
            return real(descriptor, data, offset)

        with SealedFile.open(path, keys) as file:
            file.write(0, page_of(f"after {after}"))
            monkeypatch.setattr(os, "pwrite", pwrite)
            with pytest.raises(KeyboardInterrupt):
                file.commit([b"three"])
            monkeypatch.undo()
            file.rollback()
        if after:
            assert content(path, keys) == ([b"after True", *SECOND[1:]], [b"one", b"two", b"three"], "")
        else:
            assert content(path, keys) == (SECOND, [b"one", b"two"], "")


def test_a_change_of_keys_that_fails_is_completed_or_taken_back(path: Path, keys: Keys, tmp_path: Path) -> None:
    """At any of its writes, in a process that lives on, and closes the file in good order."""
    real, before = os.pwrite, path.read_bytes()
    for number in range(6):
        path.write_bytes(before)
        calls = 0

        def pwrite(descriptor: int, data: bytes, offset: int, number: int = number) -> int:
            nonlocal calls
            calls += 1
            if calls == number + 1:
                raise OSError(28, "No space left on device")
            return real(descriptor, data, offset)

        with SealedFile.open(path, keys) as file, pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "pwrite", pwrite)
            with pytest.raises(OSError, match="No space left"):
                file.set_slots(file.slots.added(key_in(tmp_path, "more").secret("x"), file.master), [b"more"])
        assert calls > number
        assert content(path, keys)[:2][0] == SECOND
        assert content(path, keys)[2] == ""


@pytest.mark.parametrize("appended", [0, 1, 3000, 100_000])
def test_what_a_stopped_process_left_is_no_hindrance_to_who_has_it_open(path: Path, keys: Keys, appended: int) -> None:
    """A commit that was announced and never ended, seen by a process that opened the file before."""
    with SealedFile.open(path, keys, content="shared") as reader:
        with synced(path) as states, SealedFile.open(path, keys, content="shared") as other:
            other.commit([b"x" * 5000])
        announced, whole = states[:2]
        with path.open("r+b") as file:  # not another file
            file.truncate(0)
            file.write(announced + whole[len(announced) : len(announced) + appended])
        reader.commit([b"of the reader"])
    assert content(path, keys) == (SECOND, [b"one", b"two", b"of the reader"], "")


# Interruptions


def test_an_interrupted_commit_counts_if_it_is_whole(path: Path, keys: Keys) -> None:
    before = path.read_bytes()
    with synced(path) as states, SealedFile.open(path, keys) as file:
        file.write(2, page_of("third"))
        file.commit([b"three"])
    announced, after = states[0], path.read_bytes()
    assert len(announced) == len(before)
    third = [b"first 0", b"second 1", b"third"]
    for end in (len(before), len(before) + 1, len(before) + OVERHEAD, len(after) - 1, len(after)):
        path.write_bytes(announced + after[len(before) : end])
        if end == len(after):
            assert content(path, keys) == (
                third,
                [b"one", b"two", b"three"],
                "a change that was interrupted was completed",
            )
        else:
            taken_back = "a change that was interrupted was taken back"
            assert content(path, keys) == (SECOND, [b"one", b"two"], taken_back)
        assert content(path, keys)[2] == ""  # and is as it was from then on


@contextmanager
def synced(path: Path) -> Iterator[list[bytes]]:
    """What is in the file after each time that it is forced to the disk."""
    states: list[bytes] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        states.append(path.read_bytes())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield states


@pytest.fixture
def changed_keys(path: Path, keys: Keys, tmp_path: Path) -> list[bytes]:
    """The file after each write of a change of its keys, from before it to after it."""
    before = path.read_bytes()
    with SealedFile.open(path, keys) as file, synced(path) as states:
        file.set_slots(file.slots.added(key_in(tmp_path, "more").secret("x"), file.master, "more"), [b"more"])
    assert len({before, *states}) == len(states) + 1 == 7
    return [before, *states]


def test_an_interrupted_change_of_keys_is_completed_or_taken_back(
    path: Path, keys: Keys, tmp_path: Path, changed_keys: list[bytes]
) -> None:
    for number, state in enumerate(changed_keys):
        path.write_bytes(state)
        pages, entries, recovered = content(path, keys)
        assert pages == SECOND
        assert bool(recovered) == (0 < number < 6), number
        assert entries == [b"one", b"two", *([b"more"] if number >= 5 else [])]
        assert content(path, keys)[2] == ""
        if number < 3:  # nothing but the announcement was written
            with pytest.raises(WrongKey):
                content(path, key_in(tmp_path, "more"))
        else:
            assert content(path, key_in(tmp_path, "more"))[0] == SECOND


def test_key_pages_that_were_torn_by_a_power_cut_are_mended(path: Path, keys: Keys, changed_keys: list[bytes]) -> None:
    announced, first, second = changed_keys[2:5]
    for whole, before in ((first, announced), (second, first)):
        at = 0 if whole is first else KEY_PAGE_BYTES
        for torn in (512, 1024, 4096):
            path.write_bytes(whole[: at + torn] + before[at + torn :])
            assert content(path, keys)[0] == SECOND
            assert content(path, keys)[2] == ""


# Attacks


def test_key_pages_that_were_put_back_are_refused(path: Path, keys: Keys, changed_keys: list[bytes]) -> None:
    """Who was removed, and has an old copy, cannot put back the slots that let them in."""
    old, new = changed_keys[0], changed_keys[-1]
    first, copy = slice(0, KEY_PAGE_BYTES), slice(KEY_PAGE_BYTES, ROOT_AT)
    for parts in ([first], [copy], [first, copy], [first, copy, ROOT], [first, ROOT], [copy, ROOT], [ROOT]):
        whole = bytearray(new)
        for part in parts:
            whole[part] = old[part]
        path.write_bytes(whole)
        with pytest.raises(Tampered):
            SealedFile.open(path, keys)
        assert path.read_bytes() == whole


def test_an_old_root_alone_never_opens_an_old_state(path: Path, keys: Keys) -> None:
    roots = [path.read_bytes()[ROOT]]
    for number in range(3):
        with SealedFile.open(path, keys) as file:
            file.write(0, page_of(f"later {number}"))
            file.commit()
        roots.append(path.read_bytes()[ROOT])
    newest = path.read_bytes()
    for root in roots[:-1]:
        for damaged in (False, True):  # behind the old end, so that nothing there could be completed
            path.write_bytes(newest)
            patched(path, ROOT, root)
            if damaged:
                patched(path, slice(len(newest) - 40, len(newest) - 39), b"?")
            whole = path.read_bytes()
            with pytest.raises(Tampered, match="root is of an earlier time"):
                SealedFile.open(path, keys)
            assert path.read_bytes() == whole


def test_parts_of_another_file_are_refused(path: Path, keys: Keys, tmp_path: Path) -> None:
    """Of one that was compacted from it, and of one under the same key."""
    with SealedFile.open(path, keys) as file, file.successor(tmp_path / "successor") as successor:
        for page in range(3):
            successor.write(page, file.read(page))
        successor.commit([*file.entries()])
    other = tmp_path / "other"
    with sealed_file(other, keys) as file:
        for page in range(3):
            file.write(page, page_of(f"first {page}"))
        file.commit([b"one"])
    whole = path.read_bytes()
    for donor in (tmp_path / "successor", other):
        given = donor.read_bytes()
        for part in (
            slice(0, KEY_PAGE_BYTES),
            slice(KEY_PAGE_BYTES, ROOT_AT),
            KEYS,
            ROOT,
            slice(0, BLOCKS_AT),
            slice(BLOCKS_AT, BLOCKS_AT + OVERHEAD + PAGE_BYTES),
        ):
            path.write_bytes(whole)
            patched(path, part, given[part])
            with pytest.raises(IntegrityError):
                SealedFile.open(path, keys)
