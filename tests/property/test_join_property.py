"""The join against its readable reference, and the screens against their own error bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from templates import KINDS, exact_product, unit

from leakmatch.arrays import FloatArray
from leakmatch.matching.int8 import LEVELS, Int8Screen, onnxruntime_product, usable_levels
from leakmatch.matching.join import TemplateIndex, naive_join
from leakmatch.matching.plan import Plan
from leakmatch.matching.screen import FloatScreen, Screen, at_or_above

PRODUCT = onnxruntime_product()
PLANS = (Plan("float32", 0, "test"), Plan("int8", usable_levels(PRODUCT, 128), "test"), Plan("int8", LEVELS[1], "test"))
BUILD = {
    "float32": FloatScreen,
    "int8": lambda vectors: Int8Screen(vectors, exact_product, LEVELS[0]),
    "int8 with half the levels": lambda vectors: Int8Screen(vectors, PRODUCT, LEVELS[1]),
}


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([4, 128]),
    st.floats(-1, 1),
    st.integers(0, 9),
    st.integers(0, 30),
    st.sampled_from(KINDS),
    st.sampled_from(PLANS),
)
def test_pairs_equal_the_reference(
    seed: int, dimension: int, threshold: float, probes: int, gallery: int, kind: str, plan: Plan
) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = unit(rng, gallery, dimension, kind), unit(rng, probes, dimension, kind)
    ids = rng.permutation(1000)[:gallery].astype(np.int64)
    threshold = round(threshold, 4)
    found = TemplateIndex(vectors, ids, plan).join(queries, threshold)
    want = naive_join(queries, vectors, ids, threshold)
    pairs = list(zip(found.probe_index.tolist(), found.enrolment_id.tolist(), strict=True))
    assert pairs == [pair[:2] for pair in want]
    assert found.score.tolist() == pytest.approx([pair[2] for pair in want], abs=1e-6)


def _templates(count: int) -> st.SearchStrategy[FloatArray]:
    numbers = st.floats(-1, 1, width=32)
    return arrays.arrays(np.float32, st.tuples(st.integers(1, count), st.just(24)), elements=numbers).map(_shortened)


def _shortened(vectors: FloatArray) -> FloatArray:
    """Rows of norm 1, or shorter where they were: the bound holds for these, too."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1)).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(_templates(12), _templates(5), st.sampled_from(sorted(BUILD)))
def test_a_screen_names_every_pair_at_its_own_exact_score(vectors: FloatArray, probes: FloatArray, name: str) -> None:
    screen: Screen = BUILD[name](vectors)
    prepared = screen.prepare(probes)
    exact = probes.astype(np.float64) @ vectors.astype(np.float64).T
    for probe, row in np.ndindex(exact.shape):
        rows, columns = screen.pairs(0, prepared, float(exact[probe, row]))
        assert (row, probe) in set(zip(rows.tolist(), columns.tolist(), strict=True))


@pytest.mark.parametrize("dimension", [128, 512])
def test_the_int8_screen_names_few_pairs_too_many(dimension: int) -> None:
    """A bound that is never wrong could still be useless: for ordinary templates it stays within 0.025."""
    rng = np.random.default_rng(0)
    vectors, probes = unit(rng, 4000, dimension), unit(rng, 60, dimension)
    screen = Int8Screen(vectors, exact_product)
    exact = probes.astype(np.float64) @ vectors.astype(np.float64).T
    rows, columns = screen.pairs(0, screen.prepare(probes), 0.2)
    assert len(rows) and exact[columns, rows].min() > 0.2 - 2 * 0.025


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 3, 64, 300]),
    st.sampled_from([1, 3, 64, 1000, 4096]),
    st.sampled_from([0.0, 1e-4, 0.01, 0.5, 1.0]),
    st.sampled_from([np.int32, np.float32]),
)
def test_at_or_above_is_a_plain_comparison(
    seed: int, rows: int, columns: int, share: float, dtype: type[np.generic]
) -> None:
    rng = np.random.default_rng(seed)
    products = rng.integers(-(10**6), 10**6, (rows, columns)).astype(dtype)
    limits = np.quantile(products, 1 - share, axis=1).astype(dtype)
    limits += 1 if share == 0 else 0
    got = set(zip(*(index.tolist() for index in at_or_above(products, limits)), strict=True))
    assert got == set(zip(*(index.tolist() for index in np.nonzero(products >= limits[:, None])), strict=True))
