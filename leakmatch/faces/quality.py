"""How fit a face is for comparison: its size, its sharpness, its pose; and what is not fit for enrolment.

Three terms in [0, 1]; the quality is the least of them, because a template is no better than its worst defect:

- *size*: the distance between the eyes in source pixels, relative to the 35.2 pixels they have in the aligned crop
  (1: the crop is not enlarged);
- *sharpness*: the share of the crop's contrast that is finer than a Gaussian of 2 pixels, around eyes and mouth,
  relative to 0.4, which one face in thirty of LFW reaches. A crop enlarged from a tiny face is blurred by this
  measure, too;
- *pose*: 1 for a nose half-way between the eyes, falling to 0.5 where it lies below an eye (a yaw of some 50
  degrees). It never goes lower, for a profile is a worse template but no defect.

The constants were fitted on LFW: see docs/detection.md.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import ByteArray, FloatArray
from leakmatch.faces.defects import pose_term, size_term

_DETAIL_SIGMA: Final = 2.0
_FULL_DETAIL: Final = 0.4
_FACE: Final = (slice(32, 104), slice(24, 88))  # eyes to mouth of the aligned crop, clear of the picture's edge


def face_quality(landmarks: FloatArray, crops: ByteArray) -> FloatArray:
    """The quality float32[F] in [0, 1] of faces with ``landmarks`` float32[F,5,2] in pixels of their picture and
    aligned ``crops`` uint8[F,112,112,3] BGR."""
    detail = sharpness(crops) / _FULL_DETAIL
    return np.minimum(np.minimum(size_term(landmarks), detail), pose_term(landmarks)).clip(0, 1).astype(np.float32)


def sharpness(crops: ByteArray) -> NDArray[np.float64]:
    """The share of contrast (standard deviation of luma) that a Gaussian of 2 pixels takes away: float64[F].

    0 for a flat crop. Relative to the crop's own contrast, so that light does not count.
    """
    values = np.zeros(len(crops))
    for i, crop in enumerate(crops):
        luma = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY).astype(np.float32)
        fine = luma - cv2.GaussianBlur(luma, (0, 0), _DETAIL_SIGMA)
        contrast = float(luma[_FACE].std())
        if contrast > 1:  # a grey level; less is a flat crop
            values[i] = float(fine[_FACE].std()) / contrast
    return values
