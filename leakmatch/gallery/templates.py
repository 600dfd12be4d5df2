"""The gallery's templates as a matrix that stays in the file, and is read by parts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from leakmatch.arrays import FloatArray, LongArray
from leakmatch.errors import IntegrityError

if TYPE_CHECKING:
    from leakmatch.database import Database

#: Templates that are read at a time where all are wanted: 33 MB at 512 numbers each.
PART: Final = 16384

#: How far the norm of a stored template may be from 1.
NORM_TOLERANCE: Final = 1e-3


class StoredTemplates:
    """A matrix float32[N,D] of unit rows, by enrolment id: ``enrolment_id`` int64[N], ascending.

    ``rows[a:b]`` and ``rows[numbers]`` read from the file, so that memory does not grow with the gallery by more than
    8 bytes a template. Both raise :class:`IntegrityError` where a template is gone, or is no unit vector of D numbers.
    Keep the gallery from being changed meanwhile (``Gallery.open(..., steady=True)``).
    """

    dtype: np.dtype[Any] = np.dtype(np.float32)
    ndim: int = 2

    def __init__(self, database: Database, dimension: int) -> None:
        self._database = database
        # Each enrolled photo has a template; to ask the templates for their numbers would read all of them.
        query = "SELECT photo FROM photos WHERE refusal = '' ORDER BY photo"
        self.enrolment_id: LongArray = np.fromiter((photo for (photo,) in database.select(query)), np.int64)
        self.shape: tuple[int, ...] = (len(self.enrolment_id), dimension)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | LongArray) -> FloatArray:
        photos = self.enrolment_id[rows]
        if isinstance(rows, slice):
            if not len(photos):
                return self._matrix([], 0)
            between = (int(photos[0]), int(photos[-1]))
            query = "SELECT vector FROM templates WHERE photo BETWEEN ? AND ? ORDER BY photo"
            return self._matrix([blob for (blob,) in self._database.select(query, between)], len(photos))
        query = "SELECT vector FROM templates WHERE photo = ?"
        return self._matrix([self._database.one(query, (int(photo),)) or b"" for photo in photos], len(photos))

    def parts(self) -> Iterator[FloatArray]:
        """All of it, at most :data:`PART` rows at a time."""
        for start in range(0, len(self), PART):
            yield self[start : start + PART]

    def _matrix(self, blobs: list[bytes], count: int) -> FloatArray:
        dimension = self.shape[1]
        if len(blobs) == count and {*map(len, blobs)} <= {4 * dimension}:
            vectors = np.frombuffer(b"".join(blobs), "<f4").reshape(count, dimension).astype(np.float32, copy=False)
            if (abs(np.einsum("ij,ij->i", vectors, vectors) - 1) <= 2 * NORM_TOLERANCE).all():
                return vectors
        raise IntegrityError(f"{self._database.path}: a template is damaged. Restore the gallery from a copy.")
