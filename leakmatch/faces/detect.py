"""Finds faces of all sizes: one detector, run at a few scales of the picture.

A detector knows faces from about 16 to 350 pixels of its input. Small faces in a large photo need a large input, and
a face that fills the picture a small one. So a picture is looked at on the pack's *rungs*: at its own size, or the
top rung's if it is larger, and again on each lower rung that is clearly smaller. What several rungs say about one
face is averaged, which also steadies the landmarks. docs/detection.md has the figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import cv2
import numpy as np

from leakmatch.arrays import ByteArray, FloatArray, LongArray
from leakmatch.faces.anchors import Candidates, Detector
from leakmatch.faces.packs import Pack
from leakmatch.faces.prepared import open_prepared
from leakmatch.faces.session import ONNXRUNTIME
from leakmatch.records import FaceBatch

_TILE: Final = 1024  # pixels of an input's sides: a larger input is slower per pixel, and its memory is kept
_OVERLAP: Final = 128  # of tiles: faces up to this size are whole in one of them; a lower rung has the larger
_MULTIPLE: Final = 32  # the largest stride: inputs are padded to a multiple of it, as OpenCV does
_LONGEST: Final = 8192  # pixels of an input's longer side: a strip of a picture stays a small input
_MOST_CANDIDATES: Final = 5000  # per input, as OpenCV: bounds the work that a hostile picture can ask for
_CLEARLY_SMALLER: Final = 1.5  # a rung this much below the last one is worth a pass
_ENLARGED: Final = 1.5  # small pictures are enlarged towards the second rung, at most by this
_SAME_FACE: Final = 0.6  # overlap from which two rungs speak of one face, and not of neighbours
_PART: Final = 0.8  # share of a box within a better face from which it is a part of that face
_FITTING: Final = 110.0  # pixels of the input: the face size at which landmarks are steadiest


def open_detector(pack: Pack, engine: str = ONNXRUNTIME) -> Detector:
    """The pack's detector, run by ``engine``. Raises :class:`~leakmatch.errors.IntegrityError` if it is another kind of
    model, and as :func:`~leakmatch.faces.prepared.open_prepared`."""
    from leakmatch.faces.scrfd import Scrfd
    from leakmatch.faces.yunet import YuNet

    kinds: dict[str, type[YuNet] | type[Scrfd]] = {"yunet": YuNet, "scrfd": Scrfd}
    return kinds[pack.detector.kind](pack.detector, open_prepared(pack, pack.detector.file, engine))


def scales(height: int, width: int, rungs: tuple[int, ...]) -> list[float]:
    """The scales at which a picture of this size is looked at, largest first; none for an empty picture.

    A rung is the square root of the input's area, so that it stands for the same work whatever the aspect.
    """
    if height < 1 or width < 1:
        return []
    size = float(np.sqrt(height * width))
    most = min(rungs[0], size * _LONGEST / max(height, width))
    used = [min(most, max(size, min(rungs[:2][-1], _ENLARGED * size)))]
    for rung in rungs[1:]:
        if rung * _CLEARLY_SMALLER <= used[-1]:
            used.append(rung)
    return [rung / size for rung in used]


def detect(detector: Detector, bgr: ByteArray) -> FaceBatch:
    """The faces in ``bgr`` uint8[H,W,3], each once, best score first.

    Coordinates are pixels of ``bgr``. Boxes are clipped to the picture, and a box that lies outside is dropped;
    landmarks are not clipped, for alignment needs their true places. An empty picture gives an empty batch.
    """
    looks = list(_looks(bgr, detector.spec.rungs))
    if not looks:
        return _batch(_none())
    found = [_found(detector, look) for look in looks]
    return _batch(_clipped(_merged(found, [look.ratio for look in looks], detector.spec.nms_iou), bgr))


def detect_at(detector: Detector, bgr: ByteArray, scale: float = 1.0) -> FaceBatch:
    """The faces in ``bgr`` uint8[H,W,3] at one scale, best score first; boxes are not clipped.

    At scale 1 this is what ``cv2.FaceDetectorYN`` finds with the same thresholds.
    """
    return _batch(_found(detector, _look(bgr, bgr, scale)) if bgr.size else _none())


class _Look(NamedTuple):
    """A picture made larger or smaller: ``pixels`` uint8[h,w,3] and (w, h) relative to the original."""

    pixels: ByteArray
    ratio: FloatArray


def _looks(bgr: ByteArray, rungs: tuple[int, ...]) -> Iterator[_Look]:
    """The picture at each of its scales. Each is made from the one before, as a large photo is slow to shrink."""
    source = bgr
    for scale in scales(bgr.shape[0], bgr.shape[1], rungs):
        look = _look(bgr, source, scale)
        source = look.pixels
        yield look


def _look(bgr: ByteArray, source: ByteArray, scale: float) -> _Look:
    """``bgr`` at ``scale``, made from ``source``, the same picture at no smaller a scale."""
    height, width = bgr.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size != (source.shape[1], source.shape[0]):
        how = cv2.INTER_AREA if size[0] < source.shape[1] else cv2.INTER_LINEAR
        source = cv2.resize(source, size, interpolation=how)  # type: ignore[assignment]
    return _Look(source, np.array([size[0] / width, size[1] / height], np.float32))


def _found(detector: Detector, look: _Look) -> Candidates:
    """The faces of one look, each once, in pixels of the original."""
    height, width = look.pixels.shape[:2]
    tiles = [(left, top) for top in _spans(height) for left in _spans(width)]
    found = _joined([_in_tile(detector, look.pixels, left, top) for left, top in tiles])
    best = _chosen(found, nms(found.boxes, found.scores, detector.spec.nms_iou))
    return Candidates(best.boxes / np.concatenate([look.ratio, look.ratio]), best.landmarks / look.ratio, best.scores)


def _spans(side: int) -> list[tuple[int, int]]:
    """Begin and end of the tiles along a side: equal, overlapping, together the whole side."""
    count = max(1, -(-(side - _OVERLAP) // (_TILE - _OVERLAP)))
    length = -(-(side + (count - 1) * _OVERLAP) // count)
    begins = [round(i * (side - length) / max(count - 1, 1)) for i in range(count)]
    return [(begin, begin + length) for begin in begins]


def _in_tile(detector: Detector, pixels: ByteArray, across: tuple[int, int], down: tuple[int, int]) -> Candidates:
    """What one tile shows, in pixels of the look. A face that reaches over an inner edge is left to the next tile,
    which has it whole, or, if it is larger than tiles overlap, to a lower rung."""
    height, width = pixels.shape[:2]
    found = detector.candidates(_padded(pixels[slice(*down), slice(*across)]))
    corner = np.array([across[0], down[0]], np.float32)
    boxes, landmarks = found.boxes + np.concatenate([corner, corner]), found.landmarks + corner
    low = np.where(corner > 0, corner, -np.inf)
    high = np.where((across[1] < width, down[1] < height), (across[1], down[1]), np.inf)
    whole = ((boxes[:, :2] >= low) & (boxes[:, 2:] <= high)).all(axis=1)
    finite = np.isfinite(boxes).all(axis=1) & np.isfinite(landmarks).all(axis=(1, 2))
    return _chosen(Candidates(boxes, landmarks, found.scores), np.flatnonzero(whole & finite))


def _padded(pixels: ByteArray) -> ByteArray:
    """``pixels`` with black below and on the right, as OpenCV pads."""
    height, width = pixels.shape[:2]
    canvas = np.zeros((*(-(-side // _MULTIPLE) * _MULTIPLE for side in (height, width)), 3), np.uint8)
    canvas[:height, :width] = pixels
    return canvas


def _merged(found: list[Candidates], ratios: list[FloatArray], iou: float) -> Candidates:
    """Each face once: :func:`nms` over all rungs, but what overlaps nearly in full is averaged and not dropped.

    Weights fall off with the octaves between a face's size on the rung and the size at which landmarks are steady.
    A box that lies within a better one goes as well: on a rung too large for a face, its parts look like faces.
    """
    sizes = [np.sqrt(_areas(one.boxes) * ratio.prod()) for one, ratio in zip(found, ratios, strict=True)]
    octaves = np.log2(np.concatenate(sizes).clip(1e-3) / _FITTING)
    weights = np.exp(-(octaves**2) / 2).clip(1e-6)
    every = _joined(found)
    areas = _areas(every.boxes)
    order = np.argsort(-every.scores, kind="stable")
    boxes, landmarks, scores = [], [], []
    while len(order):
        best, order = order[0], order[1:]
        overlap = overlaps(every.boxes[best], every.boxes[order])
        same = np.append(order[overlap >= _SAME_FACE], best)
        boxes.append(np.average(every.boxes[same], axis=0, weights=weights[same]))
        landmarks.append(np.average(every.landmarks[same], axis=0, weights=weights[same]))
        scores.append(every.scores[best])
        part = _intersections(every.boxes[best], every.boxes[order]) > _PART * areas[order]
        order = order[(overlap <= iou) & ~part]
    if not scores:
        return _none()
    return Candidates(*(np.array(part, np.float32) for part in (boxes, landmarks, scores)))


def nms(boxes: FloatArray, scores: FloatArray, iou: float) -> LongArray:
    """Non-maximum suppression: the rows to keep, best score first: a row goes if it overlaps a better one by more
    than ``iou``. Of equal scores the first row is the better."""
    order = np.argsort(-scores, kind="stable")[:_MOST_CANDIDATES]
    kept: list[int] = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[overlaps(boxes[best], boxes[order]) <= iou]
    return np.array(kept, np.int64)


def overlaps(box: FloatArray, others: FloatArray) -> FloatArray:
    """Intersection over union of ``box`` float32[4] with each of ``others`` float32[K,4]; 0 for empty boxes."""
    inner = _intersections(box, others)
    union = _areas(box[None]) + _areas(others) - inner
    result: FloatArray = np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
    return result


def _intersections(box: FloatArray, others: FloatArray) -> FloatArray:
    corner = np.maximum(box[:2], others[:, :2])
    inner: FloatArray = (np.minimum(box[2:], others[:, 2:]) - corner).clip(0).prod(axis=1)
    return inner


def _areas(boxes: FloatArray) -> FloatArray:
    areas: FloatArray = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1)
    return areas


def _clipped(found: Candidates, bgr: ByteArray) -> Candidates:
    height, width = bgr.shape[:2]
    boxes = found.boxes.clip(0, np.array([width, height, width, height], np.float32))
    inside = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    return _chosen(found._replace(boxes=boxes), inside)


def _chosen(found: Candidates, rows: LongArray) -> Candidates:
    return Candidates(found.boxes[rows], found.landmarks[rows], found.scores[rows])


def _joined(found: list[Candidates]) -> Candidates:
    return Candidates(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _none() -> Candidates:
    return Candidates(np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32))


def _batch(found: Candidates) -> FaceBatch:
    boxes, landmarks, scores = (np.ascontiguousarray(part, np.float32) for part in found)
    return FaceBatch(np.zeros(len(scores), np.int32), boxes, landmarks, scores)
