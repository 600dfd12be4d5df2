"""Quality, and what is not fit for enrolment."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from leakmatch.arrays import ByteArray, FloatArray
from leakmatch.faces.defects import (
    LOW_QUALITY,
    MIN_EYE_DISTANCE,
    MIN_QUALITY,
    TOO_BLURRED,
    TOO_SMALL,
    enrolment_defects,
    eye_distances,
    pose_term,
    quality_reasons,
    size_term,
    yaw,
)
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.geometry import TEMPLATE
from leakmatch.faces.quality import face_quality, sharpness
from leakmatch.records import FaceBatch, QualityReason, TemplateBatch

EYES = float(np.linalg.norm(TEMPLATE[1] - TEMPLATE[0]))


def landmarks(scale: float = 1.0, turned: float = 0.0) -> FloatArray:
    """The template's landmarks, ``scale`` times as large, the nose moved by ``turned`` half eye distances."""
    points = TEMPLATE.copy()
    points[2, 0] = (points[0, 0] + points[1, 0]) / 2 + turned * EYES / 2
    return (points * scale)[None].astype(np.float32)


@pytest.fixture(scope="module")
def sharp() -> ByteArray:
    """A crop with as much fine detail as a quality of 1 asks for."""
    return np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), dtype=np.uint8)


def test_the_worst_term_counts(sharp: ByteArray) -> None:
    assert face_quality(landmarks(), sharp)[0] == pytest.approx(1, abs=0.02)
    assert face_quality(landmarks(scale=0.5), sharp)[0] == pytest.approx(0.5, abs=0.02)
    assert face_quality(landmarks(turned=1), sharp)[0] == pytest.approx(0.5, abs=0.02)
    assert face_quality(landmarks(turned=9), sharp)[0] == pytest.approx(0.5, abs=0.02)
    assert face_quality(landmarks(scale=0.5, turned=1), sharp)[0] == pytest.approx(0.5, abs=0.02)


def test_small_and_turned_faces_of_sufficient_size_are_not_called_blurred(sharp: ByteArray) -> None:
    """What makes ``quality < MIN_QUALITY`` mean blur: no other term goes so low without another defect."""
    just_large_enough = landmarks(scale=MIN_EYE_DISTANCE / EYES, turned=9)
    assert face_quality(just_large_enough, sharp)[0] > MIN_QUALITY


def test_no_faces() -> None:
    assert face_quality(np.zeros((0, 5, 2), np.float32), np.zeros((0, 112, 112, 3), np.uint8)).shape == (0,)


def test_a_turned_head_does_not_count_as_small() -> None:
    points = landmarks()
    points[0, 0, 0] += 20  # the eyes 15 pixels apart, the rest where it was
    assert eye_distances(points)[0] > 0.7 * EYES
    assert yaw(landmarks())[0] == pytest.approx(0, abs=0.01)


def test_landmarks_in_one_point_are_of_no_size() -> None:
    assert eye_distances(np.ones((1, 5, 2), np.float32))[0] == 0
    assert yaw(np.ones((1, 5, 2), np.float32))[0] == 0


