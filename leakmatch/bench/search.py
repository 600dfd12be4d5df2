"""How fast probes are joined with a gallery: the plan chosen for this machine, beside faiss and the machine's limits.

Both sides do the same work on one thread: of all pairs of a probe and a template they name each one whose score counts
as the threshold or more, and the two lists must be equal. faiss does so with ``IndexFlatIP.range_search``, once as it
comes and once with its BLAS path forced, where it would not take that by itself. Both read the same array of templates.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Final

import numpy as np

from leakmatch.arrays import FloatArray, LongArray
from leakmatch.bench.alone import alone, answer, arguments
from leakmatch.bench.figures import Figure
from leakmatch.bench.generated import unit_vectors
from leakmatch.bench.limits import Limits, better, limits
from leakmatch.matching.join import DECIMALS, TemplateIndex
from leakmatch.matching.plan import Plan

OURS: Final = "LeakMatch"
AS_IT_COMES: Final = "faiss as it comes"
BLAS: Final = "faiss, BLAS forced"

#: How near to where a score begins to count a pair must be for the sides to differ about it: float32's own rounding.
AMBIGUOUS: Final = 1e-6

_UNIT: Final = "M pairs/s"
_SGEMM: Final = "sgemm, as many multiply-adds; int8 may pass it"

_ROUNDS: Final = 3
_SECONDS: Final = 0.05  # a measurement takes at least so long, by repeating
_PART: Final = 100_000

#: The threshold in standard deviations of the score of two random vectors: some hundred pairs of a thousand million
#: pass it by chance.
_DEVIATIONS: Final = 5.2


@dataclass(frozen=True, slots=True)
class Race:
    """``probes`` against the whole gallery: seconds of each side (medians), and the pairs that all sides named."""

    probes: int
    threshold: float
    pairs: int
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Found:
    """What :func:`compare` found. ``open_seconds``: to make the index, with the trial for the plan."""

    templates: int
    dimension: int
    plan: Plan
    open_seconds: float
    races: tuple[Race, ...]

    def pairs_per_second(self, race: Race, side: str) -> float:
        """Pairs compared a second."""
        return self.templates * race.probes / race.seconds[side]


def run(templates: int = 1_000_000, dimension: int = 128, probes: Sequence[int] = (64, 1024)) -> list[Figure]:
    """Pairs a second of each side for each number of ``probes`` (at least 1) against ``templates`` (at least 1).

    Raises ``RuntimeError`` where the sides name different pairs.
    """
    before = limits(1)
    found = compare(templates, dimension, probes)
    limit = better(before, limits(1))
    figures = []
    for race in found.races:
        figures += [_figure(found, race, side, limit) for side in race.seconds]
        figures += [_times(race, side) for side in race.seconds if side != OURS]
        figures.append(_read(found, race, limit))
    return figures


def _figure(found: Found, race: Race, side: str, limit: Limits) -> Figure:
    detail: dict[str, Any] = {"probes": race.probes, "threshold": race.threshold, "pairs_found": race.pairs}
    if side == OURS:
        detail |= {"note": said(found.plan), "plan": asdict(found.plan), "open_seconds": found.open_seconds}
    rate, bound = found.pairs_per_second(race, side), limit.sgemm / found.dimension
    return Figure(f"{side}, {race.probes} probes", 1e-6 * rate, _UNIT, 1e-6 * bound, _SGEMM, detail)


def _times(race: Race, side: str) -> Figure:
    return Figure(f"{OURS} / {side}", race.seconds[side] / race.seconds[OURS], "times", detail={"probes": race.probes})


def _read(found: Found, race: Race, limit: Limits) -> Figure:
    """Every template is read once for all probes of a pass."""
    size = (1 if found.plan.levels else 4) * found.dimension
    rate = limit.read / size * min(race.probes, found.plan.probes)
    detail = {"bytes_per_template": size, "read_gb_per_s": 1e-9 * limit.read}
    return Figure(f"as fast as memory, {race.probes} probes", 1e-6 * rate, _UNIT, detail=detail)


def said(plan: Plan) -> str:
    """The plan and its reason, in one line."""
    how = f"{plan.screen} of {plan.levels} levels" if plan.levels else plan.screen
    trial = ", ".join(f"{name} {1e-6 * rate:,.0f}" for name, rate in plan.rates)
    return f"Plan: {how}, because {plan.reason}{f' (million pairs/s: {trial})' if trial else ''}."


def compare(
    templates: int,
    dimension: int,
    probes: Sequence[int],
    *,
    rounds: int = _ROUNDS,
    as_it_comes: bool = True,
    reference: bool = False,
) -> Found:
    """Race the sides in a process of its own: only so are faiss and the BLAS of numpy sure to keep to one thread.

    ``as_it_comes``: race that side, too, where faiss would not take BLAS by itself. ``reference``: hold the pairs also
    to a float64 product of all templates. Raises ``RuntimeError`` where pairs differ by more than :data:`AMBIGUOUS`.
    """
    asked = (templates, dimension, list(probes), rounds, as_it_comes, reference)
    found = alone("leakmatch.bench.search", *asked)
    plan = found.pop("plan")
    plan["rates"] = tuple((name, rate) for name, rate in plan["rates"])
    return Found(plan=Plan(**plan), races=tuple(Race(**race) for race in found.pop("races")), **found)


def _compare(
    templates: int, dimension: int, probes: Sequence[int], rounds: int, as_it_comes: bool, reference: bool
) -> Found:
    import faiss

    faiss.omp_set_num_threads(1)
    flat = faiss.IndexFlatIP(dimension)
    for start in range(0, templates, _PART):
        flat.add(unit_vectors(min(_PART, templates - start), dimension, seed=start))
    vectors: FloatArray = faiss.rev_swig_ptr(flat.get_xb(), templates * dimension).reshape(templates, dimension)
    began = time.perf_counter()
    index = TemplateIndex(vectors, np.arange(templates, dtype=np.int64))
    opened = time.perf_counter() - began
    own = faiss.cvar.distance_compute_blas_threshold
    races = []
    for count in probes:
        limit = {BLAS: 1}
        if as_it_comes and count * dimension < own:  # from there on it takes BLAS by itself
            limit[AS_IT_COMES] = own
        races.append(_race(faiss, flat, index, vectors, count, rounds, limit, reference))
    return Found(templates, dimension, index.plan, opened, tuple(races))


def _race(
    faiss: Any,
    flat: Any,
    index: TemplateIndex,
    vectors: FloatArray,
    count: int,
    rounds: int,
    blas_from: dict[str, int],
    reference: bool,
) -> Race:
    """``blas_from``: by side of faiss, from which number of probes times numbers on it takes BLAS."""
    probes = _probes(vectors, count)
    threshold = round(_DEVIATIONS / vectors.shape[1] ** 0.5, DECIMALS)
    begins = threshold - 0.5 * 10**-DECIMALS  # a score is rounded before it is decided

    def ours() -> LongArray:
        found = index.join(probes, threshold)
        return found.probe_index.astype(np.int64) * len(vectors) + found.enrolment_id

    def theirs(limit: int) -> LongArray:
        faiss.cvar.distance_compute_blas_threshold = limit
        ends, _, rows = flat.range_search(probes, begins)
        named: LongArray = np.repeat(np.arange(count), np.diff(ends.astype(np.int64))) * len(vectors) + rows
        return named

    sides: dict[str, Callable[[], LongArray]] = {OURS: ours}
    sides |= {name: lambda limit=limit: theirs(limit) for name, limit in blas_from.items()}  # type: ignore[misc]
    found = {name: side() for name, side in sides.items()}
    if reference:
        found["float64"] = float64_pairs(probes, vectors, begins)
    for name, pairs in found.items():
        _hold_equal(probes, vectors, begins, found[OURS], pairs, name)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            seconds[name].append(_seconds(side))
    return Race(count, threshold, len(found[OURS]), {name: median(taken) for name, taken in seconds.items()})


def _probes(vectors: FloatArray, count: int) -> FloatArray:
    """float32[count,D] of unit norm: random ones, each other drawn towards a template, to a cosine from 0 to 1."""
    probes = unit_vectors(count, vectors.shape[1], seed=len(vectors) + 1)
    enrolled = vectors[np.linspace(0, len(vectors) - 1, len(probes[1::2])).astype(np.int64)]
    cosine = np.linspace(0, 1, len(enrolled), dtype=np.float32)[:, None]
    probes[1::2] = cosine * enrolled + np.sqrt(1 - cosine**2) * probes[1::2]
    probes /= np.linalg.norm(probes, axis=1, keepdims=True)
    return probes


def float64_pairs(probes: FloatArray, vectors: FloatArray, begins: float) -> LongArray:
    """The reference: probe times N plus row of each pair whose product in float64 is at or above ``begins``."""
    found = [np.zeros(0, np.int64)]
    exact = probes.astype(np.float64)
    for start in range(0, len(vectors), 8192):
        probe, row = np.nonzero(exact @ vectors[start : start + 8192].T.astype(np.float64) >= begins)
        found.append(probe * len(vectors) + row + start)
    return np.concatenate(found)


def _hold_equal(
    probes: FloatArray, vectors: FloatArray, begins: float, ours: LongArray, other: LongArray, name: str
) -> None:
    differ = np.setxor1d(ours, other)
    probe, row = np.divmod(differ, len(vectors))
    scores = (probes[probe].astype(np.float64) * vectors[row].astype(np.float64)).sum(axis=1)
    wrong = np.abs(scores - begins) > AMBIGUOUS
    if wrong.any():
        raise RuntimeError(f"{int(wrong.sum())} pairs are named by LeakMatch alone, or by {name} alone.")


def _seconds(side: Callable[[], Any]) -> float:
    began, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - began < _SECONDS:
        side()
        calls += 1
    return (time.perf_counter() - began) / calls


if __name__ == "__main__":
    answer(asdict(_compare(*arguments())))
