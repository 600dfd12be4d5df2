"""The exact join: every pair of probe and gallery template at or above a score. Not the k nearest: all of them.

faiss finds the pairs, and each pair found is scored again in float64, one pair at a time, so that its score does not
depend on which probes shared a batch. :func:`naive_join` is the readable reference.
"""

from __future__ import annotations

from typing import Final

import faiss
import numpy as np

from leakmatch.arrays import FloatArray, LongArray, check
from leakmatch.records import CandidateBatch

DECIMALS: Final = 4  # scores are stored and decided at this precision

# faiss sums products in float32: for unit vectors of some hundred dimensions its error stays far below this.
_SLACK: Final = 1e-4

# Below this size of probes x dimension faiss multiplies row by row, 15 times slower than BLAS.
faiss.cvar.distance_compute_blas_threshold = 1


class TemplateIndex:
    """Gallery templates ready to be joined.

    ``vectors`` float32[N,D] of unit norm, ``enrolment_id`` int64[N]. N may be 0.
    """

    def __init__(self, vectors: FloatArray, enrolment_id: LongArray) -> None:
        check(vectors, (len(enrolment_id), None), np.float32, "vectors")
        self._vectors = vectors
        self._enrolment_id = enrolment_id
        self._index = faiss.IndexFlatIP(vectors.shape[1])
        if len(vectors):
            self._index.add(vectors)

    def __len__(self) -> int:
        return len(self._vectors)

    def join(self, probes: FloatArray, threshold: float) -> CandidateBatch:
        """Pairs whose score, at 4 decimals, is at or above ``threshold``; by probe, then by enrolment.

        ``probes`` float32[P,D] of unit norm; P may be 0. Raises ``ValueError`` for another shape.
        """
        check(probes, (None, self._vectors.shape[1]), np.float32, "probes")
        if not len(probes) or not len(self._vectors):
            return _batch(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float64), self._enrolment_id)
        limits, _, rows = self._index.range_search(np.ascontiguousarray(probes), threshold - _SLACK)
        probe = np.repeat(np.arange(len(probes)), np.diff(limits.astype(np.int64)))
        rows = rows.astype(np.int64)
        order = np.lexsort((rows, probe))
        probe, rows = probe[order], rows[order]
        scores = _scores(probes, self._vectors, probe, rows)
        keep = scores >= threshold
        return _batch(probe[keep], rows[keep], scores[keep], self._enrolment_id)


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


def _scores(probes: FloatArray, vectors: FloatArray, probe: LongArray, row: LongArray) -> np.ndarray:
    """Cosines of the pairs (probe[i], row[i]) at 4 decimals, in blocks that bound the memory."""
    scores = np.empty(len(probe), dtype=np.float64)
    for start in range(0, len(probe), 65536):
        block = slice(start, start + 65536)
        a, b = probes[probe[block]].astype(np.float64), vectors[row[block]].astype(np.float64)
        scores[block] = (a * b).sum(axis=1)
    return np.round(np.clip(scores, -1, 1), DECIMALS)


def _batch(probe: LongArray, row: LongArray, score: np.ndarray, enrolment_id: LongArray) -> CandidateBatch:
    return CandidateBatch(probe.astype(np.int32), enrolment_id[row], score.astype(np.float32))
