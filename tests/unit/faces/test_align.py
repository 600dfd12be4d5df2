"""Alignment, against slow references and OpenCV's own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from leakmatch.arrays import ByteArray
from leakmatch.faces.align import aligned_crops
from leakmatch.faces.geometry import CROP_SIZE, TEMPLATE, inside_picture, similarities


def umeyama(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """Umeyama 1991, equations 40 to 43, for one set of points: float64[2,3]."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    u, singular, vt = np.linalg.svd(covariance)
    sign = np.array([1.0, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (singular * sign).sum() / source.var(axis=0).sum()
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


def some_landmarks(count: int = 20) -> NDArray[np.float32]:
    rng = np.random.default_rng(5)
    landmarks = np.empty((count, 5, 2), np.float32)
    for points in landmarks:
        angle, scale = rng.uniform(-3, 3), rng.uniform(0.2, 5)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points[:] = TEMPLATE @ turn.T * scale + rng.uniform(-50, 500, 2) + rng.normal(0, 2 * scale, (5, 2))
    return landmarks


def test_similarities_are_umeyamas() -> None:
    landmarks = some_landmarks()
    for matrix, points in zip(similarities(landmarks), landmarks, strict=True):
        np.testing.assert_allclose(matrix, umeyama(points.astype(np.float64), TEMPLATE), rtol=1e-9, atol=1e-9)


def test_mirrored_landmarks_are_not_mirrored_back() -> None:
    """A similarity never flips: the reference keeps to rotations, and so does the complex form."""
    landmarks = (TEMPLATE * [-1, 1]).astype(np.float32)
    np.testing.assert_allclose(
        similarities(landmarks[None])[0], umeyama(landmarks.astype(np.float64), TEMPLATE), atol=1e-9
    )


def test_no_faces() -> None:
    matrices = similarities(np.zeros((0, 5, 2), np.float32))
    assert matrices.shape == (0, 2, 3)
    assert aligned_crops(np.zeros((9, 9, 3), np.uint8), matrices).shape == (0, 112, 112, 3)


def test_landmarks_in_one_point_give_a_black_crop() -> None:
    matrices = similarities(np.full((1, 5, 2), 7, np.float32))
    assert np.isnan(matrices).all()
    assert not aligned_crops(np.full((20, 20, 3), 255, np.uint8), matrices).any()


@pytest.mark.parametrize("size", [(60, 90), (250, 250), (223, 301)])
def test_crops_are_those_of_opencv(recognizer: cv2.FaceRecognizerSF, crops: ByteArray, size: tuple[int, int]) -> None:
    picture = cv2.GaussianBlur(cv2.resize(crops[0], size), (0, 0), 1)
    for points in some_landmarks():
        points = (points - points.min(axis=0)) / np.ptp(points) * min(size) * 0.8 + 5
        row = np.concatenate([[0, 0, 50, 50], points.ravel(), [1]]).astype(np.float32)
        ours = aligned_crops(np.asarray(picture), similarities(points[None].astype(np.float32)))[0]
        if np.hypot(*similarities(points[None].astype(np.float32))[0, :, 0]) > 0.5:
            theirs = recognizer.alignCrop(picture, row)
            assert np.abs(ours.astype(int) - theirs).mean() < 0.05
            assert np.abs(ours.astype(int) - theirs).max() <= 2


@pytest.mark.parametrize("factor", [2, 3, 5, 8])
def test_a_large_face_is_averaged_and_not_sampled(crops: ByteArray, factor: int) -> None:
    """Blocks of equal pixels shrink to the picture they were made from, in the same place."""
    large = crops[0].repeat(factor, axis=0).repeat(factor, axis=1)
    centres = (TEMPLATE + 0.5) * factor - 0.5
    crop = aligned_crops(large, similarities(centres[None].astype(np.float32)))[0]
    assert np.abs(crop[2:-2, 2:-2].astype(int) - crops[0][2:-2, 2:-2]).max() <= 3


def test_fine_noise_does_not_alias() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1200, 1200, 3), dtype=np.uint8)
    crop = aligned_crops(noise, similarities((TEMPLATE * 10)[None].astype(np.float32)))[0]
    assert crop[4:-4, 4:-4].std() < 12  # a tenth of the noise's own 74, and some; a plain warp keeps half of it


@pytest.mark.parametrize("place", [(0, 0), (-300, -300), (39_900, 0), (50_000, 50)])
def test_faces_at_and_beyond_the_edge_of_a_huge_picture(place: tuple[int, int]) -> None:
    """OpenCV's warp takes no side above 32,767 pixels; a face that lies outside is black."""
    picture = np.full((64, 40_000, 3), 200, np.uint8)
    crop = aligned_crops(picture, similarities((TEMPLATE + place)[None].astype(np.float32)))[0]
    inside = place[0] in {0, 39_900}
    assert crop.shape == (CROP_SIZE, CROP_SIZE, 3)
    assert crop.any() == inside
    assert not inside or crop.max() == 200


def test_what_shows_the_picture_is_what_a_warp_finds_in_it() -> None:
    landmarks = some_landmarks(40)
    white = np.full((480, 640, 3), 255, np.uint8)
    shown = inside_picture(landmarks, (640, 480), 28)
    assert shown.shape == (40, 28, 28)
    assert 0.1 < shown.mean() < 0.95
    for inside, crop in zip(shown, aligned_crops(white, similarities(landmarks)), strict=True):
        share = cv2.resize(crop[..., 0], (28, 28), interpolation=cv2.INTER_AREA)
        assert (inside[share == 255]).all()
        assert not inside[share == 0].any()


def test_nothing_is_shown_of_a_face_that_cannot_be_aligned() -> None:
    assert not inside_picture(np.full((1, 5, 2), 7, np.float32), (20, 20), 8).any()
    assert inside_picture(np.zeros((0, 5, 2), np.float32), (20, 20), 8).shape == (0, 8, 8)
