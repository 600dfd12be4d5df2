"""Gray pictures of a few pixels, as Pillow makes them, by matrix products over whole batches.

Pillow's ``convert("L")`` and 8-bit Lanczos ``resize`` are defined in integers, so they can be computed in another way
and stay exact to the last bit:

- Luma: ``(19595 R + 38470 G + 7471 B + 32768) >> 16`` (``L24`` and ``rgb2l`` in Pillow's ``Convert.c``). Every part of
  that sum is an integer below 2**24, which float32 holds exactly.
- Resize (``Resample.c``): weights rounded to 22-bit integers; all rows first (:func:`rows_first`), rounded and clipped
  to 0 to 255, then the columns likewise. A pass is a product with a matrix that has few weights in a row. The rows,
  where the work is, are multiplied in float32. Its error has a bound, and a sum so near to a rounding border that the
  error could matter is taken again in float64, where sums of 8-bit pixels times 22-bit weights are exact. The columns
  are float64 at once.

Weights of each side length are kept for the next picture of that size. The tests hold this equal to Pillow, and so a
Pillow that resizes in another way would be noticed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Final

import cv2
import numpy as np

from leakmatch.arrays import Array, ByteArray, FloatArray, LongArray

#: Bits after the point of a weight.
WEIGHT_BITS: Final = 22
_ONE: Final = 1 << WEIGHT_BITS
_LOBES: Final = 3

# Float64 arithmetic in another order, or another sine, moves a weight by some 1e-9 of a unit; nearer to a rounding
# border than this it is taken again in Pillow's own order.
_DOUBT: Final = 1e-6

_LUMA: Final = np.array([[7471, 38470, 19595, 32768 - 128 * 65536]], np.float32) / 65536  # of B, G, R; and 1/2 - 128
_LUMA_PIXELS: Final = 1 << 14  # as float32 triples they fit the second-level cache
_SLAB_PIXELS: Final = 1 << 16  # gray pixels that go through one matrix product, for they fit the cache,
_SLAB_ROWS: Final = 256  # but no fewer rows than make it efficient
_PIECE: Final = 250  # about so many pixels of a row go through one matrix product
_UNIT_ROUNDOFF: Final = 2.0**-24

# Longer sides would make large matrices for pictures that hardly occur.
_LONGEST_SIDE: Final = 1 << 14


def rows_first(width: int, height: int, sizes: Sequence[tuple[int, int]]) -> bool:
    """Whether every Pillow reduces a picture to all of ``sizes`` (width, height) rows first, as is done here.

    Since version 13 it begins with the columns where the height loses more than twice as many pixels as the width, and
    with pictures narrower than what they become; the two orders round differently. Sides past 16,384 are refused, too.
    """
    if max(width, height) > _LONGEST_SIDE:
        return False
    return all(height - high <= 2 * (width - broad) for broad, high in sizes)


def lanczos_weights(size: int, side: int) -> LongArray:
    """The weights, times 2**22, by which ``size`` pixels make ``side`` of them: int64[side,size].

    Bit for bit those of Pillow; :func:`naive_lanczos_weights` is the readable reference.
    """
    scale = size / side
    stretch = max(scale, 1.0)
    support = _LOBES * stretch
    center = (np.arange(side) + 0.5) * scale
    first = np.maximum(0, (center - support + 0.5).astype(np.int64))
    last = np.minimum(size, (center + support + 0.5).astype(np.int64))
    index = first[:, None] + np.arange(int((last - first).max()))
    x = (index - center[:, None] + 0.5) * (1.0 / stretch)
    with np.errstate(invalid="ignore"):
        value = np.where((x >= -_LOBES) & (x < _LOBES), np.sinc(x) * np.sinc(x / _LOBES), 0.0)
    value[index >= last[:, None]] = 0.0
    exact = value / value.sum(axis=1, keepdims=True) * _ONE
    weights = np.zeros((side, size + index.shape[1]), np.int64)  # room for the places past the last pixel
    np.put_along_axis(weights, index, np.rint(exact).astype(np.int64), axis=1)
    for row in np.flatnonzero((np.abs(np.abs(exact - np.rint(exact)) - 0.5) < _DOUBT).any(axis=1)):
        weights[row, :size] = naive_lanczos_weights(size, side, int(row))
    return weights[:, :size]


def naive_lanczos_weights(size: int, side: int, row: int) -> list[int]:
    """Row ``row`` of :func:`lanczos_weights`, in the order of ``precompute_coeffs`` in Pillow's ``Resample.c``."""
    scale = size / side
    stretch = max(scale, 1.0)
    support = _LOBES * stretch
    center = (row + 0.5) * scale
    first, last = max(0, int(center - support + 0.5)), min(size, int(center + support + 0.5))
    values = [_lanczos((x - center + 0.5) * (1.0 / stretch)) for x in range(first, last)]
    total = 0.0
    for value in values:
        total += value
    weights = [0] * size
    for x, value in enumerate(values, first):
        share = value / total
        weights[x] = int(share * _ONE - 0.5) if share < 0 else int(share * _ONE + 0.5)
    return weights


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / _LOBES) if -_LOBES <= x < _LOBES else 0.0


