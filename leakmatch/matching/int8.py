"""The int8 screen: templates and probes as whole numbers of 8 bits, a quarter of the memory and of the arithmetic.

A template t is stored as codes ``u`` (uint8) with ``t' = s (u - 128)``, one scale ``s`` for a part of the gallery; a
probe p as ``v`` (int8) with ``p' = r v`` and a scale of its own. Their product in whole numbers is exact, and

    <p,t> = <p',t'> + <p - p',t'> + <p,t - t'>

so by Cauchy and Schwarz ``|<p,t> - <p',t'>| <= |p - p'| |t'| + |p| |t - t'|``. All four norms are measured when the
codes are made. A pair at or above a score therefore has

    sum(u v)  >=  (score - bound) / (s r)  +  128 sum(v)

and no pair can be lost. With 127 levels the bound is about 0.02 for templates without outliers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import ByteArray, FloatArray, IntArray
from leakmatch.matching.screen import (
    PART,
    SLACK,
    Each,
    Pairs,
    Rows,
    Scratch,
    at_or_above,
    blocks,
    joined,
    norms,
    rounding,
)
from leakmatch.ort import one_thread, onnxruntime

Codes = NDArray[np.int8]

#: Writes the products of ``codes`` uint8[N,D] and ``probes`` int8[D,P] to ``out`` int32[N,P], all C-contiguous.
Product = Callable[[ByteArray, Codes, IntArray], None]

#: The largest size of a probe's code: all that int8 holds, or what no processor can get wrong. Without VNNI
#: instructions two products are added in 16 bits, and 2 * 255 * 64 is the most that fits there.
LEVELS: Final = (127, 64)

_ZERO: Final = 128  # the code of 0 in a template
_GALLERY_LEVELS: Final = 127
_SMALLEST: Final = 2.0**-100
_LONGEST_SUM: Final = 2**31 // (255 * 127)  # terms that cannot overflow int32


@dataclass(frozen=True, slots=True)
class _Part:
    """What the bound needs to know of one part of the gallery: its scale, and the largest norms in it."""

    scale: float
    norm: float  # of t'
    residual: float  # of t - t'


@dataclass(frozen=True, slots=True)
class _Probes:
    """``codes`` int8[D,P]; scale, sum of codes, norm of p and norm of p - p', float64[P] each."""

    codes: Codes
    scale: NDArray[np.float64]
    total: NDArray[np.float64]
    norm: NDArray[np.float64]
    residual: NDArray[np.float64]


