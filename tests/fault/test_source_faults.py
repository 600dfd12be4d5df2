"""Media that fail, files that change, rights that are missing: rows of the ledger, never the end of the walk."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pytest
from archives import (
    COMPRESS,
    PICTURES,
    Walked,
    checked,
    is_picture,
    picture,
    tar_of,
    walked,
    without_privileges,
    zip_of,
)

from leakmatch.locator import SOURCE, Locator
from leakmatch.records import Budget, Outcome
from leakmatch.sources.walk import walk

BIG = [(b"%d.jpg" % n, picture(n, 400_000)) for n in range(6)]
FORMATS = {"zip": zip_of, "tar": tar_of, "tar.gz": lambda members: COMPRESS["gzip"](tar_of(members))}


class FailingFile(io.BytesIO):
    """A file on a medium that cannot be read from ``bad`` for ``length`` bytes."""

    def __init__(self, data: bytes, bad: int, length: int, error: int) -> None:
        super().__init__(data)
        self._bad, self._length, self._error = bad, length, error

    def read(self, size: int | None = -1) -> bytes:
        at = self.tell()
        size = len(self.getbuffer()) - at if size is None or size < 0 else size
        if at < self._bad + self._length and at + size > self._bad:
            raise OSError(self._error, "Input/output error")
        return super().read(size)


class FailingPath(type(Path())):  # type: ignore[misc]
    """A path that opens such a file."""

    file: io.BytesIO

    def open(self, *_args: object, **_options: object) -> io.BytesIO:  # type: ignore[override]
        return self.file


def walk_failing(data: bytes, bad: int, length: int = 1 << 30, error: int = errno.EIO) -> Walked:
    path = FailingPath("source")
    path.file = FailingFile(data, bad, length, error)
    return checked(list(walk(path, Locator.root(SOURCE, "source", b"source", 0), Budget(), is_picture)))


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("error", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_medium_that_fails(kind, error):
    data = FORMATS[kind](BIG)
    for bad in (0, 1, 300_000, len(data) // 2, len(data) - 1):
        found = walk_failing(data, bad, error=error)
        assert found.root.outcome is Outcome.UNREADABLE
        assert found.codes <= {"io-error", "no-permission", "truncated", "corrupt"}
        assert found.root.sha256 is None


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_behind_a_bad_place_reading_goes_on(kind):
    data = FORMATS[kind](BIG)
    found = walk_failing(data, data.find(BIG[2][1]) + 200_000, 1)
    good = {entry.locator.raw for entry in found.below(1) if entry.payload == dict(BIG)[entry.locator.raw]}
    assert good >= {b"0.jpg", b"4.jpg", b"5.jpg"}
    assert found.named(b"2.jpg").locator
    assert found.codes_of(found.named(b"2.jpg")) == {"io-error"}
    assert found.root.outcome is Outcome.UNREADABLE


def test_a_medium_that_fails_at_the_directory_of_a_zip():
    data = zip_of(BIG)
    found = walk_failing(data, data.find(b"PK\x01\x02") + 10, 1)
    assert {e.locator.raw for e in found.below(1)} >= {b"0.jpg", b"1.jpg", b"2.jpg", b"3.jpg"}
    assert found.root.outcome is Outcome.UNREADABLE


def test_a_file_that_may_not_be_read():
    with without_privileges() as folder:
        path = folder / "closed.zip"
        path.write_bytes(zip_of(PICTURES))
        path.chmod(0)
        found = walked(path)
    assert (found.root.outcome, found.codes) == (Outcome.UNREADABLE, {"no-permission"})
    assert "permission" in found.root.detail


def test_a_folder_where_a_file_was(tmp_path):
    found = walked(tmp_path)
    assert (found.root.outcome, found.codes) == (Outcome.UNREADABLE, {"io-error"})


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_that_shrinks_while_it_is_read(tmp_path, kind):
    path = tmp_path / "source"
    path.write_bytes(FORMATS[kind](BIG))
    size = path.stat().st_size

    def shrink(_: int) -> None:
        with path.open("r+b") as file:
            file.truncate(size // 2)

    found = checked(list(walk(path, Locator.root(SOURCE, "x", b"x", 0), Budget(), is_picture, progress=shrink)))
    assert found.root.outcome not in (None, Outcome.WALKED)


def test_memory_that_runs_out(monkeypatch):
    """A picture that cannot be held is a row, and its neighbours are read."""
    real = io.BytesIO.write

    class Small(io.BytesIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            if self.tell() + len(data) > 200_000:
                raise MemoryError
            return real(self, data)

    data = zip_of([(b"small.jpg", picture(1)), (b"big.jpg", picture(2, 400_000)), (b"last.jpg", picture(3))])
    monkeypatch.setattr("leakmatch.sources.contents.io.BytesIO", Small)
    found = walked(data)
    assert found.named(b"big.jpg").outcome is Outcome.OVER_BUDGET
    assert found.pictures[0] == picture(1)
    assert found.pictures[2] == picture(3)
