"""A file being read: which positions of its ledger are known, how many pictures of it are still open."""

from __future__ import annotations

import bisect
from collections.abc import Iterator

from leakmatch.pipeline.tasks import FileTask, Ranges


class Positions:
    """A growing set of positions as ranges: small, because only containers being read leave holes."""

    def __init__(self, known: Ranges) -> None:
        self._starts, self._ends = list(known.starts), list(known.ends)

    def add(self, position: int) -> bool:
        """Add a position; false if it was there already."""
        starts, ends = self._starts, self._ends
        i = bisect.bisect_right(starts, position) - 1
        if i >= 0 and position < ends[i]:
            return False
        joins_left = i >= 0 and ends[i] == position
        joins_right = i + 1 < len(starts) and starts[i + 1] == position + 1
        if joins_left and joins_right:
            ends[i] = ends.pop(i + 1)
            del starts[i + 1]
        elif joins_left:
            ends[i] += 1
        elif joins_right:
            starts[i + 1] = position
        else:
            starts.insert(i + 1, position)
            ends.insert(i + 1, position + 1)
        return True

    def __contains__(self, position: int) -> bool:
        i = bisect.bisect_right(self._starts, position) - 1
        return i >= 0 and position < self._ends[i]

    @property
    def end(self) -> int:
        """One past the highest position; 0 for none."""
        return self._ends[-1] if self._ends else 0

    def missing(self, end: int) -> Iterator[int]:
        """The positions below ``end`` that are not in the set."""
        at = 0
        for start, stop in zip(self._starts, self._ends, strict=True):
            yield from range(at, min(start, end))
            at = stop
        yield from range(at, end)

    def ranges(self) -> Ranges:
        """The set as it is now."""
        return Ranges(tuple(self._starts), tuple(self._ends))


class Walk:
    """The reading of one file. ``announced`` begins with the positions that an earlier run has stored."""

    def __init__(self, task: FileTask) -> None:
        self.task = task
        self.open = 0  # pictures on their way
        self.entries: int | None = None  # known once the file is read
        self.announced = Positions(task.stored)
        self._failures = 0
        self._failed_at = -1

    def failed(self) -> int:
        """Note that the reader was lost; how often in a row that happened without any progress."""
        self._failures = self._failures + 1 if self.announced.end == self._failed_at else 1
        self._failed_at = self.announced.end
        return self._failures
