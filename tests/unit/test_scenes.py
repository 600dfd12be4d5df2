"""Which frames are worth a look."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from leakmatch.scenes import SIDE, Keeper, choose, spread


def flat(level: int):
    return np.full((SIDE, SIDE), level, np.uint8)


def test_equal_frames_are_dropped_and_another_scene_is_kept_at_once():
    keeper = Keeper(step=10.0, most=100)
    wanted = [keeper.wants(flat(level), second, 1.0) for second, level in enumerate([50, 50, 53, 60, 200, 200])]
    assert wanted == [True, False, False, False, True, False]


def test_a_scene_that_moves_is_kept_once_in_each_step():
    keeper = Keeper(step=5.0, most=100)
    kept = [second for second in range(20) if keeper.wants(flat(10 + 9 * second), float(second), 1.0)]
    assert all(2 <= later - earlier <= 5 for earlier, later in pairwise(kept))


def test_no_more_are_spent_than_the_share_that_lies_behind():
    keeper = Keeper(step=0.0, most=5)
    kept = [n for n in range(100) if keeper.wants(flat(100 * (n % 2)), float(n), n / 100)]
    assert all(abs(number - even) <= 1 for number, even in zip(kept, (0, 20, 40, 60, 80), strict=True))


def test_what_differs_in_an_animation_is_chosen():
    levels = [10] * 20 + [200] + [10] * 20 + [90] * 5
    thumbnails = np.stack([flat(level) for level in levels])
    assert choose(thumbnails, 16) == (0, 20, 21, 41)
    assert choose(thumbnails[:1], 16) == (0,)
    many = np.stack([flat(n) for n in range(0, 250, 9)] + [flat(0)])
    assert len(choose(many, 6)) == 6
    assert {0, len(many) - 1} <= set(choose(many, 6))


@pytest.mark.parametrize(("count", "wanted", "expected"), [(1, 8, (0,)), (12, 4, (0, 4, 7, 11)), (100, 1, (0,))])
def test_spread(count, wanted, expected):
    assert spread(count, wanted) == expected
