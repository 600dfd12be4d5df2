"""Deciding the candidates of a case: from what was stored, for any number of accepted false candidates."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from leakmatch.case.joint import Resemblance
from leakmatch.case.rows import Candidate, Totals
from leakmatch.case.store import Case
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.records import REVIEW_BAND, STORED_BAND, Decision, Evidence, decide

#: A case keeps candidates down to ``STORED_BAND`` times its own X, so up to this many X the review band is whole.
LOOSEST: Final = STORED_BAND / REVIEW_BAND


@dataclass(frozen=True, slots=True)
class Judge:
    """The one place where a stored candidate, and a person with several, gets a figure and a band.

    ``accepted`` is X, the number of false candidates accepted in the whole scan; ``begun_with`` the X that the scan
    was told, down to 1,000 times which candidates are stored. ``threshold`` is a raw score that the scan was told to
    decide faces by instead, or ``None``. ``resemblance``: how alike photos of one stranger are; ``None`` where that was
    not measured or a raw threshold decides, and then several photos of a person do not strengthen each other.
    """

    totals: Totals
    accepted: float
    begun_with: float
    threshold: float | None
    resemblance: Resemblance | None = None

    @classmethod
    def of(cls, case: Case, accepted: float | None = None) -> Judge:
        """The judge of ``case``; ``accepted`` of ``None`` is the X that the scan was told.

        Raises :class:`UsageError` where the case cannot be decided by that X: it is no positive number, it is more
        than 10 times the case's own (part of the review band was not stored), or the case has a raw threshold.
        """
        begun_with = _number(case, "expected_false") or 1.0
        threshold = _number(case, "threshold")
        if accepted is not None and not (0 < accepted < math.inf):
            raise UsageError(f"--expected-false {accepted}: not a positive number.")
        if accepted is not None and threshold is not None and accepted != begun_with:
            raise UsageError(
                f"{case.path}: scanned with a raw score ({threshold}) as the threshold, so it has no number of false "
                "candidates to change. Scan again without --threshold."
            )
        if accepted is not None and accepted > LOOSEST * begun_with * (1 + 1e-9):
            raise UsageError(
                f"{case.path}: --expected-false {accepted:g} is looser than what was stored; this case can be decided "
                f"with up to {LOOSEST * begun_with:g}. For more, scan again with --expected-false {accepted:g}."
            )
        resemblance = None if threshold is not None else _resemblance(case)
        return cls(case.totals(), begun_with if accepted is None else accepted, begun_with, threshold, resemblance)

    @property
    def weak_is_whole(self) -> bool:
        """Whether every weak candidate down to 1,000 X was stored; else those past 1,000 of the case's own X lack."""
        return self.accepted <= self.begun_with

    def expected_false(self, candidate: Candidate) -> float | None:
        """How many candidates this strong chance alone would give in the whole scan, to 6 significant digits.

        ``None`` where no calibration says so.
        """
        return rounded(self.totals.expected_false(candidate, candidate.chance))

    def interval(self, candidate: Candidate) -> tuple[float | None, float | None]:
        """The 95 % interval of :meth:`expected_false`; ``None`` where the face has no part in it."""
        if candidate.chance_low is None or candidate.chance_high is None:
            return None, None
        low, high = (self.totals.expected_false(candidate, c) for c in (candidate.chance_low, candidate.chance_high))
        return rounded(low), rounded(high)

    def extrapolated(self, candidate: Candidate) -> bool:
        """Whether the figure rests on a chance rarer than one in the pairs of the calibration."""
        if candidate.chance is None or candidate.chance >= self.totals.resolution:
            return False
        known = self.totals.expected_false(candidate, candidate.chance)
        return known == candidate.chance * self.totals.face_pairs

    def decision(self, candidate: Candidate) -> Decision:
        """The band. Decided on the rounded figures, so that whoever has the export comes to the same.

        An extrapolated figure makes no match: it is one only where the rarest chance that the calibration's data shows
        would be enough.
        """
        if self.threshold is not None and candidate.evidence is Evidence.SAME_FACE:
            reached = candidate.score is not None and candidate.score >= self.threshold
            return Decision.MATCH if reached else Decision.WEAK
        shown = self.totals.expected_false(candidate, self.totals.resolution)
        return self.band(self.expected_false(candidate), shown if self.extrapolated(candidate) else None)

    def band(self, expected: float | None, shown: float | None) -> Decision:
        """The band of a figure. ``shown``: of an extrapolated one, what it would be with the rarest chance that the
        calibration's data shows; else ``None``."""
        if expected is None:
            return Decision.REVIEW
        band = decide(expected, self.accepted)
        least = rounded(shown)
        return Decision.REVIEW if band is Decision.MATCH and least is not None and least > self.accepted else band


def rounded(value: float | None) -> float | None:
    """A figure as it is decided and exported: to 6 significant digits."""
    return None if value is None else float(f"{value:.6g}")


def _resemblance(case: Case) -> Resemblance | None:
    calibration = case.run.get("calibration")
    record = calibration.get("repeat") if isinstance(calibration, dict) else None
    if record is None:
        return None
    try:
        return Resemblance.parse(record)
    except ValueError as error:
        raise IntegrityError(f"{case.path}: damaged: {error}. Restore it from a copy.") from error


def _number(case: Case, key: str) -> float | None:
    value = case.run.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise IntegrityError(f"{case.path}: damaged: its {key} is no number. Restore it from a copy.")
    return value
