"""Finding faces of all sizes: scales, tiles, and what becomes of one face found several times."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from leakmatch.arrays import ByteArray, FloatArray
from leakmatch.faces import detect as module
from leakmatch.faces.anchors import Candidates, Detector
from leakmatch.faces.detect import detect, detect_at, nms, overlaps, scales
from leakmatch.faces.looks import _spans

RUNGS = (2560, 864, 480, 160)


@pytest.mark.parametrize(
    ("size", "rungs"),
    [
        ((3000, 4000), [2560, 864, 480, 160]),
        ((480, 640), [554, 160]),
        ((250, 250), [375, 160]),
        ((112, 112), [168]),
        ((10, 10), [15]),
        ((100, 40_000), [2000 * 8192 / 40_000, 160]),  # no input is longer than 8,192 pixels
    ],
)
def test_scales(size: tuple[int, int], rungs: list[float]) -> None:
    found = np.array(scales(*size, RUNGS)) * np.sqrt(size[0] * size[1])
    np.testing.assert_allclose(found, rungs, rtol=0.01)


def test_an_empty_picture_has_no_scales() -> None:
    assert scales(0, 9, RUNGS) == []
    assert scales(9, 0, RUNGS) == []


@pytest.mark.parametrize("side", [1, 31, 1023, 1024, 1025, 1920, 2560, 8192])
def test_tiles_cover_a_side_and_overlap(side: int) -> None:
    spans = _spans(side)
    assert spans[0][0] == 0
    assert spans[-1][1] == side
    assert all(end - begin <= 1024 for begin, end in spans)
    assert all(end - begin >= 127 for (begin, _), (_, end) in zip(spans[1:], spans, strict=False))


def slow_nms(boxes: FloatArray, scores: FloatArray, iou: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if all(slow_iou(boxes[i], boxes[j]) <= iou for j in kept):
            kept.append(i)
    return kept


def slow_iou(a: FloatArray, b: FloatArray) -> float:
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return float(width * height / union) if union > 0 else 0.0


def test_nms_is_its_slow_reference() -> None:
    rng = np.random.default_rng(2)
    corner = rng.uniform(0, 60, (80, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 40, (80, 2))], axis=1).astype(np.float32)
    scores = rng.integers(0, 20, 80).astype(np.float32)  # with ties
    for iou in (0.0, 0.3, 0.7):
        assert nms(boxes, scores, iou).tolist() == slow_nms(boxes, scores, iou)
    assert nms(boxes[:0], scores[:0], 0.3).tolist() == []


def test_overlaps() -> None:
    boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6], [1, 1, 1, 1]], np.float32)
    np.testing.assert_allclose(overlaps(boxes[0], boxes), [1, 1 / 3, 0, 0])


def candidates(*rows: tuple[list[float], float, float]) -> Candidates:
    """Rows of box, landmark value, score."""
    boxes = np.array([row[0] for row in rows], np.float32).reshape(-1, 4)
    landmarks = np.array([np.full((5, 2), row[1]) for row in rows], np.float32).reshape(-1, 5, 2)
    return Candidates(boxes, landmarks, np.array([row[2] for row in rows], np.float32))


def merge(*found: Candidates, ratios: tuple[float, ...]) -> Candidates:
    return module._merged(list(found), list(ratios), 0.3)


def test_rungs_that_agree_are_averaged_by_fitness() -> None:
    """The face is 110 pixels on the first rung, which fits, and 55, one octave off, on the second."""
    large, small = candidates(([0, 0, 110, 110], 10, 0.8)), candidates(([0, 0, 112, 110], 20, 0.9))
    merged = merge(large, small, ratios=(1, 0.5))
    weight = np.exp(-0.5)
    assert len(merged.scores) == 1
    assert merged.scores[0] == pytest.approx(0.9)
    assert merged.landmarks[0, 0, 0] == pytest.approx((10 + 20 * weight) / (1 + weight), rel=1e-2)
    assert merged.boxes[0, 2] == pytest.approx((110 + 112 * weight) / (1 + weight), rel=1e-3)


def test_neighbours_are_kept_apart() -> None:
    one = candidates(([0, 0, 100, 100], 1, 0.9), ([120, 0, 220, 100], 2, 0.8))
    merged = merge(one, one, ratios=(1, 0.5))
    assert merged.landmarks[:, 0, 0].tolist() == [1, 2]


def test_a_partial_overlap_is_dropped_and_not_averaged() -> None:
    merged = merge(candidates(([0, 0, 100, 100], 1, 0.9)), candidates(([50, 0, 150, 100], 9, 0.7)), ratios=(1, 1))
    assert merged.landmarks[:, 0, 0].tolist() == [1]


def test_a_part_of_a_better_face_is_dropped() -> None:
    whole, nose = candidates(([0, 0, 300, 300], 1, 0.9)), candidates(([120, 120, 180, 180], 9, 0.7))
    assert merge(whole, nose, ratios=(0.3, 1)).landmarks[:, 0, 0].tolist() == [1]


def test_a_better_face_within_a_box_stays() -> None:
    loose, face = candidates(([0, 0, 300, 300], 1, 0.65)), candidates(([120, 120, 180, 180], 9, 0.9))
    assert merge(loose, face, ratios=(0.3, 1)).landmarks[:, 0, 0].tolist() == [9, 1]


def test_nothing_found_on_any_rung() -> None:
    assert len(merge(candidates(), candidates(), ratios=(1, 0.5)).scores) == 0


# --- with the default detector ----------------------------------------------------------------------------------


def one_face(detector: Detector, picture: ByteArray) -> FloatArray:
    faces = detect(detector, picture)
    assert len(faces) == 1
    box: FloatArray = faces.boxes[0]
    return box


@pytest.mark.parametrize("width", [24, 32, 40])
def test_a_small_face_in_a_large_photo(detector: Detector, portrait: ByteArray, width: int) -> None:
    scale = width / float(np.ptp(one_face(detector, portrait)[[0, 2]]))
    small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    canvas = np.full((3000, 4000, 3), 120, np.uint8)
    canvas[1900 : 1900 + small.shape[0], 2700 : 2700 + small.shape[1]] = small
    expected = one_face(detector, portrait) * scale + np.tile([2700, 1900], 2)
    assert overlaps(expected.astype(np.float32), one_face(detector, canvas)[None])[0] > 0.6


@pytest.mark.parametrize("side", [112, 600, 1500, 3000])
def test_a_face_that_fills_the_picture(detector: Detector, portrait: ByteArray, side: int) -> None:
    x0, y0, x1, y1 = one_face(detector, portrait).round().astype(int)
    tight = cv2.resize(portrait[y0 + 5 : y1 - 5, x0 + 5 : x1 - 5], (side, side), interpolation=cv2.INTER_CUBIC)
    box = one_face(detector, np.asarray(tight))
    assert (box[2] - box[0]) * (box[3] - box[1]) > 0.7 * side * side
    assert (box >= 0).all()
    assert (box <= side).all()


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_face_is_found_wherever_tiles_meet(detector: Detector, portrait: ByteArray, everywhere: bool) -> None:
    """A face of some 60 pixels moves over the seam of the tiles of a picture of 1,400 x 1,100 pixels."""
    small = cv2.resize(portrait, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    reference = one_face(detector, portrait) * 0.6
    (_, first_end), (second_begin, _) = _spans(1400)
    for seam in (second_begin, first_end):
        for offset in (-200, -140, -100, -60):
            canvas = np.full((1100, 1400, 3), 120, np.uint8)
            x, y = seam + offset, 300
            canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
            expected = (reference + np.tile([x, y], 2)).astype(np.float32)
            faces = detect(detector, canvas, everywhere=everywhere)
            assert len(faces) == 1
            assert overlaps(expected, faces.boxes)[0] > 0.7


def test_several_faces_come_best_score_first(detector: Detector, portrait: ByteArray) -> None:
    half = cv2.resize(portrait, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    canvas = np.full((600, 1200, 3), 100, np.uint8)
    canvas[:512, :512] = portrait
    canvas[100 : 100 + half.shape[0], 700 : 700 + half.shape[1]] = half
    faces = detect(detector, canvas)
    assert len(faces) == 2
    assert faces.scores[0] >= faces.scores[1]
    assert faces.image_index.tolist() == [0, 0]


@pytest.mark.parametrize("size", [(250, 250), (201, 333), (64, 80), (700, 500), (33, 31)])
def test_one_scale_is_opencvs(detector: Detector, pack_file: str, portrait: ByteArray, size: tuple[int, int]) -> None:
    picture = cv2.resize(portrait, size, interpolation=cv2.INTER_AREA)
    theirs = cv2.FaceDetectorYN.create(pack_file, "", size, 0.6, 0.3).detect(picture)[1]
    ours = detect_at(detector, np.asarray(picture))
    rows = np.zeros((0, 15), np.float32) if theirs is None else theirs
    assert len(ours) == len(rows)
    for box, landmarks, score, row in zip(ours.boxes, ours.landmarks, ours.scores, rows, strict=True):
        reference = np.concatenate([row[:2], row[:2] + row[2:4]]).astype(np.float32)
        assert overlaps(reference, box[None])[0] >= 0.95
        np.testing.assert_allclose(landmarks, row[4:14].reshape(5, 2), atol=0.05)
        assert score == pytest.approx(float(row[14]), abs=1e-3)


@pytest.fixture
def pack_file(pack: module.Pack) -> str:
    return str(pack.folder / pack.detector.file)


def test_one_scale_is_opencvs_on_labelled_photos(detector: Detector, pack_file: str, shared_data: Path) -> None:
    """Thirty photos, most of them with one face, some with several."""
    reference = cv2.FaceDetectorYN.create(pack_file, "", (250, 250), 0.6, 0.3)
    with zipfile.ZipFile(shared_data / "lfw_dev.zip") as photos:
        names = sorted(name for name in photos.namelist() if name.endswith(".jpg"))[::205]
        for name in names:
            picture = cv2.imdecode(np.frombuffer(photos.read(name), np.uint8), cv2.IMREAD_COLOR)
            rows = reference.detect(picture)[1]
            ours = detect_at(detector, np.asarray(picture))
            assert len(ours) == len(rows) >= 1
            boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1).astype(np.float32)
            for box in boxes:
                assert overlaps(box, ours.boxes).max() >= 0.95
            assert len(detect(detector, np.asarray(picture))) >= 1
