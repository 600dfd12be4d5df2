"""Passwords for locked archives: a list that is tried in order, those that worked first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from leakmatch.sources.members import Note

#: How many passwords are tried on one archive whose format makes each of them cost: one with 2^19 rounds of SHA-256,
#: as 7z has them, takes 10 to 50 milliseconds. A number and not a time, so that every walk tries the same ones.
MOST_TRIES = 4000


class Passwords:
    """The lines of a password list. What worked once is tried first the next time.

    The passwords themselves never leave this object but into a reader; what is recorded is the number of the line.
    """

    def __init__(self, lines: Sequence[bytes] = ()) -> None:
        self._lines = [line for line in dict.fromkeys(lines) if line]
        self._numbers = {line: number for number, line in reversed(list(enumerate(lines, start=1)))}
        self._worked: list[bytes] = []

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __iter__(self) -> Iterator[bytes]:
        """Every password once, the last that worked first."""
        yield from reversed(self._worked)
        yield from (line for line in self._lines if line not in self._worked)

    def in_order(self) -> Iterator[bytes]:
        """Every password once, as the list has them."""
        return iter(self._lines)

    def first(self, most: int) -> Iterator[bytes]:
        """The first ``most`` of the list, whatever was opened before; of these, the last that worked first."""
        tried = set(self._lines[:most])
        return (line for line in self if line in tried)

    def __len__(self) -> int:
        """How many different ones there are."""
        return len(self._lines)

    def worked(self, password: bytes) -> Note:
        """Remember that it opened something; what to record of it."""
        if password in self._worked:
            self._worked.remove(password)
        self._worked.append(password)
        return Note("password", f"opened with the password in line {self._numbers[password]} of the password list")

    def failed(self, tried: int | None = None) -> str:
        """Why something stays locked, for its ``detail``. ``tried``: how many of the list were, if not all."""
        if not self._lines:
            return "locked with a password"
        if tried is not None and tried < len(self._lines):
            return f"locked with a password; {tried:,} of {len(self._lines):,} passwords were tried"
        return f"locked with a password that is not among the {len(self._lines):,} of the password list"
