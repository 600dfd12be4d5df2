"""The end of a sealed file: blocks sealed one after the other, and the state that the next one follows from."""

from __future__ import annotations

import hashlib
import os
from typing import Final

from leakmatch.sealed.blocks import Blocks, Kind, tag_of
from leakmatch.sealed.disk import write_at
from leakmatch.sealed.header import Tail

_BUFFER: Final = 4 << 20

Place = tuple[int, int]  #: offset and sequence number of a block


class Appender:
    """Seals blocks and writes them behind the last commit. ``sequence``: the number of the next block."""

    def __init__(self, descriptor: int, blocks: Blocks, tail: Tail) -> None:
        self._descriptor, self._blocks = descriptor, blocks
        self._buffer = bytearray()
        self.reset(tail)

    def reset(self, tail: Tail) -> None:
        """Begin behind this commit; what was not written to the disk is forgotten."""
        self._buffer.clear()
        self._written, self.sequence, self.last_tag = tail.end, tail.sequence, b""
        self._hash = hashlib.sha256(tail.chain)

    def follow(self, tag: bytes) -> None:
        """A block that was read follows."""
        self.sequence += 1
        self.last_tag = tag
        self._hash.update(tag)

    def append(self, kind: Kind, number: int, content: bytes) -> Place:
        """Seal a block; where it will be."""
        place = self.end, self.sequence
        block = self._blocks.seal(kind, self.sequence, number, content, place[0])
        self.follow(tag_of(block))
        self._buffer += block
        if len(self._buffer) >= _BUFFER:
            self.flush()
        return place

    def flush(self) -> None:
        """Write what is sealed."""
        write_at(self._descriptor, self._written, self._buffer)
        self._written += len(self._buffer)
        self._buffer.clear()

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the file, also of what is not written yet."""
        start = offset - self._written
        if start >= 0:
            return bytes(self._buffer[start : start + size])
        if self._buffer and offset + size > self._written:
            self.flush()
        return os.pread(self._descriptor, size, offset)

    def skip_to(self, offset: int) -> None:
        """Everything before ``offset`` is read from the disk."""
        self._written = offset

    @property
    def end(self) -> int:
        """The offset of the next block."""
        return self._written + len(self._buffer)

    @property
    def digest(self) -> bytes:
        """Over the tags of all blocks before the next."""
        return self._hash.digest()
