"""Whether members found are members told of: per container, per source file, in total. One pass in walk order.

The reader counts the members of a container where it hands them over; the ledger has a row for each. Neither figure is
made from the other, so a row that was lost on the way from one to the other is seen here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from leakmatch.errors import UsageError
from leakmatch.locator import Locator, around
from leakmatch.records import Outcome

_LONGEST: Final = 300  # of a path in a message

#: File, locator, members, outcome: the rows of files that were read to their end, in the order of the walk.
Told = tuple[int, str, int | None, str]


@dataclass(slots=True)
class _Open:
    """A container whose rows are being met. ``prefix``: its locator without the last bracket."""

    prefix: str
    members: int | None
    found: int = 0


def check_sums(told: Iterable[Told]) -> None:
    """Raise ``ValueError``, which names it, for a container that has more or fewer rows than members.

    A container without a count could not be opened, or its reader was lost, and is passed over. Of a quarantined
    source file the reader was lost: containers that it had begun have no row of their own. Only the containers around
    a row are kept.
    """
    stack: list[_Open] = []
    current, lost = None, False
    for file, locator, members, outcome in told:
        if file != current:
            _leave(stack, 0)
            current, lost = file, outcome == Outcome.QUARANTINED
        prefix = around(locator)
        depth = len(stack)
        while depth and stack[depth - 1].prefix != prefix:
            depth -= 1
        _leave(stack, depth)
        if stack:
            stack[-1].found += 1
        elif prefix and not lost:
            raise ValueError(f"{_path(locator)} is in a container that has no row")
        stack.append(_Open(locator[:-1], members))
    _leave(stack, 0)


def _leave(stack: list[_Open], depth: int) -> None:
    """Take the containers deeper than ``depth`` off the stack: all their rows have gone by."""
    while len(stack) > depth:
        container = stack.pop()
        if container.members is not None and container.members != container.found:
            path = _path(container.prefix + "]")
            raise ValueError(f"{container.members} members were found in {path}, and {container.found} have a row")


def _path(locator: str) -> str:
    try:
        path = Locator.from_json(locator).path
    except UsageError:
        return "a place that cannot be read"
    return repr(path if len(path) <= _LONGEST else f"{path[:_LONGEST]}...")
