"""FNIR at FPIR, rank 1, DET and bootstrap: against examples done by hand, and against counting one search at a time."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from leakmatch.evaluation.figures import NOT_COMPARED, thin
from leakmatch.evaluation.open_set import (
    TARGETS,
    Found,
    Searches,
    above,
    det,
    interval,
    mean,
    missed,
    resample,
    threshold_at,
)

# --- the slow reference: one search at a time, whole numbers


def shares(subject: np.ndarray, events: list[bool]) -> Fraction:
    """The mean over subjects of the share of their searches in which the event occurs."""
    of: dict[int, list[bool]] = {}
    for number, event in zip(subject.tolist(), events, strict=True):
        of.setdefault(number, []).append(event)
    return sum((Fraction(sum(own), len(own)) for own in of.values()), Fraction(0)) / len(of)


def fpir(found: Found, searches: Searches, threshold: float) -> Fraction:
    return shares(searches.non_mated, [bool(score >= threshold) for score in found.stranger])


def fnir(found: Found, searches: Searches, threshold: float) -> Fraction:
    return shares(searches.mated, [bool(score < threshold) for score in found.mate])


def lowest_threshold(found: Found, searches: Searches, target: float) -> float:
    """Of all thresholds of 4 decimals that make a difference, the lowest that keeps the rate."""
    edges = {-1.0, *(round(s + 1e-4, 4) for s in found.stranger if s > -2)}
    return min(t for t in edges if float(fpir(found, searches, t)) <= target * (1 + 1e-9))


# --- what is searched


score = st.one_of(st.just(NOT_COMPARED), st.integers(-9999, 9999).map(lambda n: n / 1e4), st.sampled_from([0.3, 0.5]))


@st.composite
def trials(draw: st.DrawFn) -> tuple[Found, Searches]:
    def subjects() -> np.ndarray:
        each = draw(st.lists(st.integers(1, 3), min_size=1, max_size=12))
        return np.repeat(np.arange(len(each)), each).astype(np.int32)

    def column(n: int) -> np.ndarray:
        return np.array(draw(st.lists(score, min_size=n, max_size=n)), np.float64)

    searches = Searches(subjects(), subjects())
    mated, non_mated = len(searches.mated), len(searches.non_mated)
    return Found(column(mated), column(mated), column(non_mated)), searches


def one_each(mated: int, non_mated: int) -> Searches:
    return Searches(np.arange(mated, dtype=np.int32), np.arange(non_mated, dtype=np.int32))


def found(mate: list[float], rival: list[float], stranger: list[float]) -> Found:
    return Found(np.array(mate), np.array(rival), np.array(stranger))


# --- by hand


def test_the_threshold_lies_just_above_the_first_score_that_would_be_one_too_many() -> None:
    stranger = np.array([0.1, 0.9, 0.5, 0.5, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0])
    ones = np.ones(10)
    assert threshold_at(stranger, ones, 0.1) == 0.5001
    assert threshold_at(stranger, ones, 0.2) == 0.5001  # 0.5 would let in two at once
    assert threshold_at(stranger, ones, 0.3) == 0.2001
    assert threshold_at(stranger, ones, 0.09) is None
    assert threshold_at(np.full(10, NOT_COMPARED), ones, 0.1) == -1.0


def test_fnir_counts_the_mate_below_the_threshold_and_rank_1_needs_none() -> None:
    one = found([0.6, 0.6, 0.3, NOT_COMPARED, 0.5], [0.2, 0.7, 0.1, 0.4, 0.5], [0.0])
    assert missed(one, 0.5).tolist() == [False, False, True, True, False]
    assert missed(one, 0.5, first=True).tolist() == [False, True, True, True, True]
    assert one.first.tolist() == [True, False, True, False, False]  # a tie is not first


def test_every_subject_weighs_alike() -> None:
    searches = Searches(np.array([0, 0, 0, 1], np.int32), np.array([0, 1, 1], np.int32))
    assert searches.mated_weight.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1])
    assert mean(np.array([True, True, True, False]), searches.mated_weight) == 0.5
    assert mean(np.array([False, False, True]), searches.non_mated_weight) == 0.25


def test_the_curve_by_hand() -> None:
    curve = det(found([0.8, 0.4], [0, 0], [0.6, 0.3, 0.3, NOT_COMPARED]), one_each(2, 4))
    assert curve.threshold.tolist() == [0.6001, 0.6, 0.3]
    assert curve.fpir.tolist() == [0, 0.25, 0.75]
    assert curve.fnir.tolist() == [0.5, 0.5, 0.0]


def test_a_curve_of_nothing_but_failures() -> None:
    one = found([NOT_COMPARED], [NOT_COMPARED], [NOT_COMPARED, NOT_COMPARED])
    curve = det(one, one_each(1, 2))
    assert (curve.threshold.tolist(), curve.fpir.tolist(), curve.fnir.tolist()) == ([-1.0], [0.0], [1.0])


def test_thinning_keeps_the_ends_and_is_even_by_the_logarithm() -> None:
    rates = np.append(0.0, np.arange(1, 100_001) / 100_000)
    rows = thin(rates, 6)
    assert rates[rows] == pytest.approx([0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1], rel=0.01)
    assert thin(rates[:5], 6).tolist() == [0, 1, 2, 3, 4]
    assert thin(np.zeros(9), 3).tolist() == list(range(9))


# --- against counting


@given(trials(), st.sampled_from([0.01, 0.1, 0.25, 0.3, 0.5, 0.9]))
def test_the_threshold_is_the_lowest_that_keeps_the_rate(trial: tuple[Found, Searches], target: float) -> None:
    one, searches = trial
    threshold = threshold_at(one.stranger, searches.non_mated_weight, target)
    bearable = target * len(np.unique(searches.non_mated)) * (1 + 1e-9) >= 1
    assert (threshold is not None) == bearable
    if threshold is not None:
        assert threshold == lowest_threshold(one, searches, target)
        assert mean(missed(one, threshold), searches.mated_weight) == pytest.approx(
            float(fnir(one, searches, threshold))
        )


@given(trials())
def test_the_curve_is_what_counting_gives(trial: tuple[Found, Searches]) -> None:
    one, searches = trial
    curve = det(one, searches)
    for threshold, false, miss in zip(curve.threshold, curve.fpir, curve.fnir, strict=True):
        assert false == pytest.approx(float(fpir(one, searches, threshold)))
        assert miss == pytest.approx(float(fnir(one, searches, threshold)))
    assert (np.diff(curve.threshold) < 0).all()
    assert (np.diff(curve.fpir) > 0).all()
    assert (np.diff(curve.fnir) <= 0).all()
    assert curve.fpir[0] == 0


@settings(max_examples=30, deadline=None)
@given(trials(), st.integers(0, 5))
def test_a_resample_is_the_figures_of_a_set_with_repeated_subjects(trial: tuple[Found, Searches], seed: int) -> None:
    one, searches = trial
    target = 0.4
    assume(target * len(np.unique(searches.non_mated)) >= 1)
    (fast,) = resample([one], searches, seed, 7, [target])
    # The same draws, as sets of subjects that are written out.
    rng, sides = np.random.default_rng(seed), (searches.mated, searches.non_mated)
    drawn = [rng.multinomial(n := int(side.max()) + 1, np.full(n, 1 / n), 7) for side in sides]
    for b in range(7):
        rows = [
            [(np.flatnonzero(side == s), copy) for s in range(len(counts[b])) for copy in range(counts[b][s])]
            for side, counts in zip(sides, drawn, strict=True)
        ]
        mated, others = (np.concatenate([r for r, _ in side]) for side in rows)
        subjects = [np.repeat(np.arange(len(side)), [len(r) for r, _ in side]).astype(np.int32) for side in rows]
        again = Found(one.mate[mated], one.rival[mated], one.stranger[others])
        written = Searches(*subjects)
        threshold = lowest_threshold(again, written, target)
        assert fast.fnir[target][b] == pytest.approx(float(fnir(again, written, threshold)))
        assert fast.rank_1[b] == pytest.approx(float(shares(subjects[0], again.first.tolist())))


def test_the_same_draws_serve_every_step_and_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    one = Found(rng.random(50).round(4), rng.random(50).round(4), rng.random(60).round(4))
    searches = one_each(50, 60)
    first, second = resample([one, one], searches, 3, 40)
    assert all(np.array_equal(first.fnir[t], second.fnir[t]) for t in first.fnir)
    assert list(first.fnir) == [0.1, 0.03]  # 60 subjects bear no finer rate
    assert set(first.fnir) < set(TARGETS)
    again = resample([one], searches, 3, 40)[0]
    assert np.array_equal(first.rank_1, again.rank_1)
    monkeypatch.setattr("leakmatch.evaluation.open_set._CHUNK", 1)
    assert len(resample([one], searches, 3, 40)[0].rank_1) == 40


def test_the_interval_is_about_as_wide_as_theory_says() -> None:
    # 20 misses of 400 at a threshold that does not move: the standard error of a share.
    one = Found(np.append(np.full(20, 0.1), np.full(380, 0.9)), np.zeros(400), np.full(100, 0.5))
    low, high = interval(resample([one], one_each(400, 100), 1, 2000, [0.1])[0].fnir[0.1])
    error = 1.96 * (0.05 * 0.95 / 400) ** 0.5
    assert (low, high) == pytest.approx((0.05 - error, 0.05 + error), abs=0.004)


@given(st.integers(-10_000, 10_000))
def test_the_threshold_above_a_score_is_the_next_one_of_four_decimals(n: int) -> None:
    threshold = float(above(np.float64(n / 1e4)))
    assert n / 1e4 < threshold
    assert threshold == (n + 1) / 1e4
