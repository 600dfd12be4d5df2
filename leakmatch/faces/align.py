"""Aligned face crops: a similarity that brings five landmarks to fixed places, and the picture warped by it."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import ByteArray, FloatArray

CROP_SIZE: Final = 112

#: Where ArcFace's 112x112 template has the landmarks: left eye, right eye, nose, left and right mouth corner as seen
#: (Deng et al. 2019; the same numbers in OpenCV's FaceRecognizerSF and in InsightFace). float64[5,2].
TEMPLATE: Final = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)

# OpenCV's warp takes no picture with a longer side.
_LONGEST_WARPED: Final = 32_000


def similarities(landmarks: FloatArray) -> NDArray[np.float64]:
    """The least-squares similarity from each face's landmarks float32[F,5,2] to the template: float64[F,2,3].

    In the plane a rotation with scaling is a product with one complex number ``a``, so the optimum of Umeyama
    (PAMI 1991, eq. 40-43) is the regression coefficient of template on landmarks. Landmarks that all coincide have
    no such similarity: NaN. A test compares with the form by singular values.
    """
    source = _complex(landmarks.astype(np.float64))
    target = _complex(TEMPLATE)
    source_mean = source.mean(axis=1, keepdims=True)
    centred = source - source_mean
    spread = (np.abs(centred) ** 2).sum(axis=1)
    product = (centred.conj() * (target - target.mean())).sum(axis=1)
    a = np.full(len(source), complex(np.nan, np.nan))
    np.divide(product, spread, out=a, where=spread > 1e-6)
    shift = target.mean() - a * source_mean[:, 0]
    rows = [[a.real, -a.imag, shift.real], [a.imag, a.real, shift.imag]]
    return np.array(rows, dtype=np.float64).transpose(2, 0, 1)


def _complex(points: NDArray[np.float64]) -> NDArray[np.complex128]:
    return points[..., 0] + 1j * points[..., 1]


def aligned_crops(bgr: ByteArray, matrices: NDArray[np.float64]) -> ByteArray:
    """The picture warped by each of ``matrices`` float64[F,2,3]: uint8[F,112,112,3] BGR.

    Bilinear, black outside the picture, as OpenCV's ``alignCrop``. A face that is more than twice as large as the
    crop is first shrunk by averaging blocks of whole pixels. A matrix of NaN gives a black crop.
    """
    crops = np.zeros((len(matrices), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    for crop, matrix in zip(crops, matrices, strict=True):
        if np.isfinite(matrix).all():
            crop[:] = _warp(bgr, matrix)
    return crops


def _warp(bgr: ByteArray, matrix: NDArray[np.float64]) -> ByteArray:
    # A bilinear warp reads four pixels: at half size or less it would skip some and alias.
    factor = max(1, int(1.001 / np.hypot(matrix[0, 0], matrix[1, 0])))
    if factor > 1 or max(bgr.shape[:2]) > _LONGEST_WARPED:
        bgr, matrix = _shrunk(bgr, matrix, factor)
    warped: ByteArray = cv2.warpAffine(bgr, matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return warped


def _shrunk(bgr: ByteArray, matrix: NDArray[np.float64], factor: int) -> tuple[ByteArray, NDArray[np.float64]]:
    """The part of the picture that the crop shows, ``factor`` times smaller, and the matrix that fits it."""
    height, width = bgr.shape[:2]
    corners = np.array([[0, 0], [CROP_SIZE, 0], [0, CROP_SIZE], [CROP_SIZE, CROP_SIZE]], np.float64)
    seen = (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
    x0, y0 = (max(0, int(v) - 2 * factor) for v in seen.min(axis=0))
    # Whole blocks only, so that every output pixel is the mean of factor x factor pixels.
    columns = (min(width, int(seen[:, 0].max()) + 2 * factor) - x0) // factor
    rows = (min(height, int(seen[:, 1].max()) + 2 * factor) - y0) // factor
    if columns < 1 or rows < 1:
        return np.zeros((1, 1, 3), np.uint8), matrix
    part = bgr[y0 : y0 + rows * factor, x0 : x0 + columns * factor]
    small: ByteArray = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    # Pixel centres: source = (small + 0.5) * factor - 0.5 + corner.
    fitted = matrix.copy()
    fitted[:, :2] *= factor
    fitted[:, 2] += matrix[:, :2] @ (np.array([x0, y0]) + (factor - 1) / 2)
    return small, fitted
