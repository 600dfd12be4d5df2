"""The budget while it is spent: bytes that really came out, per item and everything around it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from leakmatch.errors import ItemError
from leakmatch.records import Budget, Outcome
from leakmatch.sources.streams import Stream

_NO_LIMIT = float(1 << 62)
_LEAST_FLOOR: Final = 1024  # of the floor is always tolerated: a photo in a solid archive may take next to nothing
_FAIR: Final = 16  # expanded to stored: as far as text compresses; a right to it is kept

_BYTES_A_SECOND: Final = 1 << 20  # read or given: slower than any honest format on any machine
_MEMBER_SECONDS: Final = 0.05  # for each member of a container, however small
_LEAST_PATIENCE: Final = 1.0  # seconds
_STEP: Final = 0.01  # seconds


class OverBudget(ItemError):
    """A limit was reached. ``meter``: the item to blame; items inside it end, items beside it go on."""

    def __init__(self, meter: Meter, message: str, *, steady: bool = True) -> None:
        super().__init__(Outcome.OVER_BUDGET, "over-budget", message, steady=steady)
        self.meter = meter


class Meter:
    """Counts what comes out of one item and of the items inside it that give more than they take where they lie.

    ``stored``: the bytes the item takes where it lies. An item that gives at most ``ratio`` times that is honest. More
    is tolerated until something around it has given ``ratio_floor`` bytes; then the innermost item that is not honest
    is to blame. What it gave beyond its right is forgotten around it, so that its neighbours can still be read; but
    each such item halves what is tolerated of the next, down to a small part. Where most of what an item that is not
    honest gave came out of one item inside it (an archive of bombs, each of them honest for what it takes), that one is
    to blame and all that it gave is forgotten; the right of those around it is halved instead.
    The outermost item, the file on disk, is also held to ``bytes`` and ``members``.

    Time is counted alike: an item has a right to the seconds that its bytes and its members explain, and to ``seconds``
    beyond that. The innermost one that took more is to blame, what it took without right is forgotten around it, and
    the next one is left half of those ``seconds``, but one at least.
    """

    def __init__(self, budget: Budget, stored: int, outer: Meter | None = None) -> None:
        self._budget = budget
        self._outer = outer
        self._stored = stored
        self._unexpanded = 0  # given, but not counted around it, while it is no more than it takes
        self._honest = int(min(budget.ratio * stored, _NO_LIMIT))
        self._floor: int = budget.ratio_floor if outer is None else outer._floor
        self._given = 0  # without what was forgotten
        self._total = 0
        self._members = 0
        self._moved = 0  # bytes read and given
        self._spent = 0.0  # seconds, without what was forgotten
        self._patience: float = budget.seconds if outer is None else outer._patience
        self._over: OverBudget | None = None

    def inner(self, stored: int) -> Meter:
        """The meter of an item inside this one."""
        return Meter(self._budget, stored, self)

    def is_honest(self, size: int) -> bool:
        """Whether the item may give so much without being suspected."""
        return size <= self._honest

    def add_bytes(self, count: int) -> None:
        """Raise :class:`OverBudget` where this item, or one around it, has given too much."""
        suspect: Meter | None = None
        exceeded = False
        root, expanded = self, count
        for meter in self._outwards():
            if meter._over is not None:
                raise meter._over
            meter._given += expanded
            meter._moved += count
            expanded += meter._unexpanded
            meter._unexpanded = 0
            if meter._given <= meter._stored:
                meter._unexpanded, expanded = expanded, 0
            if meter._given > meter._honest:
                suspect = suspect or meter
                exceeded = exceeded or meter._given > meter._floor
            root = meter
        root._total += count
        if root._total > self._budget.bytes:
            raise root._ended(f"more than {self._budget.bytes} bytes came out of it")
        if suspect is not None and exceeded:
            raise self._blamed(suspect)

    def add_member(self) -> None:
        """Count one member, against the file on disk; for time, against all that is around it."""
        root = self
        for meter in self._outwards():
            meter._members += 1
            root = meter
        if root._members > self._budget.members:
            raise root._ended(f"it has more than {self._budget.members} members")

    def add_time(self, seconds: float, moved: int) -> None:
        """Count ``seconds`` of work, in which ``moved`` bytes were read."""
        for meter in self._outwards():
            meter._spent += seconds
            meter._moved += moved

    def check_time(self) -> None:
        """Raise :class:`OverBudget` where this item, or one around it, has taken too long."""
        for meter in self._outwards():
            if meter._over is not None:
                raise meter._over
            if meter._spent > meter._explained() + meter._patience:
                raise meter._too_slow()

    def _explained(self) -> float:
        return self._moved / _BYTES_A_SECOND + self._members * _MEMBER_SECONDS

    def _too_slow(self) -> OverBudget:
        for meter in self._outwards():
            if meter is not self:
                meter._spent -= self._spent - self._explained()
                meter._patience = max(meter._patience / 2, min(meter._patience, _LEAST_PATIENCE))
        seconds = f"{self._patience:g} seconds beyond what its size explains"
        self._over = OverBudget(self, f"reading it took more than {seconds}", steady=False)
        return self._over

    def _blamed(self, suspect: Meter) -> OverBudget:
        """End what made ``suspect``, this item or one around it, give too much."""
        *inside, _ = path = list(self._outwards(until=suspect))
        culprit = suspect
        while inside and inside[-1]._given > culprit._given / 2:
            culprit = inside.pop()
        excess = culprit._given - (culprit._honest if culprit is suspect else 0)
        for meter in culprit._outwards():
            if meter is not culprit:
                meter._given = max(meter._given - excess, 0)
                meter._floor = max(meter._floor // 2, self._budget.ratio_floor // _LEAST_FLOOR)
        for meter in path[path.index(culprit) + 1 :]:
            meter._honest = max(meter._honest // 2, min(_FAIR * meter._stored, meter._honest))
        if culprit is suspect:
            return culprit._ended(f"it expands to more than {self._budget.ratio:g} times its size")
        return culprit._ended(f"with it, what it lies in expands to more than {self._budget.ratio:g} times its size")

    def _ended(self, message: str) -> OverBudget:
        self._over = OverBudget(self, message)
        return self._over

    def _outwards(self, until: Meter | None = None) -> Iterator[Meter]:
        """This item and those around it, as far as ``until``, which is the last."""
        meter: Meter | None = self
        while meter is not None:
            yield meter
            meter = None if meter is until else meter._outer


class Clock:
    """Counts the working time of this process against the item at work and all around it.

    Waiting and standing still are no work. To ask for the time of the process is slow, so it is asked a hundred times a
    second at most: shorter items are counted against their neighbours. Begin it with :meth:`at`.
    """

    def __init__(
        self, seconds: Callable[[], float] = time.process_time, cheap: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds, self._cheap = seconds, cheap
        self._last, self._asked = seconds(), cheap()
        self._moved = 0
        self._due = False  # time was counted, and is not checked yet
        self._meter: Meter | None = None

    def at(self, meter: Meter, *, on: bool) -> None:
        """From now on ``meter`` is at work, if the clock is ``on``; what was done until now is counted."""
        self.charge()
        self._meter = meter if on else None

    def charge(self, moved: int = 0) -> None:
        """Count the time until now, in which ``moved`` bytes were read from disk."""
        self._moved += moved
        if self._cheap() - self._asked >= _STEP:
            last, moved = self._last, self._moved
            self._ask()
            if self._meter is not None:
                self._meter.add_time(self._last - last, moved)

    def skip(self) -> None:
        """Do not count the time until now."""
        if self._cheap() - self._asked >= _STEP:
            self._ask()

    def forget(self) -> None:
        """The same, however short it was."""
        self._ask()

    def check(self) -> None:
        """Raise :class:`OverBudget` where an item has taken too long."""
        self.charge()
        if self._due and self._meter is not None:
            self._due = False
            self._meter.check_time()

    def _ask(self) -> None:
        self._last, self._asked, self._moved, self._due = self._seconds(), self._cheap(), 0, True


class Metered(Stream):
    """Passes on the bytes of ``source`` and counts them; ``counted[0]`` of them were counted before."""

    def __init__(self, source: BinaryIO, meter: Meter, counted: list[int], pulse: Callable[[], None]) -> None:
        super().__init__()
        self._source, self._meter, self._counted, self._pulse = source, meter, counted, pulse
        self._at = 0

    def _read(self, size: int) -> bytes:
        self._pulse()
        data = self._source.read(size)
        self._at += len(data)
        new = self._at - self._counted[0]
        if new > 0:
            self._meter.add_bytes(new)
            self._counted[0] = self._at
        return data

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = self._source.seek(offset, whence)
        return self._at


def metered(reopen: Callable[[], BinaryIO], meter: Meter, pulse: Callable[[], None]) -> Callable[[], Metered]:
    """``reopen`` with every byte counted once, however often it is read; ``pulse`` is called at each read."""
    counted = [0]
    return lambda: Metered(reopen(), meter, counted, pulse)
