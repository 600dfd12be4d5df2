"""What every detector does, whatever its kind: one suite, inherited by each."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from leakmatch.arrays import ByteArray
from leakmatch.errors import IntegrityError
from leakmatch.faces.anchors import Detector
from leakmatch.faces.detect import detect, detect_at, open_detector, overlaps
from leakmatch.faces.packs import Pack, load_pack, read_pack

SCRFD = """
name = "scrfd"
version = "1"
licence = "non-commercial research only"
[detector]
kind = "scrfd"
file = "{file}"
colour = "rgb"
mean = 127.5
std = 128.0
strides = [8, 16, 32]
rungs = [2560, 480, 160]
score_threshold = 0.5
nms_iou = 0.4
[embedder]
kind = "arcface"
file = "none.onnx"
colour = "rgb"
mean = 127.5
std = 127.5
alignment = "arcface-112"
dimension = 512
precision = "fp32"
[[asset]]
name = "{file}"
sha256 = "{sha256}"
size = 1
[[asset]]
name = "none.onnx"
sha256 = "{sha256}"
size = 1
"""


@pytest.fixture(scope="module")
def portrait(sample_photos: Path) -> ByteArray:
    return np.asarray(cv2.imread(str(sample_photos / "astronaut.png")))


class DetectorContract:
    """The suite. A subclass gives ``pack``."""

    @pytest.fixture
    def detector(self, pack: Pack) -> Detector:
        return open_detector(pack)

    @pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (3, 5), (64, 64), (33, 500)])
    def test_a_flat_picture_has_no_face(self, detector: Detector, size: tuple[int, int]) -> None:
        for level in (0, 128, 255):
            assert len(detect(detector, np.full((*size, 3), level, np.uint8))) == 0

    @pytest.mark.parametrize("size", [(0, 0), (0, 10), (10, 0)])
    def test_an_empty_picture_has_no_face(self, detector: Detector, size: tuple[int, int]) -> None:
        assert len(detect(detector, np.zeros((*size, 3), np.uint8))) == 0
        assert len(detect_at(detector, np.zeros((*size, 3), np.uint8))) == 0

    def test_noise_has_no_face(self, detector: Detector) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (400, 300, 3), dtype=np.uint8)
        assert len(detect(detector, noise)) == 0

    def test_one_face_with_its_landmarks_in_order(self, detector: Detector, portrait: ByteArray) -> None:
        faces = detect(detector, portrait)
        assert len(faces) == 1
        left_eye, right_eye, nose, left_mouth, right_mouth = faces.landmarks[0]
        assert left_eye[0] < nose[0] < right_eye[0]
        assert left_mouth[0] < right_mouth[0]
        assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
        assert (faces.landmarks[0] > faces.boxes[0, :2]).all()
        assert (faces.landmarks[0] < faces.boxes[0, 2:]).all()
        assert detector.spec.score_threshold <= faces.scores[0] <= 1

    @pytest.mark.parametrize("scale", [0.3, 0.5, 1.7, 4.0])
    def test_coordinates_are_the_pictures_own(self, detector: Detector, portrait: ByteArray, scale: float) -> None:
        reference = detect(detector, portrait)
        faces = detect(detector, np.asarray(cv2.resize(portrait, None, fx=scale, fy=scale)))
        assert overlaps(reference.boxes[0] * np.float32(scale), faces.boxes)[0] > 0.8
        width = float(np.ptp(reference.boxes[0, [0, 2]]))
        assert np.abs(faces.landmarks[0] / scale - reference.landmarks[0]).max() < 0.08 * width

    def test_the_same_picture_gives_the_same_faces(self, detector: Detector, portrait: ByteArray) -> None:
        first = detect(detector, portrait)
        detect(detector, np.zeros((99, 77, 3), np.uint8))
        again = detect(detector, portrait)
        np.testing.assert_array_equal(first.boxes, again.boxes)
        np.testing.assert_array_equal(first.landmarks, again.landmarks)

    def test_a_view_is_as_good_as_a_copy(self, detector: Detector, portrait: ByteArray) -> None:
        mirrored = portrait[:, ::-1]
        np.testing.assert_array_equal(
            detect(detector, mirrored).boxes, detect(detector, np.ascontiguousarray(mirrored)).boxes
        )
        assert len(detect(detector, mirrored)) == 1

    def test_boxes_stay_within_the_picture(self, detector: Detector, portrait: ByteArray) -> None:
        x0, y0, x1, y1 = detect(detector, portrait).boxes[0].round().astype(int)
        crop = np.ascontiguousarray(portrait[y0 + 10 : y1, x0 : x1 - 10])
        faces = detect(detector, crop)
        assert len(faces) == 1
        assert (faces.boxes >= 0).all()
        assert (faces.boxes <= np.tile([crop.shape[1], crop.shape[0]], 2)).all()

    def test_another_kind_of_model_is_refused(self, pack: Pack, tmp_path: Path) -> None:
        other = "scrfd" if pack.detector.kind == "yunet" else "yunet"
        shutil.copytree(pack.folder, tmp_path, dirs_exist_ok=True)
        text = (tmp_path / "pack.toml").read_text(encoding="utf-8")
        (tmp_path / "pack.toml").write_text(text.replace(f'"{pack.detector.kind}"', f'"{other}"'), encoding="utf-8")
        with pytest.raises(IntegrityError, match=pack.detector.file):
            open_detector(read_pack(tmp_path))


class TestYuNet(DetectorContract):
    @pytest.fixture
    def pack(self, pack_home: Path) -> Pack:
        return load_pack("opencv-zoo", pack_home)


class ScrfdContract(DetectorContract):
    FILE: str
    SHA256: str

    @pytest.fixture
    def pack(self, shared_models: Path, tmp_path: Path) -> Pack:
        folder = tmp_path / "scrfd"
        folder.mkdir()
        shutil.copy(shared_models / self.FILE, folder)
        (folder / "pack.toml").write_text(SCRFD.format(file=self.FILE, sha256=self.SHA256), encoding="utf-8")
        return read_pack(folder)


class TestScrfdLarge(ScrfdContract):
    FILE = "det_2.5g.onnx"
    SHA256 = "041f73f47371333d1d17a6fee6c8ab4e6aecabefe398ff32cca4e2d5eaee0af9"


class TestScrfdSmall(ScrfdContract):
    FILE = "det_500m.onnx"
    SHA256 = "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a"
