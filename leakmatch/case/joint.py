"""Several photos of one person in one folder as one piece of evidence: the mathematics of docs/joint.md.

Chance works in two ways at once. Two people are alike by chance, and then all photos of the one resemble the other: how
much so was measured when the model was calibrated (:class:`Resemblance`). And nobody knows how many strangers a folder
shows: the number that makes the evidence weakest is taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.records import LARGEST_CHANCE

#: More pictures than this are not counted: the evidence is beyond doubt, or rests on scores that say little.
MOST: Final = 100

# How alike the photos of one stranger are is taken within these limits: above independence, below identity.
_LEAST_RATIO: Final = 2.0
_HIGHEST: Final = 1 - 1e-9

# The worst number of photos is mostly within so many times the hits; if not, more are tried.
_FACTOR: Final = 16


@dataclass(frozen=True, slots=True)
class Resemblance:
    """How likely another photo of the same stranger reaches a score as well, once one photo did.

    ``logs`` float64[L], rising: natural logarithm of the chance that a pair of two people reaches the score. ``again``
    float64[L]: the upper 95 % limit measured there, made never to fall with the chance.
    """

    logs: NDArray[np.float64]
    again: NDArray[np.float64]

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Resemblance:
        """From ``repeat`` of a calibration: ``chance`` falling, ``high``. Raises ``ValueError`` for anything else."""
        try:
            chances, high = (np.array(record[name], np.float64)[::-1] for name in ("chance", "high"))
        except (KeyError, TypeError) as error:
            raise ValueError(f"no record of how alike photos of one person are: {error}") from error
        if not (chances.ndim == 1 and chances.shape == high.shape and len(chances)):
            raise ValueError("chances and limits are not two rows of one length")
        if not ((chances > 0).all() and (np.diff(chances) > 0).all() and (high >= 0).all() and (high <= 1).all()):
            raise ValueError("chances do not fall, or limits are no probabilities")
        return cls(np.log(chances), np.maximum.accumulate(high))

    def at(self, chance: float) -> float:
        """The probability that belongs to ``chance`` (0, 0.01]: linear in its logarithm, constant beyond the ends."""
        again = float(np.interp(np.log(chance), self.logs, self.again))
        return min(max(again, _LEAST_RATIO * chance), _HIGHEST)


@dataclass(frozen=True, slots=True)
class Joint:
    """What the pictures of one folder say about a person together.

    ``expected_false``: how many people chance alone would give with evidence as strong, in the whole scan.
    ``hits``: how many pictures it rests on; ``chance``: that of the weakest of them. ``photos``: the number of photos
    of each stranger that makes the figure largest, and ``likely``: how likely ``hits`` of them reach the score.
    """

    expected_false: float
    hits: int
    chance: float
    photos: int = 1
    likely: float = 0.0


def together(chances: Sequence[float], pictures: int, pairs: float, resemblance: Resemblance | None) -> Joint:
    """The strongest evidence in the first, the first two, the first three ... of ``chances``, best first.

    ``chances`` (at least one): for each different picture the chance of the person's best score in it. ``pictures``:
    how many pictures of the folder were searched. ``pairs``: comparisons of faces in the whole scan. One picture counts
    as its candidate does, ``chance * pairs``; without ``resemblance`` nothing else is tried.
    """
    ranked = sorted(chances)
    best = Joint(ranked[0] * pairs, 1, ranked[0], 1, ranked[0])
    if resemblance is None:
        return best
    for hits, chance in enumerate(ranked[:MOST], start=1):
        if hits == 1 or not 0 < chance <= LARGEST_CHANCE:
            continue
        likely, photos = worst_case(hits, chance, resemblance.at(chance), max(pictures, len(ranked)))
        figure = price(hits) * pairs / photos * likely
        if figure < best.expected_false:
            best = Joint(figure, hits, chance, photos, likely)
    return best


def price(hits: int) -> int:
    """What trying so many pictures costs: 1 for one, 2 r (r - 1) for r = 2, 3, ...

    Every r is tried and the best is taken. As 1 / (2 r (r - 1)) sums to 1/2 over r = 2, 3, ..., all tries but the first
    together give half as many false people again, however many pictures there are.
    """
    return 1 if hits == 1 else 2 * hits * (hits - 1)


def worst_case(hits: int, chance: float, again: float, pictures: int) -> tuple[float, int]:
    """How likely ``hits`` photos or more of a stranger reach a score, and of how many photos, at the worst.

    The worst number m, of ``hits`` to ``pictures``, is the one with the most such strangers among a given number of
    photos: the largest P(hits or more of m) / m. The number of photos that reach the score is beta-binomial, with the
    mean ``chance`` and with P(another one | one) = ``again`` (Skellam, J. R. Stat. Soc. B 10, 1948):
    alpha = chance s, beta = (1 - chance) s, s = (1 - again) / (again - chance).

    P is the sum of h(m), the probability that photo m is the one that makes it ``hits``: no term is negative, so it is
    exact however small. They rise and then fall, so their mean P / m does too, and its first maximum is the only one.
    """
    s = (1 - again) / (again - chance)
    alpha, beta = chance * s, (1 - chance) * s
    i = np.arange(hits)
    first = float(np.prod((alpha + i) / (alpha + beta + i)))
    size = min(pictures, _FACTOR * hits)
    while True:
        m = np.arange(hits, size, dtype=np.float64)
        ratios = m / (m - hits + 1) * (beta + m - hits) / (alpha + beta + m)
        likely = first * np.cumsum(np.cumprod(np.append(1.0, ratios)))
        best = int(np.argmax(likely / np.arange(hits, size + 1)))
        if best < len(ratios) or size == pictures:
            return float(likely[best]), hits + best
        size = min(pictures, _FACTOR * size)
