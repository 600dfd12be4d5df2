"""The file on disk, as the walk reads it: past bad places, telling how far it is, on the clock."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import BinaryIO, Final

from leakmatch.sources.meter import Clock
from leakmatch.sources.streams import Seekable

_SECTOR: Final = 4096  # what a medium reads or fails to read at once


class Watched(Seekable):
    """``file``, telling ``progress`` how far it was read. ``clock`` counts the time of the item at work."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None]) -> None:
        super().__init__()
        self._file, self._progress = file, progress
        self._told = 0
        self.clock = Clock()

    def _read_at(self, at: int, size: int) -> bytes:
        try:
            self._file.seek(at)
            data = self._file.read(size)
        except OSError:
            if size <= _SECTOR:
                raise
            self._file.seek(at)  # what lies before a bad place is not lost with it
            data = self._file.read(_SECTOR)
        self._told = at + len(data)
        self.clock.charge(len(data))
        self._progress(self._told)
        return data

    def _end(self) -> int:
        return self._file.seek(0, io.SEEK_END)

    def pulse(self) -> None:
        """Tell that the walk goes on. Raises :class:`OverBudget` where the time for an item is up."""
        self._progress(self._told)
        self.clock.check()

    def tried(self) -> None:
        """Tell the same; the time since it was told last is not that of the item at work."""
        self._progress(self._told)
        self.clock.forget()
