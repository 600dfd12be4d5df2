"""The operating point: which score, in a scan of this size, chance reaches as often as the user accepts."""

from __future__ import annotations

from leakmatch.matching.calibration import Calibration
from leakmatch.records import LARGEST_CHANCE, OperatingPoint


def score_for(calibration: Calibration, expected: float, comparisons: int) -> float:
    """The score that chance alone reaches ``expected`` times in so many ``comparisons`` of two people.

    Never so low that more than :data:`~leakmatch.records.LARGEST_CHANCE` of them would.
    """
    return calibration.threshold(min(expected / max(comparisons, 1), LARGEST_CHANCE))


def operating_point(calibration: Calibration, accepted: float, people: int, searches: int) -> OperatingPoint:
    """Where a face is decided match, with ``accepted`` false candidates in ``searches`` faces against ``people``.

    Its threshold is ``None`` where that is rarer than the calibration's data shows: then no face alone is a match.
    """
    chance = accepted / max(people * searches, 1)
    return OperatingPoint(
        calibration.model_id,
        None if chance < calibration.resolution else score_for(calibration, accepted, people * searches),
        accepted,
        people,
        searches,
        calibration.sha256,
    )
