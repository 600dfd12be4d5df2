"""What the machine can do at most, measured in the run whose figures it stands beside.

A fast core is judged against these: no float32 network runs faster than its multiplications do as one bare matrix
product, and no search of vectors in memory faster than they can be read.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np

from leakmatch.bench.alone import alone, answer, arguments

#: Sides of the square matrices: large enough for the peak on all processors tried, 5 to 10 ms of one core each.
_SIDES: Final = (512, 768, 1024)
_READ_BYTES: Final = 256 << 20  # past every cache
_SECONDS: Final = 0.4


@dataclass(frozen=True, slots=True)
class Limits:
    """Of ``threads`` threads together: float32 multiply-adds a second, and bytes read from memory a second."""

    threads: int
    sgemm: float
    read: float


def limits(threads: int = 1, seconds: float = _SECONDS) -> Limits:
    """The limits of this machine, measured in a process of its own: only so is the BLAS sure to keep to one thread."""
    return Limits(**alone("leakmatch.bench.limits", threads, seconds))


def better(a: Limits, b: Limits) -> Limits:
    """A limit is what nothing disturbed: the better of what was found before and after."""
    return Limits(a.threads, max(a.sgemm, b.sgemm), max(a.read, b.read))


def sgemm_rate(threads: int = 1, seconds: float = _SECONDS) -> float:
    """Multiply-adds a second of numpy's float32 matrix product, ``threads`` of them side by side.

    The best of a few sizes over ``seconds`` each: a limit is what the machine can do when nothing disturbs it. The
    process must have :data:`~leakmatch.offered.ONE_THREAD` in its environment.
    """
    return max(_gemm_rate(side, threads, seconds) for side in _SIDES)


def read_rate(threads: int = 1, seconds: float = _SECONDS) -> float:
    """Bytes a second that ``threads`` can read from memory: the sum of a block that fits into no cache."""
    blocks = [np.zeros(_READ_BYTES // threads // 8, np.uint64) + 1 for _ in range(threads)]

    def read(number: int) -> None:
        blocks[number].sum()

    return _best_rate(read, threads, seconds) * blocks[0].nbytes


def _gemm_rate(side: int, threads: int, seconds: float) -> float:
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((side, side), np.float32) for _ in range(2))
    results = [np.empty((side, side), np.float32) for _ in range(threads)]

    def multiply(number: int) -> None:
        np.matmul(a, b, out=results[number])

    return _best_rate(multiply, threads, seconds) * side**3


def _best_rate(work: Callable[[int], None], threads: int, seconds: float) -> float:
    """Calls of ``work`` a second, all threads together; each is counted at its own fastest call."""

    def fastest(number: int) -> float:
        work(number)
        best, end = float("inf"), time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            work(number)
            best = min(best, time.perf_counter() - began)
        return best

    if threads == 1:
        return 1 / fastest(0)
    with ThreadPoolExecutor(threads) as pool:
        return sum(1 / taken for taken in pool.map(fastest, range(threads)))


if __name__ == "__main__":
    _threads, _each = arguments()
    answer(asdict(Limits(_threads, sgemm_rate(_threads, _each), read_rate(_threads, _each))))
