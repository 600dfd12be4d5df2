"""What a case looked at and what it could not, per source and per container, from one pass over the ledger."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from leakmatch.case.places import places
from leakmatch.case.store import Case
from leakmatch.locator import around
from leakmatch.records import LOOKED_AT, Outcome

#: What each outcome means, for a reader who is no programmer.
IN_WORDS: Final = {
    Outcome.DONE: "picture in which faces were found and compared",
    Outcome.NO_FACE: "picture that was looked at; no face was found in it",
    Outcome.DUPLICATE: "same bytes as a picture that was looked at; shares its results",
    Outcome.NOT_IMAGE: "no picture (text, program, sound, ...)",
    Outcome.WALKED: "archive or other container that was read to its end",
    Outcome.PARTIAL: "damaged: only a part could be read and looked at",
    Outcome.UNREADABLE: "could not be read",
    Outcome.NEEDS_PASSWORD: "locked: a password is needed",
    Outcome.NEEDS_VOLUME: "another part of a split archive is needed",
    Outcome.NEEDS_EXTRA: "an optional part of LeakMatch is needed to read it",
    Outcome.OVER_BUDGET: "stopped at a limit on size, depth or time",
    Outcome.QUARANTINED: "made a worker process crash or hang, and was set aside",
}

#: What would let more be read.
ADVICE: Final = {
    Outcome.PARTIAL: "Look for an undamaged copy of the file. What could be read was looked at.",
    Outcome.UNREADABLE: "Look for an undamaged copy; the reason is told for each. Other programs may still open it.",
    Outcome.NEEDS_PASSWORD: "Write passwords to a file, one on each line; scan into a new case with --passwords FILE.",
    Outcome.NEEDS_VOLUME: "Put the missing parts, which are named for each, beside the others; scan into a new case.",
    Outcome.NEEDS_EXTRA: "Install what is told for each, and scan into a new case.",
    Outcome.OVER_BUDGET: "Raise the limit that is told for each in the settings (budget), and scan into a new case.",
    Outcome.QUARANTINED: "Look at it by itself, on a machine that may be lost: it made a reader crash or hang.",
}


@dataclass(slots=True)
class Share:
    """How the items of one source or container ended. ``prefix`` is the container's locator without its last ``]``."""

    source: str
    path: str
    prefix: str = ""
    outcomes: Counter[Outcome] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """The number of items."""
        return self.outcomes.total()

    @property
    def unread(self) -> int:
        """Those that could not be looked at in full."""
        return sum(number for outcome, number in self.outcomes.items() if outcome not in LOOKED_AT)


@dataclass(slots=True)
class Coverage:
    """Sources and containers by how many of their items are unread, worst first; else in the order given.

    ``affected`` counts the containers that have any unread member.
    """

    sources: list[Share]
    worst: list[Share]
    affected: int

    @property
    def whole(self) -> Share:
        """All sources together."""
        return Share("", "", "", sum((share.outcomes for share in self.sources), Counter()))


def coverage(case: Case, limit: int) -> Coverage:
    """Read the ledger once; keep the ``limit`` worst containers."""
    sources: dict[int, Share] = {index: Share(str(name), "") for index, name in enumerate(case.run.get("sources", ()))}
    affected = 0
    worst: list[tuple[int, int, Share]] = []
    for order, share in enumerate(_containers(case, sources)):
        if share.unread:
            affected += 1
            heapq.heappush(worst, (share.unread, -order, share))
            if len(worst) > limit:
                heapq.heappop(worst)
    by_unread = sorted(sources.values(), key=lambda share: -share.unread)
    return Coverage(by_unread, [share for *_, share in sorted(worst, reverse=True)], affected)


def _containers(case: Case, sources: dict[int, Share]) -> Iterator[Share]:
    """Every container once its members have all been met, counting each item in its source on the way.

    A walk is depth first, so the containers around an item form a stack.
    """
    place = places(case)
    stack: list[Share] = []
    file_before = None
    for file, source, locator, word in case.select(
        """SELECT i.file, s.source, i.locator, i.outcome FROM items i CROSS JOIN files s ON s.file = i.file
           WHERE i.frame = 0 ORDER BY i.file, i.position"""
    ):
        outcome = Outcome(word)
        sources.setdefault(source, Share("", "")).outcomes[outcome] += 1
        outer = around(locator)
        while stack and (file != file_before or not _within(outer, stack[-1].prefix)):
            yield stack.pop()
        file_before = file
        if not outer:
            continue
        if not stack or stack[-1].prefix != outer:
            name, path, _ = place(outer + "]")
            stack.append(Share(name, path, outer))
        stack[-1].outcomes[outcome] += 1
    yield from reversed(stack)


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(outer + ',["')


def unread_items(case: Case, limit: int) -> Iterator[tuple[str, str, Outcome, str]]:
    """Source, path, outcome and detail of the first items that could not be looked at in full."""
    place = places(case)
    marks = ",".join("?" * len(LOOKED_AT))
    for locator, outcome, detail in case.select(
        f"""SELECT locator, outcome, detail FROM items WHERE frame = 0 AND outcome NOT IN ({marks})
            ORDER BY file, position LIMIT ?""",
        (*map(str, LOOKED_AT), limit),
    ):
        name, path, _ = place(locator)
        yield name, path, Outcome(outcome), detail
