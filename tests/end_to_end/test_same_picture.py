"""Copies of an enrolled photo are the same picture, whatever was done to them; another photo of the person is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.packs import load_pack
from leakmatch.gallery.store import Gallery
from leakmatch.pipeline.calibrate import calibration_for
from leakmatch.pipeline.enrol import enroll
from leakmatch.pipeline.matcher import Matcher
from leakmatch.pipeline.stages import Looker
from leakmatch.records import Budget, Evidence
from leakmatch.settings import Settings

pytestmark = pytest.mark.models

ENROLLED = {"collins": "astronaut.png", "obama": "obama.jpg", "biden": "biden.jpg"}


class Scan:
    """The way of a scan for one picture."""

    def __init__(self, gallery: Gallery, home: Path) -> None:
        pack = load_pack("opencv-zoo", home)
        self.looker = Looker(FaceEngine(pack), Budget(), mirrored=False)
        self.matcher = Matcher(gallery, calibration_for(gallery, pack, Settings()), Settings())

    def __call__(self, bgr: np.ndarray) -> dict[str, Evidence]:
        payload = cv2.imencode(".jpg", np.ascontiguousarray(bgr), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
        (verdicts,) = self.matcher.match([(None, self.looker.look(payload)[0])])
        return {verdict.subject_id: verdict.evidence for verdict in verdicts if verdict.rank == 1}


@pytest.fixture(scope="module")
def scan(sample_photos: Path, pack_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scan]:
    folder = tmp_path_factory.mktemp("same-picture")
    rows = [f"{subject},{sample_photos / name}" for subject, name in ENROLLED.items()]
    (folder / "people.csv").write_text("\n".join(["subject_id,path", *rows]), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEAKMATCH_HOME", str(pack_home))
        enroll(folder / "gallery", [folder / "people.csv"], Settings(workers=1, isolation=False))
        with Gallery.open(folder / "gallery") as gallery:
            yield Scan(gallery, pack_home)


def captioned(bgr: np.ndarray) -> np.ndarray:
    bar = np.zeros((bgr.shape[0] // 8, bgr.shape[1], 3), np.uint8)
    cv2.putText(bar, "SOME AGENCY", (5, bar.shape[0] // 2), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255,) * 3, 1)
    return np.vstack([bgr, bar])


def cropped(bgr: np.ndarray) -> np.ndarray:
    high, wide = bgr.shape[0] // 10, bgr.shape[1] // 10
    return bgr[high:-high, wide:-wide]


COPIES = {
    "as it is": lambda bgr: bgr,
    "cropped": cropped,
    "cropped, mirrored, half size": lambda bgr: cv2.resize(cropped(bgr)[:, ::-1], None, fx=0.5, fy=0.5),
    "with a caption": captioned,
    "gray": lambda bgr: bgr.mean(axis=2, keepdims=True).repeat(3, axis=2).astype(np.uint8),
    "brighter": lambda bgr: cv2.convertScaleAbs(bgr, alpha=1.3),
    "turned": np.rot90,
    "upside down and mirrored": lambda bgr: np.rot90(bgr[:, ::-1], 2),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_the_same_picture(scan: Scan, sample_photos: Path, copy: str) -> None:
    for subject, name in ENROLLED.items():
        bgr = cv2.imread(str(sample_photos / name))
        scale = 400 / min(bgr.shape[:2])
        bgr = cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found = scan(COPIES[copy](bgr))
        assert found.get(subject) is Evidence.SAME_PICTURE, name
        assert not [other for other in found if other != subject and found[other] is Evidence.SAME_PICTURE]


def test_the_copied_photo_of_several_is_named(sample_photos: Path, pack_home: Path, tmp_path: Path) -> None:
    names = ["obama2.jpg", "obama.jpg", "obama3.jpg"]
    for place, name in enumerate(names):
        (tmp_path / "obama").mkdir(exist_ok=True)
        (tmp_path / "obama" / f"{place}.jpg").write_bytes((sample_photos / name).read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEAKMATCH_HOME", str(pack_home))
        enroll(tmp_path / "gallery", [tmp_path], Settings(workers=1, isolation=False))
        with Gallery.open(tmp_path / "gallery") as gallery:
            again = Scan(gallery, pack_home)
            for place, name in enumerate(names):
                bgr = cropped(cv2.imread(str(sample_photos / name)))
                payload = cv2.imencode(".jpg", np.ascontiguousarray(bgr))[1].tobytes()
                ((verdict,),) = again.matcher.match([(None, again.looker.look(payload)[0])])
                assert verdict.evidence is Evidence.SAME_PICTURE
                paths = {photo["enrolment_id"]: Path(photo["path"]).name for photo in gallery.photos("obama")}
                assert paths[verdict.enrolment] == f"{place}.jpg"


@pytest.mark.parametrize("name", ["obama2.jpg", "obama3.jpg"])
def test_another_photo_of_the_person_is_not(scan: Scan, sample_photos: Path, name: str) -> None:
    found = scan(cv2.imread(str(sample_photos / name)))
    assert found["obama"] is Evidence.SAME_FACE
