"""Finds faces of all sizes: one detector, run at a few scales of the picture.

A detector knows faces from about 16 to 350 pixels of its input. Small faces in a large photo need a large input, and
a face that fills the picture a small one. So a picture is looked at on the pack's *rungs*: at its own size, or the
top rung's if it is larger, and again on each lower rung that is clearly smaller. What several rungs say about one
face is averaged, which also steadies the landmarks. docs/detection.md has the figures.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

import numpy as np

from leakmatch.arrays import ByteArray, FloatArray, LongArray
from leakmatch.faces.anchors import Candidates, Detector
from leakmatch.faces.looks import chosen, joined, looks, none, seen, seen_in
from leakmatch.faces.packs import Pack
from leakmatch.faces.picture import Picture
from leakmatch.faces.prepared import open_prepared
from leakmatch.faces.regions import regions
from leakmatch.records import FaceBatch

_LONGEST: Final = 8192  # pixels of an input's longer side: a strip of a picture stays a small input
_MOST_CANDIDATES: Final = 5000  # per input, as OpenCV: bounds the work that a hostile picture can ask for
_CLEARLY_SMALLER: Final = 1.5  # a rung this much below the last one is worth a pass
_ENLARGED: Final = 1.5  # small pictures are enlarged towards the last rung but one, at most by this
_SAME_FACE: Final = 0.6  # overlap from which two rungs speak of one face, and not of neighbours
_PART: Final = 0.8  # share of a box within a better face from which it is a part of that face
_FITTING: Final = 110.0  # pixels of the input: the face size at which landmarks are steadiest
_WORTH_SPARING: Final = 640.0  # pixels: a rung above goes only where the next one down shows detail
_MOST_AHEAD: Final = 3.5  # times the next look's size: so large may the first be for that to show enough
_CERTAIN: Final = 40.0  # pixels of a look: faces of this size are not overlooked in it
_PLAIN: Final = 0.8  # score from which a face is taken for one without a closer look


def open_detector(pack: Pack) -> Detector:
    """The pack's detector, run by onnxruntime: on inputs of many sizes OpenVINO takes twice the time (docs/models.md).

    Raises :class:`~leakmatch.errors.IntegrityError` if it is another kind of model, and as
    :func:`~leakmatch.faces.prepared.open_prepared`.
    """
    from leakmatch.faces.scrfd import Scrfd
    from leakmatch.faces.yunet import YuNet

    kinds: dict[str, type[YuNet] | type[Scrfd]] = {"yunet": YuNet, "scrfd": Scrfd}
    return kinds[pack.detector.kind](pack.detector, open_prepared(pack, pack.detector.file))


def scales(height: int, width: int, rungs: tuple[int, ...]) -> list[float]:
    """The scales at which a picture of this size is looked at, largest first; none for an empty picture.

    A rung is the square root of the input's area, so that it stands for the same work whatever the aspect.
    """
    if height < 1 or width < 1:
        return []
    size = float(np.sqrt(height * width))
    most = min(rungs[0], size * _LONGEST / max(height, width))
    used = [min(most, max(size, min(rungs[-2:][0], _ENLARGED * size)))]
    for rung in rungs[1:]:
        if rung * _CLEARLY_SMALLER <= used[-1]:
            used.append(rung)
    return [rung / size for rung in used]


def detect(detector: Detector, picture: ByteArray | Picture, *, everywhere: bool = False) -> FaceBatch:
    """The faces in ``picture``, uint8[H,W,3] BGR or a :class:`Picture`, each once, best score first.

    Coordinates are pixels of its full size. Boxes are clipped to the picture, and a box that lies outside is dropped;
    landmarks are not clipped, for alignment needs their true places. An empty picture gives an empty batch.
    ``everywhere`` is the slow reference: every look is at the whole picture.
    """
    if not isinstance(picture, Picture):
        picture = Picture.whole(picture)
    iou = detector.spec.nms_iou
    steps = scales(picture.height, picture.width, detector.spec.rungs)
    if not steps:
        return _batch(none())
    in_part = [False] * len(steps) if everywhere else _in_part(steps, picture)
    # Of a first look in part no more is decoded than its regions need; the others show the next one up where to look.
    whole = steps[1:] if in_part[0] else steps
    wholes = dict(zip(whole, looks(picture, whole), strict=True))
    found: list[Candidates] = []
    for i in reversed(range(len(steps))):
        if in_part[i]:
            faces = _merged(found, steps[i + 1 :], iou)
            plain = faces.boxes[faces.scores >= _PLAIN]
            where = regions(wholes[steps[i + 1]], plain, picture, steps[i])
            one = _believed(seen_in(detector, picture, wholes.get(steps[i]), where, steps[i]), faces, steps[i + 1])
        else:
            one = seen(detector, wholes[steps[i]])
        found.insert(0, chosen(one, nms(one.boxes, one.scores, iou)))
    return _batch(_clipped(_merged(found, steps, iou), picture.width, picture.height))


def detect_at(detector: Detector, bgr: ByteArray, scale: float = 1.0) -> FaceBatch:
    """The faces in ``bgr`` uint8[H,W,3] at one scale, best score first; boxes are not clipped.

    At scale 1 this is what ``cv2.FaceDetectorYN`` finds with the same thresholds.
    """
    if not bgr.size:
        return _batch(none())
    (look,) = looks(Picture.whole(bgr), [scale])
    found = seen(detector, look)
    return _batch(chosen(found, nms(found.boxes, found.scores, detector.spec.nms_iou)))


def _in_part(steps: list[float], picture: Picture) -> list[bool]:
    """Which of the looks go only where the next one down shows detail."""
    size = float(np.sqrt(picture.height * picture.width))
    return [step * size > _WORTH_SPARING and step <= _MOST_AHEAD * below for step, below in pairwise([*steps, 0.0])]


def _believed(found: Candidates, known: Candidates, below: float) -> Candidates:
    """What a look in part found, without large faces that the whole look below, at the scale ``below``, has not seen.

    That look knows faces of this size, and the part is too small for them: mostly they are a neck or a cheek.
    """
    small = np.sqrt(_areas(found.boxes)) * below < _CERTAIN
    same = [len(known.boxes) > 0 and overlaps(box, known.boxes).max() > _SAME_FACE for box in found.boxes]
    return chosen(found, np.flatnonzero(small | np.array(same, np.bool_)))


def _merged(found: list[Candidates], steps: list[float], iou: float) -> Candidates:
    """Each face once, of what was found at the scales ``steps``: :func:`nms` over all of them.

    But what overlaps nearly in full is averaged, and not dropped.

    Weights fall off with the octaves between a face's size on the rung and the size at which landmarks are steady.
    A box that lies within a better one goes as well: on a rung too large for a face, its parts look like faces.
    """
    sizes = [np.sqrt(_areas(one.boxes)) * step for one, step in zip(found, steps, strict=True)]
    octaves = np.log2(np.concatenate(sizes).clip(1e-3) / _FITTING)
    weights = np.exp(-(octaves**2) / 2).clip(1e-6)
    every = joined(found)
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
        return none()
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


def _clipped(found: Candidates, width: int, height: int) -> Candidates:
    boxes = found.boxes.clip(0, np.array([width, height, width, height], np.float32))
    inside = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))
    return chosen(found._replace(boxes=boxes), inside)


def _batch(found: Candidates) -> FaceBatch:
    boxes, landmarks, scores = (np.ascontiguousarray(part, np.float32) for part in found)
    return FaceBatch(np.zeros(len(scores), np.int32), boxes, landmarks, scores)
