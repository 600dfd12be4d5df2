"""The approximate join's own parts: how it samples, what it states, when it gives up."""

from __future__ import annotations

import json

import numpy as np
import pytest
from groups import groups
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom
from templates import KINDS, float64_cosines, unit

from leakmatch.matching.approximate import (
    LARGEST_SHARE,
    OUTLYING,
    RECALL,
    ApproximateIndex,
    _Lists,
    _may_be_lost,
    lower_limit,
    made_pairs,
)
from leakmatch.matching.join import TemplateIndex


@pytest.fixture(scope="module")
def people() -> tuple[np.ndarray, np.ndarray]:
    return groups(np.random.default_rng(21), 150, 60)


@pytest.fixture(scope="module")
def lists(people: tuple[np.ndarray, np.ndarray]) -> _Lists:
    made = _Lists(people[0])
    made.fill()
    return made


@pytest.mark.parametrize(("found", "pairs"), [(1, 1), (3, 4), (999, 1000), (19_988, 20_000), (20_000, 20_000)])
def test_at_the_lower_limit_so_many_or_more_are_found_in_5_of_100_tests(found: int, pairs: int) -> None:
    assert binom.sf(found - 1, pairs, lower_limit(found, pairs)) == pytest.approx(0.05, rel=1e-6)


def test_how_many_may_be_lost() -> None:
    assert lower_limit(0, 10) == 0
    assert _may_be_lost(100) == 0  # too few to show it at all
    lost = _may_be_lost(20_000)
    assert lower_limit(20_000 - lost, 20_000) >= RECALL > lower_limit(20_000 - lost - 1, 20_000)


def test_made_pairs_have_scores_from_the_threshold_to_1(lists: _Lists) -> None:
    probes, templates = made_pairs(lists, 0.55, 3000, seed=5)
    score = np.einsum("ij,ij->i", probes.astype(np.float64), templates.astype(np.float64))
    assert 0.55 - 1e-5 <= score.min() < 0.56 and 0.99 < score.max() <= 1 + 1e-5
    assert np.quantile(score, 0.5) == pytest.approx(0.775, abs=0.02)
    assert np.linalg.norm(probes, axis=1) == pytest.approx(1, abs=1e-5)
    again = made_pairs(lists, 0.55, 3000, seed=5)
    assert np.array_equal(again[0], probes)
    assert not np.array_equal(made_pairs(lists, 0.55, 3000, seed=6)[0], probes)


def test_made_pairs_turn_the_way_templates_differ() -> None:
    """In a gallery that varies in few directions, a turn in all 64 would make the test too easy."""
    rng = np.random.default_rng(3)
    flat = np.zeros((2000, 64), np.float32)
    flat[:, :5] = unit(rng, 2000, 5)
    probes, _ = made_pairs(_Lists(flat), 0.5, 500, seed=1)
    assert np.abs(probes[:, 5:]).max() < 1e-5


def test_a_pair_needs_as_many_lists_as_faiss_must_visit(lists: _Lists, people: tuple[np.ndarray, np.ndarray]) -> None:
    templates, _ = people
    probes, sampled = made_pairs(lists, 0.4, 200, seed=7)
    needed = lists.needed(probes, sampled)
    assert needed.max() > 1
    for probe, template, visits in zip(probes, sampled, needed.tolist(), strict=True):
        (row,) = np.flatnonzero((templates == template).all(axis=1))
        if visits == 0:
            assert row in lists.outlying.join(template[None], 0.99).enrolment_id
            continue
        assert row in lists.pairs(probe[None], 0.3, visits)[1]
        if visits > 1:
            assert row not in lists.pairs(probe[None], 0.3, visits - 1)[1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS), st.sampled_from([3, 128]), st.floats(-0.5, 1))
def test_numbers_of_16_bits_lose_no_pair_in_the_lists_visited(
    seed: int, kind: str, dimension: int, score: float
) -> None:
    rng = np.random.default_rng(seed)
    vectors, probes = unit(rng, 200, dimension, kind), unit(rng, 10, dimension, kind)
    lists = _Lists(vectors)
    lists.fill()
    exact = float64_cosines(probes, vectors)
    score = float(exact.ravel()[np.abs(exact - score).argmin()])  # the limit is the very score of a pair
    probe, row = lists.pairs(probes, score, lists.count)
    far = lists.outlying.join(probes, -1.0)
    named = set(zip(probe.tolist(), row.tolist(), strict=True))
    named |= set(zip(far.probe_index.tolist(), far.enrolment_id.tolist(), strict=True))
    assert set(zip(*(side.tolist() for side in np.nonzero(exact >= score)), strict=True)) <= named


