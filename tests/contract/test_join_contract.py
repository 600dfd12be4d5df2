"""What every way to search a gallery must do: the pairs of a float64 product, whatever the templates are like."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pytest
from groups import groups
from numpy.typing import NDArray
from templates import KINDS, at_cosine, exact_product, float64_cosines, saturating_product, unit

from leakmatch.arrays import FloatArray, LongArray
from leakmatch.matching.approximate import ApproximateIndex
from leakmatch.matching.int8 import LEVELS, Int8Screen, Product, onnxruntime_product, usable_levels
from leakmatch.matching.join import DECIMALS, TemplateIndex
from leakmatch.matching.plan import Plan
from leakmatch.matching.screen import PART, PASS, Each, Rows, Screen
from leakmatch.records import CandidateBatch

AMBIGUOUS = 1e-6  # pairs this near to where a score begins to round up to the threshold may be there or not


class JoinContract:
    """Inherited by one class for each way; ``plan`` says which."""

    plan: Plan

    def index(self, vectors: FloatArray, enrolment_id: LongArray | None = None, each: Each = map) -> TemplateIndex:
        ids = np.arange(len(vectors), dtype=np.int64) if enrolment_id is None else enrolment_id
        return TemplateIndex(vectors, ids, self.plan, each)

    @pytest.mark.parametrize("dimension", [128, 512])
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_pairs_are_those_of_a_float64_product(self, kind: str, dimension: int) -> None:
        rng = np.random.default_rng(dimension)
        probes, vectors = unit(rng, 33, dimension, kind), unit(rng, 1500, dimension, kind)
        vectors[7:40] = probes
        index = self.index(vectors)
        exact = float64_cosines(probes, vectors)
        for threshold in (*np.quantile(exact, [0, 0.5, 0.99, 0.9999]).round(DECIMALS), 0.35, 0.9999, 1.0):
            _same(index.join(probes, float(threshold)), exact, float(threshold))

    @pytest.mark.parametrize("dimension", [128, 512])
    @pytest.mark.parametrize("threshold", [0.05, 0.3633, 0.8])
    def test_no_pair_near_the_threshold_is_lost(self, threshold: float, dimension: int) -> None:
        rng = np.random.default_rng(1)
        probes = unit(rng, 20, dimension)
        begins = threshold - 0.5 * 10**-DECIMALS
        steps = np.array([s * 10.0**e for e in range(-7, -1) for s in (-3, -1, 1, 3)])
        near = [at_cosine(rng, probe, begins + steps) for probe in probes]
        vectors = np.concatenate([*near, unit(rng, 1000, dimension)])
        vectors[-1] = np.eye(dimension, dtype=np.float32)[3]  # an outlier makes the codes of its whole part coarser
        _same(self.index(vectors).join(probes, threshold), float64_cosines(probes, vectors), threshold)

    def test_several_parts_and_passes(self) -> None:
        rng = np.random.default_rng(2)
        vectors, probes = unit(rng, PART + 77, 16), unit(rng, PASS + 3, 16)
        probes[-1] = vectors[-1]
        index = self.index(vectors)
        found = index.join(probes, 0.9)
        _same(found, float64_cosines(probes, vectors), 0.9)
        assert found.probe_index.max() >= PASS and found.enrolment_id.max() >= PART
        with ThreadPoolExecutor(3) as threads:
            _equal(self.index(vectors, each=threads.map).join(probes, 0.9), found)

    def test_pairs_are_ordered_by_probe_then_enrolment(self) -> None:
        rng = np.random.default_rng(3)
        found = self.index(unit(rng, 300, 8)).join(unit(rng, 20, 8), 0.2)
        order = np.lexsort((found.enrolment_id, found.probe_index))
        assert len(found) and np.array_equal(order, np.arange(len(found)))

    def test_duplicates_are_all_found(self) -> None:
        rng = np.random.default_rng(4)
        one = unit(rng, 1, 128)
        ids = np.arange(1000, 1050, dtype=np.int64)
        found = self.index(np.repeat(one, 50, axis=0), ids).join(np.repeat(one, 3, axis=0), 1.0)
        assert found.probe_index.tolist() == [0] * 50 + [1] * 50 + [2] * 50
        assert found.enrolment_id.tolist() == ids.tolist() * 3
        assert (found.score == 1).all()

    def test_scores_do_not_depend_on_the_batch(self) -> None:
        rng = np.random.default_rng(5)
        index, probes = self.index(unit(rng, 500, 128)), unit(rng, 90, 128)
        singly = [index.join(probes[i : i + 1], 0.1).score for i in range(len(probes))]
        assert np.array_equal(index.join(probes, 0.1).score, np.concatenate(singly))

    def test_all_pairs_and_none(self) -> None:
        rng = np.random.default_rng(6)
        vectors, probes = unit(rng, 40, 128), unit(rng, 5, 128)
        index = self.index(vectors)
        assert len(index.join(probes, -1.0)) == 200
        assert len(index.join(np.concatenate((probes, vectors)), 1.0001)) == 0
        assert len(index.join(probes, 5.0)) == 0 and len(index.join(probes, -5.0)) == 200

    def test_an_empty_side_gives_no_pairs(self) -> None:
        vectors = unit(np.random.default_rng(7), 3, 8)
        assert len(self.index(np.zeros((0, 8), np.float32)).join(vectors, -1.0)) == 0
        found = self.index(vectors).join(np.zeros((0, 8), np.float32), -1.0)
        assert len(found) == 0 and found.score.dtype == np.float32

    def test_a_zero_vector_scores_zero(self) -> None:
        zero, vectors = np.zeros((2, 8), np.float32), unit(np.random.default_rng(8), 3, 8)
        assert self.index(zero).join(vectors, 0.0).score.tolist() == [0.0] * 6
        assert len(self.index(zero).join(vectors, 0.0001)) == 0
        assert self.index(vectors).join(zero, 0.0).score.tolist() == [0.0] * 6

    @pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 3.0])
    def test_what_is_no_template_is_refused(self, wrong: float) -> None:
        vectors = unit(np.random.default_rng(9), 30, 8)
        bad = vectors.copy()
        bad[17, 3] = wrong
        with pytest.raises(ValueError, match="unit norm"):
            self.index(bad)
        with pytest.raises(ValueError, match="unit norm"):
            self.index(vectors).join(bad, 0.5)

    def test_a_wrong_shape_or_type_is_an_error(self) -> None:
        vectors = unit(np.random.default_rng(10), 3, 8)
        index = self.index(vectors)
        with pytest.raises(ValueError, match="probes"):
            index.join(vectors[:, :4], 0.0)
        with pytest.raises(ValueError, match="probes"):
            index.join(vectors.astype(np.float64), 0.0)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="vectors"):
            self.index(vectors, np.arange(2, dtype=np.int64))


class TestFloat32(JoinContract):
    plan = Plan("float32", 0, "under test")


@dataclass(frozen=True, slots=True)
class _With(Plan):
    """An int8 plan with a product that stands in for onnxruntime's."""

    product: Product = exact_product

    def build(self, vectors: FloatArray | Rows, each: Each = map) -> Screen:
        return Int8Screen(vectors, self.product, self.levels, each)