class Int8Screen:
    """Products in whole numbers (see :class:`leakmatch.matching.screen.Screen`): D bytes for each template.

    ``vectors`` float32[N,D] of unit norm are not kept. ``levels``: what :func:`usable_levels` says of
    ``product``. Raises ``ValueError`` for vectors that are not of unit norm.
    """

    def __init__(self, vectors: FloatArray | Rows, product: Product, levels: int = LEVELS[0], each: Each = map) -> None:
        self._product = product
        self._levels = levels
        self._codes: ByteArray = np.empty(vectors.shape, np.uint8)
        self._parts: list[_Part] = list(each(partial(self._encode, vectors), range(0, len(vectors), PART)))
        self._scratch = Scratch(np.int32)

    def _encode(self, vectors: FloatArray | Rows, start: int) -> _Part:
        part = vectors[start : start + PART]
        length = norms(part, "vectors")
        scale = _scale(np.abs(part).max(), _GALLERY_LEVELS)
        levels = np.rint(part / scale)
        np.add(levels, _ZERO, out=self._codes[start : start + PART], casting="unsafe")
        residual = float(_residual(part, levels, scale).max())
        return _Part(float(scale), float(length.max()) * (1 + rounding(part.shape[1])) + residual, residual)

    def prepare(self, probes: FloatArray) -> _Probes:
        """The codes of ``probes`` float32[P,D], and their norms."""
        length = norms(probes, "probes").astype(np.float64) * (1 + rounding(probes.shape[1]))
        scale = _scale(np.abs(probes).max(axis=1, keepdims=True), self._levels)
        levels = np.rint(probes / scale)
        codes = np.ascontiguousarray(levels.T, np.int8)
        total = levels.sum(axis=1, dtype=np.float64)
        return _Probes(codes, scale[:, 0].astype(np.float64), total, length, _residual(probes, levels, scale))

    def pairs(self, start: int, prepared: _Probes, score: float) -> Pairs:
        """See :class:`leakmatch.matching.screen.Screen`."""
        limits = _limits(self._parts[start // PART], prepared, score)
        found = []
        for block in blocks(start, self._codes.shape, len(limits)):
            codes = self._codes[block]
            with self._scratch.products(len(codes), len(limits)) as products:
                self._product(codes, prepared.codes, products)
                rows, probe = at_or_above(products, limits)
            found.append((rows + block.start, probe))
        return joined(found)


def _scale(largest: Any, levels: int) -> Any:
    """float32: the size of one level; 1 where all numbers are 0, or so small that a level could not be told from 0."""
    return np.where(largest > _SMALLEST, largest / np.float32(levels), np.float32(1)).astype(np.float32)


def _residual(vectors: FloatArray, levels: FloatArray, scale: Any) -> NDArray[np.float64]:
    """At least the norm of ``vectors - scale * levels``, for each row: float64[N].

    The difference is taken in float32. That is off by less than 2^-22 of the vector (a rounded product, a rounded
    difference), its norm by :func:`rounding`.
    """
    difference = vectors - levels * scale
    lengths = np.sqrt(np.einsum("ij,ij->i", difference, difference)).astype(np.float64)
    at_least: NDArray[np.float64] = lengths * (1 + rounding(vectors.shape[1])) + 2.0**-21
    return at_least


def _limits(part: _Part, probes: _Probes, score: float) -> IntArray:
    """The least product in whole numbers of a pair at or above ``score``, for each probe: int32[P]."""
    bound = probes.residual * part.norm + probes.norm * part.residual + SLACK
    least = np.floor((score - bound) / (part.scale * probes.scale) + _ZERO * probes.total)
    int32 = np.iinfo(np.int32)
    return least.clip(int32.min, int32.max).astype(np.int32)


def usable_levels(product: Product, dimension: int) -> int:
    """The first of :data:`LEVELS` at which ``product`` is exact for vectors of ``dimension`` numbers; 0 for none."""
    if dimension > _LONGEST_SUM:
        return 0
    return next((levels for levels in LEVELS if _exact(product, dimension, levels)), 0)


def _exact(product: Product, dimension: int, levels: int) -> bool:
    """Whether ``product`` is right for the worst that can come: the largest codes, and codes drawn at random.

    Kernels differ with the number of rows and columns, so blocks of several shapes are tried.
    """
    rng = np.random.default_rng(0)
    for rows, columns in ((1, 1), (7, 19), (64, 33), (301, 70)):
        codes = rng.integers(0, 256, (rows, dimension), np.uint8)
        probes = rng.integers(-levels, levels, (dimension, columns), np.int8, endpoint=True)
        codes[::3], codes[1::3, ::2] = 255, 255
        probes[:, ::3], probes[:, 1::3] = levels, -levels
        probes[::2, 1::6] = levels
        out = np.empty((rows, columns), np.int32)
        product(codes, probes, out)
        if not np.array_equal(out, codes.astype(np.int64) @ probes.astype(np.int64)):
            return False
    return True


def onnxruntime_product() -> Product:
    """The product by onnxruntime's ``MatMulInteger``, on the calling thread; it can be called from several at once.

    The graph, one operator, is the file ``int8_product.onnx``; ``scripts/make_int8_product.py`` writes it.
    """
    graph = resources.files("leakmatch.matching").joinpath("int8_product.onnx").read_bytes()
    session = onnxruntime().InferenceSession(graph, one_thread(), providers=["CPUExecutionProvider"])

    def product(codes: ByteArray, probes: Codes, out: IntArray) -> None:
        binding = session.io_binding()
        for name, array in (("templates", codes), ("probes", probes)):
            binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        binding.bind_output("products", "cpu", 0, np.int32, out.shape, out.ctypes.data)
        session.run_with_iobinding(binding)

    return product
