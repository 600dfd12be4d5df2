"""Aligned face crops: the picture warped so that five landmarks come to fixed places."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import ByteArray
from leakmatch.faces.geometry import CROP_SIZE

# OpenCV's warp takes no picture with a longer side.
_LONGEST_WARPED: Final = 32_000


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
