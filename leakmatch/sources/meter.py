"""The budget while it is spent: bytes that really came out, per item and everything around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO

from leakmatch.errors import ItemError
from leakmatch.records import Budget, Outcome
from leakmatch.sources.streams import Stream


class OverBudget(ItemError):
    """A limit was reached. ``meter``: the item that reached it; items inside it end, items beside it go on."""

    def __init__(self, meter: Meter, message: str) -> None:
        super().__init__(Outcome.OVER_BUDGET, "over-budget", message)
        self.meter = meter


class Meter:
    """Counts what comes out of one item and of all items inside it.

    ``stored``: the bytes the item takes where it lies. An item may expand to ``ratio`` times that, at least to
    ``ratio_floor``; the outermost item, the file on disk, also to ``bytes`` and ``members``.
    """

    def __init__(self, budget: Budget, stored: int, outer: Meter | None = None) -> None:
        self._budget = budget
        self._outer = outer
        self._most = max(int(budget.ratio * stored), budget.ratio_floor)
        self._bytes = 0
        self._members = 0

    def inner(self, stored: int) -> Meter:
        """The meter of an item inside this one."""
        return Meter(self._budget, stored, self)

    def add_bytes(self, count: int) -> None:
        """Raise :class:`OverBudget` where this item, or one around it, has given too much."""
        self._bytes += count
        if self._bytes > self._most:
            raise OverBudget(self, f"it expands to more than {self._budget.ratio:g} times its size")
        if self._outer is not None:
            self._outer.add_bytes(count)
        elif self._bytes > self._budget.bytes:
            raise OverBudget(self, f"more than {self._budget.bytes} bytes came out of it")

    def add_member(self) -> None:
        """Count one member, against the file on disk."""
        if self._outer is not None:
            self._outer.add_member()
            return
        self._members += 1
        if self._members > self._budget.members:
            raise OverBudget(self, f"it has more than {self._budget.members} members")


class Metered(Stream):
    """Passes on the bytes of ``open()`` and counts them; bytes that were counted before are not counted again."""

    def __init__(self, source: BinaryIO, meter: Meter, counted: list[int]) -> None:
        super().__init__()
        self._source, self._meter, self._counted = source, meter, counted
        self._at = 0

    def _read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._at += len(data)
        new = self._at - self._counted[0]
        if new > 0:
            self._counted[0] = self._at
            self._meter.add_bytes(new)
        return data


def metered(reopen: Callable[[], BinaryIO], meter: Meter) -> Callable[[], Metered]:
    """``reopen`` with every byte counted once, however often it is read."""
    counted = [0]
    return lambda: Metered(reopen(), meter, counted)
