"""Face templates: one unit vector per aligned crop."""

from __future__ import annotations

import numpy as np

from leakmatch.arrays import BoolArray, ByteArray, FloatArray, check
from leakmatch.errors import IntegrityError
from leakmatch.faces.anchors import blob
from leakmatch.faces.geometry import CROP_SIZE
from leakmatch.faces.packs import EmbedderSpec
from leakmatch.faces.session import Session


class Embedder:
    """An ArcFace-family embedder on an opened session.

    Raises :class:`IntegrityError` if the model does not turn one 112x112 crop into ``spec.dimension`` numbers.
    """

    def __init__(self, spec: EmbedderSpec, session: Session, model_id: str) -> None:
        self.spec = spec
        self.model_id = model_id
        self.dimension = spec.dimension
        self._session = session
        found = self._raw(np.zeros((CROP_SIZE, CROP_SIZE, 3), np.uint8))
        if found.size != spec.dimension:
            raise IntegrityError(f"{spec.file}: gives {found.size} numbers, not the {spec.dimension} declared.")

    def embed(self, crops: ByteArray, *, mirrored: bool = False) -> tuple[FloatArray, BoolArray]:
        """Templates float32[F,D] of unit norm for ``crops`` uint8[F,112,112,3] BGR, and valid bool[F].

        With ``mirrored`` each is the mean of the crop's and of its mirror image's, for the gallery's side: it costs
        nothing in a scan, and a tenth of the misses go (docs/detection.md). Both kinds may be compared.
        A crop from which the model makes no direction (all zero, or not finite) is not valid: its vector is zero.
        Crops pass one by one, see :mod:`leakmatch.faces.session`.
        """
        check(crops, (None, CROP_SIZE, CROP_SIZE, 3), np.uint8, "crops")
        raw = self._rows(crops)
        return normalised(raw + self._rows(crops[:, :, ::-1]) if mirrored else raw)

    def embed_both(self, crops: ByteArray) -> tuple[tuple[FloatArray, BoolArray], tuple[FloatArray, BoolArray]]:
        """What :meth:`embed` gives with ``mirrored``, and what it gives without, at the cost of the first."""
        check(crops, (None, CROP_SIZE, CROP_SIZE, 3), np.uint8, "crops")
        raw = self._rows(crops)
        return normalised(raw + self._rows(crops[:, :, ::-1])), normalised(raw)

    def _rows(self, crops: ByteArray) -> FloatArray:
        raw = np.zeros((len(crops), self.dimension), np.float32)
        for row, crop in zip(raw, crops, strict=True):
            row[:] = self._raw(np.ascontiguousarray(crop))
        return raw

    def _raw(self, crop: ByteArray) -> FloatArray:
        return self._session.run(blob(crop, self.spec))[0].reshape(-1)


def normalised(raw: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Rows of ``raw`` float32[F,D] at unit norm, and which of them have a direction; the others become zero."""
    norms = np.linalg.norm(raw.astype(np.float64), axis=1)
    valid: BoolArray = np.isfinite(norms) & (norms > 1e-6)
    vectors = np.zeros_like(raw)
    vectors[valid] = (raw[valid] / norms[valid, None]).astype(np.float32)
    return vectors, valid