class TestInt8(JoinContract):
    """As on this machine: at the most levels at which onnxruntime's product is right here."""

    plan = Plan("int8", usable_levels(onnxruntime_product(), 512), "under test")


class TestInt8WithHalfTheLevels(JoinContract):
    plan = Plan("int8", LEVELS[1], "under test")


class TestInt8WithAllLevels(JoinContract):
    plan = _With("int8", LEVELS[0], "under test")


class TestInt8OnAProcessorThatSaturates(JoinContract):
    plan = _With("int8", LEVELS[1], "under test", product=saturating_product)


def _same(found: CandidateBatch, exact: NDArray[np.float64], threshold: float) -> None:
    """The pairs of ``found`` are those of ``exact`` float64[P,N], and their scores agree to 4 decimals."""
    exact = exact.clip(-1, 1)
    have = np.zeros(exact.shape, np.bool_)
    have[found.probe_index, found.enrolment_id] = True
    assert have.sum() == len(found), "a pair is listed twice"
    begins = threshold - 0.5 * 10**-DECIMALS
    clear = np.abs(exact - begins) > AMBIGUOUS
    assert np.array_equal(have[clear], (exact >= begins)[clear])
    assert np.abs(exact[found.probe_index, found.enrolment_id] - found.score).max(initial=0) < 0.51 * 10**-DECIMALS


