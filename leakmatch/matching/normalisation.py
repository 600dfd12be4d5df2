"""Templates made comparable: centred on the mean face, and with the directions in which one person varies held down.

Within-class covariance normalisation, as in Hatch, Kajarekar & Stolcke, "Within-class covariance normalization for
SVM-based speaker recognition" (Interspeech 2006), regularised and taken half as far, so that what was learned on one
set of photos does little harm on another. Mean and covariance are statistics of the calibration's photos; a pack
without a calibration is compared without it. Scores stay cosines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import FloatArray

#: How much of the covariance is replaced by an even one, and the power of its inverse that is applied; chosen on halves
#: of the people of `lfw_dev`, learned on one and measured on the other (docs/decisions.md). A power of 0.5 would make
#: the variation within a person even in all directions.
SHRINKAGE: Final = 0.5
POWER: Final = 0.25

_DECIMALS: Final = 6  # of the statistics as they are written

# How the shortening is measured: on people with so many photos, at the score that this share of strangers reaches,
# where at least so many people are.
_SEVERAL: Final = 4
_RARE: Final = 1e-3
_LEAST_PEOPLE: Final = 30


@dataclass(frozen=True, slots=True)
class Normalisation:
    """``mean`` float64[D] of the calibration's people and ``within`` float64[D,D], their mean covariance within one.

    ``shortening``: the mean of many photos has shed what varies between them, and strangers, too, come nearer to it
    than to one photo. So the mean of k photos is given the length ``1 - shortening * (1 - 1/k)``, and a score means the
    same however many photos are behind it.
    """

    mean: NDArray[np.float64]
    within: NDArray[np.float64]
    shortening: float
    _matrix: NDArray[np.float64]

    @classmethod
    def of(cls, mean: NDArray[np.float64], within: NDArray[np.float64], shortening: float = 0.0) -> Normalisation:
        """From the statistics. Raises ``ValueError`` where their shapes do not fit, or they are none."""
        dimension = len(mean)
        if mean.shape != (dimension,) or within.shape != (dimension, dimension):
            raise ValueError("mean and covariance are of other dimensions")
        if not (np.isfinite(mean).all() and np.isfinite(within).all() and np.allclose(within, within.T)):
            raise ValueError("the covariance within a person is not symmetric")
        if not 0 <= shortening < 1:
            raise ValueError(f"a shortening of {shortening}")
        even = np.trace(within) / dimension
        values, axes = np.linalg.eigh((1 - SHRINKAGE) * within + SHRINKAGE * even * np.eye(dimension))
        if values[0] <= 0:
            raise ValueError("the covariance within a person is not positive")
        return cls(mean, within, shortening, (axes * values**-POWER) @ axes.T)

    @classmethod
    def learn(cls, vectors: FloatArray, people: NDArray[np.int64]) -> Normalisation:
        """From templates float32[N,D] of unit norm and the person int64[N] of each. Every person counts the same.

        Raises ``ValueError`` where nobody has two templates.
        """
        order = np.argsort(people, kind="stable")
        starts = np.flatnonzero(np.diff(people[order], prepend=people[order[0]] - 1))
        mean, within, freedom = np.zeros(vectors.shape[1]), np.zeros((vectors.shape[1],) * 2), 0.0
        for mine in np.split(vectors[order].astype(np.float64), starts[1:]):
            centre = mine.mean(axis=0)
            mean += centre / len(starts)
            within += (mine - centre).T @ (mine - centre) / len(mine)
            freedom += (len(mine) - 1) / len(mine)
        if not freedom:
            raise ValueError("nobody has two photos, so how much one person varies is not known")
        plain = cls.of(mean.round(_DECIMALS), (within / freedom).round(_DECIMALS + 2))
        return replace(plain, shortening=_shortening(plain.apply(vectors), people))

    def apply(self, vectors: FloatArray) -> FloatArray:
        """Templates float32[N,D] of unit norm (N may be 0), normalised and of unit norm again."""
        return unit((vectors.astype(np.float64) - self.mean) @ self._matrix)

    def mean_template(self, sums: NDArray[np.float64], counts: NDArray[np.int64]) -> FloatArray:
        """Templates float32[S,D] of people, from the ``sums`` float64[S,D] of ``counts`` int64[S] normalised ones
        each."""
        length = 1 - self.shortening * (1 - 1 / counts)
        return (unit(sums) * length[:, None]).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """As JSON values: of the covariance the lower triangle, by rows."""
        rows, columns = np.tril_indices(len(self.mean))
        within = self.within[rows, columns].tolist()
        return {"shortening": self.shortening, "mean": self.mean.tolist(), "within": within}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Normalisation:
        """From :meth:`to_json`. Raises ``ValueError`` or ``KeyError`` for anything else."""
        mean = np.array(value["mean"], np.float64)
        lower = np.zeros((len(mean), len(mean)))
        rows, columns = np.tril_indices(len(mean))
        lower[rows, columns] = value["within"]
        return cls.of(mean, lower + np.tril(lower, -1).T, float(value["shortening"]))


def _shortening(vectors: FloatArray, people: NDArray[np.int64]) -> float:
    """How much nearer strangers are to the mean of a person's photos than to one: 1 - (rare score of one) / (of
    many)."""
    order = np.argsort(people, kind="stable")
    first = np.flatnonzero(np.diff(people[order], prepend=people[order[0]] - 1))
    counts = np.diff(first, append=len(people))
    chosen = first[counts >= _SEVERAL]
    if len(chosen) < _LEAST_PEOPLE:
        return 0.0
    photos = vectors[order][chosen[:, None] + np.arange(_SEVERAL)]
    probes = vectors[order][first]
    strangers = people[order][chosen][:, None] != people[order][first]
    many = unit(photos.sum(axis=1, dtype=np.float64)) @ probes.T
    one = np.stack([photos[:, k] @ probes.T for k in range(_SEVERAL)], axis=1)
    rare_one = np.quantile(one.transpose(0, 2, 1)[strangers], 1 - _RARE)
    rare_many = np.quantile(many[strangers], 1 - _RARE)
    return round(max(0.0, float(1 - rare_one / rare_many)) / (1 - 1 / _SEVERAL), 4)


def unit(vectors: NDArray[np.float64]) -> FloatArray:
    """Rows at unit norm, as float32; a row without a direction becomes zero, which scores 0 with everything."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatArray = np.where(norms > 1e-9, vectors / np.maximum(norms, 1e-9), 0.0).astype(np.float32)
    return scaled
