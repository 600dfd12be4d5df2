"""Contrast maps of aligned face crops: detailed enough to tell a copy of a photo from the next photo of a sitting.

A map has one cell per 2.3 pixels of the crop, 48 by 48. A cell says how much brighter it is than its surroundings, so
that it does not depend on the picture's borders, brightness or colours. A gallery keeps the sign alone, one bit a cell;
a scanned face has the levels, which are laid over the signs in :mod:`leakmatch.hashing.copies`.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from leakmatch.arrays import BoolArray, ByteArray, FloatArray, check
from leakmatch.hashing.algorithms import CONTRAST_LEVELS, CONTRAST_SIGNS, LEVEL_SCALE, LEVEL_ZERO, MAP_SIDE
from leakmatch.records import HashBatch

#: Standard deviations, in cells, of the two Gaussian blurs whose difference a map is. Of the bands tried on LFW this
#: keeps copies furthest from other photos: finer detail does not survive half size and JPEG quality 30, coarser detail
#: is the same in all photos of a sitting.
_FINE: Final = 1.0
_COARSE: Final = 2.0

#: Cells so near to the outside of the picture have seen too little of their surroundings.
_REACH: Final = 3

#: The blurs average a noise of one gray level down to about half of one.
_NOISE: Final = 0.5


def contrast_maps(crops: ByteArray, inside: BoolArray, *, enrolled: bool) -> HashBatch:
    """The maps of ``crops`` uint8[N,S,S,3] BGR (S of 48 or more), ``image_index`` 0 to N-1.

    ``inside`` bool[N,48,48]: which cells show the picture. Those near to what lies outside are neither brighter nor
    darker. :data:`CONTRAST_SIGNS` for a gallery's side (``enrolled``), ``bits`` uint8[N,288]: set where the cell is
    brighter. :data:`CONTRAST_LEVELS` for a scan's, ``bits`` uint8[N,2304]: 128 and 32 for each standard deviation of
    the map that the cell is brighter, limited to 0 to 255; noise is not magnified. ``quality`` is the share of the
    cells that noise of one gray level cannot turn. Row by row from the top left.

    Raises ``ValueError`` for an array of another shape or type.
    """
    check(crops, (None, None, None, 3), np.uint8, "crops")
    check(inside, (len(crops), MAP_SIDE, MAP_SIDE), np.bool_, "inside")
    cells = [_cells(crop, shown) for crop, shown in zip(crops, inside, strict=True)]
    maps = np.stack(cells).reshape(len(cells), -1) if cells else np.zeros((0, MAP_SIDE * MAP_SIDE), np.float32)
    quality = (np.abs(maps) > _NOISE).mean(axis=1, dtype=np.float32).astype(np.float32)
    index = np.arange(len(maps), dtype=np.int32)
    if enrolled:
        return HashBatch(CONTRAST_SIGNS, np.packbits(maps > 0, axis=1), quality, index)
    spread = np.sqrt(np.mean(maps * maps, axis=1, keepdims=True))
    levels = np.rint(LEVEL_SCALE * maps / np.maximum(spread, np.float32(_NOISE))) + LEVEL_ZERO
    return HashBatch(CONTRAST_LEVELS, np.clip(levels, 0, 255).astype(np.uint8), quality, index)


def _cells(crop: ByteArray, inside: BoolArray) -> FloatArray:
    """float32[48,48] in gray levels; 0 outside of the picture and near to it."""
    size = (MAP_SIDE, MAP_SIDE)
    gray = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), size, interpolation=cv2.INTER_AREA).astype(np.float32)
    if inside.all():
        return np.asarray(cv2.GaussianBlur(gray, (0, 0), _FINE) - cv2.GaussianBlur(gray, (0, 0), _COARSE), np.float32)
    # Averages of what is inside alone (Knutsson and Westin, CVPR 1993). A cell at the border is partly outside.
    weight = cv2.erode(inside.astype(np.float32), np.ones((3, 3)), borderValue=1)
    fine, coarse = (
        cv2.GaussianBlur(gray * weight, (0, 0), sigma) / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)
        for sigma in (_FINE, _COARSE)
    )
    reach = np.ones((2 * _REACH + 1, 2 * _REACH + 1))
    return np.asarray((fine - coarse) * (cv2.erode(weight, reach, borderValue=1) > 0), np.float32)
