"""Compressed data as a stream, whatever the method, with everything given that lies before a damage."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import BinaryIO, Final

from leakmatch.sources.compression.decoders import METHODS, PIECES, Zlib
from leakmatch.sources.streams import CHUNK, Seekable

_LONGEST_SIGNATURE: Final = 9
_MARKS: Final = 64  # each of about 100 KiB
_MARK_SPACING: Final = 4 << 20


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where decompression can be taken up again: ``at`` in the output, ``source_at`` in the input."""

    at: int
    source_at: int = 0
    state: Zlib | None = None  # None: a stream begins here
    input: bytes = b""


class Decompressed(Seekable):
    """What ``source`` (a seekable file, read from its beginning) decompresses to, through all streams that follow
    each other.

    Raises ``EOFError`` where the data ends early; ``error`` keeps what was raised. ``trailing`` is true once bytes that
    are no further stream, and no padding of zeros, were met at the end; ``end`` is where they begin then.

    Going back starts from the last mark before: marks are taken where a stream begins
    and, for zlib, which can copy its state, on the way.
    """

    def __init__(self, source: BinaryIO, method: str) -> None:
        super().__init__()
        self._begin, self._follow = METHODS[method]
        self._source = source
        self._piece = PIECES.get(method, CHUNK)
        self._decompressor = self._begin()
        self._input = b""
        self._out_at = 0
        self._marks = [_Mark(0)]
        self._ended = False
        self.trailing = False
        self.end: int | None = None
        self.error: Exception | None = None

    def _read_at(self, at: int, size: int) -> bytes:
        if at < self._out_at:
            self._restore(at)
        while self._out_at < at and self._next(min(CHUNK, at - self._out_at)):
            pass
        return self._next(size)

    def _next(self, size: int) -> bytes:
        if self.error is not None:
            raise self.error
        try:
            while not self._ended:
                if self._decompressor.eof:
                    self._next_stream()
                elif data := self._next_data(size):
                    self._out_at += len(data)
                    self._mark()
                    return data
        except Exception as error:
            self.error = error
            raise
        return b""

    def _next_data(self, size: int) -> bytes:
        data, self._input = self._input[: self._piece], self._input[self._piece :]
        at_end = False
        if not data and self._decompressor.needs_input:
            data = self._source.read(self._piece)
            at_end = not data
        found = self._decompressor.decompress(data, size)
        if at_end and not found and not self._decompressor.eof:
            raise EOFError
        return found

    def _next_stream(self) -> None:
        rest = (self._decompressor.unused_data + self._input).lstrip(b"\0")
        while len(rest) < _LONGEST_SIGNATURE and (more := self._source.read(self._piece)):
            rest = (rest + more).lstrip(b"\0")
        if self._follow and rest.startswith(self._follow):
            self._decompressor, self._input = self._begin(), rest
            self._mark(begins=True)
        else:
            self._ended = True
            self.trailing = bool(rest)
            self.end = self._source.tell() - len(rest)

    # Going back

    def _mark(self, *, begins: bool = False) -> None:
        if self._out_at < self._marks[-1].at + _MARK_SPACING:
            return
        if begins:
            self._marks.append(_Mark(self._out_at, self._source.tell(), None, self._input))
        elif isinstance(self._decompressor, Zlib):
            state = self._decompressor.copy()
            self._marks.append(_Mark(self._out_at, self._source.tell(), state, self._input))
        if len(self._marks) > _MARKS:
            self._drop_mark()

    def _drop_mark(self) -> None:
        """Drop the mark that is missed least: what a restart then costs more is small against the way back."""
        places = [mark.at for mark in self._marks]
        costs = [(places[i + 1] - places[i - 1]) / (self._out_at - places[i] + 1) for i in range(1, len(places) - 1)]
        del self._marks[1 + costs.index(min(costs))]

    def _restore(self, at: int) -> None:
        mark = self._marks[bisect_right(self._marks, at, key=lambda mark: mark.at) - 1]
        self._source.seek(mark.source_at)
        self._decompressor = self._begin() if mark.state is None else mark.state.copy()
        self._input, self._out_at = mark.input, mark.at
        self._ended, self.error = False, None
