"""A calibration made of any scores falls, and its threshold inverts its rate."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from leakmatch.errors import UsageError
from leakmatch.matching import impostors as counting
from leakmatch.matching.calibration import Calibration, make_calibration
from leakmatch.matching.impostors import GRID, Impostors


@settings(max_examples=15, deadline=None)
@example(0, 3, 3.0, None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 40), st.floats(0, 3), st.one_of(st.none(), st.floats(-0.3, 0.3)))
def test_a_calibration_falls_and_inverts(seed: int, dimension: int, common: float, shape: float | None) -> None:
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(160, dimension)) + common
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    people = np.arange(160) // generator.integers(1, 3)
    resamples, counting.RESAMPLES = counting.RESAMPLES, 20
    try:
        content = make_calibration("m", Impostors.of(vectors, people, vectors, people), {}, shape=shape)
    except UsageError as error:  # three numbers with much in common: all are one person, and that is said
        assert "all alike" in str(error)
        reject()
    finally:
        counting.RESAMPLES = resamples
    calibration = Calibration.parse(content, "here")
    rates = calibration.fmr(GRID)
    low, high = calibration.interval(GRID)
    assert (np.diff(rates) <= 0).all()
    assert ((rates > 0) & (rates <= 1)).all()
    assert ((low <= rates) & (rates <= high)).all()
    for rate in (0.5, 1e-2, 1e-4, 1e-8):
        threshold = calibration.threshold(rate)
        assert threshold > 1 or calibration.fmr(threshold) <= rate
        assert threshold == -1 or calibration.fmr(round(threshold - 1e-4, 4)) > rate
