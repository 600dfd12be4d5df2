"""The exact join: every pair of probe and gallery template at or above a score. Not the k nearest: all of them.

A :mod:`~leakmatch.matching.screen` names the pairs that may be, and each pair named is scored again in float64, one
pair at a time, so that neither the pairs nor their scores depend on the screen, or on which probes shared a batch.
:func:`naive_join` is the readable reference.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import FloatArray, LongArray, check
from leakmatch.matching.plan import Plan
from leakmatch.matching.screen import PART, PASS, Each, Rows
from leakmatch.records import CandidateBatch

DECIMALS: Final = 4  # scores are stored and decided at this precision

#: A score this far below the threshold is still rounded up to it. The second term is for the rounding of float64.
ROUNDED_UP: Final = 0.5 * 10**-DECIMALS + 1e-9

#: Rows of pairs: int64[K] probe, int64[K] row of the gallery, float64[K] score.
_Scored = tuple[LongArray, LongArray, NDArray[np.float64]]


class TemplateIndex:
    """Gallery templates ready to be joined.

    ``vectors`` float32[N,D] of unit norm, kept as they are; or :class:`~leakmatch.matching.screen.Rows` that are read
    when they are needed: all at once for a float32 screen, by parts for an int8 screen, which then reads only what it
    named. ``enrolment_id`` int64[N]. N may be 0.

    ``plan``: as :meth:`Plan.choose` finds it unless given. ``each``: the ``map`` of a thread pool, to
    search with its threads. Raises ``ValueError`` for another shape or type, or where a norm is not at most 1.
    """

    def __init__(
        self, vectors: FloatArray | Rows, enrolment_id: LongArray, plan: Plan | None = None, each: Each = map
    ) -> None:
        check(vectors, (len(enrolment_id), None), np.float32, "vectors")
        check(enrolment_id, (len(vectors),), np.int64, "enrolment_id")
        self.plan = plan or Plan.choose(vectors)
        self._vectors = vectors if self.plan.levels else vectors[:]
        self._enrolment_id = enrolment_id
        self._each = each
        self._screen = self.plan.build(self._vectors, each)

    def __len__(self) -> int:
        return len(self._vectors)

    def join(self, probes: FloatArray, threshold: float) -> CandidateBatch:
        """Pairs whose score, at 4 decimals, is at or above ``threshold``; by probe, then by enrolment.

        ``probes`` float32[P,D] of unit norm; P may be 0. Raises ``ValueError`` for another shape, or where a number is
        not finite or a norm not at most 1.
        """
        check(probes, (None, self._vectors.shape[1]), np.float32, "probes")
        found: list[_Scored] = [_NOTHING]
        for first in range(0, len(probes), PASS):
            for probe, row, score in self._pass(probes[first : first + PASS], threshold):
                found.append((probe + first, row, score))
        probe, row, score = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.lexsort((row, probe))
        return CandidateBatch(
            probe[order].astype(np.int32), self._enrolment_id[row[order]], score[order].astype(np.float32)
        )

    def _pass(self, probes: FloatArray, threshold: float) -> Iterable[_Scored]:
        prepared = self._screen.prepare(probes)

        def part(start: int) -> _Scored:
            row, probe = self._screen.pairs(start, prepared, threshold - ROUNDED_UP)
            score = scores(probes, self._vectors, probe, row)
            keep = score >= threshold
            return probe[keep], row[keep], score[keep]

        return self._each(part, range(0, len(self._vectors), PART))


_NOTHING: Final = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64))


def naive_join(
    probes: FloatArray, vectors: FloatArray, enrolment_id: LongArray, threshold: float
) -> list[tuple[int, int, float]]:
    """The reference: one cosine for each pair, as (probe index, enrolment id, score at 4 decimals)."""
    pairs = []
    for p, probe in enumerate(probes):
        for g, vector in enumerate(vectors):
            score = round(float(sum(float(a) * float(b) for a, b in zip(probe, vector, strict=True))), DECIMALS)
            if score >= threshold:
                pairs.append((p, int(enrolment_id[g]), score))
    return pairs


def scores(probes: FloatArray, vectors: FloatArray | Rows, probe: LongArray, row: LongArray) -> NDArray[np.float64]:
    """Cosines of the pairs (probe[i], row[i]) at 4 decimals, in blocks that bound the memory."""
    cosines = np.empty(len(probe), dtype=np.float64)
    for start in range(0, len(probe), 65536):
        block = slice(start, start + 65536)
        a, b = probes[probe[block]].astype(np.float64), vectors[row[block]].astype(np.float64)
        cosines[block] = (a * b).sum(axis=1)
    return np.asarray(np.round(np.clip(cosines, -1, 1), DECIMALS), np.float64)
