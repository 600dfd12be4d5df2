"""Finds faces of all sizes: one detector, run at a few scales of the picture.

A detector knows faces from about 16 to 350 pixels of its input. Small faces in a large photo need a large input, and
a face that fills the picture a small one. So a picture is looked at on the pack's *rungs*: at its own size, or the
top rung's if it is larger, and again on each lower rung that is clearly smaller. docs/detection.md has the figures.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from leakmatch.arrays import ByteArray, FloatArray, LongArray
from leakmatch.faces.anchors import Candidates, Detector
from leakmatch.faces.packs import Pack, verified
from leakmatch.records import FaceBatch

_MULTIPLE: Final = 32  # the largest stride: inputs are padded to a multiple of it, as OpenCV does
_LONGEST: Final = 8192  # pixels of an input's longer side: a strip of a picture stays a small input
_MOST_CANDIDATES: Final = 5000  # per input, as OpenCV: bounds the work that a hostile picture can ask for
_CLEARLY_SMALLER: Final = 1.5  # a rung this much below the last one is worth a pass
_ENLARGED: Final = 2.0  # tiny pictures are enlarged towards the lowest rung, at most by this


def open_detector(pack: Pack) -> Detector:
    """The pack's detector, its file verified. Raises :class:`~leakmatch.errors.IntegrityError`."""
    from leakmatch.faces.scrfd import Scrfd
    from leakmatch.faces.yunet import YuNet

    kinds = {"yunet": YuNet, "scrfd": Scrfd}
    return kinds[pack.detector.kind](pack.detector, verified(pack, pack.detector.file))


def scales(height: int, width: int, rungs: tuple[int, ...]) -> list[float]:
    """The scales at which a picture of this size is looked at, largest first; none for an empty picture.

    A rung is the square root of the input's area, so that it stands for the same work whatever the aspect.
    """
    if height < 1 or width < 1:
        return []
    size = float(np.sqrt(height * width))
    used = [min(rungs[0], max(size, min(rungs[-1], _ENLARGED * size)))]
    for rung in rungs[1:]:
        if rung * _CLEARLY_SMALLER <= used[-1]:
            used.append(rung)
    longest = _LONGEST / max(height, width)
    return [min(rung / size, longest) for rung in used]


def detect(detector: Detector, bgr: ByteArray) -> FaceBatch:
    """The faces in ``bgr`` uint8[H,W,3], each once, best score first.

    Coordinates are pixels of ``bgr``. Boxes are clipped to the picture, and a box that lies outside is dropped;
    landmarks are not clipped, for alignment needs their true places. An empty picture gives an empty batch.
    """
    found = [_at(detector, bgr, scale) for scale in scales(*bgr.shape[:2], detector.spec.rungs)]
    if not found:
        return _batch(_none())
    merged = Candidates(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    return _batch(_clipped(_chosen(merged, nms(merged.boxes, merged.scores, detector.spec.nms_iou)), bgr))


def detect_at(detector: Detector, bgr: ByteArray, scale: float = 1.0) -> FaceBatch:
    """The faces in ``bgr`` uint8[H,W,3] at one scale, best score first; boxes are not clipped.

    At scale 1 this is what ``cv2.FaceDetectorYN`` finds with the same thresholds.
    """
    return _batch(_at(detector, bgr, scale))


def _at(detector: Detector, bgr: ByteArray, scale: float) -> Candidates:
    height, width = bgr.shape[:2]
    if height < 1 or width < 1:
        return _none()
    canvas, (across, down) = _canvas(bgr, scale)
    found = detector.candidates(canvas)
    finite = np.isfinite(found.boxes).all(axis=1) & np.isfinite(found.landmarks).all(axis=(1, 2))
    found = _chosen(found, np.flatnonzero(finite))
    best = _chosen(found, nms(found.boxes, found.scores, detector.spec.nms_iou))
    ratio = np.array([across, down], np.float32)
    return Candidates(best.boxes / np.tile(ratio, 2), best.landmarks / ratio, best.scores)


def _canvas(bgr: ByteArray, scale: float) -> tuple[ByteArray, tuple[float, float]]:
    """``bgr`` at ``scale``, padded with black below and on the right; and the true ratios of width and height."""
    height, width = bgr.shape[:2]
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    if (new_width, new_height) != (width, height):
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        bgr = cv2.resize(bgr, (new_width, new_height), interpolation=how)  # type: ignore[assignment]
    padded = [-(-side // _MULTIPLE) * _MULTIPLE for side in (new_height, new_width)]
    canvas = np.zeros((*padded, 3), np.uint8)
    canvas[:new_height, :new_width] = bgr
    return canvas, (new_width / width, new_height / height)


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
    corner = np.maximum(box[:2], others[:, :2])
    inner = (np.minimum(box[2:], others[:, 2:]) - corner).clip(0).prod(axis=1)
    area, areas = (box[2:] - box[:2]).clip(0).prod(), (others[:, 2:] - others[:, :2]).clip(0).prod(axis=1)
    union = area + areas - inner
    result: FloatArray = np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
    return result


def _clipped(found: Candidates, bgr: ByteArray) -> Candidates:
    height, width = bgr.shape[:2]
    boxes = found.boxes.clip(0, np.array([width, height, width, height], np.float32))
    inside = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    return _chosen(found._replace(boxes=boxes), inside)


def _chosen(found: Candidates, rows: LongArray) -> Candidates:
    return Candidates(found.boxes[rows], found.landmarks[rows], found.scores[rows])


def _none() -> Candidates:
    return Candidates(np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32))


def _batch(found: Candidates) -> FaceBatch:
    boxes, landmarks, scores = (np.ascontiguousarray(part, np.float32) for part in found)
    return FaceBatch(np.zeros(len(scores), np.int32), boxes, landmarks, scores)
