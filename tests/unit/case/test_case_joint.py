"""Several photos as one piece of evidence: against slow references, and what must hold for any case."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leakmatch.case.joint import MOST, Resemblance, price, together, worst_case

#: As a calibration records it: the limit need not fall with the chance.
RECORD = {
    "chance": [0.01, 0.003, 0.001, 0.0003, 0.0001, 3e-05, 1e-05],
    "again": [0.293, 0.242, 0.2102, 0.1689, 0.1387, 0.0902, 0.06723],
    "high": [0.3031, 0.2536, 0.2333, 0.2039, 0.2049, 0.1895, 0.2314],
}
ALIKE = Resemblance.parse(RECORD)

rare = st.floats(-12, -2).map(lambda power: 10.0**power)


def slow_worst_case(hits, chance, again, pictures):
    """Every number of photos, each by the sum of the beta-binomial distribution as scipy has it."""
    s = (1 - again) / (again - chance)
    best = (0.0, 0)
    for m in range(hits, pictures + 1):
        likely = stats.betabinom.pmf(np.arange(hits, m + 1), m, chance * s, (1 - chance) * s).sum()
        best = max(best, (likely / m, m))
    return best


@settings(max_examples=60, deadline=None)
@given(st.floats(-6, -2).map(lambda power: 10.0**power), st.floats(0.03, 0.9), st.integers(2, 9), st.integers(0, 50))
def test_the_worst_case_equals_a_slow_reference(chance, again, hits, more):
    likely, photos = worst_case(hits, chance, again, hits + more)
    expected, _ = slow_worst_case(hits, chance, again, hits + more)
    assert likely / photos == pytest.approx(expected, rel=1e-8)


def test_the_worst_case_is_what_simulated_strangers_do():
    """Each stranger has a chance of his own, by the beta distribution, and 6 photos."""
    rng = np.random.default_rng(5)
    chance, again, strangers = 0.01, 0.3, 2_000_000
    s = (1 - again) / (again - chance)
    reached = rng.binomial(6, rng.beta(chance * s, (1 - chance) * s, strangers))
    assert reached.mean() / 6 == pytest.approx(chance, rel=0.02)
    assert (reached * (reached - 1)).sum() / (5 * reached.sum()) == pytest.approx(again, rel=0.02)
    for hits in (2, 3, 4):
        likely, photos = worst_case(hits, chance, again, 6)
        assert photos == 6
        assert (reached >= hits).mean() == pytest.approx(likely, rel=0.03)


def test_a_rare_chance_keeps_its_digits():
    """Where 1 - P(fewer) would be lost in rounding."""
    likely, photos = worst_case(2, 1e-18, 0.25, 2)
    assert (likely, photos) == (pytest.approx(2.5e-19), 2)


def test_a_very_large_folder_is_searched_to_the_worst_number_only():
    """More pictures than that change nothing; fewer make it rarer."""
    assert worst_case(40, 1e-6, 0.02, 10**9) == worst_case(40, 1e-6, 0.02, 10**5)
    assert worst_case(40, 1e-6, 0.02, 10**5)[1] > 1024


def test_golden_numbers():
    """Six pictures of six, 36,000 comparisons: of different chances, and all of the same."""
    mixed = together([1e-6, 2e-6, 1e-6, 5e-6, 3e-6, 1e-5], 6, 36_000, ALIKE)
    assert (mixed.hits, mixed.photos, mixed.chance) == (2, 6, 1e-06)
    assert mixed.expected_false == pytest.approx(0.03302696, rel=1e-6)
    even = together([1e-6] * 6, 6, 36_000, ALIKE)
    assert (even.hits, even.photos) == (6, 6)
    assert even.expected_false == pytest.approx(0.004877348, rel=1e-6)
    assert even.likely == pytest.approx(1.354842e-08, rel=1e-6)


def test_the_prices_pay_for_every_try():
    """They let chance have half as many people again, however many pictures there are."""
    assert [price(hits) for hits in (1, 2, 3, 4)] == [1, 4, 12, 24]
    assert sum(1 / price(hits) for hits in range(2, 100_000)) == pytest.approx(0.5, abs=1e-4)


@settings(max_examples=100, deadline=None)
@given(st.lists(rare, min_size=1, max_size=12), st.integers(0, 300), st.floats(1, 1e12))
def test_never_weaker_than_the_best_picture_and_one_picture_counts_as_its_candidate(chances, more, pairs):
    pictures = len(chances) + more
    found = together(chances, pictures, pairs, ALIKE)
    assert found.expected_false <= min(chances) * pairs
    assert together(chances, pictures, pairs, None).expected_false == min(chances) * pairs
    assert together([min(chances)], pictures, pairs, ALIKE).expected_false == min(chances) * pairs
    assert found.chance == sorted(chances)[found.hits - 1]


@settings(max_examples=100, deadline=None)
@given(st.lists(rare, min_size=1, max_size=10), st.integers(0, 9), st.floats(1, 1e6), st.integers(0, 300))
def test_a_rarer_chance_never_weakens_and_more_pictures_never_strengthen(chances, which, factor, more):
    pictures = len(chances) + more
    before = together(chances, pictures, 1e9, ALIKE).expected_false
    rarer = list(chances)
    rarer[which % len(chances)] /= factor
    assert together(rarer, pictures, 1e9, ALIKE).expected_false <= before * (1 + 1e-9)
    assert together(chances, pictures + 10, 1e9, ALIKE).expected_false >= before * (1 - 1e-9)


def test_strangers_of_any_number_in_a_folder_stay_below_the_figure():
    """A folder of 60 pictures, of 1, 2, 5, 20 or 60 strangers: nowhere more people than the figure says.

    For each threshold of the figure the false people of one enrolled person are counted over many folders.
    """
    rng = np.random.default_rng(8)
    again, folders, pictures = 0.3, 40_000, 60
    alike = Resemblance(np.log([1e-9, 1.0]), np.array([again, again]))
    for strangers in (1, 2, 5, 20, 60):
        each = pictures // strangers
        for hits in (2, 3, 5, 8):
            chance = 0.002
            s = (1 - again) / (again - chance)
            own = rng.beta(chance * s, (1 - chance) * s, (folders, strangers))
            reached = rng.binomial(each, own).sum(axis=1)
            announced = together([chance] * hits, pictures, pictures, alike).expected_false
            likely, photos = worst_case(hits, chance, again, pictures)
            assert (reached >= hits).mean() <= pictures / photos * likely * price(hits)
            assert announced <= price(hits) * pictures / photos * likely * (1 + 1e-9)


def test_scores_that_say_nothing_do_not_add_up():
    """A chance above 1 in 100 is that of no candidate; a hundred of them are nothing."""
    found = together([1e-3, *[0.02] * 99], 100, 1e6, ALIKE)
    assert found.hits == 1


def test_more_pictures_than_are_tried():
    found = together([1e-5] * 3 * MOST, 3 * MOST, 1e6, ALIKE)
    assert 1 < found.hits <= MOST
    assert together([0.0, 0.0], 2, 1e6, ALIKE).expected_false == 0


class TestResemblance:
    """What the calibration measured."""

    def test_between_and_beyond_the_measured_chances(self):
        assert ALIKE.at(0.01) == pytest.approx(0.3031)
        assert ALIKE.at(math.sqrt(0.003 * 0.001)) == pytest.approx((0.2536 + 0.2333) / 2)
        assert ALIKE.at(1e-5) == ALIKE.at(1e-12) == pytest.approx(0.2314)
        assert ALIKE.at(1e-4) == pytest.approx(0.2314), "made never to fall with the chance"

    def test_between_independence_and_identity(self):
        assert Resemblance(np.log([1e-4]), np.array([0.0])).at(1e-3) == 2e-3
        assert Resemblance(np.log([1e-4]), np.array([1.0])).at(1e-3) < 1

    @pytest.mark.parametrize(
        "record",
        [
            {},
            {"chance": [0.1]},
            {"chance": [], "high": []},
            {"chance": [0.1, 0.2], "high": [0.3, 0.3]},
            {"chance": [0.1], "high": [1.5]},
            {"chance": [0.0], "high": [0.5]},
            {"chance": ["x"], "high": [0.5]},
            {"chance": [math.nan], "high": [0.5]},
            "a text",
        ],
    )
    def test_damage_is_refused(self, record):
        with pytest.raises(ValueError):
            Resemblance.parse(record)