def test_every_template_is_in_a_list_or_outlying(lists: _Lists, people: tuple[np.ndarray, np.ndarray]) -> None:
    count = len(people[0])
    assert lists._index.ntotal + len(lists.outlying) == count
    assert 0 < len(lists.outlying) < 1.5 * OUTLYING * count


def test_it_is_exact_until_so_many_comparisons_were_made(people: tuple[np.ndarray, np.ndarray]) -> None:
    templates, probes = people
    ids = np.arange(len(templates), dtype=np.int64)
    index = ApproximateIndex(templates, ids, start=2 * len(probes) * len(templates))
    exact = TemplateIndex(templates, ids).join(probes, 0.6)
    assert np.array_equal(index.join(probes, 0.6).score, exact.score)
    record = index.record()
    assert (record["exact_searches"], record["searches"], record["index"]) == (len(probes), 0, None)
    assert record["measured"] == [] and record["recall"] is None
    index.join(probes, 0.6)
    record = index.record()
    assert (record["exact_searches"], record["searches"]) == (len(probes), len(probes))
    assert record["index"] == f"IVF{record['lists']},SQfp16"
    assert json.loads(json.dumps(record)) == record


def test_each_score_has_a_measurement_at_or_just_below_it(people: tuple[np.ndarray, np.ndarray]) -> None:
    templates, probes = people
    index = ApproximateIndex(templates, np.arange(len(templates), dtype=np.int64), start=1)
    for threshold in (0.62, 0.6399, 0.64, 0.7):
        index.join(probes, threshold)
    measured = index.record()["measured"]
    assert [found["threshold"] for found in measured] == [0.62, 0.64, 0.7]
    for found in measured:
        assert found["pays"] and found["share"] <= LARGEST_SHARE and found["at_least"] >= RECALL
        assert found["own_pairs"] > 500 and found["own_found"] >= RECALL * found["own_pairs"]


def test_templates_in_all_directions_are_searched_exactly_and_the_record_says_why() -> None:
    rng = np.random.default_rng(8)
    vectors, probes = unit(rng, 5000, 128), unit(rng, 50, 128)
    probes[:25] = vectors[:25]
    ids = np.arange(5000, dtype=np.int64)
    index = ApproximateIndex(vectors, ids, start=1)
    assert np.array_equal(index.join(probes, 0.5).score, TemplateIndex(vectors, ids).join(probes, 0.5).score)
    record = index.record()
    assert (record["searches"], record["exact_searches"]) == (0, 50)
    (measured,) = record["measured"]
    assert not measured["pays"] and measured["share"] > 10 * LARGEST_SHARE


@pytest.mark.parametrize("count", [1, 2, 3, 30])
def test_the_smallest_galleries(count: int) -> None:
    vectors = unit(np.random.default_rng(count), count, 16)
    index = ApproximateIndex(vectors, np.arange(count, dtype=np.int64), start=1)
    for threshold in (-5.0, -1.0, 0.5, 1.0, 5.0):
        exact = TemplateIndex(vectors, np.arange(count, dtype=np.int64)).join(vectors, threshold)
        assert np.array_equal(index.join(vectors, threshold).score, exact.score)


def test_an_interrupted_scan_goes_on_with_its_record(people: tuple[np.ndarray, np.ndarray]) -> None:
    templates, probes = people
    ids = np.arange(len(templates), dtype=np.int64)
    whole = ApproximateIndex(templates, ids, start=1)
    whole.join(probes, 0.6)
    first = whole.record()
    again = ApproximateIndex(templates, ids, start=1, before=json.loads(json.dumps(first)))
    assert again.record() == first
    again.join(probes, 0.7)
    whole.join(probes, 0.7)
    changing = ("build_seconds",)
    one, other = ({k: v for k, v in index.record().items() if k not in changing} for index in (again, whole))
    assert one == other
