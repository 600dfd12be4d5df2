"""The int8 screen: templates and probes as whole numbers of 8 bits, a quarter of the memory and of the arithmetic.

A template t is stored as codes ``v`` (int8) with ``t' = s v``, one scale ``s`` for a block of the gallery; a probe p as
codes ``u`` (uint8, less a zero ``z``) with ``p' = r (u - z)`` and a scale of its own. Their product in whole numbers is
exact, and

    <p,t> = <p',t'> + <p - p',t'> + <p,t - t'>

so by Cauchy and Schwarz ``|<p,t> - <p',t'>| <= |p - p'| |t'| + |p| |t - t'|``. All four norms are measured when the
codes are made. A pair at or above a score therefore has

    sum((u - z) v)  >=  (score - bound) / (s r)

and no pair can be lost. With 127 levels the bound is about 0.02 for templates without outliers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import ByteArray, FloatArray, IntArray
from leakmatch.matching.screen import (
    BLOCK,
    PART,
    SLACK,
    Each,
    Pairs,
    Rows,
    Scratch,
    at_or_above,
    joined,
    norms,
    rounding,
    tiles,
)
from leakmatch.ort import one_thread, onnxruntime, release

Codes = NDArray[np.int8]

#: Writes the products of ``probes`` uint8[P,D], less the zero, with a block of N templates to ``out`` int32[P,N]. Both
#: are C-contiguous. Safe to call from several threads.
Multiply = Callable[[ByteArray, IntArray], None]

#: Takes in the codes of a block of templates, int8[N,D], and the zero of the probes that will come: 0 to 255.
Product = Callable[[Codes, int], Multiply]

#: The largest size of a probe's code, and its zero: all that uint8 holds, or what no processor can get wrong. Without
#: VNNI instructions two products are added in 16 bits, and 2 * 128 * 127 fits there.
LEVELS: Final = (127, 64)

_GALLERY_LEVELS: Final = 127
_RELEASE: Final = 16  # parts after which memory is given back: each time takes longer than the time before
_SMALLEST: Final = 2.0**-100
_LONGEST_SUM: Final = 2**31 // (255 * 128)  # terms that cannot overflow int32


@dataclass(frozen=True, slots=True)
class _Block:
    """Some templates, taken in, and what the bound needs to know of them: their scale, and the largest norms."""

    multiply: Multiply
    scale: float
    norm: float  # of t'
    residual: float  # of t - t'


@dataclass(frozen=True, slots=True)
class _Probes:
    """``codes`` uint8[P,D]; scale, norm of p and norm of p - p', float64[P] each."""

    codes: ByteArray
    scale: NDArray[np.float64]
    norm: NDArray[np.float64]
    residual: NDArray[np.float64]


