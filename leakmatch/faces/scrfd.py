"""SCRFD: reads the outputs of InsightFace's detectors with key points.

Reference: the paper (Guo et al., "Sample and Computation Redistribution for Efficient Face Detection", 2021) and
the layout of the published ONNX files: scores, boxes, key points, for each in the order of strides; two anchors a
cell; distances from the cell's corner in units of the stride.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from leakmatch.arrays import ByteArray
from leakmatch.errors import IntegrityError
from leakmatch.faces.anchors import Candidates, blob, cells
from leakmatch.faces.packs import DetectorSpec
from leakmatch.faces.session import Session

_ANCHORS_PER_CELL: Final = 2


class Scrfd:
    """An SCRFD with key points on an opened session.

    Raises :class:`IntegrityError` for another kind of model, one without key points among them.
    """

    def __init__(self, spec: DetectorSpec, session: Session) -> None:
        self.spec = spec
        self._session = session
        if len(self._session.outputs) != 3 * len(spec.strides):
            raise IntegrityError(
                f"{spec.file}: not an SCRFD with key points for strides {list(spec.strides)}: it has "
                f"{len(self._session.outputs)} outputs."
            )

    def candidates(self, canvas: ByteArray) -> Candidates:
        """Anchors at or above the score threshold."""
        outputs = self._session.run(blob(canvas, self.spec))
        levels = len(self.spec.strides)
        scores, distances, offsets = (
            np.concatenate([output.reshape(-1, width) for output in outputs[i * levels : (i + 1) * levels]])
            for i, width in enumerate((1, 4, 10))
        )
        grid = cells(*canvas.shape[:2], self.spec.strides, _ANCHORS_PER_CELL)
        if len(scores) != len(grid.strides):
            raise IntegrityError(f"{self.spec.file}: not an SCRFD with {_ANCHORS_PER_CELL} anchors a cell.")
        kept = np.flatnonzero(scores[:, 0] >= self.spec.score_threshold)
        corner, stride = grid.columns_rows[kept], grid.strides[kept, None]
        distance = distances[kept]
        boxes = np.concatenate([corner - distance[:, :2], corner + distance[:, 2:]], axis=1) * stride
        landmarks = (corner[:, None] + offsets[kept].reshape(-1, 5, 2)) * stride[:, None]
        return Candidates(boxes, landmarks, scores[kept, 0])
