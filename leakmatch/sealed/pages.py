"""SQLite on the pages of a sealed file: a VFS (sqlite.org/vfs.html) of which each page is one of the file's.

SQLite keeps its rollback journal and all temporary data in memory. It never writes a file of its own: what it hands
over here is sealed before it leaves the process.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Final

import apsw

from leakmatch.sealed.file import PAGE_BYTES, SealedFile

_NUMBERS: Final = itertools.count(1)
#: A page that is not kept is decrypted again, which costs more than to read it from the system's cache.
_CACHE_KIB: Final = 32 * 1024


class SealedPages:
    """The SQLite database in ``file``. It is committed with :meth:`due` only, so that SQLite's own rollback is none."""

    def __init__(self, file: SealedFile) -> None:
        self.file = file
        self._name = f"leakmatch-{next(_NUMBERS)}"
        self._vfs = _Vfs(self._name, self)
        self._entries: Sequence[bytes] | None = None
        #: What went wrong beneath SQLite, which would tell of it in its own words.
        self.failure: Exception | None = None

    def connect(self) -> apsw.Connection:
        """A connection. Close it before :meth:`close`."""
        flags = (
            apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE if self.file.writable else apsw.SQLITE_OPEN_READONLY
        )
        flags |= apsw.SQLITE_OPEN_URI
        connection = apsw.Connection("sealed", flags=flags, vfs=self._name)
        for pragma in (f"page_size = {PAGE_BYTES}", "journal_mode = MEMORY", f"cache_size = -{_CACHE_KIB}"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        return connection

    @property
    def vfs(self) -> str:
        """The name under which SQLite knows it."""
        return self._name

    def due(self, entries: Sequence[bytes]) -> None:
        """The next sync is that of a commit, which adds ``entries`` to the log."""
        self._entries = entries

    def settle(self) -> None:
        """After SQLite's commit: where it had nothing to write, the entries are still to be added."""
        if self._entries is not None:
            self.sync()

    def sync(self) -> None:
        """Commit, if that is due."""
        if self._entries is None:
            return
        entries, self._entries = self._entries, None
        self.file.commit(entries)

    def rollback(self) -> None:
        """After SQLite's rollback: what it wrote is forgotten."""
        self._entries = None
        self.failure = None
        self.file.rollback()

    def unregister(self) -> None:
        """SQLite forgets it; the file stays open."""
        self._vfs.unregister()

    def close(self) -> None:
        """Close the file."""
        self.unregister()
        self.file.close()


class _Vfs(apsw.VFS):
    """Opens the one file it was made for, and nothing else."""

    def __init__(self, name: str, pages: SealedPages) -> None:
        self._pages = pages
        super().__init__(name, base="")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if flags[0] & apsw.SQLITE_OPEN_MAIN_JOURNAL:
            return _Journal()  # type: ignore[return-value]
        if not flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            raise apsw.CantOpenError("a sealed database has one file")
        return _File(self._pages)  # type: ignore[return-value]

    def xAccess(self, pathname: str, flags: int) -> bool:  # noqa: N802
        return False

    def xFullPathname(self, name: str) -> str:  # noqa: N802
        return name

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        """There is no journal to delete."""


class _Always:
    """What is the same for each file (sqlite.org/c3ref/io_methods.html). Locks are those of the sealed file."""

    def xClose(self) -> None:  # noqa: N802
        """The sealed file is closed by who opened it."""

    def xLock(self, level: int) -> None:  # noqa: N802
        """Held already."""

    def xUnlock(self, level: int) -> None:  # noqa: N802
        """Held until it is closed."""

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, op: int, ptr: int) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return 4096

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        return 0


class _Journal(_Always):
    """A rollback journal in memory. SQLite asks for one only while it fills a new file (``VACUUM INTO``)."""

    def __init__(self) -> None:
        self._content = bytearray()

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return bytes(self._content[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._content[len(self._content) :] = bytes(max(offset - len(self._content), 0))
        self._content[offset : offset + len(data)] = data

    def xTruncate(self, size: int) -> None:  # noqa: N802
        del self._content[size:]

    def xSync(self, flags: int) -> None:  # noqa: N802
        """It is gone with the process, as what it belongs to is."""

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._content)


class _File(_Always):
    """The database."""

    def __init__(self, pages: SealedPages) -> None:
        self._pages = pages
        self._file = pages.file

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        page, skip = divmod(offset, PAGE_BYTES)
        try:
            content = self._file.read(page)
        except Exception as error:
            self._pages.failure = self._pages.failure or error  # the first: what SQLite tries next may fail, too
            raise apsw.IOError(str(error)) from error
        return content if not skip and amount == PAGE_BYTES else content[skip : skip + amount]

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        page, skip = divmod(offset, PAGE_BYTES)
        if skip or len(data) != PAGE_BYTES:
            raise apsw.IOError(f"{len(data)} bytes at {offset} are no page")
        self._changed(self._file.write, page, data)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._changed(self._file.resize, size // PAGE_BYTES)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._changed(self._pages.sync)

    def _changed(self, change, *arguments) -> None:  # type: ignore[no-untyped-def]
        try:
            change(*arguments)
        except Exception as error:
            self._pages.failure = self._pages.failure or error  # the first: what SQLite tries next may fail, too
            raise apsw.IOError(str(error)) from error

    def xFileSize(self) -> int:  # noqa: N802
        return self._file.pages * PAGE_BYTES
