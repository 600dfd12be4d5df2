"""Looks: a picture brought to some scale and shown to a detector, as a whole or in part."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import cv2
import numpy as np

from leakmatch.arrays import ByteArray, FloatArray, LongArray
from leakmatch.faces.anchors import Candidates, Detector
from leakmatch.faces.picture import Picture, View

_TILE: Final = 1024  # pixels of an input's sides: a larger input is slower per pixel, and its memory is kept
_OVERLAP: Final = 128  # of tiles: faces up to this size are whole in one of them; a lower rung has the larger
_AS_IT_IS: Final = 0.03  # a change of size by less is not worth the work
_BY_AREA: Final = 0.6  # below this scale pixels are averaged; above it, which costs ten times less, interpolated
_MULTIPLE: Final = 32  # the largest stride: inputs are padded to a multiple of it, as OpenCV does


class Look(NamedTuple):
    """A picture made larger or smaller: ``pixels``, and ``ratio`` float32[2], the (x, y) of them for one of full size.

    ``pixels`` uint8[h,w,3], or uint8[h,w] where it is brightness alone. Then ``hues`` uint8[k,l,3], the whole picture
    made smaller, has the colours.
    """

    pixels: ByteArray
    ratio: FloatArray
    hues: ByteArray | None = None

    @classmethod
    def of(cls, view: View) -> Look:
        """A look at a view as it is."""
        return cls(view.pixels, np.full(2, view.scale, np.float32))


Span = tuple[int, int]


def looks(picture: Picture, steps: list[float]) -> Iterator[Look]:
    """The whole picture at each of the scales ``steps``, which come largest first.

    Each is made from the one before, as a large photo is slow to shrink.
    """
    if not steps:
        return
    look = Look.of(picture.at_least(steps[0]))
    for step in steps:
        look = _resized(look, max(1, round(picture.width * step)), max(1, round(picture.height * step)))
        yield look


def seen(detector: Detector, look: Look) -> Candidates:
    """All that a look shows, in pixels of the picture's full size; faces may come several times."""
    height, width = look.pixels.shape[:2]
    spans = [(across, down) for down in _spans(height) for across in _spans(width)]
    return joined([_in_part(detector, look, across, down, 1.0) for across, down in spans])


def seen_in(
    detector: Detector, picture: Picture, look: Look | None, regions: list[FloatArray], step: float
) -> Candidates:
    """What ``regions`` (boxes float32[4]) of a picture show at the scale ``step``; all in pixels of full size.

    They are cut from ``look`` if there is one, else from the picture, which is decoded larger only if there are any,
    and then its brightness alone: the colours of a smaller view do as well (docs/detection.md).
    """
    if not regions:
        return none()
    if look is None:
        look = Look.of(picture.at_least(step, colour=False))._replace(hues=picture.at_least(0.0).pixels)
    height, width = look.pixels.shape[:2]
    scale = step / float(np.sqrt(look.ratio.prod()))
    found = []
    for region in regions:
        x0, y0 = np.floor(region[:2] * look.ratio).astype(int).tolist()
        x1, y1 = np.minimum(np.ceil(region[2:] * look.ratio), (width, height)).astype(int).tolist()
        found.append(_in_part(detector, look, (x0, x1), (y0, y1), scale))
    return joined(found)


def _in_part(detector: Detector, look: Look, across: Span, down: Span, scale: float) -> Candidates:
    """What the part of a look between these columns and rows shows at ``scale``, in pixels of full size.

    A face that reaches over an edge within the look is dropped: the neighbour has it whole, or, if it is larger than
    parts overlap, a lower rung has it.
    """
    height, width = look.pixels.shape[:2]
    part = Look(look.pixels[slice(*down), slice(*across)], np.ones(2, np.float32))
    part = _resized(part, *(max(1, round((end - begin) * scale)) for begin, end in (across, down)))
    found = detector.candidates(_padded(_coloured(part.pixels, look, across, down)))
    corner = np.array([across[0], down[0]], np.float32)
    boxes = found.boxes / _twice(part.ratio) + _twice(corner)
    landmarks = found.landmarks / part.ratio + corner
    low = np.where(corner > 0, corner, -np.inf)
    high = np.where((across[1] < width, down[1] < height), (across[1], down[1]), np.inf)
    whole = ((boxes[:, :2] >= low) & (boxes[:, 2:] <= high)).all(axis=1)
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(landmarks).all(axis=(1, 2))
    full = Candidates(boxes / _twice(look.ratio), landmarks / look.ratio, found.scores)
    return chosen(full, np.flatnonzero(whole & finite))


def _coloured(pixels: ByteArray, look: Look, across: Span, down: Span) -> ByteArray:
    """``pixels`` uint8[h,w,3] as they are; or uint8[h,w], the part of ``look`` between these columns and rows, with the
    colours of its ``hues``."""
    if look.hues is None or pixels.ndim == 3:
        return pixels
    (height, width), (rows, columns) = look.pixels.shape[:2], look.hues.shape[:2]
    there = look.hues[
        down[0] * rows // height : -(-down[1] * rows // height),
        across[0] * columns // width : -(-across[1] * columns // width),
    ]
    size = pixels.shape[1], pixels.shape[0]
    both = cv2.cvtColor(cv2.resize(there, size, interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2YCrCb)
    both[:, :, 0] = pixels
    coloured: ByteArray = cv2.cvtColor(both, cv2.COLOR_YCrCb2BGR)  # type: ignore[assignment]
    return coloured


def _twice(point: FloatArray) -> FloatArray:
    return np.concatenate([point, point])


def _resized(look: Look, width: int, height: int) -> Look:
    """``look`` at about this size: as it is, where that is within :data:`_AS_IT_IS` of it."""
    now = look.pixels.shape[1], look.pixels.shape[0]
    if all(abs(new - old) <= _AS_IT_IS * old for new, old in zip((width, height), now, strict=True)):
        return look
    how = cv2.INTER_AREA if width < _BY_AREA * now[0] else cv2.INTER_LINEAR
    pixels: ByteArray = cv2.resize(look.pixels, (width, height), interpolation=how)  # type: ignore[assignment]
    return Look(pixels, look.ratio * np.array([width / now[0], height / now[1]], np.float32))


def _spans(side: int) -> list[tuple[int, int]]:
    """Begin and end of the tiles along a side: equal, overlapping, together the whole side."""
    count = max(1, -(-(side - _OVERLAP) // (_TILE - _OVERLAP)))
    length = -(-(side + (count - 1) * _OVERLAP) // count)
    begins = [round(i * (side - length) / max(count - 1, 1)) for i in range(count)]
    return [(begin, begin + length) for begin in begins]


def _padded(pixels: ByteArray) -> ByteArray:
    """``pixels`` with black below and on the right, as OpenCV pads."""
    height, width = pixels.shape[:2]
    canvas = np.zeros((*(-(-side // _MULTIPLE) * _MULTIPLE for side in (height, width)), 3), np.uint8)
    canvas[:height, :width] = pixels
    return canvas


def chosen(found: Candidates, rows: LongArray) -> Candidates:
    """The rows ``rows`` int64[N] of ``found``."""
    return Candidates(found.boxes[rows], found.landmarks[rows], found.scores[rows])


def joined(found: list[Candidates]) -> Candidates:
    """The rows of all of ``found``, of which there is at least one."""
    return Candidates(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def none() -> Candidates:
    """No rows."""
    return Candidates(np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32))
