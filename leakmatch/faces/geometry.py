"""Where a face's landmarks belong in an aligned crop, and the similarity that brings them there."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import BoolArray, FloatArray

CROP_SIZE: Final = 112

#: Where ArcFace's 112x112 template has the landmarks: left eye, right eye, nose, left and right mouth corner as seen
#: (Deng et al. 2019; the same numbers in OpenCV's FaceRecognizerSF and in InsightFace). float64[5,2].
TEMPLATE: Final = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)

#: Pixels between the eyes in the template.
CROP_EYE_DISTANCE: Final = float(np.linalg.norm(TEMPLATE[1] - TEMPLATE[0]))


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


def inside_picture(landmarks: FloatArray, size: tuple[int, int], cells: int) -> BoolArray:
    """Which parts of each face's aligned crop show the picture of ``size`` (w, h): bool[F,cells,cells].

    ``landmarks`` float32[F,5,2] in pixels of that picture. A crop is divided into ``cells`` by ``cells``; a cell shows
    the picture where its centre does. No cell of a face that cannot be aligned does.
    """
    matrices = similarities(landmarks)
    a, shift = (matrices[:, 0, column] + 1j * matrices[:, 1, column] for column in (0, 2))
    centres = (np.arange(cells) + 0.5) * CROP_SIZE / cells - 0.5
    with np.errstate(invalid="ignore"):
        there = (centres[None, None, :] + 1j * centres[None, :, None] - shift[:, None, None]) / a[:, None, None]
    width, height = size
    inside: BoolArray = (there.real >= -0.5) & (there.real <= width - 0.5)
    return inside & (there.imag >= -0.5) & (there.imag <= height - 0.5)


def _complex(points: NDArray[np.float64]) -> NDArray[np.complex128]:
    return points[..., 0] + 1j * points[..., 1]
