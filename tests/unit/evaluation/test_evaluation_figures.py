"""Accuracy over folds, equal error rate, TMR at FMR: against examples done by hand, and against counting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakmatch.evaluation.figures import (
    NOT_COMPARED,
    Proportion,
    Scores,
    equal_error,
    fold_accuracy,
    roc,
    true_match_rates,
)

LOWEST, BEYOND = -1.0, 1.0001


def arrays(genuine: Sequence[float], impostor: Sequence[float]) -> tuple[Scores, np.ndarray]:
    return np.array([*genuine, *impostor], np.float64), np.array([True] * len(genuine) + [False] * len(impostor))


def counts(scores: Scores, same: np.ndarray, threshold: float) -> tuple[int, int]:
    """The slow reference: same-pairs and different-pairs at or above a threshold, counted one by one."""
    matched = [bool(s) for score, s in zip(scores, same, strict=True) if score >= threshold]
    return matched.count(True), matched.count(False)


few = st.one_of(st.just(NOT_COMPARED), st.integers(-8, 8).map(lambda n: n / 8))
both_kinds = st.tuples(st.lists(few, min_size=1, max_size=12), st.lists(few, min_size=1, max_size=12))


def test_wilson_interval_of_a_published_example() -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29; without correction.
    for count, of, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert Proportion(count, of).interval() == pytest.approx((low, high), abs=5e-5)
    assert Proportion(1, 29).interval() == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert Proportion(20, 20).interval()[1] == 1.0


def test_a_fold_is_decided_at_the_threshold_of_the_others() -> None:
    scores, same = arrays([0.9, 0.8, 0.4], [0.1, 0.2, 0.5])
    found = fold_accuracy(scores, same, ["x", "y", "y", "x", "y", "x"])
    # The best on y (0.8 and 0.4 against 0.2) lies between 0.2 and 0.4; on x (0.9 against 0.1, 0.5) between 0.5 and 0.9.
    assert [(f.name, f.threshold, f.correct) for f in found.folds] == [
        ("x", pytest.approx(0.3), Proportion(2, 3)),
        ("y", pytest.approx(0.7), Proportion(2, 3)),
    ]
    assert (found.mean, found.deviation, found.correct) == (pytest.approx(2 / 3), 0.0, Proportion(4, 6))


def test_folds_weigh_alike_in_the_mean_and_pairs_in_the_count() -> None:
    scores, same = arrays([0.9, 0.9, 0.1], [0.2, 0.2, 0.2])
    found = fold_accuracy(scores, same, ["x", "y", "y", "x", "y", "y"])
    assert [f.correct for f in found.folds] == [Proportion(2, 2), Proportion(3, 4)]
    assert found.mean == pytest.approx(0.875)
    assert found.deviation == pytest.approx(0.25 / math.sqrt(2))
    assert found.correct == Proportion(5, 6)


def test_of_equally_good_thresholds_the_widest_range_is_taken_then_the_highest() -> None:
    # On fold y, one error each: between 0.1 and 0.2, or between 0.3 and 0.8, the wider.
    scores, same = arrays([0.5, 0.2, 0.8], [0.0, 0.1, 0.3])
    assert fold_accuracy(scores, same, ["x", "y", "y", "x", "y", "y"]).folds[0].threshold == pytest.approx(0.55)
    scores, same = arrays([0.5, 0.2, 0.4], [0.0, 0.1, 0.3])
    assert fold_accuracy(scores, same, ["x", "y", "y", "x", "y", "y"]).folds[0].threshold == pytest.approx(0.35)


def test_scores_of_more_decimals_are_decided_as_they_are() -> None:
    scores, same = arrays([0.500003, 0.500003], [0.500001, 0.500001])
    assert fold_accuracy(scores, same, list("xyxy")).correct == Proportion(4, 4)


def test_rejecting_every_pair_is_a_choice_too() -> None:
    scores, same = arrays([0.1, 0.1], [0.9, 0.8, 0.9, 0.8])
    found = fold_accuracy(scores, same, ["x", "y", "x", "x", "y", "y"])
    assert found.correct == Proportion(4, 6)


def test_a_failure_to_acquire_is_a_miss_or_a_correct_rejection_everywhere() -> None:
    scores, same = arrays([0.9, NOT_COMPARED, 0.9, 0.9], [0.1, NOT_COMPARED, 0.1, 0.1])
    assert fold_accuracy(scores, same, list("xxyyxxyy")).correct == Proportion(7, 8)
    assert equal_error(scores, same).missed == Proportion(1, 4)
    nothing = np.full(8, NOT_COMPARED)
    assert equal_error(nothing, same).error == 0.5
    assert fold_accuracy(nothing, same, list("xxyyxxyy")).correct == Proportion(4, 8)


def test_equal_error_is_where_the_rates_cross() -> None:
    point = equal_error(*arrays([0.2, 0.6, 0.7, 0.8], [0.0, 0.1, 0.3, 0.65]))
    assert (point.missed, point.false, point.error) == (Proportion(1, 4), Proportion(1, 4), 0.25)
    assert point.threshold == pytest.approx(0.45)


def test_true_match_rate_is_taken_at_the_lowest_threshold_that_keeps_the_rate() -> None:
    impostor = np.arange(1000) / 10_000  # 0 to 0.0999
    rates = true_match_rates(*arrays([0.0985, 0.0995, 0.5], list(impostor)))
    hundredth, thousandth = rates[1e-2], rates[1e-3]
    assert hundredth is not None
    assert thousandth is not None
    assert (hundredth.false, hundredth.matched) == (Proportion(10, 1000), Proportion(2, 3))
    assert (thousandth.false, thousandth.matched) == (Proportion(1, 1000), Proportion(1, 3))
    assert thousandth.threshold == pytest.approx(0.09985)


@pytest.mark.parametrize(("impostors", "finest"), [(99, 1), (100, 1e-2), (999, 1e-2), (1000, 1e-3), (99_999, 1e-3)])
def test_no_rate_is_given_that_the_pairs_cannot_bear(impostors: int, finest: float) -> None:
    rates = true_match_rates(*arrays([0.5], [0.0] * impostors))
    assert min((fmr for fmr, point in rates.items() if point), default=1) == finest


def test_a_fine_rate_needs_ten_false_matches() -> None:
    rates = true_match_rates(*arrays([0.5], [0.0] * 100_000))
    assert [fmr for fmr, point in rates.items() if point] == [1e-2, 1e-3, 1e-4]


@settings(max_examples=60, deadline=None)
@given(both_kinds)
def test_points_are_what_counting_gives_and_none_is_better(pairs: tuple[list[float], list[float]]) -> None:
    scores, same = arrays(*pairs)
    genuine, impostor = len(pairs[0]), len(pairs[1])
    thresholds = [*np.unique(scores[np.isfinite(scores)]), BEYOND]

    def gap(matched: int, false: int) -> float:
        return abs(false / impostor - (1 - matched / genuine))

    point = equal_error(scores, same)
    assert (point.matched.count, point.false.count) == counts(scores, same, point.threshold)
    best = min(gap(*counts(scores, same, t)) for t in thresholds)
    assert gap(point.matched.count, point.false.count) == pytest.approx(best)


@settings(max_examples=60, deadline=None)
@given(both_kinds)
def test_no_threshold_decides_more_of_the_other_folds_rightly(pairs: tuple[list[float], list[float]]) -> None:
    once, kind = arrays(*pairs)
    scores, same = np.concatenate([once, once]), np.concatenate([kind, kind])
    thresholds = [*np.unique(once[np.isfinite(once)]), BEYOND]
    best = max(len(pairs[1]) + matched - false for matched, false in (counts(once, kind, t) for t in thresholds))
    found = fold_accuracy(scores, same, ["x"] * len(once) + ["y"] * len(once))
    assert [f.correct.count for f in found.folds] == [best, best]
    assert all(LOWEST <= f.threshold < BEYOND for f in found.folds)


@settings(max_examples=60, deadline=None)
@given(both_kinds)
def test_the_roc_is_what_counting_gives(pairs: tuple[list[float], list[float]]) -> None:
    scores, same = arrays(*pairs)
    curve = roc(scores, same)
    for threshold, fmr, tmr in zip(curve.threshold, curve.fmr, curve.tmr, strict=True):
        assert (round(tmr * len(pairs[0])), round(fmr * len(pairs[1]))) == counts(scores, same, threshold)
    assert (np.diff(curve.threshold) < 0).all()
    assert curve.fmr[0] == curve.tmr[0] == 0
    assert [set(point) for point in curve.to_json()] == [{"threshold", "fmr", "tmr"}] * len(curve.to_json())
