"""Templates for tests, from kind to nasty, and the pairs that a float64 product says are there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import ByteArray, FloatArray, IntArray
from leakmatch.matching.int8 import Multiply

KINDS = ("gaussian", "heavy tails", "one large number", "few numbers", "tiny spread", "with zeros")


def unit(rng: np.random.Generator, count: int, dimension: int, kind: str = "gaussian") -> FloatArray:
    """float32[count,dimension] of unit norm (``with zeros``: some rows are all zero)."""
    vectors = rng.normal(size=(count, dimension))
    if kind == "heavy tails":
        vectors = rng.standard_t(2, size=(count, dimension))
    elif kind == "one large number":
        vectors[::3, 0] = 1e4
    elif kind == "few numbers":
        vectors = np.where(rng.random((count, dimension)) < 0.9, 0, vectors)
        vectors[:, -1] += 1e-3
    elif kind == "tiny spread":
        vectors = 1 + 1e-4 * vectors
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    if kind == "with zeros":
        vectors[::4] = 0
    return vectors.astype(np.float32)


def at_cosine(rng: np.random.Generator, probe: FloatArray, cosines: NDArray[np.float64]) -> FloatArray:
    """float32[len(cosines),D]: vectors of about these cosines with ``probe`` float32[D]."""
    other = rng.normal(size=(len(cosines), len(probe)))
    other -= (other @ probe)[:, None] * probe / np.dot(probe, probe)
    other /= np.linalg.norm(other, axis=1, keepdims=True)
    return (cosines[:, None] * probe + np.sqrt(1 - cosines**2)[:, None] * other).astype(np.float32)


def float64_cosines(probes: FloatArray, vectors: FloatArray) -> NDArray[np.float64]:
    """float64[P,N]."""
    return np.asarray(probes.astype(np.float64) @ vectors.astype(np.float64).T)


def exact_product(codes: NDArray[np.int8], zero: int) -> Multiply:
    """What every processor should do, and those with VNNI do. In float64, which holds whole numbers up to 2^53."""
    right = codes.astype(np.float64).T

    def multiply(probes: ByteArray, out: IntArray) -> None:
        out[:] = (probes.astype(np.float64) - zero) @ right

    return multiply


def saturating_product(codes: NDArray[np.int8], zero: int) -> Multiply:
    """What VPMADDUBSW does on processors without VNNI: two products are added in 16 bits, which saturate."""
    right = np.pad(codes, ((0, 0), (0, codes.shape[1] % 2))).astype(np.int32)

    def multiply(probes: ByteArray, out: IntArray) -> None:
        left = np.pad(probes, ((0, 0), (0, probes.shape[1] % 2))).astype(np.int32)
        for column, template in enumerate(right):
            terms = left * template
            pairs = terms[:, 0::2] + terms[:, 1::2]
            out[:, column] = pairs.clip(-(2**15), 2**15 - 1).sum(axis=1) - zero * template.sum()

    return multiply
