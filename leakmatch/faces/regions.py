"""Where a closer look may show a face that the last one did not: where there is detail in all directions.

A face just too small for one look still has eyes, a mouth and an outline there, a few pixels apart, with edges that run
across each other. Sky, walls and what is out of focus have nothing of that size, the outlines of large things run one
way only, and together they make up most of many large photos. docs/detection.md has the figures.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from leakmatch.arrays import FloatArray
from leakmatch.faces.looks import Look
from leakmatch.faces.picture import Picture

# Of the last look:
_DETAIL: Final = 3.0  # gray levels a pixel, see detail; the flattest of small faces that are found have 4.7
_BLOCK: Final = 8  # pixels
# Of the closer look, in pixels:
_ROOM: Final = 48  # around detail: a face that the last look would miss is no larger
_CELL: Final = 320  # detail within one cell of this size is looked at in one go
_LONGEST: Final = 1152  # sides of what is looked at in one go
_LARGE: Final = 200  # sides of a known face within which no other is looked for: eyes and mouth have detail, too


def regions(look: Look, known: FloatArray, picture: Picture, step: float) -> list[FloatArray]:
    """What to look at more closely, at the scale ``step``: boxes float32[4] in pixels of the picture's full size.

    ``look`` is the last look, at the whole picture. ``known`` float32[K,4]: faces that are plain to see.
    """
    large = known[(known[:, 2:] - known[:, :2]).prod(axis=1) * step**2 > _LARGE**2]
    blocks = _detailed(look, large)
    limits = np.array([picture.width, picture.height] * 2, np.float32)
    room = np.array([-1, -1, 1, 1], np.float32) * np.float32(_ROOM / step)
    cells = np.floor((blocks[:, :2] + blocks[:, 2:]) / 2 * step / _CELL).astype(int)
    found: list[FloatArray] = []
    for cell in np.unique(cells, axis=0):
        inside = blocks[(cells == cell).all(axis=1)]
        around = np.concatenate([inside[:, :2].min(axis=0), inside[:, 2:].max(axis=0)]) + room
        found.append(around.clip(0, limits))
    return _economical(found, _LONGEST / step)


def _detailed(look: Look, known: FloatArray) -> FloatArray:
    """Blocks of ``look`` with detail that is not within ``known`` faces: float32[K,4] in pixels of full size."""
    height, width = look.pixels.shape[:2]
    luma = look.pixels if look.pixels.ndim == 2 else cv2.cvtColor(look.pixels, cv2.COLOR_BGR2GRAY)
    detailed = detail(luma.astype(np.float32)) > _DETAIL**2
    for x0, y0, x1, y1 in (known * np.concatenate([look.ratio, look.ratio])).round().clip(0).astype(int).tolist():
        detailed[y0:y1, x0:x1] = False
    rows, columns = -(-height // _BLOCK), -(-width // _BLOCK)
    padded = np.zeros((rows * _BLOCK, columns * _BLOCK), np.bool_)
    padded[:height, :width] = detailed
    places = np.argwhere(padded.reshape(rows, _BLOCK, columns, _BLOCK).any(axis=(1, 3)))[:, ::-1]
    blocks: FloatArray = (np.concatenate([places, places + 1], axis=1) * _BLOCK).astype(np.float32)
    blocks /= np.concatenate([look.ratio, look.ratio])
    return blocks


def detail(luma: FloatArray) -> FloatArray:
    """The mean square slope around each pixel of ``luma`` float32[h,w] in the direction in which it is least.

    It is the smaller eigenvalue of the structure tensor (Shi and Tomasi, Good features to track, 1994): 0 along a
    straight edge, however strong.
    """
    dx, dy = cv2.Sobel(luma, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(luma, cv2.CV_32F, 0, 1, scale=1 / 8)
    xx, yy, xy = (cv2.blur(product, (_BLOCK, _BLOCK)) for product in (dx * dx, dy * dy, dx * dy))
    return np.asarray((xx + yy) / 2 - np.hypot((xx - yy) / 2, xy), np.float32)


def _economical(boxes: list[FloatArray], longest: float) -> list[FloatArray]:
    """``boxes``, those made one of which the common box is no larger than both, and has no side above ``longest``."""
    kept: list[FloatArray] = []
    for box in boxes:
        i = 0
        while i < len(kept):
            both = np.concatenate([np.minimum(box[:2], kept[i][:2]), np.maximum(box[2:], kept[i][2:])])
            sides = both[2:] - both[:2]
            if sides.max() <= longest and sides.prod() <= _area(box) + _area(kept[i]):
                del kept[i]
                box, i = both, 0
            else:
                i += 1
        kept.append(box)
    return kept


def _area(box: FloatArray) -> float:
    return float((box[2:] - box[:2]).prod())
