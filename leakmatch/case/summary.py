"""The figures of a report: people, files by decision, the strongest candidates. Memory grows with people, not items."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from leakmatch.case.decisions import Judge
from leakmatch.case.people import BAND, STRENGTH, Person, people, unknown_last
from leakmatch.case.places import places
from leakmatch.case.rows import Key
from leakmatch.case.store import Case
from leakmatch.case.tables import Finding, findings
from leakmatch.records import Decision

# Places named for a copy; the export has them all.
_NAMED: Final = 3


@dataclass(slots=True)
class Summary:
    """The figures of a report. ``people``: everybody decided match or review, best first.

    A candidate that the figure of a person rests on counts like the person where that is more. So do ``files``, by the
    best candidate in them, and ``strongest``: the strongest candidates that count as match or review, copies left out,
    best first; ``shown`` is how many there are. ``shown_at_least``: the figure of a face whose chance is the rarest
    that the calibration's data shows. ``candidates`` counts all by their own decision, copies left out.
    """

    people: list[Person] = field(default_factory=list)
    files: Counter[Decision] = field(default_factory=Counter)
    candidates: Counter[Decision] = field(default_factory=Counter)
    strongest: list[Finding] = field(default_factory=list)
    shown: int = 0
    shown_at_least: float = 0.0
    raised: dict[tuple[Key, int | None, str], Decision] = field(default_factory=dict)

    def counts_as(self, finding: Finding) -> Decision:
        """Its decision, or that of the person whose figure rests on it where that is stronger."""
        candidate = finding.candidate
        person = self.raised.get((candidate.key, candidate.face, candidate.subject_id), finding.decision)
        return min(finding.decision, person, key=BAND.__getitem__)

    def decided(self, decision: Decision) -> int:
        """How many people are decided so."""
        return sum(person.decision is decision for person in self.people)


def summarise(case: Case, judge: Judge, limit: int) -> Summary:
    """Read every candidate twice: for people, and for the ``limit`` strongest."""
    summary = Summary([person for person in people(case, judge) if person.decision is not Decision.WEAK])
    summary.shown_at_least = judge.totals.resolution * judge.totals.face_pairs
    summary.raised = {
        (seen.best.key, seen.best.face, person.subject_id): person.decision
        for person in summary.people
        for seen in person.rests_on
    }
    summary.strongest = heapq.nsmallest(limit, _counted(case, judge, summary), key=lambda f: _rank(f, summary))
    return summary


def _counted(case: Case, judge: Judge, summary: Summary) -> Iterator[Finding]:
    """Findings to show, counting all of them on the way."""
    item, best = None, Decision.WEAK
    for finding in findings(case, judge, every=True):
        if finding.item != item:
            summary.files[best] += item is not None
            item, best = finding.item, Decision.WEAK
        counts = summary.counts_as(finding)
        best = min(best, counts, key=BAND.__getitem__)
        summary.candidates[finding.decision] += not finding.is_copy
        if counts is not Decision.WEAK and not finding.is_copy:
            summary.shown += 1
            yield finding
    summary.files[best] += item is not None


def _rank(finding: Finding, summary: Summary) -> tuple[object, ...]:
    candidate, expected = finding.candidate, finding.record["expected_false"]
    return (
        BAND[summary.counts_as(finding)],
        unknown_last(expected if isinstance(expected, float) else None),
        STRENGTH[candidate.evidence],
        -(candidate.score or 0.0),
        candidate.key,
        candidate.subject_id,
    )


def copies(case: Case, keys: set[tuple[int, int]]) -> dict[tuple[int, int], tuple[int, list[tuple[str, str]]]]:
    """For pictures by (file, position): how many identical copies there are, and source and path of the first few."""
    found: dict[tuple[int, int], tuple[int, list[tuple[str, str]]]] = {}
    place = places(case)
    for file, position, locator in case.select(
        """SELECT primary_file, primary_position, locator FROM items WHERE primary_file IS NOT NULL
           ORDER BY file, position"""
    ):
        if (file, position) in keys:
            number, named = found.get((file, position), (0, []))
            if number < _NAMED:
                named.append(place(locator)[:2])
            found[file, position] = number + 1, named
    return found
