"""The comparison of joins: what it reports, and that it notices a side that names other pairs."""

from __future__ import annotations

import numpy as np
import pytest
from templates import float64_cosines, unit

from leakmatch.bench import search
from leakmatch.matching.plan import INT8_FROM, Plan


def test_every_side_stands_beside_its_limit() -> None:
    found = search.run(templates=2000, dimension=64, probes=(3, 40))
    names = [figure.what for figure in found]
    assert len(found) == 2 * 6
    for probes in (3, 40):
        for side in (search.OURS, search.AS_IT_COMES, search.BLAS):
            figure = found[names.index(f"{side}, {probes} probes")]
            assert figure.value > 0
            assert figure.limit is not None and figure.limit > 0
            assert figure.detail["probes"] == probes
    ours = found[names.index("LeakMatch, 40 probes")]
    assert ours.detail["pairs_found"] >= 5, "some probes are drawn towards a template"
    assert "Plan: float32, because fewer than" in ours.detail["note"]


def test_a_side_that_would_do_the_same_twice_is_raced_once() -> None:
    race = search.compare(1000, 512, [250], rounds=1).races[0]  # 250 probes of 512: faiss takes BLAS by itself
    assert set(race.seconds) == {search.OURS, search.BLAS}


def test_a_gallery_that_is_searched_in_int8_names_the_pairs_of_a_float64_product() -> None:
    found = search.compare(INT8_FROM, 128, [60], rounds=1, as_it_comes=False, reference=True)
    assert found.races[0].pairs >= 10
    assert dict(found.plan.rates).keys() == {"int8", "float32"}
    assert found.pairs_per_second(found.races[0], search.OURS) == 60 * INT8_FROM / found.races[0].seconds[search.OURS]


def test_the_reference_is_a_plain_product() -> None:
    rng = np.random.default_rng(0)
    probes, vectors = unit(rng, 7, 16), unit(rng, 9000, 16)
    pairs = set(search.float64_pairs(probes, vectors, 0.6).tolist())
    rows = np.argwhere(float64_cosines(probes, vectors) >= 0.6)
    assert pairs == {int(probe * 9000 + row) for probe, row in rows} != set()


def test_a_missing_pair_is_noticed_and_an_ambiguous_one_is_not() -> None:
    vectors = np.eye(3, dtype=np.float32)
    nothing, first = np.zeros(0, np.int64), np.zeros(1, np.int64)
    search._hold_equal(vectors, vectors, 0.5, first, first, "it")
    search._hold_equal(vectors, vectors, 1.0, nothing, first, "it")  # its score is where scores begin to count
    for ours, other in ((nothing, first), (first, nothing)):
        with pytest.raises(RuntimeError, match="1 pairs are named by LeakMatch alone, or by it alone"):
            search._hold_equal(vectors, vectors, 0.5, ours, other, "it")


def test_a_failure_in_the_other_process_is_told() -> None:
    with pytest.raises(RuntimeError, match="division by zero"):
        search.compare(1000, 0, [1])


def test_the_plan_is_said_with_its_reason_and_its_trial() -> None:
    assert search.said(Plan("float32", 0, "it is small")) == "Plan: float32, because it is small."
    trial = Plan("int8", 64, "it won", (("int8", 5e8), ("float32", 2e8)))
    assert search.said(trial) == "Plan: int8 of 64 levels, because it won (million pairs/s: int8 500, float32 200)."
