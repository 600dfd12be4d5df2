"""A stream of bytes in a sealed file: each page holds 16 KiB of it, the last one the rest.

Its log has a single entry, a JSON object that says how many ``bytes`` the stream has, and the ``name`` it was written
under: so it is told from a sealed database, and what is authentic is all of it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, cast

from leakmatch.errors import Damaged, UsageError, os_error
from leakmatch.files import can_be_replaced, replacement
from leakmatch.sealed.file import PAGE_BYTES, SealedFile
from leakmatch.sealed.header import KeyPage
from leakmatch.sealed.keys import Keys, KeySlots, Secret

_KIND: Final = "stream"
#: A commit names its pages, so that one of a large stream would be a very large block. The file has no name until the
#: last of them.
_COMMIT_PAGES: Final = 1 << 16


@contextmanager
def sealing(path: Path, secret: Secret) -> Iterator[IO[bytes]]:
    """A binary stream to be written from its beginning to its end, which ``secret`` opens.

    It takes the place of ``path`` once it is complete; on any error nothing has changed. Raises :class:`UsageError`
    where ``path`` is a case, a gallery or sealed, or no file.
    """
    if not can_be_replaced(path):
        raise UsageError(f"{path}: only a file can be sealed. Name one.")
    try:
        with replacement(path) as part:
            slots, master = KeySlots.new(secret)
            with SealedFile.create(part, KeyPage.new(slots, master), master) as file:
                stream = _Writer(file)
                yield cast("IO[bytes]", stream)
                stream.finish(path.name)
    except OSError as error:
        raise os_error(error, path) from error


def open_stream(path: Path, keys: Keys) -> io.BufferedReader:
    """What is in a sealed file, to be read and sought. All of it is authentic before this returns. Close it.

    Raises as :meth:`SealedFile.open`, and :class:`UsageError` where it is a sealed database.
    """
    file = SealedFile.open(path, keys)
    try:
        return io.BufferedReader(_Reader(file, _size(file)), PAGE_BYTES)
    except BaseException:
        file.close()
        raise


def _size(file: SealedFile) -> int:
    """The number of bytes in a stream, as its log says and its pages must have it."""
    about = _about(next(file.entries(), b""))
    if about is None:
        raise UsageError(
            f"{file.path}: a sealed gallery or case, and no sealed export. The people of a gallery come into another "
            "one by: leakmatch gallery merge"
        )
    size = about.get("bytes")
    last = len(file.read(file.pages - 1)) if file.pages else 0
    if size != max(file.pages - 1, 0) * PAGE_BYTES + last:
        raise Damaged(f"{file.path}: damaged: it is not as long as its log says.")
    return int(size)


def _about(entry: bytes) -> dict[str, Any] | None:
    """The entry of a stream; ``None`` for any other."""
    try:
        about = json.loads(entry)
    except ValueError:
        return None
    return about if isinstance(about, dict) and about.get("kind") == _KIND else None


class _Writer(io.RawIOBase):
    """Takes any number of bytes at a time, and writes whole pages."""

    def __init__(self, file: SealedFile) -> None:
        self._file = file
        self._rest = bytearray()
        self._written = 0  # pages

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._rest += data
        start = 0
        while len(self._rest) - start > PAGE_BYTES:
            self._page(bytes(self._rest[start : start + PAGE_BYTES]))
            start += PAGE_BYTES
        del self._rest[:start]
        return len(memoryview(data).cast("B"))

    def tell(self) -> int:
        return self._written * PAGE_BYTES + len(self._rest)

    def _page(self, content: bytes) -> None:
        self._file.write(self._written, content)
        self._written += 1
        if self._written % _COMMIT_PAGES == 0:
            self._file.commit()

    def finish(self, name: str) -> None:
        """Commit all of it."""
        size = self.tell()
        if self._rest:
            self._page(bytes(self._rest))
            self._rest.clear()
        self._file.commit([json.dumps({"kind": _KIND, "name": name, "bytes": size}, sort_keys=True).encode()])
        self.close()


class _Reader(io.RawIOBase):
    """Pages as one stream. The page that was read last is kept, for who reads it in bits."""

    def __init__(self, file: SealedFile, size: int) -> None:
        self._file, self._size = file, size
        self._position = 0
        self._number, self._page = -1, b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._position >= self._size:
            return 0
        number, skip = divmod(self._position, PAGE_BYTES)
        if number != self._number:
            self._page = self._file.read(number)
            self._number = number
        part = self._page[skip : skip + len(buffer)]
        if not part:
            raise Damaged(f"{self._file.path}: damaged: page {number} ends early.")
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if position < 0:
            raise ValueError(f"{position} is before the beginning of the stream")
        self._position = position
        return position

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
