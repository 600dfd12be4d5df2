"""The operating point of a scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakmatch.matching.calibration import Calibration
from leakmatch.matching.policy import operating_point, score_for
from leakmatch.records import LARGEST_CHANCE


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    root = Path(__file__).resolve().parents[3]
    return Calibration.load(root / "models" / "opencv-zoo" / "calibration.json")


def test_as_many_false_candidates_as_accepted(calibration: Calibration) -> None:
    point = operating_point(calibration, 1.0, 500, 2_000)
    assert point.threshold is not None
    assert calibration.fmr(point.threshold) * 500 * 2_000 == pytest.approx(1, rel=0.01)
    looser = operating_point(calibration, 10.0, 500, 2_000)
    assert looser.threshold is not None
    assert looser.threshold < point.threshold


def test_no_score_is_rare_enough_beyond_the_data(calibration: Calibration) -> None:
    assert operating_point(calibration, 1.0, 1_000, 18_000).threshold is not None
    assert operating_point(calibration, 1.0, 1_000, 19_000).threshold is None
    assert operating_point(calibration, 2.0, 1_000, 19_000).threshold is not None


def test_a_tiny_scan_does_not_admit_everybody(calibration: Calibration) -> None:
    assert score_for(calibration, 1000.0, 4) == calibration.threshold(LARGEST_CHANCE)
    assert score_for(calibration, 1.0, 0) == calibration.threshold(LARGEST_CHANCE)
