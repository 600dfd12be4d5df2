"""The upper tail of the impostor scores: a generalised Pareto distribution over a high threshold.

Peaks over threshold (Pickands 1975; Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001, ch. 4):
whatever the distribution, what exceeds a high threshold is nearly of this family. Its two parameters are estimated by
probability-weighted moments (Hosking & Wallis, Technometrics 29, 1987), which need no search and give little weight to
a single outlier, such as a person whom the data knows under two names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakmatch.errors import UsageError

#: The tail begins at this rate. In held-out halves of `lfw_dev` the figures from here on are as good as from 1e-4,
#: where the parameters scatter four times as much (docs/decisions.md).
START_RATE: Final = 1e-3
#: ... or higher, where that would leave fewer exceedances than this, but no higher than ``HIGHEST_RATE``.
EXCEEDANCES: Final = 500
HIGHEST_RATE: Final = 2e-2

#: A negative shape gives the scores an end, past which the rate would be 0: no finite sample shows that.
LEAST_RATE: Final = 1e-18
_EXPONENTIAL: Final = 1e-6  # shapes nearer to 0 than this


@dataclass(frozen=True, slots=True)
class Tail:
    """Above ``start`` the share of impostor pairs at or above a score s is ``rate * (1 + shape * x) ** (-1 / shape)``,
    where x is ``(s - start) / scale``; with a shape of 0, ``rate * exp(-x)``.
    """

    start: float
    rate: float
    scale: float
    shape: float

    def rates(self, scores: ArrayLike) -> NDArray[np.float64]:
        """The rate float64[N] at ``scores`` from :attr:`start` on; at least :data:`LEAST_RATE`."""
        beyond = np.maximum((np.asarray(scores, np.float64) - self.start) / self.scale, 0)
        if abs(self.shape) < _EXPONENTIAL:
            falling = np.exp(-beyond)
        else:
            falling = np.maximum(1 + self.shape * beyond, 0) ** (-1 / self.shape)
        rates: NDArray[np.float64] = np.maximum(self.rate * falling, LEAST_RATE)
        return rates


def start_rate(pairs: float) -> float:
    """The rate at which the tail of so many pairs begins."""
    return float(np.clip(EXCEEDANCES / pairs, START_RATE, HIGHEST_RATE))


def fit_tail(
    scores: NDArray[np.float64], weights: NDArray[np.float64], pairs: float, shape: float | None = None
) -> Tail:
    """The tail of the highest ``scores`` float64[K], each counted ``weights`` float64[K] times, of ``pairs`` in all.

    ``scores`` must reach down to :func:`start_rate`. ``shape``: as another, larger sample has it; then only the scale
    is estimated. Raises :class:`UsageError` where the scores are all alike.
    """
    if not len(scores):
        raise UsageError("The impostor scores are all alike: no tail can be fitted to them.")
    order = np.argsort(-scores, kind="stable")
    above = np.cumsum(weights[order]) / pairs
    last = min(int(np.searchsorted(above, start_rate(pairs))), len(order) - 1)
    start = float(scores[order[last]])
    keep = scores > start
    rate = float(weights[keep].sum() / pairs)
    if not rate:
        raise UsageError("The impostor scores are all alike: no tail can be fitted to them.")
    scale, fitted = pareto(scores[keep] - start, weights[keep], shape)
    return Tail(start, rate, scale, fitted)


def pareto(
    excess: NDArray[np.float64], weights: NDArray[np.float64], shape: float | None = None
) -> tuple[float, float]:
    """Scale and shape of the generalised Pareto distribution of ``excess`` float64[K] > 0 with ``weights`` float64[K].

    With a0 = E[x] and a1 = E[x (1 - F(x))]: scale = 2 a0 a1 / (a0 - 2 a1), shape = 2 - a0 / (a0 - 2 a1). With the
    ``shape`` given, scale = a0 (1 - shape), the mean of the distribution solved for it.
    """
    order = np.argsort(excess, kind="stable")
    x, share = excess[order], weights[order] / weights.sum()
    mean = float(share @ x)
    if shape is not None:
        return mean * (1 - shape), shape
    middle = np.cumsum(share) - share / 2  # the plotting position of each
    second = float(share @ (x * (1 - middle)))
    spread = mean - 2 * second
    if spread <= 0:
        raise UsageError("The impostor scores above the threshold are all alike: no tail can be fitted to them.")
    return 2 * mean * second / spread, 2 - mean / spread
