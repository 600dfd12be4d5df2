"""From a picture to templates."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from leakmatch.arrays import ByteArray
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.packs import Pack
from leakmatch.records import FaceBatch


def test_rows_belong_together(engine: FaceEngine, portrait: ByteArray) -> None:
    canvas = np.concatenate([portrait, portrait[:, ::-1]], axis=1)
    faces, templates, crops = engine.analyse(canvas)
    assert len(faces) == len(templates) == len(crops) == 2
    assert crops.shape == (2, 112, 112, 3)
    assert crops.dtype == np.uint8
    assert templates.valid.all()
    assert (templates.quality > 0.3).all()
    assert templates.vectors[0] @ templates.vectors[1] > 0.7  # mirrored, the same person


def test_the_identity_is_the_packs(engine: FaceEngine, pack: Pack, portrait: ByteArray) -> None:
    assert engine.model_id == pack.model_id == engine.analyse(portrait)[1].model_id


@pytest.mark.parametrize("size", [(0, 0), (1, 1), (200, 300)])
def test_a_picture_without_a_face(engine: FaceEngine, size: tuple[int, int]) -> None:
    faces, templates, crops = engine.analyse(np.zeros((*size, 3), np.uint8))
    assert len(faces) == 0
    assert templates.vectors.shape == (0, 128)
    assert crops.shape == (0, 112, 112, 3)


def test_a_copy_of_another_size_gives_nearly_the_same_template(engine: FaceEngine, portrait: ByteArray) -> None:
    reference = engine.analyse(portrait)[1].vectors[0]
    for scale, least in ((0.5, 0.9), (2.0, 0.93), (6.0, 0.93)):
        other = engine.analyse(np.asarray(cv2.resize(portrait, None, fx=scale, fy=scale)))[1]
        assert other.vectors[0] @ reference > least


def test_a_template_for_a_gallery_is_the_mean_of_face_and_mirror_image(engine: FaceEngine, portrait: ByteArray) -> None:
    plain, both = engine.analyse(portrait)[1], engine.analyse(portrait, mirrored=True)[1]
    at_once = engine.templates(*engine.find(portrait), mirrored=True)
    assert at_once[1] is not None
    assert np.array_equal(at_once[0].vectors, both.vectors)
    assert np.array_equal(at_once[1].vectors, plain.vectors)
    assert engine.templates(*engine.find(portrait))[1] is None
    assert 0.8 < plain.vectors[0] @ both.vectors[0] < 0.9999
    assert np.linalg.norm(both.vectors[0]) == pytest.approx(1, abs=1e-5)


def test_a_face_that_cannot_be_aligned_is_not_valid(
    engine: FaceEngine, portrait: ByteArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_point = FaceBatch(
        np.zeros(1, np.int32), np.ones((1, 4), np.float32), np.ones((1, 5, 2), np.float32), np.ones(1, np.float32)
    )
    monkeypatch.setattr("leakmatch.faces.engine.detect", lambda *_, **__: one_point)
    _, templates, crops = engine.analyse(portrait)
    assert not templates.valid[0]
    assert not templates.vectors.any()
    assert not crops.any()
    assert templates.quality[0] == 0
