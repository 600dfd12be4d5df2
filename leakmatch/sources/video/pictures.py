"""From a decoded frame to a picture: upright, with square pixels, as a binary PPM."""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.sources.guard import over_budget

_WIDEST: Final = 4.0  # width to height of a pixel, or the other way round; more is no format for pictures
_ALMOST_SQUARE: Final = 0.03
_MATRIX: Final = "DISPLAYMATRIX"


def thumbnail(frame: Any, side: int) -> NDArray[np.uint8]:
    """The brightness of a frame, shrunk to uint8[side,side] by averaging."""
    small = frame.reformat(side, side, "gray", interpolation="AREA", threads=1)
    return np.asarray(small.to_ndarray(), np.uint8)


def pixel_shape(stream: Any) -> float:
    """Width to height of the pixels of a track; 1 where it is not told, or nearly square, or makes no sense."""
    told = stream.sample_aspect_ratio
    shape = float(told) if told else 1.0
    return shape if abs(shape - 1) > _ALMOST_SQUARE and 1 / _WIDEST <= shape <= _WIDEST else 1.0


def picture(frame: Any, shape: float, most: int) -> bytes:
    """The frame as it is meant to be seen, as a PPM. ``shape``: of its pixels, see :func:`pixel_shape`.

    Raises :class:`~leakmatch.errors.ItemError` (``over-budget``) for more than ``most`` pixels.
    """
    width = round(frame.width * max(shape, 1.0))
    height = round(frame.height / min(shape, 1.0))
    if width * height > most:
        raise over_budget(f"{width} x {height} pixels are more than the budget allows")
    rgb = np.asarray(frame.reformat(width, height, "rgb24", threads=1).to_ndarray(), np.uint8)
    rgb = turned(rgb, _matrix(frame))
    return b"P6 %d %d 255\n" % (rgb.shape[1], rgb.shape[0]) + rgb.tobytes()


def turned(rgb: NDArray[np.uint8], matrix: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """``rgb`` uint8[H,W,3] turned as a display matrix (a, b, c, d) says, to the nearest of the eight ways.

    A point (x, y) is shown at (a x + c y, b x + d y).
    """
    a, b, c, d = matrix
    if max(abs(a), abs(d)) >= max(abs(b), abs(c)):
        across, down = a, d
    else:
        rgb, across, down = rgb.transpose(1, 0, 2), c, b
    if across < 0:
        rgb = rgb[:, ::-1]
    return rgb[::-1] if down < 0 else rgb


def _matrix(frame: Any) -> tuple[int, int, int, int]:
    for data in frame.side_data:
        if data.type.name == _MATRIX and len(raw := bytes(data)) >= 20:
            a, b, _, c, d = struct.unpack_from("=5i", raw)
            return a, b, c, d
    return 1, 0, 0, 1
