"""The figures of a verification experiment: accuracy over folds, equal error rate, TMR at a given FMR.

All take ``scores`` float64[P], cosines at the precision at which scans decide (4 decimals), and ``same`` bool[P].
Between two neighbouring scores every threshold decides alike: the middle of that range is reported.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import BoolArray
from leakmatch.matching.join import DECIMALS

Scores = NDArray[np.float64]

#: The score of a pair that could not be compared: rejected at every threshold.
NOT_COMPARED: Final = -math.inf

#: False match rates at which the true match rate is asked for, and the false matches that a rate must let expect on
#: these pairs. A finer one is a statement about large galleries, so it must rest on more than a single pair.
TARGETS: Final = {1e-2: 1, 1e-3: 1, 1e-4: 10, 1e-5: 10, 1e-6: 10}

_Z95: Final = 1.959964  # two-sided 95 % quantile of the normal distribution


def score_interval(rate: float, n: float) -> tuple[float, float]:
    """The 95 % score interval of Wilson (JASA 22, 1927) for ``rate`` in ``n`` > 0 independent trials; unlike the
    textbook one it holds near 0 and 1."""
    z2 = _Z95**2
    centre, half = rate + z2 / (2 * n), _Z95 * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return max(0.0, (centre - half) / (1 + z2 / n)), min(1.0, (centre + half) / (1 + z2 / n))


@dataclass(frozen=True, slots=True)
class Proportion:
    """``count`` of ``of`` (one or more) independent trials. Pairs that share people are less than independent."""

    count: int
    of: int

    @property
    def rate(self) -> float:
        """In [0, 1]."""
        return self.count / self.of

    def interval(self) -> tuple[float, float]:
        """At 95 %, see :func:`score_interval`."""
        return score_interval(self.rate, self.of)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"count": self.count, "of": self.of, "rate": self.rate, "interval_95": self.interval()}


@dataclass(frozen=True, slots=True)
class Point:
    """What a threshold does: ``matched`` same-pairs and ``false`` (matched different-pairs), each of all."""

    threshold: float
    matched: Proportion
    false: Proportion

    @property
    def missed(self) -> Proportion:
        """The same-pairs that are not matched."""
        return Proportion(self.matched.of - self.matched.count, self.matched.of)

    @property
    def error(self) -> float:
        """The mean of FMR and FNMR: the equal error rate, where this is the point at which they are closest."""
        return (self.false.rate + self.missed.rate) / 2

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        rates = {"tmr": self.matched, "fnmr": self.missed, "fmr": self.false}
        return {"threshold": _shown(self.threshold)} | {name: rate.to_json() for name, rate in rates.items()}


def _shown(threshold: float) -> float:
    return round(threshold, DECIMALS + 1)  # the middle of two scores


@dataclass(frozen=True, slots=True)
class Fold:
    """Pairs of one fold decided rightly at the threshold that was best on the other folds."""

    name: str
    threshold: float
    correct: Proportion


@dataclass(frozen=True, slots=True)
class FoldAccuracy:
    """Accuracy over folds, in order of first appearance: ``mean`` and sample standard ``deviation`` weigh folds
    alike; ``correct`` counts pairs of all folds together."""

    folds: tuple[Fold, ...]
    mean: float
    deviation: float
    correct: Proportion

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        folds = [{"fold": f.name, "threshold": _shown(f.threshold), **f.correct.to_json()} for f in self.folds]
        return {"mean": self.mean, "standard_deviation": self.deviation, "correct": self.correct.to_json()} | {
            "folds": folds
        }


def fold_accuracy(scores: Scores, same: BoolArray, folds: Sequence[str]) -> FoldAccuracy:
    """Accuracy over ``folds`` (a name per pair, two or more of them) of ``scores`` float64[P], ``same`` bool[P].

    The threshold of a fold decides the most pairs of the other folds rightly. Where several ranges of thresholds do,
    the widest is taken, of equally wide ones the highest.
    """
    names, found = np.array(folds), []
    for name in dict.fromkeys(folds):
        inside = names == name
        points = _Points(scores[~inside], same[~inside])
        threshold = points.best(points.matched - points.false).threshold
        right = (scores[inside] >= threshold) == same[inside]
        found.append(Fold(name, threshold, Proportion(int(right.sum()), len(right))))
    rates = [fold.correct.rate for fold in found]
    correct = Proportion(sum(fold.correct.count for fold in found), len(scores))
    return FoldAccuracy(tuple(found), float(np.mean(rates)), float(np.std(rates, ddof=1)), correct)


def equal_error(scores: Scores, same: BoolArray) -> Point:
    """The point at which FMR and FNMR are closest; of several the one of the widest range. Both kinds must occur."""
    points = _Points(scores, same)
    missed = points.genuine - points.matched
    return points.best(
        -np.abs(points.false * points.genuine - missed * points.impostor)
    )  # whole numbers: ties are exact


def true_match_rates(scores: Scores, same: BoolArray) -> dict[float, Point | None]:
    """For each of :data:`TARGETS`, the lowest threshold with no higher FMR; ``None`` where the pairs are too few."""
    points = _Points(scores, same)
    allowed = {fmr: fmr * points.impostor * (1 + 1e-9) for fmr in TARGETS}
    return {
        fmr: points.at(int(np.argmax(points.false <= allowed[fmr]))) if allowed[fmr] >= expected else None
        for fmr, expected in TARGETS.items()
    }


@dataclass(frozen=True, slots=True)
class Roc:
    """A receiver operating characteristic by falling threshold: ``threshold``, ``fmr`` and ``tmr`` float64[K]."""

    threshold: Scores
    fmr: Scores
    tmr: Scores

    def to_json(self) -> list[dict[str, float]]:
        """As JSON values, about a hundred points."""
        rows = thin(self.fmr, 100)
        points = zip(self.threshold[rows], self.fmr[rows], self.tmr[rows], strict=True)
        return [{"threshold": _shown(float(t)), "fmr": float(f), "tmr": float(m)} for t, f, m in points]


def roc(scores: Scores, same: BoolArray) -> Roc:
    """A point for every threshold that makes a difference. Both kinds of pair must occur."""
    points = _Points(scores, same)
    return Roc(points.thresholds[::-1], points.false[::-1] / points.impostor, points.matched[::-1] / points.genuine)


def thin(rates: Scores, count: int) -> NDArray[np.intp]:
    """Rows of rising ``rates`` float64[K], about ``count``, evenly by their logarithm; the first and last are there."""
    positive = rates[rates > 0]
    if len(rates) <= count or not len(positive):
        return np.arange(len(rates))
    wanted = np.geomspace(positive[0], positive[-1], count)
    return np.unique([0, *np.searchsorted(rates, wanted * (1 - 1e-9)), len(rates) - 1])


class _Points:
    """Every threshold that makes a difference, ascending, and the pairs that each matches."""

    def __init__(self, scores: Scores, same: BoolArray) -> None:
        beyond = 1 + 10.0**-DECIMALS  # no score is as high, so that rejecting all is a choice too
        edges = np.concatenate([[-1.0], np.unique(scores[np.isfinite(scores)]), [beyond]])
        genuine, impostor = np.sort(scores[same]), np.sort(scores[~same])
        self.genuine, self.impostor = len(genuine), len(impostor)
        self.thresholds = (edges[:-1] + edges[1:]) / 2
        self.widths = np.round(np.diff(edges), DECIMALS)
        self.matched = self.genuine - np.searchsorted(genuine, self.thresholds)
        self.false = self.impostor - np.searchsorted(impostor, self.thresholds)

    def best(self, merit: NDArray[Any]) -> Point:
        """The point of most merit; the widest, then the highest of several."""
        return self.at(int(np.lexsort((self.thresholds, self.widths, merit))[-1]))

    def at(self, index: int) -> Point:
        """The point of this threshold."""
        matched, false = int(self.matched[index]), int(self.false[index])
        return Point(float(self.thresholds[index]), Proportion(matched, self.genuine), Proportion(false, self.impostor))
