"""YuNet: reads the outputs of the OpenCV Zoo's face detector.

Reference: OpenCV's ``FaceDetectorYN`` (modules/objdetect/src/face_detect.cpp), with which a test compares.
"""

from __future__ import annotations

import numpy as np

from leakmatch.arrays import ByteArray
from leakmatch.errors import IntegrityError
from leakmatch.faces.anchors import Candidates, blob, cells
from leakmatch.faces.packs import DetectorSpec
from leakmatch.faces.session import Session


class YuNet:
    """A YuNet on an opened session. Raises :class:`IntegrityError` for another kind of model."""

    def __init__(self, spec: DetectorSpec, session: Session) -> None:
        self.spec = spec
        self._session = session
        wanted = {f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in spec.strides}
        if not wanted <= set(self._session.outputs):
            raise IntegrityError(f"{spec.file}: not a YuNet (its outputs are {', '.join(self._session.outputs)}).")

    def candidates(self, canvas: ByteArray) -> Candidates:
        """Cells at or above the score threshold. The score is the geometric mean of class and objectness."""
        outputs = dict(zip(self._session.outputs, self._session.run(blob(canvas, self.spec)), strict=True))
        parts = {
            part: np.concatenate([outputs[f"{part}_{stride}"][0] for stride in self.spec.strides])
            for part in ("cls", "obj", "bbox", "kps")
        }
        scores = np.sqrt(parts["cls"].clip(0, 1) * parts["obj"].clip(0, 1))[:, 0]
        kept = np.flatnonzero(scores >= self.spec.score_threshold)
        grid = cells(*canvas.shape[:2], self.spec.strides, 1)
        corner, stride = grid.columns_rows[kept], grid.strides[kept, None]
        box = parts["bbox"][kept]
        centre = (corner + box[:, :2]) * stride
        # A hostile picture may drive the exponent beyond float32; no face is larger than this.
        half = np.exp(box[:, 2:].clip(max=10)) * stride / 2
        landmarks = (corner[:, None] + parts["kps"][kept].reshape(-1, 5, 2)) * stride[:, None]
        return Candidates(np.concatenate([centre - half, centre + half], axis=1), landmarks, scores[kept])
