"""The plan: which screen is taken, and that int8 is taken only where its products are right."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from templates import saturating_product, unit

from leakmatch.arrays import ByteArray, IntArray
from leakmatch.matching.int8 import LEVELS, Multiply, onnxruntime_product, usable_levels
from leakmatch.matching.plan import INT8_FROM, Plan
from leakmatch.matching.screen import FloatScreen


def off_by_one(codes: NDArray[np.int8], zero: int) -> Multiply:
    """A product with one wrong number, in the last row and column."""

    def multiply(probes: ByteArray, out: IntArray) -> None:
        np.matmul(probes.astype(np.int32) - zero, codes.astype(np.int32).T, out=out)
        out[-1, -1] += 1

    return multiply


@pytest.mark.parametrize("dimension", [1, 127, 128, 512])
def test_onnxruntimes_product_is_exact_at_some_level(dimension: int) -> None:
    assert usable_levels(onnxruntime_product(), dimension) in LEVELS


@pytest.mark.parametrize("dimension", [2, 127, 128, 512])
def test_a_product_that_saturates_is_noticed_and_gets_half_the_levels(dimension: int) -> None:
    assert usable_levels(saturating_product, dimension) == LEVELS[1]


def test_a_wrong_product_and_sums_beyond_int32_are_refused() -> None:
    assert usable_levels(off_by_one, 128) == 0
    assert usable_levels(onnxruntime_product(), 70_000) == 0


def test_a_small_gallery_is_searched_in_float32_without_a_trial() -> None:
    chosen = Plan.choose(np.zeros((INT8_FROM - 1, 2), np.float32))
    assert (chosen.screen, chosen.levels, chosen.rates) == ("float32", 0, ())
    assert "fewer than" in chosen.reason


def test_a_large_gallery_takes_the_faster_screen() -> None:
    vectors = unit(np.random.default_rng(0), INT8_FROM, 32)
    chosen = Plan.choose(vectors)
    rates = dict(chosen.rates)
    assert chosen.screen == max(rates, key=lambda name: rates[name])
    assert chosen.levels in ((0,) if chosen.screen == "float32" else LEVELS)


def test_a_processor_whose_products_are_wrong_gets_float32_and_the_plan_says_so() -> None:
    vectors = unit(np.random.default_rng(0), INT8_FROM, 8)
    chosen = Plan.choose(vectors, off_by_one)
    assert (chosen.screen, chosen.levels) == ("float32", 0)
    assert "self-test" in chosen.reason
    assert isinstance(chosen.build(vectors), FloatScreen)
