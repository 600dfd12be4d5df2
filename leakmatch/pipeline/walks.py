"""A file being read: which positions of its ledger are known, how many pictures of it are still open."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator
from typing import Final

from leakmatch.pipeline.process import TOO_MUCH
from leakmatch.pipeline.tasks import FileTask, Ranges, Sink
from leakmatch.records import Entry, Incident, ItemKind, Outcome, Stop

POSITIONS_AHEAD: Final = 1024  # an honest reader is ahead by the containers it has open
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

    def stop(self, sink: Sink, stop: Stop) -> None:
        """End an item where it ended now, in this and all later walks."""
        self.stops[stop.position] = stop
        sink.stopped(self.task, stop)

    def lose_reader(self, sink: Sink, shown: tuple[int, int, bool], reason: str, blame: int) -> int | None:
        """Hold the loss of the reader against the item that it ``shown`` to be at, as far as that can be believed.

        What is too much for an item ends it; too many such items end the file: then its number of entries is returned.
        """
        file, position, waited = shown
        if waited or file != self.task.file or not self._may_be_at(position):
            position = -1 - self.announced.end  # the file as a whole; begun anew with each progress
        self._lost[position] += 1
        self._blame[position] += blame
        lost = self._lost[position]
        if self._blame[position] < TOO_MUCH and lost <= CULPRITS:
            return None
        detail = lost_over(lost, reason)
        if position < 0 or len(self.stops) >= CULPRITS or lost > CULPRITS:
            return self._give_up(sink, detail)
        if position in self.stops:  # it was opened once more for what is in it
            self._fill(sink, position + 1, self.stops[position].next, detail)
        else:
            self.stop(sink, Stop(position, max(position + 1, self.announced.end), Outcome.QUARANTINED, detail))
        return None

    def _may_be_at(self, position: int) -> bool:
        """Whether an honest reader can be: the row is still to come, and not from far ahead."""
        return 0 <= position <= self.announced.end + POSITIONS_AHEAD and position not in self.announced

    def _give_up(self, sink: Sink, detail: str) -> int:
        sink.incident(self.task, Incident(self.task.root, "pipeline", "worker-lost", detail))
        end = max(self.announced.end, 1)
        self._fill(sink, 0, end, detail)
        return end

    def _fill(self, sink: Sink, start: int, end: int, detail: str) -> None:
        """Give a row to every position from ``start`` to before ``end`` that has none."""
        root = self.task.root
        for position in [position for position in self.announced.missing(end) if position >= start]:
            # A position between announced ones is a container that was being read; 0 is the file itself.
            locator = root if position == 0 else root.child("unknown", f"item {position}", b"", position)
            self.announced.add(position)
            entry = Entry(locator, position, ItemKind.CONTAINER, 0, None, Outcome.QUARANTINED, detail)
            sink.found(self.task, entry)


def lost_over(count: int, reason: str) -> str:
    """What is said of an item that cost so many workers."""
    return f"{'a worker was' if count == 1 else f'{count} workers were'} lost over it: {reason}"