class Int8Screen:
    """Products in whole numbers (see :class:`leakmatch.matching.screen.Screen`): D bytes for each template.

    ``vectors`` float32[N,D] of unit norm are not kept. ``levels``: what :func:`usable_levels` says of
    ``product``. Raises ``ValueError`` for vectors that are not of unit norm.
    """

    def __init__(self, vectors: FloatArray | Rows, product: Product, levels: int = LEVELS[0], each: Each = map) -> None:
        self._levels = levels
        self._count = len(vectors)
        parts = each(partial(self._taken_in, vectors, product), range(0, len(vectors), PART))
        self._blocks: list[_Block] = []
        for number, blocks in enumerate(parts, 1):
            self._blocks += blocks
            if not number % _RELEASE:
                release()
        self._scratch = Scratch(np.int32)

    def _taken_in(self, vectors: FloatArray | Rows, product: Product, start: int) -> list[_Block]:
        part = vectors[start : start + PART]
        return [self._block(part[row : row + BLOCK], product) for row in range(0, len(part), BLOCK)]

    def _block(self, vectors: FloatArray, product: Product) -> _Block:
        length = norms(vectors, "vectors")
        scale = _scale(np.abs(vectors).max(), _GALLERY_LEVELS)
        levels = np.rint(vectors / scale)
        residual = float(_residual(vectors, levels, scale).max())
        norm = float(length.max()) * (1 + rounding(vectors.shape[1])) + residual
        return _Block(product(levels.astype(np.int8), self._levels), float(scale), norm, residual)

    def prepare(self, probes: FloatArray) -> _Probes:
        """The codes of ``probes`` float32[P,D], and their norms."""
        length = norms(probes, "probes").astype(np.float64) * (1 + rounding(probes.shape[1]))
        scale = _scale(np.abs(probes).max(axis=1, keepdims=True), self._levels)
        levels = np.rint(probes / scale)
        codes = np.ascontiguousarray(levels + self._levels, np.uint8)
        return _Probes(codes, scale[:, 0].astype(np.float64), length, _residual(probes, levels, scale))

    def pairs(self, start: int, prepared: _Probes, score: float) -> Pairs:
        """See :class:`leakmatch.matching.screen.Screen`."""
        found = []
        for rows, tile in tiles(start, self._count, len(prepared.codes)):
            block = self._blocks[rows.start // BLOCK]
            if not tile.start:
                limits = _limits(block, prepared, score)
            probes = prepared.codes[tile]
            with self._scratch.products(len(probes), rows.stop - rows.start) as products:
                block.multiply(probes, products)
                probe, row = at_or_above(products, limits[tile])
            if len(row):
                found.append((row + rows.start, probe + tile.start))
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


def _limits(block: _Block, probes: _Probes, score: float) -> IntArray:
    """The least product in whole numbers of a pair at or above ``score``, for each probe: int32[P]."""
    bound = probes.residual * block.norm + probes.norm * block.residual + SLACK
    least = np.floor((score - bound) / (block.scale * probes.scale))
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
    for rows, columns in ((1, 1), (19, 7), (33, 64), (70, 301)):
        probes = rng.integers(0, 2 * levels, (rows, dimension), np.uint8, endpoint=True)
        codes = rng.integers(-_GALLERY_LEVELS, _GALLERY_LEVELS, (columns, dimension), np.int8, endpoint=True)
        probes[::3], probes[1::3, ::2] = 2 * levels, 2 * levels
        codes[::3], codes[1::3] = _GALLERY_LEVELS, -_GALLERY_LEVELS
        codes[1::6, ::2] = _GALLERY_LEVELS
        out = np.empty((rows, columns), np.int32)
        product(codes, levels)(probes, out)
        if not np.array_equal(out, (probes.astype(np.int64) - levels) @ codes.astype(np.int64).T):
            return False
    return True


def onnxruntime_product() -> Product:
    """The product by onnxruntime's ``MatMulInteger``, on the calling thread.

    Each block is a graph of one operator, and its codes are a constant of it: onnxruntime then lays them out for the
    processor once, not at each call. With few probes that laying out took longer than the product itself.
    """
    ort = onnxruntime()
    options = one_thread()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # nothing to gain in one operator
    options.enable_cpu_mem_arena = False  # it would keep what is only needed while the codes are laid out

    def product(codes: Codes, zero: int) -> Multiply:
        session = ort.InferenceSession(_graph(codes, zero), options, providers=["CPUExecutionProvider"])
        session._model_bytes = None  # a second copy of the codes, kept to make the session anew should a device fail

        def multiply(probes: ByteArray, out: IntArray) -> None:
            binding = session.io_binding()
            binding.bind_input("probes", "cpu", 0, np.uint8, probes.shape, probes.ctypes.data)
            binding.bind_output("products", "cpu", 0, np.int32, out.shape, out.ctypes.data)
            session.run_with_iobinding(binding)

        return multiply

    return product


def _graph(codes: Codes, zero: int) -> bytes:
    """An ONNX file: ``probes`` uint8[P,D], less ``zero``, times the transpose of ``codes`` int8[N,D]. Operator set 10
    is where MatMulInteger came in; any newer runtime reads this."""
    from onnx import TensorProto, helper  # some 0.1 s, and not needed for a small gallery

    count, dimension = codes.shape
    constants = [
        helper.make_tensor("templates", TensorProto.INT8, [dimension, count], codes.T.tobytes(), raw=True),
        helper.make_tensor("zero", TensorProto.UINT8, [], bytes([zero]), raw=True),
    ]
    inputs = [helper.make_tensor_value_info("probes", TensorProto.UINT8, ["p", dimension])]
    outputs = [helper.make_tensor_value_info("products", TensorProto.INT32, ["p", count])]
    node = helper.make_node("MatMulInteger", ["probes", "templates", "zero"], ["products"])
    graph = helper.make_graph([node], "int8_product", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=5)
    content: bytes = model.SerializeToString()
    return content
