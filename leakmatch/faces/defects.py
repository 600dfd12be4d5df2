"""What is wrong with a face: judged on the trusted side, from what a worker measured, without a decoder."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import FloatArray
from leakmatch.faces.geometry import CROP_EYE_DISTANCE, similarities
from leakmatch.records import FaceBatch, QualityReason, TemplateBatch

TOO_SMALL: Final = "too-small"
TOO_BLURRED: Final = "too-blurred"

#: Below this distance between the eyes (source pixels) a face is too small to enrol.
MIN_EYE_DISTANCE: Final = 10.0
#: Below this quality a face of sufficient size is too blurred to enrol (size and pose cannot bring it so low).
MIN_QUALITY: Final = 0.25
#: From this quality down a face is said to be small, blurred or turned: half of what is asked of a good one. Of the
#: photos of `lfw_dev` one in twenty is; they are missed four times as often as the others (docs/detection.md).
LOW_QUALITY: Final = 0.5

_SAME: Final = 1e-4  # a quality, which is a float32, may be this far from the term that made it


def eye_distances(landmarks: FloatArray) -> NDArray[np.float64]:
    """Pixels between the eyes of the template fitted to each face's landmarks float32[F,5,2]: float64[F].

    Fitted to all five points, so that a turned head, whose eyes are close together, does not count as small.
    Landmarks that all coincide give 0.
    """
    matrices = similarities(landmarks)
    distances: NDArray[np.float64] = CROP_EYE_DISTANCE / np.hypot(matrices[:, 0, 0], matrices[:, 1, 0])
    return np.nan_to_num(distances, nan=0.0)


def yaw(landmarks: FloatArray) -> NDArray[np.float64]:
    """How far the nose lies from the middle line, in half eye distances: 0 frontal, 1 below an eye; float64[F]."""
    points = landmarks.astype(np.float64)
    along = points[:, 1] - points[:, 0]
    middle = (points[:, 0] + points[:, 1]) / 2
    length = np.maximum((along**2).sum(axis=1), 1e-12)
    offset: NDArray[np.float64] = np.abs(((points[:, 2] - middle) * along).sum(axis=1)) / length * 2
    return offset


def size_term(landmarks: FloatArray) -> NDArray[np.float64]:
    """The part of size in the quality of faces, at least 0; 1 and more is enough; float64[F]."""
    return eye_distances(landmarks) / CROP_EYE_DISTANCE


def pose_term(landmarks: FloatArray) -> NDArray[np.float64]:
    """The part of pose in the quality of faces: 1 frontal, 0.5 for a nose below an eye or past it; float64[F]."""
    return 1 - 0.5 * yaw(landmarks).clip(0, 1)


def quality_reasons(landmarks: FloatArray, quality: FloatArray) -> list[QualityReason]:
    """Which term bounds each quality float32[F] that is at most :data:`LOW_QUALITY`; none for a higher one.

    ``landmarks`` float32[F,5,2] of the same faces, in pixels of their picture. Size and pose are known from them; what
    neither explains is blur.
    """
    reasons = []
    for value, size, pose in zip(quality.tolist(), size_term(landmarks), pose_term(landmarks), strict=True):
        if value > LOW_QUALITY + _SAME:
            reasons.append(QualityReason.NONE)
        elif size <= value + _SAME:
            reasons.append(QualityReason.SMALL)
        else:
            reasons.append(QualityReason.TURNED if pose <= value + _SAME else QualityReason.BLURRED)
    return reasons


def enrolment_defects(faces: FaceBatch, templates: TemplateBatch) -> list[str]:
    """Why each face is not fit for a gallery: ``too-small``, ``too-blurred``, or empty for a face that is fit.

    ``faces`` in pixels of the source, ``templates`` of the same faces.
    """
    defects = []
    for distance, quality in zip(eye_distances(faces.landmarks), templates.quality, strict=True):
        defects.append(TOO_SMALL if distance < MIN_EYE_DISTANCE else TOO_BLURRED if quality < MIN_QUALITY else "")
    return defects
