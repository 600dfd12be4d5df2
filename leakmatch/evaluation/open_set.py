"""The figures of an open-set identification (1:N): FNIR at a given FPIR, rank 1, the DET curve, bootstrap intervals.

As ISO/IEC 19795-1 and NIST FRTE 1:N define them, at a threshold T:

- *FNIR(T)*: the share of mated searches in which the mate's score is below T, at whatever rank;
- *FPIR(T)*: the share of non-mated searches that return one candidate or more at or above T;
- *rank 1*: the share of mated searches in which the mate scores higher than every other subject, without a threshold.

A search that could not be made, or whose mate could not be enrolled, is a miss at every T; a non-mated one returns
nothing. Every subject weighs alike, whatever the number of its searches. Scores are rounded to 4 decimals, as scans
decide them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import BoolArray, IntArray
from leakmatch.evaluation.figures import Scores, thin
from leakmatch.matching.join import DECIMALS

#: False positive identification rates at which FNIR is asked for.
TARGETS: Final = (0.1, 0.03, 0.01, 0.003)

RESAMPLES: Final = 2000
_CHUNK: Final = 1 << 22  # numbers held at once by a bootstrap, for each of its arrays

Weights = NDArray[np.float64]


def searches_by(subject: IntArray) -> Weights:
    """The weight of each search of ``subject`` int32[K]: one over the number of this subject's searches; float64[K]."""
    _, row, count = np.unique(subject, return_inverse=True, return_counts=True)
    weights: Weights = 1.0 / count[row]
    return weights


@dataclass(frozen=True, slots=True)
class Searches:
    """The subjects searched for: ``mated`` int32[M] of each mated search, ``non_mated`` int32[N] of each other.

    Both number their subjects from 0. M and N are 1 or more.
    """

    mated: IntArray
    non_mated: IntArray

    @property
    def mated_weight(self) -> Weights:
        """float64[M], see :func:`searches_by`."""
        return searches_by(self.mated)

    @property
    def non_mated_weight(self) -> Weights:
        """float64[N], see :func:`searches_by`."""
        return searches_by(self.non_mated)


@dataclass(frozen=True, slots=True)
class Found:
    """What the searches found: ``mate`` float64[M] the score of the mate, ``rival`` float64[M] the highest of another
    subject, ``stranger`` float64[N] the highest of any subject in a non-mated search; minus infinity for none.

    ``again``: in how many mated and how many non-mated searches the face was looked at again; ``None`` where no face
    ever is.
    """

    mate: Scores
    rival: Scores
    stranger: Scores
    again: tuple[int, int] | None = None

    @property
    def first(self) -> BoolArray:
        """Whether the mate ranks first; a tie is none. bool[M]."""
        return self.mate > self.rival


def mean(values: BoolArray, weights: Weights) -> float:
    """The share of ``values`` bool[K] that are true, by ``weights`` float64[K]; K is 1 or more."""
    return float(weights[values].sum() / weights.sum())


def above(score: float | Scores) -> Scores:
    """The lowest threshold, of 4 decimals, that ``score`` does not reach; -1 where nothing was compared."""
    return np.round(np.maximum(score, -1 - 10.0**-DECIMALS) + 10.0**-DECIMALS, DECIMALS)


def threshold_at(stranger: Scores, weights: Weights, fpir: float) -> float | None:
    """The lowest threshold at which FPIR is ``fpir`` or less; ``None`` where it would allow less than one subject's
    false positives, and so rest on none."""
    order = np.argsort(-stranger, kind="stable")
    total = weights.sum()
    if not _bears(total, fpir):
        return None
    first_refused = int(np.argmax(np.cumsum(weights[order]) > _allowed(total, fpir)))
    return float(above(stranger[order[first_refused]]))


def _allowed(total: float, fpir: float) -> float:
    return fpir * total * (1 + 1e-9)


def _bears(total: float, fpir: float) -> bool:
    return _allowed(total, fpir) >= 1


def missed(found: Found, threshold: float, *, first: bool = False) -> BoolArray:
    """Whether each mated search misses its mate: scored below ``threshold``, or with ``first`` not ranked first
    either; bool[M]."""
    below: BoolArray = found.mate < threshold
    return below | ~found.first if first else below


@dataclass(frozen=True, slots=True)
class Curve:
    """DET points by falling threshold: ``threshold``, ``fpir`` and ``fnir`` float64[K]."""

    threshold: NDArray[np.float64]
    fpir: NDArray[np.float64]
    fnir: NDArray[np.float64]

    def thinned(self, count: int) -> Curve:
        """About ``count`` of the points, evenly by the logarithm of FPIR, the first and last among them."""
        rows = thin(self.fpir, count)
        return Curve(self.threshold[rows], self.fpir[rows], self.fnir[rows])


