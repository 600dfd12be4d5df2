"""Templates, against OpenCV's recognizer and the model as it was shipped."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from leakmatch.arrays import ByteArray
from leakmatch.errors import IntegrityError
from leakmatch.faces.anchors import blob
from leakmatch.faces.embed import Embedder, normalised
from leakmatch.faces.packs import Pack, verified
from leakmatch.faces.prepared import open_prepared
from leakmatch.faces.session import open_session


def test_templates_are_those_of_opencv(embedder: Embedder, recognizer: cv2.FaceRecognizerSF, crops: ByteArray) -> None:
    vectors, valid = embedder.embed(crops)
    assert valid.all()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    for vector, crop in zip(vectors, crops, strict=True):
        theirs = recognizer.feature(crop)[0]
        assert vector @ theirs / np.linalg.norm(theirs) >= 0.9999


def test_the_prepared_graph_is_the_graph_as_shipped(pack: Pack, embedder: Embedder, crops: ByteArray) -> None:
    shipped = open_session(verified(pack, pack.embedder.file), pack.embedder.file)
    vectors, _ = embedder.embed(crops)
    for vector, crop in zip(vectors, crops, strict=True):
        reference = shipped.run(blob(crop, pack.embedder))[0][0]
        assert vector @ reference / np.linalg.norm(reference) >= 0.99999


def test_no_crops(embedder: Embedder) -> None:
    vectors, valid = embedder.embed(np.zeros((0, 112, 112, 3), np.uint8))
    assert vectors.shape == (0, 128)
    assert vectors.dtype == np.float32
    assert valid.shape == (0,)


def test_a_batch_is_its_crops_one_by_one(embedder: Embedder, crops: ByteArray) -> None:
    together, _ = embedder.embed(crops)
    alone = np.concatenate([embedder.embed(crop[None])[0] for crop in crops])
    np.testing.assert_array_equal(together, alone)


def test_crops_of_another_size_are_refused(embedder: Embedder) -> None:
    with pytest.raises(ValueError, match="crops"):
        embedder.embed(np.zeros((1, 96, 112, 3), np.uint8))


def test_what_has_no_direction_is_not_valid() -> None:
    raw = np.array([[3, 4], [0, 0], [np.nan, 1], [np.inf, 1]], np.float32)
    vectors, valid = normalised(raw)
    assert valid.tolist() == [True, False, False, False]
    np.testing.assert_allclose(vectors, [[0.6, 0.8], [0, 0], [0, 0], [0, 0]])


def test_a_model_of_another_dimension_is_refused(pack: Pack) -> None:
    spec = replace(pack.embedder, dimension=512)
    with pytest.raises(IntegrityError, match="gives 128 numbers, not the 512 declared"):
        Embedder(spec, open_prepared(pack, spec.file), "id")


def test_a_detector_is_no_embedder(pack: Pack) -> None:
    with pytest.raises(IntegrityError, match="yunet"):
        Embedder(replace(pack.embedder, file=pack.detector.file), open_prepared(pack, pack.detector.file), "id")
