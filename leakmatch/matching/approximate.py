"""The approximate join: most pairs at or above a score, where few of the gallery's templates must be compared for it.

Templates are put into lists around centres (FAISS: IVF), and a probe is compared with the lists whose centres are
nearest to it. A pair is found if the template's list is among them, and lost if not; what is found is scored again
exactly. Templates far from every centre would be lost most, always those of the same people, so they are in no list:
every probe is compared with them.

How many lists it takes is measured, at the score that is asked for, on pairs that are known to be there. Where it takes
so many that the exact join is as fast, the exact join answers: that is so for most galleries of faces
(docs/approximate.md).

Everything that is drawn at random is drawn alike each time: the same gallery and score, the same lists and pairs.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from leakmatch.arrays import FloatArray, LongArray, check
from leakmatch.matching.join import ROUNDED_UP, TemplateIndex, scores
from leakmatch.matching.plan import Plan
from leakmatch.matching.screen import PART, SLACK, Each, Rows, norms, rounding
from leakmatch.records import CandidateBatch

_log = logging.getLogger(__name__)

#: The share of the pairs at or above the score that must be found, and how sure that must be.
RECALL: Final = 0.999
CONFIDENCE: Final = 0.95

#: The most of the gallery that may be in the lists a probe is compared with, on average. FAISS compares a template in a
#: list some 10 times more slowly than the exact join does in a row, and more on processors with VNNI
#: (docs/approximate.md).
LARGEST_SHARE: Final = 0.02

#: The share of the templates, those that are farthest from the centres, that every probe is compared with.
OUTLYING: Final = 1 / 16

#: Lists are measured at scores so far apart; a join uses what was measured at the next lower one.
_STEP: Final = 0.02

_SAMPLE: Final = 20_000  # pairs that are made for one measurement
_FIRST_LOOK: Final = 1_000  # pairs that may show that it will not pay
_OWN: Final = 1024  # templates whose own pairs are looked for
_SHAPE: Final = 2048  # templates that say in which directions templates differ
_MARGIN: Final = 1.25  # on the number of lists, so that a second sample confirms it
_LONGEST: Final = 4096  # lists, at most
_POINTS: Final = 64  # templates that each centre is computed from
_ROUNDS: Final = 10  # of k-means
_TASK: Final = 64  # probes that are one piece of work for a thread

#: How far a number stored in 16 bits can be off, relative to it, whichever way it is rounded.
_HALF: Final = 2.0**-10
_SMALLEST_HALF: Final = 2.0**-24


@dataclass(frozen=True, slots=True)
class Measured:
    """What it takes to find pairs at or above ``threshold``.

    ``visited`` lists are compared with a probe, ``share`` of the gallery's templates. Of ``pairs`` that were made for
    the test (one template each, turned to a score between ``threshold`` and 1), ``found`` were found: the share is
    at least ``at_least`` with a confidence of 95 %. ``own_pairs`` are pairs of two templates of the gallery, of which
    ``own_found`` were found. ``pays``: whether it is used; where not, it takes at least ``visited`` and ``share``.
    """

    threshold: float
    visited: int
    share: float
    pairs: int
    found: int
    recall: float
    at_least: float
    own_pairs: int
    own_found: int
    pays: bool


class ApproximateIndex:
    """Gallery templates ready to be joined, approximately where that is faster.

    Like :class:`~leakmatch.matching.join.TemplateIndex`, which answers until ``start`` comparisons were made (to make
    lists takes as long as many of these), and wherever lists do not pay. Once lists are used they need ``2 D + 8``
    bytes for each template, beyond what the exact join needs (more for the templates that are in none).

    ``before``: the :meth:`record` of an earlier part of the same scan, which this one goes on with. Raises what
    :class:`~leakmatch.matching.join.TemplateIndex` raises.
    """

    def __init__(
        self,
        vectors: FloatArray | Rows,
        enrolment_id: LongArray,
        plan: Plan | None = None,
        each: Each = map,
        *,
        start: int,
        before: Mapping[str, Any] | None = None,
    ) -> None:
        self._exact = TemplateIndex(vectors, enrolment_id, plan, each)
        self._vectors = vectors
        self._enrolment_id = enrolment_id
        self._each = each
        self._start = start
        self._lists: _Lists | None = None
        self._measured: dict[float, Measured] = {}
        before = before or {}
        self._before = {found["threshold"]: found for found in before.get("measured", [])}
        self._lists_before: int = before.get("lists", 0)
        self._searches: int = before.get("searches", 0)
        self._exact_searches: int = before.get("exact_searches", 0)
        self._seconds: float = before.get("build_seconds", 0.0)

    def __len__(self) -> int:
        return len(self._exact)

    def join(self, probes: FloatArray, threshold: float) -> CandidateBatch:
        """Pairs whose score, at 4 decimals, is at or above ``threshold``; by probe, then by enrolment.

        A pair below it is never among them, and scores are those of the exact join; a few pairs may be missing.
        ``probes`` float32[P,D] of unit norm; P may be 0. Raises ``ValueError`` as the exact join does.
        """
        check(probes, (None, self._vectors.shape[1]), np.float32, "probes")
        if len(probes) and (self._exact_searches + len(probes)) * len(self) >= self._start:
            measured = self._measure(threshold)
            if measured.pays and self._lists is not None:
                self._searches += len(probes)
                return self._approximate(self._lists, probes, threshold, measured.visited)
        self._exact_searches += len(probes)
        return self._exact.join(probes, threshold)

    def record(self) -> dict[str, Any]:
        """What a run says about it, as JSON values.

        ``index``: the kind of index by its FAISS name, null where none was made; ``lists`` in it; ``build_seconds``.
        ``searches`` were compared approximately, ``exact_searches`` exactly; lists are tried from ``start``
        comparisons on. ``measured``: a :class:`Measured` for each score at which they were tried, lowest first.
        ``recall`` and ``at_least``: the lowest of those in use; null where none is.
        """
        measured = self._before | {threshold: asdict(found) for threshold, found in self._measured.items()}
        used = [found for found in measured.values() if found["pays"]]
        lists = self._lists_before if self._lists is None else self._lists.count
        return {
            "index": f"IVF{lists},SQfp16" if used else None,
            "lists": lists,
            "searches": self._searches,
            "exact_searches": self._exact_searches,
            "start": self._start,
            "recall": min((found["recall"] for found in used), default=None),
            "at_least": min((found["at_least"] for found in used), default=None),
            "build_seconds": round(self._seconds, 1),
            "measured": [measured[threshold] for threshold in sorted(measured)],
        }

    def _measure(self, threshold: float) -> Measured:
        """The measurement at the next lower step; makes the lists at first, and fills them once they pay."""
        step = round(math.floor(round(min(max(threshold, -1), 1) / _STEP, 6)) * _STEP, 4)
        if step not in self._measured:
            began = time.perf_counter()
            if self._lists is None:
                self._lists = _Lists(self._vectors, self._each)
            measured = _measured(self._lists, step, self._own_pairs)
            if measured.pays:
                self._lists.fill()
            self._measured[step] = measured
            self._seconds += time.perf_counter() - began
            _log.info("approximate search at scores from %s: %s", step, measured)
        return self._measured[step]

    def _own_pairs(self, threshold: float, seed: int) -> tuple[FloatArray, FloatArray]:
        """Pairs of two templates of the gallery at or above ``threshold``, found exactly: float32[K,D] each.

        One pair for each of a sample of templates that has any, so that nobody with many photos decides it alone.
        """
        random = np.random.default_rng(seed)
        sample = np.sort(random.choice(len(self), min(_OWN, len(self)), replace=False))
        probes = self._vectors[sample]
        found = self._exact.join(probes, threshold)
        others = np.flatnonzero(found.enrolment_id != self._enrolment_id[sample][found.probe_index])
        others = random.permutation(others)
        probe, first = np.unique(found.probe_index[others], return_index=True)
        order = np.argsort(self._enrolment_id)
        place = np.searchsorted(self._enrolment_id, found.enrolment_id[others[first]], sorter=order)
        return probes[probe], self._vectors[order[place]]

    def _approximate(self, lists: _Lists, probes: FloatArray, threshold: float, visited: int) -> CandidateBatch:
        norms(probes, "probes")

        def part(first: int) -> tuple[LongArray, LongArray]:
            probe, row = lists.pairs(probes[first : first + _TASK], threshold - ROUNDED_UP, visited)
            return probe + first, row

        found = list(self._each(part, range(0, len(probes), _TASK)))
        probe, row = (np.concatenate(column) for column in zip(*found, strict=True))
        score = scores(probes, self._vectors, probe, row)
        keep = score >= threshold
        outlying = lists.outlying.join(probes, threshold)
        probe = np.concatenate((probe[keep].astype(np.int32), outlying.probe_index))
        row = np.concatenate((row[keep], outlying.enrolment_id))
        exact = np.concatenate((score[keep].astype(np.float32), outlying.score))
        order = np.lexsort((row, probe))
        return CandidateBatch(probe[order], self._enrolment_id[row[order]], exact[order])


class _Lists:
    """The lists: centres at first, and the templates as 16-bit numbers once :meth:`fill` was called.

    ``vectors`` float32[N,D] of unit norm, N at least 1.
    """

    def __init__(self, vectors: FloatArray | Rows, each: Each = map) -> None:
        import faiss  # takes 0.2 s, and is needed only here

        self._faiss: Any = faiss
        count, dimension = vectors.shape
        self._vectors = vectors
        self._each = each
        self.count = min(2 ** round(np.log2(2 * np.sqrt(count))), count, _LONGEST)
        random = np.random.default_rng(self.count)
        sample = vectors[np.sort(random.choice(count, min(count, _POINTS * self.count), replace=False))]
        self._one_thread()
        self._centres = faiss.IndexFlatIP(dimension)
        kind, metric = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        self._index: Any = faiss.IndexIVFScalarQuantizer(self._centres, dimension, self.count, kind, metric, False)
        settings = self._index.cp
        settings.spherical, settings.seed, settings.niter = True, 1, _ROUNDS
        settings.min_points_per_centroid, settings.max_points_per_centroid = 1, _POINTS
        self._index.train(sample)
        #: float32[lists,D]
        self.centres: FloatArray = self._centres.reconstruct_n(0, self.count)
        drawn = self.sample(_SAMPLE, seed=4)  # not those that the centres were fitted to, for these are nearer
        near, own = self.nearest(drawn)
        self._near_enough = float(np.quantile(near, OUTLYING))
        #: The share of the templates in each list, float64[lists], from the sample.
        self.sizes = np.bincount(own[near >= self._near_enough], minlength=self.count) / len(drawn)
        #: The templates that are in no list, by row in place of the enrolment id.
        self.outlying = TemplateIndex(np.zeros((0, dimension), np.float32), np.zeros(0, np.int64))

    def _one_thread(self) -> None:
        """FAISS keeps to the calling thread: it has a setting for each of them."""
        self._faiss.omp_set_num_threads(1)

    def fill(self) -> None:
        """Put every template into its list; nothing where that was done."""
        if self._index.ntotal:
            return
        far: list[LongArray] = []
        for start in range(0, len(self._vectors), PART):
            part = self._vectors[start : start + PART]
            near, own = self.nearest(part)
            rows = np.arange(start, start + len(part))
            inside = near >= self._near_enough
            listed = (part[inside], rows[inside], own[inside])  # named, for FAISS takes bare pointers to them
            self._index.add_core(len(listed[0]), *map(self._faiss.swig_ptr, listed))
            far.append(rows[~inside])
        rows = np.concatenate(far)
        self.outlying = TemplateIndex(self._vectors[rows], rows, each=self._each)

    def nearest(self, vectors: FloatArray) -> tuple[FloatArray, LongArray]:
        """The product with the nearest centre, float32[N], and its list, int64[N], for ``vectors`` float32[N,D]."""
        self._one_thread()
        products, lists = self._centres.search(np.ascontiguousarray(vectors), 1)
        return products[:, 0], lists[:, 0]

    def sample(self, size: int, seed: int) -> FloatArray:
        """``size`` templates of the gallery at most, drawn at random."""
        count = len(self._vectors)
        drawn = np.random.default_rng(seed).choice(count, min(size, count), replace=False)
        return self._vectors[np.sort(drawn)]

    def needed(self, probes: FloatArray, templates: FloatArray) -> LongArray:
        """How many lists must be visited so that each pair is found: int64[K], 0 where the template is in no list.

        ``probes`` and ``templates`` float32[K,D]: the two sides of the pairs.
        """
        near, own = self.nearest(templates)
        needed = np.empty(len(probes), np.int64)
        for start in range(0, len(probes), PART):
            block = slice(start, start + PART)
            products = probes[block] @ self.centres.T
            needed[block] = (products >= np.take_along_axis(products, own[block, None], 1)).sum(axis=1)
        needed[near < self._near_enough] = 0
        return needed

    def enough(self, needed: LongArray) -> int:
        """How many lists are enough for pairs of which each needs ``needed`` int64[K], K may be 0; with a margin."""
        if not len(needed):
            return 1
        most = np.sort(needed)[len(needed) - 1 - _may_be_lost(len(needed))]
        return int(min(max(math.ceil(most * _MARGIN), 1), self.count))

    def share(self, visited: int) -> float:
        """The share of the gallery in the ``visited`` lists nearest to a template of it, on average."""
        products = self.sample(_OWN, seed=3) @ self.centres.T
        nearest = np.argpartition(-products, visited - 1, axis=1)[:, :visited]
        return float(self.sizes[nearest].sum(axis=1).mean())

    def pairs(self, probes: FloatArray, score: float, visited: int) -> tuple[LongArray, LongArray]:
        """Pairs (probe, row) that may be at or above ``score``, of those in the ``visited`` lists nearest to a probe.

        None of these is lost: the limit is lower by the most that numbers of 16 bits and sums in float32 can be off.
        """
        self._one_thread()
        dimension = probes.shape[1]
        limit = score - _HALF - _SMALLEST_HALF * np.sqrt(dimension) - rounding(dimension) - 4 * SLACK
        how = self._faiss.SearchParametersIVF(nprobe=visited)
        ends, _, rows = self._index.range_search(np.ascontiguousarray(probes), float(limit), params=how)
        return np.repeat(np.arange(len(probes)), np.diff(ends.astype(np.int64))), rows


def _measured(
    lists: _Lists, threshold: float, own_pairs: Callable[[float, int], tuple[FloatArray, FloatArray]]
) -> Measured:
    """How many lists it takes at ``threshold``: chosen by one sample of pairs, and stated by another.

    Most galleries are given up at a first look at a few pairs: where even 99 of 100 need too many lists. ``own_pairs``
    finds the gallery's own, with a seed; it is asked only where the lists may pay.
    """
    own = np.zeros(0, np.int64)
    needed = lists.needed(*made_pairs(lists, threshold, _FIRST_LOOK, seed=0))
    visited = max(int(np.quantile(needed, 0.99)), 1)
    if lists.share(visited) <= LARGEST_SHARE:
        visited = lists.enough(lists.needed(*made_pairs(lists, threshold, _SAMPLE, seed=1)))
        needed = lists.needed(*made_pairs(lists, threshold, _SAMPLE, seed=2))
        if lists.share(visited) <= LARGEST_SHARE:
            visited = max(visited, lists.enough(lists.needed(*own_pairs(threshold, 1))))
            own = lists.needed(*own_pairs(threshold, 2))
    share = lists.share(visited)
    found, own_found = int((needed <= visited).sum()), int((own <= visited).sum())
    at_least = lower_limit(found, len(needed))
    return Measured(
        threshold=threshold,
        visited=visited,
        share=round(share, 6),
        pairs=len(needed),
        found=found,
        recall=round(found / len(needed), 6),
        at_least=round(at_least, 6),
        own_pairs=len(own),
        own_found=own_found,
        pays=share <= LARGEST_SHARE and at_least >= RECALL and own_found >= RECALL * len(own),
    )


def made_pairs(lists: _Lists, threshold: float, count: int, seed: int) -> tuple[FloatArray, FloatArray]:
    """``count`` probes and templates float32[K,D] at scores drawn between ``threshold`` and 1, as new photos make them.

    Each template of a sample of the gallery is turned to its score in a direction in which templates of this gallery
    differ (a normal draw with their covariance): those directions are also the ones that tell lists apart.
    """
    random = np.random.default_rng(seed)
    templates = lists.sample(count, seed)
    templates = templates[random.integers(0, len(templates), count)]
    score = random.uniform(threshold, 1, (count, 1))
    shape = lists.sample(_SHAPE, seed + 1000)
    root = np.linalg.qr(shape - shape.mean(axis=0), mode="r")  # draws with it have the covariance of shape
    turn = random.standard_normal((count, len(root)), np.float32) @ root
    turn -= np.einsum("ij,ij->i", turn, templates)[:, None] * templates
    turn /= np.maximum(np.linalg.norm(turn, axis=1, keepdims=True), 1e-12)
    return (score * templates + np.sqrt(1 - score**2) * turn).astype(np.float32), templates


def lower_limit(found: int, pairs: int) -> float:
    """What ``found`` of ``pairs`` stand for at least, with a confidence of 95 % (Clopper and Pearson, 1934)."""
    from scipy.special import betaincinv

    return float(betaincinv(found, pairs - found + 1, 1 - CONFIDENCE)) if found else 0.0


def _may_be_lost(pairs: int) -> int:
    """The most pairs that may be lost of so many where :data:`RECALL` is to be shown; 0 where they are too few."""
    lost = 0
    while lower_limit(pairs - lost - 1, pairs) >= RECALL:
        lost += 1
    return lost
