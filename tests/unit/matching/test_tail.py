"""The generalised Pareto tail: its parameters found again, its formula, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import genpareto

from leakmatch.errors import UsageError
from leakmatch.matching.tail import HIGHEST_RATE, LEAST_RATE, START_RATE, Tail, fit_tail, pareto, start_rate


@pytest.mark.parametrize("shape", [-0.2, -0.05, 0.0, 0.1])
def test_the_parameters_are_found_again(shape: float) -> None:
    excess = genpareto.rvs(shape, scale=0.03, size=200_000, random_state=1)
    scale, found = pareto(excess, np.ones(len(excess)))
    assert scale == pytest.approx(0.03, rel=0.03)
    assert found == pytest.approx(shape, abs=0.02)
    scale, kept = pareto(excess, np.ones(len(excess)), shape)
    assert kept == shape
    assert scale == pytest.approx(0.03, rel=0.03)


def test_a_weight_counts_as_often() -> None:
    excess = genpareto.rvs(0.05, scale=0.03, size=5_000, random_state=2)
    weights = np.random.default_rng(0).integers(1, 4, len(excess)).astype(np.float64)
    repeated = np.repeat(excess, weights.astype(int))
    once = pareto(excess, weights)
    assert once == pytest.approx(pareto(repeated, np.ones(len(repeated))), rel=1e-3, abs=1e-3)


@given(st.floats(-0.4, 0.4).filter(lambda shape: abs(shape) > 1e-4), st.floats(0.005, 0.1), st.floats(0, 0.6))
def test_rates_are_those_of_scipy(shape: float, scale: float, beyond: float) -> None:
    tail = Tail(0.3, 1e-3, scale, shape)
    expected = max(1e-3 * genpareto.sf(beyond, shape, scale=scale), LEAST_RATE)
    assert tail.rates([0.3 + beyond])[0] == pytest.approx(expected, rel=1e-4, abs=1e-18)


def test_it_begins_higher_where_there_is_little_data() -> None:
    assert start_rate(1e9) == START_RATE
    assert start_rate(100_000) == pytest.approx(0.005)
    assert start_rate(1_000) == HIGHEST_RATE


def test_an_outlier_moves_it_little() -> None:
    """One person under two names among a million pairs, a thousand of them in the tail."""
    scores = np.sort(np.random.default_rng(3).normal(0.05, 0.09, 1_000_000))[-30_000:]
    clean = fit_tail(scores, np.ones(len(scores)), 1_000_000)
    bent = fit_tail(np.append(scores, 0.95), np.ones(len(scores) + 1), 1_000_000)
    assert bent.rates([0.4])[0] == pytest.approx(clean.rates([0.4])[0], rel=0.2)
    assert bent.rates([0.45])[0] == pytest.approx(clean.rates([0.45])[0], rel=0.5)


def test_scores_all_alike_have_no_tail() -> None:
    with pytest.raises(UsageError, match="all alike"):
        fit_tail(np.full(1000, 0.5), np.ones(1000), 10_000)
