"""How rare a score is between two different people, and how sure that is: the impostor distribution of a model.

A calibration is a JSON object: the file ``calibration.json`` of a pack, made from labelled photos of other people, or
one that a gallery holds, made from its own people. For scores in steps from -1 to 1 it has the share of impostor pairs
at or above, with a 95 % interval: counted in the body, by an extreme-value law in the tail
(:mod:`leakmatch.matching.tail`). The mathematics is in docs/decisions.md.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakmatch.errors import IntegrityError, UsageError, os_error
from leakmatch.matching.impostors import GRID, STEP, Impostors, Repeat
from leakmatch.matching.join import DECIMALS
from leakmatch.matching.normalisation import Normalisation
from leakmatch.matching.tail import Tail, fit_tail

FORMAT: Final = 2

#: Fewer pairs than this (about a hundred people) say too little about rare scores.
LEAST_PAIRS: Final = 5_000

_COMMON: Final = 1e-2  # a rate at which two calibrations are compared: both have counted it often
_SEED: Final = 20_261_126
_SCORES: Final = np.round(np.arange(-(10**DECIMALS), 10**DECIMALS + 1) / 10**DECIMALS, DECIMALS)

_Rates = NDArray[np.float64]  # [20001], at each score of four decimals


@dataclass(frozen=True, slots=True)
class Calibration:
    """The impostor distribution of one model. ``sha256`` (hexadecimal) of its file; ``about`` the data it is from.

    ``pairs``: how many pairs of photos of two people it rests on. ``normalisation``: what templates go through before
    they are compared; ``None`` where they are compared as they are. ``repeat``: see
    :class:`~leakmatch.matching.impostors.Repeat`, as JSON values.
    """

    model_id: str
    sha256: str
    pairs: int
    tail: Tail
    normalisation: Normalisation | None
    repeat: dict[str, Any] | None
    about: dict[str, Any]
    _rates: _Rates = field(repr=False)
    _low: _Rates = field(repr=False)
    _high: _Rates = field(repr=False)

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
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: bytes, where: str) -> Calibration:
        """From the bytes of a calibration. Raises :class:`IntegrityError`, naming ``where``, if it is damaged."""
        try:
            return cls._of(json.loads(content), hashlib.sha256(content).hexdigest())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IntegrityError(f"{where}: not a calibration of this version of LeakMatch ({error}).") from error

    @classmethod
    def _of(cls, body: dict[str, Any], sha256: str) -> Calibration:
        if body["format"] != FORMAT or body["step"] != STEP:
            raise ValueError(f"format {body['format']}, step {body['step']}")
        curves = [np.array(body[name], np.float64) for name in ("rates", "low", "high")]
        for curve in curves:
            if curve.shape != GRID.shape or (np.diff(curve) > 0).any() or not (curve[-1] > 0 and curve[0] <= 1):
                raise ValueError("its rates are not a falling row over all scores")
        tail = Tail(**{name: float(value) for name, value in body["tail"].items()})
        if not (0 < tail.rate <= 1 and tail.scale > 0 and -1 < tail.start <= 1 and np.isfinite(tail.shape)):
            raise ValueError("its tail does not fall")
        normalisation = body["normalisation"]
        return cls(
            str(body["model_id"]),
            sha256,
            int(body["pairs"]),
            tail,
            None if normalisation is None else Normalisation.from_json(normalisation),
            body["repeat"],
            dict(body["data"]),
            *(_at_every_score(curve) for curve in curves),
        )

    def fmr(self, scores: ArrayLike) -> NDArray[np.float64]:
        """The share of impostor pairs at or above each score: float64 in (0, 1], never rising with the score.

        Between the steps it is interpolated in the logarithm. Scores are taken at four decimals.
        """
        return self._rates[_index(scores)]

    def interval(self, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The lower and upper 95 % limit of :meth:`fmr`."""
        index = _index(scores)
        return self._low[index], self._high[index]

    def threshold(self, fmr: float) -> float:
        """The lowest score of four decimals whose rate is at most ``fmr``; 1.0001, which no score reaches, if none
        is rare enough. -1 for ``fmr`` of 1 and more."""
        if fmr <= 0:
            raise ValueError("no score has a false match rate of 0")
        return _lowest(self._rates, fmr)

    def threshold_interval(self, fmr: float) -> tuple[float, float]:
        """The 95 % limits of :meth:`threshold`: the scores at which those of the rate come down to ``fmr``."""
        return _lowest(self._low, fmr), _lowest(self._high, fmr)

    @property
    def resolution(self) -> float:
        """The rarest rate that the data shows: one pair of all. A rate below it is extrapolated."""
        return 1 / self.pairs

    def or_stricter(self, other: Calibration) -> Calibration:
        """This one; or, where the people of ``other`` are clearly more alike, at each score the larger of both rates.

        Clearly: at the score that one pair in a hundred reaches here, the lower limit there is above it. What chance
        alone makes a little stricter counts for nothing. The pairs are then those of ``other``, and whatever is rarer
        than one of them is extrapolated; how templates are compared is of this one. ``other`` is of the same model.
        """
        if other.model_id != self.model_id:
            raise ValueError("calibrations of two models")
        if other.interval(self.threshold(_COMMON))[0] <= _COMMON:
            return replace(self, about={**self.about, "gallery": other.describe()})
        digest = hashlib.sha256(f"{self.sha256} {other.sha256}".encode()).hexdigest()
        about = {**other.about, "pack": self.describe()}
        curves = (
            np.maximum(a, b)
            for a, b in ((self._rates, other._rates), (self._low, other._low), (self._high, other._high))
        )
        return Calibration(
            self.model_id, digest, other.pairs, other.tail, self.normalisation, self.repeat, about, *curves
        )

    def describe(self) -> dict[str, Any]:
        """What a run record says about it: the data it was made from, and its digest."""
        return {
            **self.about,
            "dataset": self.about.get("name"),
            "pairs": self.pairs,
            "repeat": self.repeat,
            "sha256": self.sha256,
        }


