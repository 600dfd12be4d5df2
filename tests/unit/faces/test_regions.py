"""Where to look closely: wherever there may be a small face, and no further."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from leakmatch.arrays import ByteArray, FloatArray
from leakmatch.faces.anchors import Detector
from leakmatch.faces.detect import detect, overlaps
from leakmatch.faces.looks import Look, looks
from leakmatch.faces.picture import Picture
from leakmatch.faces.regions import detail, regions

NOBODY = np.zeros((0, 4), np.float32)
STEP = 2560 / 3464  # of a picture of 12 megapixels


def found(picture: ByteArray, known: FloatArray = NOBODY) -> list[FloatArray]:
    whole = Picture.whole(picture)
    (look,) = looks(whole, [864 / 3464])
    return regions(look, known, whole, STEP)


def canvas() -> ByteArray:
    return np.full((3000, 4000, 3), 110, np.uint8)


def with_face(portrait: ByteArray, x: int, y: int, face: int) -> tuple[ByteArray, FloatArray]:
    """A canvas with a face of ``face`` pixels, and the face's box."""
    scale = face / 100
    small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    picture = canvas()
    picture[y : y + small.shape[0], x : x + small.shape[1]] = small
    box = np.array([180, 60, 270, 190], np.float32) * scale + np.tile([x, y], 2)
    return picture, box.astype(np.float32)


def test_nothing_to_see_in_a_flat_picture() -> None:
    assert found(canvas()) == []


@pytest.mark.parametrize("angle", [0, 20, 45, 90])
def test_a_straight_edge_is_no_detail(angle: int) -> None:
    y, x = np.mgrid[:200, :200].astype(np.float32)
    across = (x - 100) * np.cos(np.deg2rad(angle)) + (y - 100) * np.sin(np.deg2rad(angle))
    luma = (255 / (1 + np.exp(-across))).astype(np.float32)
    assert detail(luma)[20:-20, 20:-20].max() < 3**2


def test_detail_is_the_smaller_eigenvalue_of_the_structure_tensor() -> None:
    """The reference: one block at a time, by numpy."""
    luma = np.random.default_rng(4).uniform(0, 255, (40, 50)).astype(np.float32)
    dx, dy = np.zeros((2, 40, 50))
    dx[1:-1, 1:-1] = (
        (luma[:-2, 2:] - luma[:-2, :-2]) + 2 * (luma[1:-1, 2:] - luma[1:-1, :-2]) + (luma[2:, 2:] - luma[2:, :-2])
    ) / 8
    dy[1:-1, 1:-1] = (
        (luma[2:, :-2] - luma[:-2, :-2]) + 2 * (luma[2:, 1:-1] - luma[:-2, 1:-1]) + (luma[2:, 2:] - luma[:-2, 2:])
    ) / 8
    ours = detail(luma)
    for row, column in ((10, 12), (20, 30), (30, 40)):
        block = (slice(row - 4, row + 4), slice(column - 4, column + 4))  # as cv2.blur places an even block
        tensor = [[(a[block] * b[block]).mean() for a in (dx, dy)] for b in (dx, dy)]
        assert ours[row, column] == pytest.approx(np.linalg.eigvalsh(tensor)[0], rel=1e-3)


@pytest.mark.parametrize("face", [20, 30, 40])
@pytest.mark.parametrize(("x", "y"), [(2700, 1900), (0, 0), (3700, 2700), (431, 1290)])
def test_a_small_face_is_within_one_region(portrait: ByteArray, face: int, x: int, y: int) -> None:
    picture, box = with_face(portrait, x, y, face)
    around = found(picture)
    assert any((region[:2] <= box[:2]).all() and (region[2:] >= box[2:]).all() for region in around)
    covered = sum(float((region[2:] - region[:2]).prod()) for region in around)
    assert covered < 0.05 * 12e6
    assert all((region >= 0).all() and (region <= [4000, 3000, 4000, 3000]).all() for region in around)


def test_within_a_large_known_face_no_other_is_looked_for() -> None:
    picture = canvas()
    picture[1000:1400, 1500:1900] = np.random.default_rng(0).integers(0, 256, (400, 400, 1), np.uint8)
    assert found(picture)
    assert found(picture, np.array([[1480, 980, 1920, 1420]], np.float32)) == []
    assert found(picture, np.array([[1600, 1100, 1700, 1200]], np.float32))  # a small one leaves the rest


def test_a_look_of_brightness_alone_will_do(portrait: ByteArray) -> None:
    picture, _ = with_face(portrait, 2700, 1900, 30)
    whole = Picture.whole(picture)
    (look,) = looks(whole, [864 / 3464])
    gray = Look(cv2.cvtColor(look.pixels, cv2.COLOR_BGR2GRAY), look.ratio)  # type: ignore[arg-type]
    ours, reference = regions(gray, NOBODY, whole, STEP), regions(look, NOBODY, whole, STEP)
    np.testing.assert_array_equal(np.array(ours), np.array(reference))


def test_in_part_the_same_faces_are_found_as_everywhere(detector: Detector, portrait: ByteArray) -> None:
    """Three faces of 30, 60 and 300 pixels over a ground of noise and stripes."""
    picture = canvas()
    picture[:, ::40] = 190
    picture[:1000, :1500] = np.random.default_rng(1).integers(60, 160, (1000, 1500, 1), np.uint8)
    for face, x, y in ((30, 300, 2500), (60, 3000, 400), (300, 1600, 1200)):
        scale = face / 100
        small = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        picture[y : y + small.shape[0], x : x + small.shape[1]] = small
    ours, reference = detect(detector, picture), detect(detector, picture, everywhere=True)
    assert len(ours) == len(reference) == 3
    for box in reference.boxes:
        assert overlaps(box, ours.boxes).max() > 0.85
