"""What a case says about each person, from one pass over its candidates. Memory grows with people, not with items."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from leakmatch.case.decisions import Judge
from leakmatch.case.store import Case
from leakmatch.case.tables import Finding, findings, places
from leakmatch.records import Decision, Evidence

_STRENGTH: Final = {kind: order for order, kind in enumerate(Evidence)}
_BAND: Final = {band: order for order, band in enumerate(Decision)}

# Places named for a person or a copy; the export has them all.
_NAMED: Final = 3


@dataclass(slots=True)
class Person:
    """One protected person with candidates decided match or review.

    ``files`` counts the places (copies too), ``pictures`` different pictures; ``places`` holds source and path of
    the first few with the person's best decision.
    """

    subject_id: str
    decision: Decision
    evidence: Evidence
    expected_false: float | None
    score: float | None = None
    files: int = 0
    pictures: int = 0
    places: list[tuple[str, str]] = field(default_factory=list)
    last: tuple[int, int] | None = None

    def add(self, finding: Finding) -> None:
        """Count one more candidate, in source order."""
        candidate, record = finding.candidate, finding.record
        expected = record["expected_false"]
        if _BAND[finding.decision] < _BAND[self.decision]:
            self.decision = finding.decision
            self.places.clear()
        if _STRENGTH[candidate.evidence] < _STRENGTH[self.evidence]:
            self.evidence = candidate.evidence
        if isinstance(expected, float) and (self.expected_false is None or expected < self.expected_false):
            self.expected_false = expected
        if candidate.score is not None and (self.score is None or candidate.score > self.score):
            self.score = candidate.score
        if finding.item != self.last:
            self.last = finding.item
            self.files += 1
            self.pictures += not finding.is_copy
        place = str(record["source"]), str(record["path"])
        if finding.decision is self.decision and len(self.places) < _NAMED and place not in self.places:
            self.places.append(place)


@dataclass(slots=True)
class Summary:
    """The figures of a report. ``files`` by the best decision in them; ``candidates`` without those of copies.

    ``strongest`` are the strongest candidates decided match or review, copies left out, best first.
    """

    people: dict[str, Person] = field(default_factory=dict)
    files: Counter[Decision] = field(default_factory=Counter)
    candidates: Counter[Decision] = field(default_factory=Counter)
    strongest: list[Finding] = field(default_factory=list)

    def ranked(self) -> list[Person]:
        """People, best decision and lowest figure first."""
        return sorted(
            self.people.values(), key=lambda p: (_BAND[p.decision], _unknown_last(p.expected_false), p.subject_id)
        )

    def decided(self, decision: Decision) -> int:
        """How many people have this as their best decision."""
        return sum(person.decision is decision for person in self.people.values())


def summarise(case: Case, judge: Judge, limit: int) -> Summary:
    """Read every candidate once; keep the ``limit`` strongest."""
    summary = Summary()
    summary.strongest = heapq.nsmallest(limit, _counted(case, judge, summary), key=_rank)
    return summary


def _counted(case: Case, judge: Judge, summary: Summary) -> Iterator[Finding]:
    """Findings to show, counting all of them on the way."""
    item, best = None, Decision.WEAK
    for finding in findings(case, judge, every=True):
        if finding.item != item:
            summary.files[best] += item is not None
            item, best = finding.item, Decision.WEAK
        best = min(best, finding.decision, key=lambda band: _BAND[band])
        summary.candidates[finding.decision] += not finding.is_copy
        if finding.decision is Decision.WEAK:
            continue
        subject = finding.candidate.subject_id
        person = summary.people.get(subject)
        if person is None:
            person = summary.people[subject] = Person(subject, finding.decision, finding.candidate.evidence, None)
        person.add(finding)
        if not finding.is_copy:
            yield finding
    summary.files[best] += item is not None


def _rank(finding: Finding) -> tuple[object, ...]:
    candidate, expected = finding.candidate, finding.record["expected_false"]
    return (
        _BAND[finding.decision],
        _unknown_last(expected if isinstance(expected, float) else None),
        _STRENGTH[candidate.evidence],
        -(candidate.score or 0.0),
        candidate.key,
        candidate.subject_id,
    )


def _unknown_last(value: float | None) -> float:
    return float("inf") if value is None else value


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
