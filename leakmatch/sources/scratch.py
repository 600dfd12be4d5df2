"""Room for bytes that must be read again and cannot be had again: memory first, then a scratch folder under a quota."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.records import Outcome
from leakmatch.sources.streams import CHUNK, Seekable

#: A spool keeps so many bytes in memory before it becomes a file.
IN_MEMORY: Final = 32 << 20
#: What is left free on the disk of the scratch folder, whatever the quota says.
LEFT_FREE: Final = 1 << 30


class Scratch:
    """Spools and files of one worker, together no larger than ``quota`` bytes.

    ``folder`` is private to the worker; ``None``: everything stays in memory. Nothing in it has a name that came from
    the material. What is written is checked against the quota and the free disk before it is written.
    """

    def __init__(self, folder: Path | None = None, quota: int = 256 << 20) -> None:
        self._folder = folder
        self._quota = quota
        self._used = 0

    def spool(self) -> Spool:
        """An empty spool."""
        return Spool(self)

    @contextmanager
    def copied(self, file: BinaryIO) -> Iterator[Path]:
        """A path under which a copy of ``file`` can be opened, for libraries that insist on one.

        Raises :class:`ItemError` (``over-budget``) for want of room.
        """
        with self.spool() as copy:
            file.seek(0)
            while block := file.read(CHUNK):
                copy.append(block)
            yield copy.named()

    def file(self) -> IO[bytes]:
        """An empty file, gone when it is closed. The caller accounts for it by :meth:`take` and :meth:`give_back`."""
        if self._folder is None:
            return os.fdopen(os.memfd_create("scratch", os.MFD_CLOEXEC), "w+b")
        return cast(IO[bytes], tempfile.NamedTemporaryFile(dir=self._folder))

    def take(self, count: int) -> None:
        """Account for ``count`` more bytes. Raises :class:`ItemError` (``over-budget``) where there is no room."""
        if self._used + count > self._quota:
            raise no_room(f"its {self._quota >> 20:,} MiB of scratch space are full")
        if self._folder is not None and shutil.disk_usage(self._folder).free < LEFT_FREE + count:
            raise no_room("the disk of the scratch folder is nearly full")
        self._used += count

    def give_back(self, count: int) -> None:
        """Account for ``count`` bytes less."""
        self._used -= count


def no_room(why: str) -> ItemError:
    """What is said of an item for which there is no room."""
    message = f"it is too large to be read again: {why}"
    return ItemError(Outcome.OVER_BUDGET, "over-budget", message, steady=False)


class Spool:
    """Bytes that are appended once and read at any place. Close it (or leave its context) to free the room."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self._file: IO[bytes] = cast(IO[bytes], io.BytesIO())
        self._taken = 0
        self.size = 0

    def append(self, data: bytes) -> None:
        """Raises :class:`ItemError` (``over-budget``) where there is no room; then nothing of ``data`` is kept."""
        if self.size + len(data) > IN_MEMORY:
            more = len(data) if self._taken else self.size + len(data)
            self._scratch.take(more)
            self._taken += more
            self._to_file()
        self._file.seek(self.size)
        self._file.write(data)
        self.size += len(data)

    def read_at(self, at: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``at``; nothing behind the end."""
        self._file.seek(at)
        return self._file.read(size)

    def stream(self) -> BinaryIO:
        """A file object over what it holds; good until the spool is closed."""
        return cast(BinaryIO, _SpoolStream(self))

    def named(self) -> Path:
        """A path under which it can be opened while it is not closed (Linux)."""
        self._to_file()
        self._file.flush()
        if isinstance(self._file.name, str):
            return Path(self._file.name)
        return Path(f"/proc/self/fd/{self._file.fileno()}")  # of a file that is in memory only

    def close(self) -> None:
        """Free the room."""
        self._file.close()
        self._scratch.give_back(self._taken)
        self._taken = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _to_file(self) -> None:
        if isinstance(self._file, io.BytesIO):
            file = self._scratch.file()
            file.write(self._file.getbuffer())
            self._file = file


class _SpoolStream(Seekable):
    def __init__(self, spool: Spool) -> None:
        super().__init__()
        self._spool = spool

    def _read_at(self, at: int, size: int) -> bytes:
        return self._spool.read_at(at, size)

    def _end(self) -> int:
        return self._spool.size
