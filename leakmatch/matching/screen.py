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

#: Templates that are one piece of work for a thread, and share a scale in the int8 screen.
PART: Final = 16384

#: Probes of one pass over the gallery, at most.
PASS: Final = 1024

#: Products of one block, and numbers of the templates that go into it, at most: 4 MB of products (4 bytes each).
#: Measured on cores with 1 MB of second-level and 32 MB of shared cache: at a quarter of it a fifth of the time goes
#: into calls, at four times as much a quarter into memory.
BLOCK: Final = 1 << 20
TEMPLATES: Final = 1 << 22

#: Numbers that numpy compares in one inner loop when it looks for the largest product of each probe. Its loop over
#: rows is slow, so short rows are laid side by side.
_ROW: Final = 2048

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
        for block in blocks(start, self._vectors.shape, len(prepared)):
            templates = self._vectors[block]
            with self._scratch.products(len(templates), len(prepared)) as products:
                np.matmul(templates, prepared.T, out=products)
                rows, probe = at_or_above(products, limits)
            found.append((rows + block.start, probe))
        return joined(found)


class Scratch:
    """Memory for blocks of products, kept for the next block: a fresh one costs a page fault for each 4 KB."""

    def __init__(self, dtype: DTypeLike) -> None:
        self._dtype = dtype
        self._idle: deque[Array] = deque()

    @contextmanager
    def products(self, rows: int, columns: int) -> Iterator[Array]:
        """An array [rows,columns] of any content, for this thread alone while the context lasts."""
        try:
            memory = self._idle.pop()
        except IndexError:
            memory = np.empty(BLOCK, self._dtype)
        yield memory[: rows * columns].reshape(rows, columns)
        self._idle.append(memory)


def blocks(start: int, shape: tuple[int, ...], probes: int) -> Iterator[slice]:
    """Cut the part that begins at row ``start`` of a gallery [N,D] of this ``shape`` into blocks for so many probes."""
    count, dimension = shape
    stop = min(start + PART, count)
    rows = max(1, min(BLOCK // probes, TEMPLATES // dimension))
    rows = min(1 << rows.bit_length() - 1, PART)  # a power of two, so that blocks of a part are alike
    for first in range(start, stop, rows):
        yield slice(first, min(first + rows, stop))


def at_or_above(products: Array, limits: Array) -> Pairs:
    """Index pairs (row, column) of ``products`` number[N,P] at or above the limit of the column, ``limits`` [P].

    A pair is rare. So rows are laid side by side until a row is long, and the largest number of each long column comes
    first: that costs one reading of the block and writes nothing. Only long columns with a hit are compared.
    """
    rows, columns = products.shape
    fold = max(1, _ROW // columns)
    whole = rows - rows % fold
    folded = products[:whole].reshape(whole // fold, fold * columns)
    tiled = np.tile(limits, fold)
    hit = np.flatnonzero(folded.max(axis=0) >= tiled) if whole else _NONE
    if 8 * len(hit) > len(tiled):
        row, column = np.nonzero(products[:whole] >= limits)
    else:
        long_row, place = np.nonzero(folded[:, hit] >= tiled[hit])
        row, column = long_row * fold + hit[place] // columns, hit[place] % columns
    tail_row, tail_column = np.nonzero(products[whole:] >= limits)
    return np.concatenate((row, tail_row + whole)), np.concatenate((column, tail_column))


def joined(found: list[Pairs]) -> Pairs:
    """The pairs of several blocks as one."""
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
