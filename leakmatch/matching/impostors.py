"""Impostor pairs: every probe against every enrolled template of another person, counted, the highest kept.

What a calibration is made from, be it a pack's (labelled photos of other people) or a gallery's own (its photos against
its subjects). The pairs are not independent, for each person is in many: whatever is estimated from them gets its
interval from a bootstrap over people, never over pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import BoolArray, FloatArray, LongArray
from leakmatch.matching.join import DECIMALS
from leakmatch.matching.tail import HIGHEST_RATE, fit_tail

#: Scores at steps from -1 to 1, at which rates are counted and written.
STEP: Final = 0.0025
GRID: Final = np.round(np.arange(-1, 1 + STEP / 2, STEP), 4)

#: Pairs are kept one by one from the score that this share of them reaches; below it the rates are hardly uncertain.
KEPT_RATE: Final = 1.5 * HIGHEST_RATE

RESAMPLES: Final = 200
CONFIDENCE: Final = 0.95

_BLOCK: Final = 512  # probes at a time
_TIE: Final = 1e-7  # a score of float32 that should lie on a step may be this far below it


@dataclass(frozen=True, slots=True)
class Impostors:
    """``photos`` int64[S]: probes of each person; ``templates`` int64[S]: their enrolled templates.

    ``counts`` int64[801]: pairs of two people at or above each score of :data:`GRID`. The pairs with the highest
    scores: ``probe`` and ``enrolled`` int64[K] (people), ``template`` int64[K] (which enrolled one), ``score``
    float64[K], falling. Of ``left_out`` pairs of people there are none.
    """

    photos: LongArray
    templates: LongArray
    left_out: frozenset[tuple[int, int]]
    counts: LongArray
    probe: LongArray
    enrolled: LongArray
    template: LongArray
    score: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        probes: FloatArray,
        probe_people: LongArray,
        enrolled: FloatArray,
        enrolled_people: LongArray,
        left_out: Set[tuple[int, int]] = frozenset(),
    ) -> Impostors:
        """Compare ``probes`` float32[N,D] with ``enrolled`` float32[M,D], of unit norm; people are numbered 0 to S-1.

        ``left_out``: pairs of people, lower number first, who may be one person. Twice through all pairs: once to
        count, once to keep. N M scores are made, none but the highest are held.
        """
        people = int(max(probe_people.max(initial=-1), enrolled_people.max(initial=-1))) + 1
        kin: dict[int, list[int]] = {}
        for a, b in left_out:
            kin.setdefault(a, []).append(b)
            kin.setdefault(b, []).append(a)

        def blocks() -> Iterator[tuple[int, FloatArray]]:
            for first in range(0, len(probes), _BLOCK):
                scores = probes[first : first + _BLOCK] @ enrolled.T
                for row, person in enumerate(probe_people[first : first + _BLOCK].tolist()):
                    scores[row, np.isin(enrolled_people, [person, *kin.get(person, ())])] = -2
                yield first, scores

        counts = np.zeros(len(GRID), np.int64)
        for _, scores in blocks():
            counts += count_at_or_above(scores)
        floor = GRID[np.argmax(counts <= KEPT_RATE * counts[0])] - _TIE
        kept = []
        for first, scores in blocks():
            row, column = np.nonzero(scores >= floor)
            kept.append((probe_people[row + first], column, scores[row, column].astype(np.float64)))
        probe, template, score = (np.concatenate(part) for part in zip(*kept, strict=True))
        order = np.argsort(-score, kind="stable")
        probe, template, score = probe[order], template[order], score[order]
        return cls(
            np.bincount(probe_people, minlength=people),
            np.bincount(enrolled_people, minlength=people),
            frozenset(left_out),
            counts,
            probe,
            enrolled_people[template],
            template,
            score.round(DECIMALS),
        )

    @property
    def people(self) -> int:
        """How many people there are."""
        return len(self.photos)

    def pairs(self, weights: NDArray[np.float64]) -> float:
        """How many pairs of two people there are, where person i counts ``weights[i]`` times (float64[S])."""
        photos, templates = weights * self.photos, weights * self.templates
        own = float(photos @ templates)
        kin = sum(photos[a] * templates[b] + photos[b] * templates[a] for a, b in self.left_out)
        return float(photos.sum() * templates.sum() - own - kin)

    def rates(self, weights: NDArray[np.float64], shape: float | None = None) -> NDArray[np.float64]:
        """The share of pairs at or above each score of :data:`GRID`: counted in the body, fitted in the tail.

        float64[801], never rising. ``weights`` as for :meth:`pairs`; ``shape`` as for :func:`fit_tail`. Below the
        scores that were kept, the shares are those without weights.
        """
        pairs, each = self.pairs(weights), weights[self.probe] * weights[self.enrolled]
        above = np.concatenate([[0.0], np.cumsum(each)])
        counted = above[np.searchsorted(-self.score, _TIE - GRID, side="right")] / pairs
        kept = self.counts <= KEPT_RATE * self.counts[0]
        rates = np.where(kept, counted, self.counts / self.counts[0])
        tail = fit_tail(self.score, each, pairs, shape)
        rates = np.where(tail.start < GRID, tail.rates(GRID), rates)
        falling: NDArray[np.float64] = np.minimum.accumulate(rates)
        return falling

    def interval(self, seed: int, shape: float | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper 95 % limit of :meth:`rates`, float64[801] each: percentiles of a bootstrap over people."""
        generator = np.random.default_rng(seed)
        everybody = np.full(self.people, 1 / self.people)
        drawn = [
            self.rates(generator.multinomial(self.people, everybody).astype(np.float64), shape)
            for _ in range(RESAMPLES)
        ]
        low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
        return low, high


