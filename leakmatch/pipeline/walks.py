"""A file being read: which positions of its ledger are known, how many pictures of it are still open."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator
from typing import Final

from leakmatch.pipeline.tasks import FileTask, Ranges
from leakmatch.records import Stop

#: A file of which more items cost readers their life is given up: each costs up to twice the seconds of the budget.
CULPRITS: Final = 64


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
    """The reading of one file. ``announced`` begins with the positions that an earlier run has stored.

    ``stops`` by position: items that are not to be opened again, by this run or earlier ones. ``carriers``: positions
    of pictures that are to be read again for the archives behind them.
    """

    def __init__(self, task: FileTask) -> None:
        self.task = task
        self.open = 0  # pictures on their way
        self.entries: int | None = None  # known once the file is read
        self.announced = Positions(task.stored)
        self.carriers = set(task.carriers)
        self.stops: dict[int, Stop] = {stop.position: stop for stop in task.stops}
        self._lost: Counter[int] = Counter()
        self._blame: Counter[int] = Counter()

    def may_work_on(self, position: int, ahead: int) -> bool:
        """Whether an honest reader can be at this item: its row is still to come, and not from far ``ahead``."""
        return 0 <= position <= self.announced.end + ahead and position not in self.announced

    def lost_at(self, position: int, blame: int) -> tuple[int, int]:
        """Note the loss of a reader over an item, -1 for one that is not known. How many there were, and their weight;
        for an item that is not known, since there was last any progress."""
        at = position if position >= 0 else -1 - self.announced.end
        self._lost[at] += 1
        self._blame[at] += blame
        return self._lost[at], self._blame[at]
