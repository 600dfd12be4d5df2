"""How rare a score is between two different people: the pack's impostor distribution.

A calibration is a file, ``calibration.json``: for scores in steps from -1 to 1 the number of impostor pairs that
scored at or above, among pairs of photos of different people. Beyond the last hundred pairs counts say little, so
the tail is a straight line in the logarithm of the rate, fitted to the decades before. Impostor tails of cosine
scores bend downwards from such a line, so it errs towards too many expected false candidates.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakmatch.errors import IntegrityError, UsageError, os_error

FORMAT: Final = 1
STEP: Final = 0.0025

#: The counted scores: -1, -0.9975, ... 1.
GRID: Final = np.round(np.arange(-1, 1 + STEP / 2, STEP), 4)

#: The tail begins where fewer than this many pairs are left (then a count is off by a tenth, 1 / sqrt(n)) ...
TAIL_PAIRS: Final = 100
#: ... and is fitted from where a hundred times as many were left.
_FITTED_PAIRS: Final = 100 * TAIL_PAIRS

_DECIMALS: Final = 4  # of scores as they are stored and decided
_SCORES: Final = np.round(np.arange(-(10**_DECIMALS), 10**_DECIMALS + 1) / 10**_DECIMALS, _DECIMALS)


@dataclass(frozen=True, slots=True)
class Tail:
    """Above ``start`` the rate is ``rate * exp(-slope * (score - start))``."""

    start: float
    rate: float
    slope: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The impostor distribution of one model. ``sha256`` (hexadecimal) of its file; ``about`` the data it is from."""

    model_id: str
    sha256: str
    pairs: int
    tail: Tail
    about: dict[str, Any]
    _rates: NDArray[np.float64] = field(repr=False)  # float64[20001], at each score of four decimals

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read ``path``. Raises :class:`UsageError` if there is none, :class:`IntegrityError` if it is damaged."""
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise UsageError(
                f"{path.parent}: this model pack has no {path.name}, so how many false candidates a score brings "
                "cannot be estimated. Give --threshold, a raw score, instead."
            ) from error
        except OSError as error:
            raise os_error(error, path) from error
        try:
            return cls._parse(json.loads(content), hashlib.sha256(content).hexdigest())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{path}: not a calibration of this version of LeakMatch ({error}).") from error

    @classmethod
    def _parse(cls, body: dict[str, Any], sha256: str) -> Calibration:
        if body["format"] != FORMAT or body["step"] != STEP:
            raise ValueError(f"format {body['format']}, step {body['step']}")
        counts = np.array(body["at_or_above"], np.int64)
        tail = Tail(**{key: float(value) for key, value in body["tail"].items()})
        if len(counts) != len(GRID) or (np.diff(counts) > 0).any() or counts[-1] < 0 or counts[0] < _FITTED_PAIRS:
            raise ValueError("its counts are not a falling row over all scores")
        if not (0 < tail.rate <= 1 and tail.slope > 0 and -1 < tail.start <= 1):
            raise ValueError("its tail does not fall")
        return cls(str(body["model_id"]), sha256, int(counts[0]), tail, dict(body["data"]), _rates(counts, tail))

    def fmr(self, scores: ArrayLike) -> NDArray[np.float64]:
        """The share of impostor pairs at or above each score: float64 in (0, 1], never rising with the score.

        Between the counted scores it is interpolated in the logarithm. Scores are taken at four decimals.
        """
        index = np.rint((np.asarray(scores, np.float64) + 1) * 10**_DECIMALS)
        rates: NDArray[np.float64] = self._rates[index.clip(0, len(_SCORES) - 1).astype(np.int64)]
        return rates

    def threshold(self, fmr: float) -> float:
        """The lowest score of four decimals whose rate is at most ``fmr``; 1.0001, which no score reaches, if none
        is rare enough. -1 for ``fmr`` of 1 and more."""
        if fmr <= 0:
            raise ValueError("no score has a false match rate of 0")
        rare = self._rates <= fmr
        return float(_SCORES[np.argmax(rare)]) if rare.any() else 1 + 10**-_DECIMALS

    def extrapolated(self, score: float) -> bool:
        """Whether the rate at ``score`` lies beyond the data, on the fitted tail."""
        return score > self.tail.start

    def describe(self) -> dict[str, Any]:
        """What a run record says about it: the data it was made from, and its digest."""
        return {**self.about, "dataset": self.about.get("name"), "pairs": self.pairs, "sha256": self.sha256}


def count_at_or_above(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many of ``scores`` are at or above each score of :data:`GRID`: int64[801]."""
    # A cosine that misses a grid score by rounding alone belongs to it.
    step = np.floor((scores.astype(np.float64) + 1) / STEP + 1e-6).astype(np.int64).clip(0, len(GRID) - 1)
    counts: NDArray[np.int64] = np.bincount(step, minlength=len(GRID))[::-1].cumsum()[::-1]
    return counts


def fit_tail(counts: NDArray[np.int64]) -> Tail:
    """The tail of ``counts`` int64[801] at or above each score of :data:`GRID`.

    It starts at the last score with :data:`TAIL_PAIRS` pairs left, at their rate. The slope is that of the
    least-squares line through ln(rate) from a hundred times as many pairs on. Raises :class:`UsageError` for fewer
    than 10,000 pairs, or scores that are all alike.
    """
    if counts[0] < _FITTED_PAIRS:
        raise UsageError(f"{counts[0]:,} impostor pairs are too few for a calibration; {_FITTED_PAIRS:,} are needed.")
    fitted = np.flatnonzero((counts >= TAIL_PAIRS) & (counts <= _FITTED_PAIRS))
    if len(fitted) < 2:
        raise UsageError("The impostor scores are all alike: no tail can be fitted to them.")
    slope = -np.polyfit(GRID[fitted], np.log(counts[fitted]), 1)[0]
    start = fitted[-1]
    return Tail(float(GRID[start]), float(counts[start] / counts[0]), round(float(slope), 3))


def write_calibration(
    path: Path, model_id: str, detector_sha256: str, counts: NDArray[np.int64], data: dict[str, Any]
) -> None:
    """Write ``path`` from ``counts`` int64[801] and a description of the ``data``. The same input, the same bytes."""
    tail = fit_tail(counts)
    body = {
        "format": FORMAT,
        "model_id": model_id,
        "detector_sha256": detector_sha256,
        "data": data,
        "tail": {"start": tail.start, "rate": tail.rate, "slope": tail.slope},
        "step": STEP,
        "at_or_above": [int(count) for count in counts],
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in body.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _rates(counts: NDArray[np.int64], tail: Tail) -> NDArray[np.float64]:
    """The rate at each score of four decimals: float64[20001], never rising."""
    counted = tail.start >= GRID
    observed = np.interp(_SCORES, GRID[counted], np.log(counts[counted] / counts[0]))
    line = np.log(tail.rate) - tail.slope * (_SCORES - tail.start)
    return np.exp(np.minimum.accumulate(np.where(tail.start < _SCORES, line, observed)))
