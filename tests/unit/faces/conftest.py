"""What tests of faces share: the default pack opened, OpenCV's own detector and recognizer, and a portrait."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from leakmatch.arrays import ByteArray
from leakmatch.faces.anchors import Detector
from leakmatch.faces.detect import open_detector
from leakmatch.faces.embed import Embedder
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.packs import Pack, load_pack
from leakmatch.faces.prepared import open_prepared


@pytest.fixture(scope="session")
def pack(pack_home: Path) -> Pack:
    return load_pack("opencv-zoo", pack_home)


@pytest.fixture(scope="session")
def detector(pack: Pack) -> Detector:
    return open_detector(pack)


@pytest.fixture(scope="session")
def embedder(pack: Pack) -> Embedder:
    return Embedder(pack.embedder, open_prepared(pack, pack.embedder.file), pack.model_id)


@pytest.fixture(scope="session")
def engine(pack: Pack) -> FaceEngine:
    return FaceEngine(pack)


@pytest.fixture(scope="session")
def recognizer(pack: Pack) -> cv2.FaceRecognizerSF:
    return cv2.FaceRecognizerSF.create(str(pack.folder / pack.embedder.file), "")


@pytest.fixture(scope="session")
def portrait(sample_photos: Path) -> ByteArray:
    """A portrait of 512x512 pixels with one face of about 100 pixels."""
    return np.asarray(cv2.imread(str(sample_photos / "astronaut.png")))


@pytest.fixture(scope="session")
def crops() -> ByteArray:
    """Pictures of nobody uint8[3,112,112,3], from whole-number arithmetic alone: the same on every machine."""
    number, row, column, channel = np.mgrid[1:4, 0:112, 0:112, 0:3]
    waves = (row * column * number // (7 + 5 * channel) + row * (3 + number) + column * (5 - channel)) % 512
    return np.abs(waves - 256).clip(0, 255).astype(np.uint8)
