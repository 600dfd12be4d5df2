"""Seekable streams over bytes that can only be made from front to back, but made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from leakmatch.sources.streams import Seekable


class Blocks(Seekable):
    """What ``begin`` gives, block by block. Reading behind where it stands starts it anew."""

    def __init__(self, begin: Callable[[], Iterator[bytes]]) -> None:
        super().__init__()
        self._begin = begin
        self._blocks = begin()
        self._block = b""
        self._start = 0  # where the block begins

    def _read_at(self, at: int, size: int) -> bytes:
        if at < self._start:
            self._blocks, self._block, self._start = self._begin(), b"", 0
        while at >= self._start + len(self._block):
            block = next(self._blocks, b"")
            if not block:
                return b""
            self._start += len(self._block)
            self._block = block
        return self._block[at - self._start : at - self._start + size]
