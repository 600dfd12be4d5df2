"""What is not fit for enrolment: judged on the trusted side, from what a worker measured, without a decoder."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import FloatArray
from leakmatch.faces.geometry import CROP_EYE_DISTANCE, similarities
from leakmatch.records import FaceBatch, TemplateBatch

TOO_SMALL: Final = "too-small"
TOO_BLURRED: Final = "too-blurred"

#: Below this distance between the eyes (source pixels) a face is too small to enrol.
MIN_EYE_DISTANCE: Final = 10.0
#: Below this quality a face of sufficient size is too blurred to enrol (size and pose cannot bring it so low).
MIN_QUALITY: Final = 0.25


def eye_distances(landmarks: FloatArray) -> NDArray[np.float64]:
    """Pixels between the eyes of the template fitted to each face's landmarks float32[F,5,2]: float64[F].

    Fitted to all five points, so that a turned head, whose eyes are close together, does not count as small.
    Landmarks that all coincide give 0.
    """
    matrices = similarities(landmarks)
    distances: NDArray[np.float64] = CROP_EYE_DISTANCE / np.hypot(matrices[:, 0, 0], matrices[:, 1, 0])
    return np.nan_to_num(distances, nan=0.0)


def enrolment_defects(faces: FaceBatch, templates: TemplateBatch) -> list[str]:
    """Why each face is not fit for a gallery: ``too-small``, ``too-blurred``, or empty for a face that is fit.

    ``faces`` in pixels of the source, ``templates`` of the same faces.
    """
    defects = []
    for distance, quality in zip(eye_distances(faces.landmarks), templates.quality, strict=True):
        defects.append(TOO_SMALL if distance < MIN_EYE_DISTANCE else TOO_BLURRED if quality < MIN_QUALITY else "")
    return defects