def make_calibration(
    model_id: str,
    impostors: Impostors,
    data: dict[str, Any],
    normalisation: Normalisation | None = None,
    shape: float | None = None,
    *,
    repeat: bool = False,
) -> bytes:
    """The bytes of a calibration; the same input, the same bytes.

    ``data`` describes where ``impostors`` are from. ``normalisation``: what their templates went through. ``shape``: of
    the tail, as a larger sample has it. ``repeat``: whether people have several probes, so that it can be measured.
    Raises :class:`UsageError` for too few pairs, or scores that are all alike.
    """
    pairs = int(impostors.counts[0]) // 2  # each pair of photos was compared from both sides
    if pairs < LEAST_PAIRS:
        raise UsageError(f"{pairs:,} impostor pairs are too few for a calibration; {LEAST_PAIRS:,} are needed.")
    once = np.ones(impostors.people)
    rates = impostors.rates(once, shape)
    low, high = impostors.interval(_SEED, shape)
    tail = fit_tail(impostors.score, once[impostors.probe], impostors.pairs(once), shape)
    body = {
        "format": FORMAT,
        "model_id": model_id,
        "data": data,
        "pairs": pairs,
        "tail": {name: float(f"{getattr(tail, name):.6g}") for name in ("start", "rate", "scale", "shape")},
        "repeat": Repeat.of(impostors, rates, _SEED).to_json() if repeat else None,
        "step": STEP,
        "rates": _written(rates),
        "low": _written(np.minimum(low, rates)),
        "high": _written(np.maximum(high, rates)),
        "normalisation": None if normalisation is None else normalisation.to_json(),
    }
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in body.items()]
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _written(rates: NDArray[np.float64]) -> list[float]:
    return [float(f"{rate:.4g}") for rate in rates]


def _at_every_score(curve: NDArray[np.float64]) -> _Rates:
    rates: _Rates = np.minimum.accumulate(np.exp(np.interp(_SCORES, GRID, np.log(curve))))
    return rates


def _lowest(rates: _Rates, fmr: float) -> float:
    rare = rates <= fmr
    return float(_SCORES[np.argmax(rare)]) if rare.any() else 1 + 10**-DECIMALS


def _index(scores: ArrayLike) -> NDArray[np.int64]:
    index = np.rint((np.asarray(scores, np.float64) + 1) * 10**DECIMALS)
    return index.clip(0, len(_SCORES) - 1).astype(np.int64)
