"""Templates of people with many photos each: groups that an approximate search can tell apart."""

from __future__ import annotations

import numpy as np

from leakmatch.arrays import FloatArray


def groups(rng: np.random.Generator, people: int, photos: int, dimension: int = 128) -> tuple[FloatArray, FloatArray]:
    """Templates float32[people*photos,D], and new photos of the same people float32[people,D]; scores are about 0.7."""
    person = _unit(rng.standard_normal((people, dimension)))
    taken = np.repeat(person, photos + 1, axis=0)
    each = _unit(np.sqrt(0.7) * taken + np.sqrt(0.3) * _unit(rng.standard_normal(taken.shape)))
    new = np.arange(len(each)) % (photos + 1) == photos
    return each[~new].astype(np.float32), each[new].astype(np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