def _sinc(x: float) -> float:
    return 1.0 if x == 0.0 else math.sin(x * math.pi) / (x * math.pi)


def luma(bgr: ByteArray, out: FloatArray) -> None:
    """Pillow's gray of ``bgr`` uint8[H,W,3], less 128, into ``out`` float32[H,W]: whole numbers -128 to 127."""
    height, width = bgr.shape[:2]
    step = min(height, max(1, _LUMA_PIXELS // width))
    scratch = np.empty((step, width, 3), np.float32)
    for top in range(0, height, step):
        part = out[top : top + step]
        values = scratch[: len(part)]
        np.copyto(values, bgr[top : top + step])
        cv2.transform(values, _LUMA, dst=part)
        np.floor(part, out=part)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Neighbouring pixels ``start`` to ``stop`` of a row, and ``weights`` float32[K,stop-start] with which they go
    into the ``outputs`` int64[K] that they reach; ``None`` where they reach all."""

    start: int
    stop: int
    outputs: LongArray | None
    weights: FloatArray


class Rows:
    """The first pass for rows of ``width`` pixels: each becomes ``sides`` (several numbers of) pixels.

    ``places``: for each of ``sides``, then for each of them in a mirrored picture, where its pixels stand in a row of
    the result. Weights are nearly always the same from the left and from the right, and such pixels are shared.
    """

    def __init__(self, width: int, sides: Sequence[int], mirrored: bool) -> None:
        distinct: dict[bytes, int] = {}
        rows: list[LongArray] = []
        self.places: list[slice | LongArray] = []
        tables = [lanczos_weights(width, side) for side in sides]
        for table in [*tables, *(table[:, ::-1] for table in tables)] if mirrored else tables:
            place = []
            for row in table:
                key = row.tobytes()
                if key not in distinct:
                    distinct[key] = len(rows)
                    rows.append(row)
                place.append(distinct[key])
            self.places.append(_as_slice(place))
        weights = np.array(rows)
        self.count = len(weights)
        bounds = np.linspace(0, width, max(1, round(width / _PIECE)) + 1).astype(int)
        self._pieces = [_piece(weights, int(a), int(b)) for a, b in pairwise(bounds)]
        taps = np.count_nonzero(weights, axis=1)
        self._weights = (weights / _ONE).astype(np.float32)
        # Gray is less 128, and the weights of an output are off from 1 in all by what their rounding left.
        self._bias = weights.sum(axis=1) * 128 / _ONE
        self._shift = (self._bias - 128).astype(np.float32)[:, None]
        # A sum of n products is off by at most about n unit roundoffs of the sum of their magnitudes, in any order.
        terms = np.minimum(taps, int(np.diff(bounds).max())) + len(self._pieces) + 4
        largest = 128 * np.abs(weights).sum(axis=1) / _ONE + 1
        self._sure = (0.5 - terms * _UNIT_ROUNDOFF * largest).astype(np.float32)[:, None]

    def __call__(self, gray: FloatArray) -> FloatArray:
        """``gray`` float32[R,width] of whole numbers -128 to 127; float32[count,R], the same less 128, not clipped."""
        sums = self._sums(gray)
        sums += self._shift
        made = np.rint(sums)
        sums -= made
        doubtful = np.flatnonzero(np.abs(sums, out=sums) > self._sure)
        if len(doubtful):
            output, row = np.divmod(doubtful, len(gray))
            made[output, row] = self._exact(gray, output, row)
        return made

    def _sums(self, gray: FloatArray) -> FloatArray:
        if len(self._pieces) == 1:
            alone: FloatArray = np.matmul(self._pieces[0].weights, gray.T)
            return alone
        sums = np.zeros((self.count, len(gray)), np.float32)
        for piece in self._pieces:
            part = piece.weights @ gray[:, piece.start : piece.stop].T
            if piece.outputs is None:
                sums += part
            else:
                sums[piece.outputs] += part
        return sums

    def _exact(self, gray: FloatArray, output: LongArray, row: LongArray) -> Array:
        made = np.empty(len(row))
        step = max(1, _SLAB_PIXELS // gray.shape[1])
        for begin in range(0, len(row), step):
            some = slice(begin, begin + step)
            weights = self._weights[output[some]].astype(np.float64)
            sums = np.einsum("ij,ij->i", gray[row[some]].astype(np.float64), weights)
            made[some] = np.floor(sums + (self._bias[output[some]] + 0.5)) - 128
        return made


def _as_slice(places: list[int]) -> slice | LongArray:
    """Neighbouring places, forwards or backwards, as a slice: it copies nothing."""
    steps = set(np.diff(places).tolist())
    if steps == {1}:
        return slice(places[0], places[-1] + 1)
    if steps == {-1}:
        return slice(places[0], places[-1] - 1 if places[-1] else None, -1)
    return np.array(places)


def _piece(weights: LongArray, start: int, stop: int) -> _Piece:
    table = weights[:, start:stop]
    outputs = np.flatnonzero(table.any(axis=1))
    share = (table[outputs] / _ONE).astype(np.float32)
    return _Piece(start, stop, None if len(outputs) == len(weights) else outputs, share)


@lru_cache(maxsize=16)
def _rows(width: int, sides: tuple[int, ...], mirrored: bool) -> Rows:
    return Rows(width, sides, mirrored)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The second pass: ``weights`` float64[height,K] of all outputs, of each side at its ``places``; what is added to
    the sums for the 128 that the gray lacks, and to round: ``bias`` float64[K]."""

    weights: Array
    bias: Array
    places: tuple[slice, ...]


@lru_cache(maxsize=16)
def _columns(height: int, sides: tuple[int, ...]) -> _Columns:
    weights = np.concatenate([lanczos_weights(height, side) for side in sides])
    ends = np.cumsum(sides).tolist()
    places = tuple(slice(end - side, end) for side, end in zip(sides, ends, strict=True))
    bias = (128 * weights.sum(axis=1) + _ONE // 2) / _ONE
    return _Columns(np.ascontiguousarray(weights.T / _ONE), bias, places)


def thumbnails(images: Sequence[ByteArray], sizes: Sequence[tuple[int, int]], mirrored: bool) -> list[Array]:
    """Gray pictures of each of ``sizes`` (width, height), then, with ``mirrored``, those of the mirrored pictures.

    ``images``: one or more uint8[H,W,3] BGR, all of one size that :func:`rows_first` admits. Each result is
    float64[width,N,height] of whole numbers 0 to 255, columns first: ``[x, i, y]`` is a pixel of picture i.
    """
    height, width = images[0].shape[:2]
    rows = _rows(width, tuple(size[0] for size in sizes), mirrored)
    columns = _columns(height, tuple(size[1] for size in sizes))
    made = _first_pass(images, rows)
    sums = made.reshape(-1, height).astype(np.float64) @ columns.weights
    sums += columns.bias
    np.floor(sums, out=sums)
    np.minimum(np.maximum(sums, 0, out=sums), 255, out=sums)
    pixels = sums.reshape(rows.count, len(images), -1)
    return [
        pixels[place][:, :, columns.places[i % len(sizes)]]  # the mirrored ones follow, in the same order
        for i, place in enumerate(rows.places)
    ]


def _first_pass(images: Sequence[ByteArray], rows: Rows) -> FloatArray:
    """float32[rows.count,N*H]: every row of every image, less 128, clipped."""
    height, width = images[0].shape[:2]
    made = np.empty((rows.count, len(images) * height), np.float32)
    lines = max(_SLAB_ROWS, _SLAB_PIXELS // width)
    together = max(1, lines // height)
    gray = np.empty((min(max(lines, height), len(images) * height), width), np.float32)
    for i in range(0, len(images), together):
        batch = images[i : i + together]
        tall = batch[0] if len(batch) == 1 else np.concatenate(batch)
        for top in range(0, len(tall), lines):
            part = tall[top : top + lines]
            luma(part, gray[: len(part)])
            at = i * height + top
            made[:, at : at + len(part)] = rows(gray[: len(part)])
    np.minimum(np.maximum(made, -128, out=made), 127, out=made)
    return made