def test_sharpness_falls_with_blur_and_not_with_light(sharp: ByteArray) -> None:
    blurred = [cv2.GaussianBlur(sharp[0], (0, 0), sigma) for sigma in (1, 2, 4)]
    values = sharpness(np.stack([sharp[0], *blurred]))
    assert (np.diff(values) < 0).all()
    dim = (sharp // 2).astype(np.uint8)
    assert sharpness(dim)[0] == pytest.approx(sharpness(sharp)[0], rel=0.02)
    assert sharpness(np.full((1, 112, 112, 3), 90, np.uint8))[0] == 0


def batches(points: FloatArray, quality: float) -> tuple[FaceBatch, TemplateBatch]:
    faces = FaceBatch(np.zeros(1, np.int32), np.zeros((1, 4), np.float32), points, np.ones(1, np.float32))
    vector = np.eye(1, 128, dtype=np.float32)
    return faces, TemplateBatch(vector, np.array([quality], np.float32), np.ones(1, np.bool_), "id")


def test_defects_by_their_thresholds() -> None:
    small, large = landmarks(0.99 * MIN_EYE_DISTANCE / EYES), landmarks(1.01 * MIN_EYE_DISTANCE / EYES)
    assert enrolment_defects(*batches(small, 1.0)) == [TOO_SMALL]
    assert enrolment_defects(*batches(large, MIN_QUALITY + 0.01)) == [""]
    assert enrolment_defects(*batches(large, MIN_QUALITY - 0.01)) == [TOO_BLURRED]


def defect_of(engine: FaceEngine, picture: ByteArray) -> str:
    faces, templates, _ = engine.analyse(picture)
    assert len(faces) >= 1
    return enrolment_defects(faces, templates)[0]


def test_a_portrait_is_fit_and_its_spoilt_copies_are_not(engine: FaceEngine, portrait: ByteArray) -> None:
    assert defect_of(engine, portrait) == ""
    faces, _, _ = engine.analyse(portrait)
    width = float(faces.boxes[0, 2] - faces.boxes[0, 0])
    tiny = cv2.resize(portrait, None, fx=18 / width, fy=18 / width, interpolation=cv2.INTER_AREA)
    assert defect_of(engine, np.asarray(tiny)) == TOO_SMALL
    # A blur of 6 pixels of the crop is so many of the picture.
    sigma = 6 * eye_distances(faces.landmarks)[0] / EYES
    assert defect_of(engine, np.asarray(cv2.GaussianBlur(portrait, (0, 0), sigma))) == TOO_BLURRED


def test_the_reason_is_the_term_that_bounds_a_low_quality(sharp: ByteArray) -> None:
    blurred = cv2.GaussianBlur(sharp[0], (0, 0), 4)[None]
    for points, crops, reason in (
        (landmarks(), sharp, QualityReason.NONE),
        (landmarks(scale=0.4), sharp, QualityReason.SMALL),
        (landmarks(scale=0.4, turned=1), blurred * 0, QualityReason.BLURRED),
        (landmarks(), blurred, QualityReason.BLURRED),
        (landmarks(turned=0.8), sharp, QualityReason.NONE),
        (landmarks(turned=1.1), sharp, QualityReason.TURNED),
        (landmarks(turned=9), blurred, QualityReason.BLURRED),
    ):
        assert quality_reasons(points, face_quality(points, crops)) == [reason]
    assert quality_reasons(np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32)) == []


def test_landmarks_in_one_point_are_small(sharp: ByteArray) -> None:
    nowhere = np.ones((1, 5, 2), np.float32)
    assert quality_reasons(nowhere, face_quality(nowhere, sharp)) == [QualityReason.SMALL]


@given(
    st.floats(0.1, 3),
    st.floats(-3, 3),
    st.floats(0.5, 8),
    st.floats(0, 6.3),
    arrays(np.float32, 2, elements=st.floats(0, 999, width=32)),
)
def test_every_low_quality_has_a_reason_that_holds(
    scale: float, turned: float, sigma: float, angle: float, at: FloatArray
) -> None:
    """As the terms say, however the face lies in its picture."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (landmarks(scale, turned)[0] @ turn.T + at)[None].astype(np.float32)
    noise = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    crops = cv2.GaussianBlur(noise, (0, 0), sigma)[None]
    quality = face_quality(points, crops)
    (reason,) = quality_reasons(points, quality)
    terms = {
        QualityReason.SMALL: size_term(points)[0],
        QualityReason.TURNED: pose_term(points)[0],
        QualityReason.BLURRED: sharpness(crops)[0] / 0.4,
    }
    assert (reason == QualityReason.NONE) == (min(terms.values()) > LOW_QUALITY + 1e-4)
    if reason != QualityReason.NONE:
        assert terms[reason] == pytest.approx(quality[0], abs=2e-4)
