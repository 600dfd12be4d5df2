"""Templates made comparable: centred on the mean face, and with the directions in which one person varies held down.

Within-class covariance normalisation, as in Hatch, Kajarekar & Stolcke, "Within-class covariance normalization for
SVM-based speaker recognition" (Interspeech 2006), regularised and taken half as far, so that what was learned on one
set of photos does little harm on another. Mean and covariance are statistics of the calibration's photos; a pack without
a calibration is compared without it. Scores stay cosines.
"""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Normalisation:
    """``mean`` float64[D] of the calibration's people and ``within`` float64[D,D], their mean covariance within one.

    Raises ``ValueError`` where the shapes do not fit or ``within`` is no covariance.
    """

    mean: NDArray[np.float64]
    within: NDArray[np.float64]
    _matrix: NDArray[np.float64]

    @classmethod
    def of(cls, mean: NDArray[np.float64], within: NDArray[np.float64]) -> Normalisation:
        """From the two statistics."""
        dimension = len(mean)
        if mean.shape != (dimension,) or within.shape != (dimension, dimension):
            raise ValueError("mean and covariance are of other dimensions")
        if not (np.isfinite(mean).all() and np.isfinite(within).all() and np.allclose(within, within.T)):
            raise ValueError("the covariance within a person is not symmetric")
        even = np.trace(within) / dimension
        values, axes = np.linalg.eigh((1 - SHRINKAGE) * within + SHRINKAGE * even * np.eye(dimension))
        if values[0] <= 0:
            raise ValueError("the covariance within a person is not positive")
        return cls(mean, within, (axes * values**-POWER) @ axes.T)

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
        return cls.of(mean.round(_DECIMALS), (within / freedom).round(_DECIMALS + 2))

    def apply(self, vectors: FloatArray) -> FloatArray:
        """Templates float32[N,D] of unit norm (N may be 0), normalised and of unit norm again."""
        return unit((vectors.astype(np.float64) - self.mean) @ self._matrix)

    def to_json(self) -> dict[str, Any]:
        """As JSON values: of the covariance the lower triangle, by rows."""
        rows, columns = np.tril_indices(len(self.mean))
        return {"mean": self.mean.tolist(), "within": self.within[rows, columns].tolist()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Normalisation:
        """From :meth:`to_json`. Raises ``ValueError`` or ``KeyError`` for anything else."""
        mean = np.array(value["mean"], np.float64)
        lower = np.zeros((len(mean), len(mean)))
        rows, columns = np.tril_indices(len(mean))
        lower[rows, columns] = value["within"]
        return cls.of(mean, lower + np.tril(lower, -1).T)


def unit(vectors: NDArray[np.float64]) -> FloatArray:
    """Rows at unit norm, as float32; a row without a direction becomes zero, which scores 0 with everything."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: FloatArray = np.where(norms > 1e-9, vectors / np.maximum(norms, 1e-9), 0.0).astype(np.float32)
    return scaled