def det(found: Found, searches: Searches) -> Curve:
    """The DET curve: a point for every threshold at which FPIR changes, and the one at which it is 0."""
    order = np.argsort(-found.stranger, kind="stable")
    scores, weights = found.stranger[order], searches.non_mated_weight[order]
    last = np.flatnonzero(np.append(scores[:-1] != scores[1:], True) & np.isfinite(scores))
    thresholds = np.append(above(scores[:1]), scores[last])
    fpir = np.append(0.0, np.cumsum(weights)[last]) / weights.sum()
    rising = np.argsort(found.mate, kind="stable")
    misses = np.append(0.0, np.cumsum(searches.mated_weight[rising])) / searches.mated_weight.sum()
    return Curve(thresholds, fpir, misses[np.searchsorted(found.mate[rising], thresholds)])


@dataclass(frozen=True, slots=True)
class Resampled:
    """Figures of one step in each of B resamples: ``fnir`` float64[B] by FPIR, ``rank_1`` float64[B]."""

    fnir: Mapping[float, NDArray[np.float64]]
    rank_1: NDArray[np.float64]


def resample(
    steps: Sequence[Found], searches: Searches, seed: int, count: int = RESAMPLES, targets: Sequence[float] = TARGETS
) -> list[Resampled]:
    """A bootstrap over subjects (Efron, Annals of Statistics 7, 1979) of all ``steps`` at once, as they are paired.

    Each resample draws as many mated and as many non-mated subjects as there are, with all their searches, and takes
    its threshold anew. The same draws serve every step, so the difference of two steps may be taken row by row. FPIRs
    of ``targets`` that the non-mated subjects cannot bear (:func:`threshold_at`) have no rows.
    """
    mated, non_mated = searches.mated_weight, searches.non_mated_weight
    bearable = [fpir for fpir in targets if _bears(non_mated.sum(), fpir)]
    parts: list[list[Resampled]] = [[] for _ in steps]
    for drawn, others in _draws(searches, seed, count):
        for part, found in zip(parts, steps, strict=True):
            part.append(refigured(found, drawn * mated, others * non_mated, bearable))
    return [
        Resampled(
            {fpir: np.concatenate([p.fnir[fpir] for p in part]) for fpir in bearable},
            np.concatenate([p.rank_1 for p in part]),
        )
        for part in parts
    ]


def _draws(searches: Searches, seed: int, count: int) -> Iterator[tuple[Weights, Weights]]:
    """How often each mated float64[b,M] and each non-mated search float64[b,N] was drawn, b resamples at a time."""
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // (len(searches.mated) + len(searches.non_mated)))
    for start in range(0, count, rows):
        size = min(rows, count - start)
        yield _drawn(rng, searches.mated, size), _drawn(rng, searches.non_mated, size)


def _drawn(rng: np.random.Generator, subject: IntArray, size: int) -> Weights:
    subjects = int(subject.max()) + 1
    counts = rng.multinomial(subjects, np.full(subjects, 1 / subjects), size)
    return counts[:, subject].astype(np.float64)


def refigured(found: Found, mated: Weights, non_mated: Weights, targets: Sequence[float] = TARGETS) -> Resampled:
    """The figures of ``found`` by b times other weights of its searches: ``mated`` float64[b,M], ``non_mated``
    float64[b,N]. Each weighting takes its threshold anew; ``targets`` as :func:`threshold_at` can bear them."""
    falling = np.argsort(-found.stranger, kind="stable")
    positives = np.cumsum(non_mated[:, falling], axis=1)
    rising = np.argsort(found.mate, kind="stable")
    misses = np.cumsum(mated[:, rising], axis=1)
    misses, everyone = np.hstack([np.zeros((len(misses), 1)), misses]), misses[:, -1]
    fnir = {}
    for fpir in targets:
        allowed = _allowed(1.0, fpir) * positives[:, -1:]
        thresholds = above(found.stranger[falling[np.argmax(positives > allowed, axis=1)]])
        below = np.searchsorted(found.mate[rising], thresholds)
        fnir[fpir] = misses[np.arange(len(misses)), below] / everyone
    return Resampled(fnir, (mated * found.first).sum(axis=1) / everyone)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 95 % percentile interval of resampled ``values`` float64[B]."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