def _equal(one: CandidateBatch, other: CandidateBatch) -> None:
    assert np.array_equal(one.probe_index, other.probe_index)
    assert np.array_equal(one.enrolment_id, other.enrolment_id)
    assert np.array_equal(one.score, other.score)


class TestApproximateWhereItDoesNotPay(JoinContract):
    """Then it keeps the whole promise."""

    def index(self, vectors: FloatArray, enrolment_id: LongArray | None = None, each: Each = map) -> TemplateIndex:
        ids = np.arange(len(vectors), dtype=np.int64) if enrolment_id is None else enrolment_id
        return ApproximateIndex(vectors, ids, Plan("float32", 0, "under test"), each, start=1)  # type: ignore[return-value]


class TestApproximateWhereItPays:
    """The weaker promise: nearly all pairs, and never one that is none, or with another score."""

    vectors, probes = groups(np.random.default_rng(11), 200, 60)
    ids = np.random.default_rng(12).permutation(50_000)[: len(vectors)].astype(np.int64)

    def index(self, each: Each = map) -> ApproximateIndex:
        return ApproximateIndex(self.vectors, self.ids, each=each, start=1)

    def test_nearly_all_pairs_with_their_exact_scores_in_order(self) -> None:
        index, exact = self.index(), TemplateIndex(self.vectors, self.ids)
        for threshold in (0.56, 0.6, 0.6331, 0.72):
            found, wanted = index.join(self.probes, threshold), exact.join(self.probes, threshold)
            pairs, known = (dict(zip(_keys(b), b.score.tolist(), strict=True)) for b in (found, wanted))
            assert pairs.items() <= known.items()
            assert len(pairs) >= 0.999 * len(known) > 20
            order = np.lexsort((_rows(self.ids, found), found.probe_index))
            assert np.array_equal(order, np.arange(len(found)))
        record = index.record()
        assert (record["searches"], record["exact_searches"]) == (800, 0)
        assert record["at_least"] >= 0.999

    def test_again_in_other_batches_or_with_threads_it_finds_the_same(self) -> None:
        found = self.index().join(self.probes, 0.6)
        _equal(self.index().join(self.probes, 0.6), found)
        with ThreadPoolExecutor(3) as threads:
            _equal(self.index(threads.map).join(self.probes, 0.6), found)
        index = self.index()
        singly = [index.join(self.probes[i : i + 1], 0.6) for i in range(len(self.probes))]
        assert np.array_equal(np.concatenate([batch.enrolment_id for batch in singly]), found.enrolment_id)
        assert np.array_equal(np.concatenate([batch.score for batch in singly]), found.score)

    def test_the_most_unlike_templates_are_never_lost(self) -> None:
        """Somebody with one photo among people with many lies far from every centre."""
        rng = np.random.default_rng(13)
        alone = unit(rng, 40, 128)
        vectors, ids = np.concatenate((self.vectors, alone)), np.arange(len(self.vectors) + 40, dtype=np.int64)
        probes = np.concatenate([at_cosine(rng, one, rng.uniform(0.55, 1, 20)) for one in alone])
        index = ApproximateIndex(vectors, ids, start=1)
        _equal(index.join(probes, 0.5), TemplateIndex(vectors, ids).join(probes, 0.5))
        assert index.record()["searches"] == len(probes)

    def test_an_empty_side_and_what_is_no_template(self) -> None:
        index = self.index()
        index.join(self.probes, 0.6)
        assert len(index.join(self.probes[:0], 0.6)) == 0
        bad = self.probes.copy()
        bad[17, 3] = np.nan
        with pytest.raises(ValueError, match="unit norm"):
            index.join(bad, 0.6)
        with pytest.raises(ValueError, match="probes"):
            index.join(self.probes[:, :4], 0.6)


def _keys(batch: CandidateBatch) -> list[tuple[int, int]]:
    return list(zip(batch.probe_index.tolist(), batch.enrolment_id.tolist(), strict=True))


def _rows(ids: LongArray, batch: CandidateBatch) -> LongArray:
    """The rows of the gallery that a batch names."""
    order = np.argsort(ids)
    return order[np.searchsorted(ids, batch.enrolment_id, sorter=order)]
