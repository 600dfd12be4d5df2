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
from leakmatch.records import Budget, Outcome

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
