"""The impostor distribution: what it says, where it stops counting, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from leakmatch.errors import IntegrityError, UsageError
from leakmatch.matching.calibration import (
    GRID,
    TAIL_PAIRS,
    Calibration,
    count_at_or_above,
    fit_tail,
    write_calibration,
)

SHIPPED = Path(__file__).resolve().parents[3] / "models" / "opencv-zoo" / "calibration.json"


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    """A million scores of impostors, normal with mean 0.05 and deviation 0.1."""
    return np.random.default_rng(0).normal(0.05, 0.1, 1_000_000).clip(-1, 1).astype(np.float32)


@pytest.fixture
def calibration(scores: np.ndarray, tmp_path: Path) -> Calibration:
    file = tmp_path / "calibration.json"
    write_calibration(file, "sha256:x/fp32/r1", "y", count_at_or_above(scores), {"name": "made up"})
    return Calibration.load(file)


def test_counts_are_a_plain_count() -> None:
    some = np.random.default_rng(1).uniform(-1, 1, 500).astype(np.float32)
    some[:4] = [-1, 1, 0, 0.0025]
    slow = [(some.astype(np.float64) + 1e-7 >= score).sum() for score in GRID]
    assert count_at_or_above(some).tolist() == slow


def test_the_rate_is_the_share_at_or_above(calibration: Calibration, scores: np.ndarray) -> None:
    for score in (-0.3, 0.0, 0.15, 0.3, 0.4):
        assert calibration.fmr(score) == pytest.approx((scores >= score).mean(), rel=0.02)
    assert calibration.fmr(-1) == 1
    assert calibration.pairs == len(scores)


def test_the_rate_never_rises_and_is_never_zero(calibration: Calibration) -> None:
    rates = calibration.fmr(np.linspace(-1, 1, 20_001))
    assert (np.diff(rates) <= 0).all()
    assert (rates > 0).all()
    assert rates.max() <= 1
    assert calibration.fmr([]).shape == (0,)
    assert calibration.fmr([[0.1, 0.2]]).shape == (1, 2)


@pytest.mark.parametrize("rate", [1e-1, 1e-3, 1e-5, 1e-7, 1e-9])
def test_the_threshold_is_the_lowest_score_that_is_rare_enough(calibration: Calibration, rate: float) -> None:
    threshold = calibration.threshold(rate)
    assert round(threshold, 4) == threshold
    assert calibration.fmr(threshold) <= rate < calibration.fmr(threshold - 1e-4)


def test_thresholds_at_the_ends(calibration: Calibration) -> None:
    assert calibration.threshold(1) == calibration.threshold(1000) == -1
    assert calibration.threshold(1e-300) > 1
    with pytest.raises(ValueError, match="false match rate of 0"):
        calibration.threshold(0)


def test_the_tail_begins_where_counts_say_little_and_errs_upwards(calibration: Calibration) -> None:
    """Compared with the true tail of the normal distribution the scores are drawn from."""
    from scipy.stats import norm

    start = calibration.tail.start
    assert not calibration.extrapolated(start)
    assert calibration.extrapolated(start + 0.0001)
    assert calibration.fmr(start) == pytest.approx(TAIL_PAIRS / 1e6, rel=0.3)
    for score in np.arange(start + 0.02, 0.9, 0.05):
        assert calibration.fmr(score) > norm.sf(score, 0.05, 0.1)


def test_too_few_pairs_are_no_calibration() -> None:
    with pytest.raises(UsageError, match="too few"):
        fit_tail(count_at_or_above(np.zeros(9_999, np.float32)))


def test_scores_that_are_all_alike_are_no_calibration() -> None:
    with pytest.raises(UsageError, match="all alike"):
        fit_tail(count_at_or_above(np.zeros(20_000, np.float32)))


def test_a_pack_without_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no calibration\.json.*cannot be estimated.*--threshold"):
        Calibration.load(tmp_path / "calibration.json")


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"step": 0.01},
        {"at_or_above": [1, 2, 3]},
        {"at_or_above": list(range(len(GRID)))},
        {"tail": {"start": 0.4, "rate": 0.1, "slope": -3}},
        {"tail": {"start": 0.4, "rate": 0.1}},
        {"model_id": None, "tail": None},
    ],
)
def test_a_damaged_file(tmp_path: Path, change: dict[str, object]) -> None:
    body = json.loads(SHIPPED.read_text(encoding="utf-8")) | change
    file = tmp_path / "calibration.json"
    file.write_text(json.dumps(body))
    with pytest.raises(IntegrityError, match="not a calibration"):
        Calibration.load(file)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"3"])
def test_a_file_that_is_something_else(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "calibration.json").write_bytes(content)
    with pytest.raises(IntegrityError, match="not a calibration"):
        Calibration.load(tmp_path / "calibration.json")


def test_the_shipped_calibration() -> None:
    """Its figures are those of the published threshold: 0.363 is a false match rate of one in a thousand."""
    calibration = Calibration.load(SHIPPED)
    assert calibration.model_id.startswith("sha256:0ba9fbfa")
    assert calibration.fmr(0.363) == pytest.approx(1e-3, rel=0.3)
    assert calibration.pairs > 18_000_000
    assert calibration.about["people"] == 2827
    assert 0.6 < calibration.threshold(1e-9) < 0.75
    counts = np.array(json.loads(SHIPPED.read_text(encoding="utf-8"))["at_or_above"])
    beyond = calibration.tail.start < GRID
    assert (calibration.fmr(GRID[beyond]) >= 0.95 * counts[beyond] / counts[0]).all()


def test_writing_is_reproducible(scores: np.ndarray, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_calibration(tmp_path / name, "m", "d", count_at_or_above(scores), {"name": "made up"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert Calibration.load(tmp_path / "a").sha256 == Calibration.load(tmp_path / "b").sha256
