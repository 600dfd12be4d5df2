"""Which screen a gallery is searched with: int8 where it is right and faster on this machine, else float32."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

import numpy as np

from leakmatch.arrays import FloatArray
from leakmatch.matching.int8 import Int8Screen, Product, onnxruntime_product, usable_levels
from leakmatch.matching.screen import BLOCK, PART, PASS, TILE, Each, FloatScreen, Rows, Screen

#: From so many templates on int8 is considered. Below, a search of 64 probes takes some 10 ms in float32, and to load
#: onnxruntime and to try both takes more than a whole scan can win back.
INT8_FROM: Final = 50_000

_TRIAL_PROBES: Final = 64
_TRIALS: Final = 3
_NOBODY: Final = 2.0  # a score that no pair reaches


@dataclass(frozen=True, slots=True)
class Plan:
    """How a gallery is searched, and why so. ``levels`` of a probe's code, 0 for float32.

    ``part`` templates are one piece of work; ``block`` of them are multiplied with ``tile`` probes at a time;
    ``probes`` at most are compared in one pass. ``rates`` are the pairs a second of one thread in the trial, by
    screen; empty without a trial.
    """

    screen: str
    levels: int
    reason: str
    rates: tuple[tuple[str, float], ...] = ()
    part: int = PART
    block: int = BLOCK
    tile: int = TILE
    probes: int = PASS

    @classmethod
    def choose(cls, vectors: FloatArray | Rows, product: Product | None = None) -> Plan:
        """The plan for ``vectors`` float32[N,D]. ``product`` stands in for onnxruntime's.

        Takes some 50 ms for a large gallery: it holds the int8 product to numpy's on the worst values, then times both
        screens on one part of the gallery.
        """
        if len(vectors) < INT8_FROM:
            return cls("float32", 0, f"fewer than {INT8_FROM:,} templates")
        product = product or onnxruntime_product()
        levels = usable_levels(product, vectors.shape[1])
        if not levels:
            return cls("float32", 0, "the int8 product failed its self-test on this processor")
        sample = np.ascontiguousarray(vectors[:PART])
        rates = {
            "int8": _rate(Int8Screen(sample, product, levels), sample),
            "float32": _rate(FloatScreen(sample), sample),
        }
        best = max(rates, key=lambda name: rates[name])
        return cls(best, levels if best == "int8" else 0, "the faster of both in a trial", tuple(rates.items()))

    def build(self, vectors: FloatArray | Rows, each: Each = map) -> Screen:
        """The screen over ``vectors`` float32[N,D]. Raises ``ValueError`` for vectors that are not of unit norm."""
        if self.screen == "int8":
            return Int8Screen(vectors, onnxruntime_product(), self.levels, each)
        return FloatScreen(vectors[:])


def _rate(screen: Screen, vectors: FloatArray) -> float:
    """Pairs a second with the first templates as probes: the best of some trials, for others only disturb."""
    probes = vectors[:_TRIAL_PROBES]
    seconds = []
    for _ in range(_TRIALS):
        began = time.perf_counter()
        screen.pairs(0, screen.prepare(probes), _NOBODY)
        seconds.append(time.perf_counter() - began)
    return len(probes) * len(vectors) / min(seconds)