def count_at_or_above(scores: FloatArray) -> LongArray:
    """How many of ``scores`` (any shape; those below -1 are no scores) reach each of :data:`GRID`: int64[801]."""
    step = np.floor((scores.ravel().astype(np.float64) + 1 + _TIE) / STEP).astype(np.int64)
    counts: LongArray = np.bincount(step[step >= 0].clip(max=len(GRID) - 1), minlength=len(GRID))[::-1].cumsum()[::-1]
    return counts


@dataclass(frozen=True, slots=True)
class Repeat:
    """How likely another photo of the same stranger reaches a score as well, once one photo did.

    ``chance`` float64[L], falling: rates at which it was measured. ``again`` and its upper 95 % limit ``high``
    float64[L]. Where fewer than ``LEAST_HITS`` photos reached the score, the value of the last rate before stands: the
    rarer the score, the less of a look-alike is there in another photo.
    """

    chance: NDArray[np.float64]
    again: NDArray[np.float64]
    high: NDArray[np.float64]

    LEAST_HITS: ClassVar[int] = 100
    CHANCES: ClassVar[tuple[float, ...]] = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)

    @classmethod
    def of(cls, impostors: Impostors, rates: NDArray[np.float64], seed: int) -> Repeat:
        """Measured on the people of ``impostors`` with two probes or more; ``rates`` as :meth:`Impostors.rates`
        says."""
        generator = np.random.default_rng(seed)
        again: list[float] = []
        high: list[float] = []
        for chance in cls.CHANCES:
            met = impostors.score >= GRID[np.argmax(rates <= chance)] - _TIE
            met &= impostors.photos[impostors.probe] > 1
            if met.sum() >= cls.LEAST_HITS or not again:
                share, limit = _again(impostors, met, generator)
            again.append(share)
            high.append(limit)
        return cls(np.array(cls.CHANCES), np.array(again), np.array(high))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("chance", "again", "high")
        return {name: [float(f"{value:.4g}") for value in getattr(self, name)] for name in names}


def _again(impostors: Impostors, met: BoolArray, generator: np.random.Generator) -> tuple[float, float]:
    """The share of other photos of a stranger that reach a score too, and its upper limit by a bootstrap over people.

    Each stranger and each enrolled person counts the same, however many photos of them there are.
    """
    probe, template = impostors.probe[met], impostors.template[met]
    key, hits = np.unique(template * impostors.people + probe, return_counts=True)
    stranger, photos = key % impostors.people, impostors.photos[key % impostors.people]
    owner = np.zeros(int(impostors.template.max(initial=0)) + 1, np.int64)
    owner[impostors.template] = impostors.enrolled
    enrolled = owner[key // impostors.people]
    each = 1 / (photos * impostors.templates[enrolled])
    others, first = hits * (hits - 1) / (photos - 1) * each, hits * each
    everybody = np.full(impostors.people, 1 / impostors.people)
    drawn = []
    for _ in range(RESAMPLES):
        weights = generator.multinomial(impostors.people, everybody)
        both = weights[stranger] * weights[enrolled]
        drawn.append((both @ others) / max(float(both @ first), 1e-12))
    share = float(others.sum() / max(first.sum(), 1e-12))
    return share, float(np.quantile(drawn, (1 + CONFIDENCE) / 2))
