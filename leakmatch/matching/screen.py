"""The first pass of the join: which pairs may reach a score. It may name pairs too many, and never misses one.

A screen multiplies a block of templates with all probes at once and looks at the products while they are in the
cache. It knows how far its products can be from the cosine at most, and lowers the limit by so much. What it names is
scored again, exactly (:mod:`leakmatch.matching.join`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import DTypeLike

from leakmatch.arrays import Array, FloatArray, LongArray

#: Templates that are one piece of work for a thread, and are read at a time.
PART: Final = 16384

#: Probes of one pass over the gallery, at most.
PASS: Final = 1024

#: Templates and probes that are multiplied at a time, at most: 4 MB of products (4 bytes each), which stay in the
#: cache until they are looked at. Measured on cores with 0.5 and 1 MB of second-level and 32 MB of shared cache: at a
#: quarter of it a fifth of the time goes into calls, at four times as much a quarter into memory. A row of products,
#: one probe with a block of templates, is long enough for numpy to find its largest number at the speed of the cache.
BLOCK: Final = 4096
TILE: Final = 256

_NONE: Final = np.zeros(0, np.int64)
_ROUNDING: Final = 2.0**-24  # of a float32, relative

#: How much longer than 1 a unit vector may be: the tolerance of :class:`leakmatch.records.TemplateBatch`.
_LONGEST: Final = 1.001

#: For the rounding of limits themselves, to float32 or to whole numbers.
SLACK: Final = 1e-6

#: ``map``, or that of a thread pool: how the parts of a gallery are worked on.
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]

#: Index pairs (row of the gallery, probe), int64[K] each.
Pairs = tuple[LongArray, LongArray]


class Rows(Protocol):
    """A matrix float32[N,D] that is not in memory as a whole: parts of it are read when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""

    @property
    def ndim(self) -> int:
        """2."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> FloatArray:
        """The rows of a slice, or of an array int64[K] of row numbers."""


class Screen(Protocol):
    """Names every pair that may be at or above a score."""

    def prepare(self, probes: FloatArray) -> Any:
        """What :meth:`pairs` needs to know of ``probes`` float32[P,D], P at least 1.

        Raises ``ValueError`` where one is not finite or longer than a unit vector.
        """

    def pairs(self, start: int, prepared: Any, score: float) -> Pairs:
        """Pairs (row, probe) of the part of the gallery that begins at row ``start``, without order.

        Every pair whose exact product is at or above ``score`` is among them. Safe to call from several threads.
        """


class FloatScreen:
    """Products in float32, by the BLAS of numpy. ``vectors`` float32[N,D], of which no copy is made.

    The sum of D rounded products of two vectors is off by at most ``D u / (1 - D u)`` times their norms, in whichever
    order it is summed (u = 2^-24; Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
    """

    def __init__(self, vectors: FloatArray) -> None:
        self._vectors = vectors
        for start in range(0, len(vectors), PART):
            norms(vectors[start : start + PART], "vectors")
        self._bound = rounding(vectors.shape[1]) * _LONGEST**2
        self._scratch = Scratch(np.float32)

    def prepare(self, probes: FloatArray) -> FloatArray:
        """The probes as they are, checked by :func:`norms`."""
        norms(probes, "probes")
        return probes

    def pairs(self, start: int, prepared: FloatArray, score: float) -> Pairs:
        """See :class:`Screen`."""
        limits = np.full(len(prepared), score - self._bound - SLACK, np.float32)
        found = []
        for block, tile in tiles(start, len(self._vectors), len(prepared)):
            templates, probes = self._vectors[block], prepared[tile]
            with self._scratch.products(len(probes), len(templates)) as products:
                np.matmul(probes, templates.T, out=products)
                probe, row = at_or_above(products, limits[tile])
            if len(row):
                found.append((row + block.start, probe + tile.start))
        return joined(found)


class Scratch:
    """Memory for blocks of products, kept for the next block: a fresh one costs a page fault for each 4 KB."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._dtype = dtype
        self._idle: deque[Array] = deque()

    @contextmanager
    def products(self, probes: int, templates: int) -> Iterator[Array]:
        """An array [probes,templates] of any content, for this thread alone while the context lasts."""
        try:
            memory = self._idle.pop()
        except IndexError:
            memory = np.empty(BLOCK * TILE, self._dtype)
        yield memory[: probes * templates].reshape(probes, templates)
        self._idle.append(memory)


def tiles(start: int, templates: int, probes: int) -> Iterator[tuple[slice, slice]]:
    """Cut the part that begins at row ``start`` of a gallery of ``templates`` into blocks, and these ``probes`` into
    tiles of about one size: each (block, tile) is a piece of work, tile by tile while the block is in the cache."""
    stop = min(start + PART, templates)
    tile = -(-probes // -(-probes // TILE))
    for row in range(start, stop, BLOCK):
        for probe in range(0, probes, tile):
            yield slice(row, min(row + BLOCK, stop)), slice(probe, min(probe + tile, probes))


def at_or_above(products: Array, limits: Array) -> tuple[LongArray, LongArray]:
    """Index pairs (row, column) of ``products`` number[P,N] at or above the limit of the row, ``limits`` [P].

    A pair is rare. So the largest number of each row comes first, which costs one reading of the block and writes
    nothing; only rows with a hit are compared.
    """
    hit = np.flatnonzero(products.max(axis=1) >= limits)
    if not len(hit):
        return _NONE, _NONE
    place, column = np.nonzero(products[hit] >= limits[hit, None])
    return hit[place], column


def joined(found: list[Pairs]) -> Pairs:
    """The pairs of several blocks as one."""
    if not found:
        return _NONE, _NONE
    rows, probes = zip(*found, strict=True)
    return np.concatenate(rows), np.concatenate(probes)


def norms(vectors: FloatArray, name: str) -> FloatArray:
    """The norm of each row of ``vectors`` float32[N,D]: float32[N], off by at most :func:`rounding`, relative.

    Raises ``ValueError`` unless every row is finite and no longer than a unit vector. A row of zeros is let pass: it
    has no pair.
    """
    lengths: FloatArray = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    if not (lengths <= _LONGEST).all():  # also where one is not a number
        raise ValueError(f"{name}: not finite, or not of unit norm")
    return lengths


def rounding(dimension: int) -> float:
    """How far a sum of ``dimension`` rounded products in float32 can be off, relative to the sum of their sizes."""
    share = (dimension + 1) * _ROUNDING
    return share / (1 - share)
