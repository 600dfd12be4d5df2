"""Looking at one picture: what is known of it stays known when a closer look fails."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from leakmatch.errors import ItemError
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.packs import load_pack
from leakmatch.pipeline import stages
from leakmatch.pipeline.stages import Looker
from leakmatch.records import Budget, ImageAnalysis, Outcome

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def looker(pack_home: Path) -> Looker:
    return Looker(FaceEngine(load_pack("opencv-zoo", pack_home)), Budget(), mirrored=False)


@pytest.fixture(scope="module")
def large(sample_photos: Path) -> bytes:
    """A JPEG of 12 megapixels with a face of 400 pixels and one of 30."""
    portrait = np.asarray(cv2.imread(str(sample_photos / "astronaut.png")))
    picture = np.full((3000, 4000, 3), 110, np.uint8)
    for scale, x, y in ((4.0, 200, 300), (0.3, 3200, 800)):
        person = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        picture[y : y + person.shape[0], x : x + person.shape[1]] = person
    buffer = io.BytesIO()
    Image.fromarray(picture[..., ::-1]).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def test_both_faces_are_found_in_pixels_of_the_full_size(looker: Looker, large: bytes) -> None:
    (analysis,) = looker.look(large)
    assert analysis.outcome is Outcome.DONE
    assert (analysis.width, analysis.height) == (4000, 3000)
    widths = sorted(float(width) for width in np.ptp(analysis.faces.boxes[:, [0, 2]], axis=1))
    assert len(widths) == 2
    assert 20 < widths[0] < 45
    assert 300 < widths[1] < 500
    assert analysis.templates is not None
    assert analysis.templates.vectors[0] @ analysis.templates.vectors[1] > 0.6  # the same person


def test_a_closer_look_that_fails_costs_only_what_it_would_have_shown(
    looker: Looker, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def fail(*_: object, **__: object) -> None:
        calls.append(1)
        raise ItemError(Outcome.OVER_BUDGET, "over-budget", "no memory for that")

    (whole,) = looker.look(large)
    monkeypatch.setattr(stages, "decode_larger", fail)
    (analysis,) = looker.look(large)
    assert calls == [1]  # not tried again and again
    assert analysis.outcome is Outcome.PARTIAL
    assert "small faces may be missed: no memory for that" in analysis.detail
    assert [code for _, code, _ in analysis.incidents] == ["truncated"]
    assert (analysis.width, analysis.height) == (4000, 3000)
    for ours, reference in zip(analysis.picture_hashes, whole.picture_hashes, strict=True):
        assert np.array_equal(ours.bits, reference.bits)
    assert np.ptp(analysis.faces.boxes[:, [0, 2]], axis=1).max() > 300


def tile(looker: Looker, side: int = 112, contrast: int = 60) -> ImageAnalysis:
    noise = np.random.default_rng(3).normal(128, contrast, (side // 8, side // 8, 3)).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(cv2.resize(noise, (side, side))).save(buffer, "PNG")
    return looker.look(buffer.getvalue())[0]


def test_a_picture_of_the_size_of_aligned_crops_is_embedded_as_it_is(looker: Looker) -> None:
    analysis = tile(looker)
    assert analysis.outcome is Outcome.DONE
    assert analysis.detail == "no face was found; taken for an aligned crop"
    assert analysis.faces.boxes.tolist() == [[0, 0, 112, 112]]
    assert analysis.faces.scores.tolist() == [0]
    assert analysis.templates is not None
    assert analysis.templates.quality[0] <= 0.4
    assert analysis.templates.valid[0]
    assert not analysis.incidents


def test_other_sizes_and_flat_pictures_are_no_crops(looker: Looker, pack_home: Path) -> None:
    assert tile(looker, 120).outcome is Outcome.NO_FACE
    assert tile(looker, contrast=1).outcome is Outcome.NO_FACE
    gallery_side = Looker(FaceEngine(load_pack("opencv-zoo", pack_home)), Budget(), mirrored=True)
    assert tile(gallery_side).outcome is Outcome.NO_FACE


# One portrait in dozens of formats lies beside the repository, and is not part of it.
HOPPER = Path(__file__).parents[4] / "shared" / "corpora" / "pillow" / "Tests" / "images"

# Why a file does not show the subject.
NOT_THE_SUBJECT = {
    "hopper.ico": "16 x 16 pixels",
    "hopper_draw.ico": "16 x 16 pixels",
    "hopper_mask.ico": "16 x 16 pixels",
    "hopper_unexpected.ico": "16 x 16 pixels",
    "hopper_mask.png": "a mask of 16 x 16 pixels",
    "hopper.mic": "a container; the walk finds the TIFF in it",
    "hopper.tar": "a container",
    "hopper_bad.p7": "ends in its header",
    "hopper_bad_checksum.msp": "its header is wrong",
    "hopper_bad_exif.jpg": "broken: no face can be seen",
    "hopper_naxis_zero.fits": "holds no picture",
    "hopper_unknown_pixel_mode.tif": "made to be refused",
    "hopper_webp.tif": "WebP inside of a TIFF, which Pillow's libtiff does not unpack",
    "hopper_rle8_grayscale.bmp": "a gradient",
    "hopper_emboss.bmp": "edges alone",
    "hopper_emboss_more.bmp": "edges alone",
    "hopper_45.png": "turned by 45 degrees: found, and embedded badly",
}


@pytest.mark.skipif(not HOPPER.is_dir(), reason="the shared samples are not beside the repository")
def test_one_portrait_in_dozens_of_formats_is_one_subject(looker: Looker) -> None:
    known = looker.look((HOPPER / "hopper.png").read_bytes())[0].templates
    assert known is not None
    for file in sorted(HOPPER.glob("hopper*")):
        analyses = looker.look(file.read_bytes())
        found = [a.templates.vectors @ known.vectors[0] for a in analyses if a.templates is not None]
        best = max((float(scores.max()) for scores in found if len(scores)), default=0.0)
        assert (best > 0.5) != (file.name in NOT_THE_SUBJECT), (file.name, best, analyses[0].detail)
