"""The fast join and its readable reference give the same pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakmatch.arrays import FloatArray
from leakmatch.matching.join import TemplateIndex, naive_join


def unit(rng: np.random.Generator, count: int, dimension: int) -> FloatArray:
    vectors = rng.normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 128]), st.floats(-1, 1), st.integers(0, 9), st.integers(0, 30))
def test_pairs_equal_the_reference(seed: int, dimension: int, threshold: float, probes: int, gallery: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = unit(rng, gallery, dimension), unit(rng, probes, dimension)
    ids = rng.permutation(1000)[:gallery].astype(np.int64)
    threshold = round(threshold, 4)
    found = TemplateIndex(vectors, ids).join(queries, threshold)
    pairs = list(zip(found.probe_index.tolist(), found.enrolment_id.tolist(), found.score.tolist(), strict=True))
    want = naive_join(queries, vectors, ids, threshold)
    assert [p[:2] for p in pairs] == [p[:2] for p in want]
    assert [p[2] for p in pairs] == pytest.approx([p[2] for p in want], abs=1e-6)


def test_scores_do_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(1)
    vectors, queries = unit(rng, 500, 128), unit(rng, 300, 128)
    index = TemplateIndex(vectors, np.arange(500, dtype=np.int64))
    together = index.join(queries, 0.1)
    singly = [index.join(queries[i : i + 1], 0.1).score for i in range(len(queries))]
    assert np.array_equal(together.score, np.concatenate(singly))


def test_an_empty_side_gives_no_pairs_and_a_wrong_shape_an_error() -> None:
    rng = np.random.default_rng(1)
    empty = TemplateIndex(np.zeros((0, 8), np.float32), np.zeros(0, np.int64))
    assert len(empty.join(unit(rng, 3, 8), -1.0)) == 0
    index = TemplateIndex(unit(rng, 3, 8), np.arange(3, dtype=np.int64))
    assert len(index.join(np.zeros((0, 8), np.float32), -1.0)) == 0
    with pytest.raises(ValueError, match="probes"):
        index.join(unit(rng, 3, 4), 0.0)
