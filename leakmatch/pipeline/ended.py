"""How a case ends: what is not worth keeping is dropped, the ledger must add up, and the totals are written down."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from leakmatch.case.store import Case
from leakmatch.matching.calibration import Calibration
from leakmatch.matching.policy import operating_point
from leakmatch.pipeline.kept import KeptTemplates
from leakmatch.records import STORED_BAND
from leakmatch.settings import Settings


def end_case(case: Case, calibration: Calibration | None, settings: Settings, kept: KeptTemplates | None) -> None:
    """Finish ``case``, in which everything was looked at and compared. ``kept``: what seals the templates it keeps.

    Raises :class:`IntegrityError` where its ledger does not add up.
    """
    if settings.threshold is None:
        case.prune(STORED_BAND * settings.expected_false)
    case.check_ledger()
    case.finish(_summary(case, calibration, settings), None if kept is None else kept.seal_end)


def _summary(case: Case, calibration: Calibration | None, settings: Settings) -> dict[str, Any]:
    totals = case.totals()
    threshold = settings.threshold
    if threshold is None and calibration is not None:
        point = operating_point(calibration, settings.expected_false, totals.gallery_people, totals.searches)
        threshold = point.threshold
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "searches": totals.searches,
        "pictures": totals.pictures,
        "face_pairs": totals.face_pairs,
        "picture_pairs": totals.picture_pairs,
        "threshold": threshold,
        "second_looks": case.count("second_looks"),
    }
