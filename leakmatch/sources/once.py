"""Members of libraries that give each of them once, from front to back: what was read is kept, to be read again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, cast

from leakmatch.errors import ItemError
from leakmatch.sources.scratch import Scratch, Spool
from leakmatch.sources.streams import Seekable


class Once:
    """One member whose bytes come as ``blocks``, once. :meth:`open` gives them from the beginning at each call.

    What the blocks raise is raised at the place where it was met, at each reading. Where the scratch space is full the
    first reading goes on, and a second one raises :class:`ItemError` (``over-budget``). Close it before the next
    member.
    """

    def __init__(self, blocks: Iterator[bytes], scratch: Scratch) -> None:
        self._blocks = blocks
        self._spool: Spool = scratch.spool()
        self._at = 0  # how much the blocks have given
        self._error: BaseException | None = None
        self._full: ItemError | None = None
        self._rest = b""  # behind what the spool holds, once it is full

    def open(self) -> BinaryIO:
        """The bytes from the beginning, seekable."""
        return cast(BinaryIO, _Reading(self))

    def close(self) -> None:
        """Free what was kept. Streams that were opened give nothing any more."""
        self._spool.close()

    def __enter__(self) -> Once:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_at(self, at: int, size: int) -> bytes:
        """Up to ``size`` bytes from ``at``, as many as one block may give; nothing at the end."""
        while at >= self._at and self._next():
            pass
        if at < self._spool.size:
            return self._spool.read_at(at, size)
        start = self._at - len(self._rest)
        if at < start and self._full is not None:
            raise self._full
        data = self._rest[at - start : at - start + size]
        if not data and self._error is not None:
            raise self._error
        return data

    def _next(self) -> bool:
        if self._error is not None:
            return False
        try:
            block = next(self._blocks, b"")
        except Exception as error:  # noqa: BLE001 - raised again where the reading gets there
            self._error = error
            return False
        if not block:
            return False
        self._at += len(block)
        if self._full is None:
            try:
                self._spool.append(block)
            except ItemError as error:
                self._full = error
        if self._full is not None:
            self._rest = block
        return True


class _Reading(Seekable):
    def __init__(self, member: Once) -> None:
        super().__init__()
        self._member = member

    def _read_at(self, at: int, size: int) -> bytes:
        return self._member.read_at(at, size)
