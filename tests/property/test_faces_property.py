"""What holds for any bytes, any picture, any landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from nets import net

from leakmatch.errors import IntegrityError
from leakmatch.faces.align import aligned_crops
from leakmatch.faces.detect import scales
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.geometry import TEMPLATE, similarities
from leakmatch.faces.graph import rewritten
from leakmatch.faces.looks import _spans
from leakmatch.faces.packs import load_pack
from leakmatch.faces.session import open_session

coordinates = st.floats(-1e4, 1e4, width=32)
few = settings(max_examples=40, deadline=None)


@pytest.fixture(scope="module")
def engine(pack_home: Path) -> FaceEngine:
    return FaceEngine(load_pack("opencv-zoo", pack_home))


@few
@given(st.binary(max_size=300))
def test_bytes_that_are_no_model_are_refused_or_left_alone(content: bytes) -> None:
    try:
        assert isinstance(rewritten(content, free_size=True), bytes)
    except IntegrityError:
        return


@few
@given(hnp.arrays(np.float32, 4, elements=st.floats(-4, 4, width=32)))
def test_prelu_of_any_slopes(slopes: np.ndarray) -> None:
    model = net(slopes.reshape(4, 1, 1))
    x = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
    for ours, wanted in zip(open_session(rewritten(model), "e").run(x), open_session(model, "m").run(x), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-4)


@few
@given(st.floats(0.05, 20), st.floats(-3.1, 3.1), coordinates, coordinates)
def test_a_similarity_is_found_again(scale: float, angle: float, x: float, y: float) -> None:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = (TEMPLATE @ turn.T + (x, y)).astype(np.float32)
    matrix = similarities(landmarks[None])[0]
    np.testing.assert_allclose(landmarks @ matrix[:, :2].T + matrix[:, 2], TEMPLATE, atol=0.05 * max(1, 1 / scale))


@few
@given(hnp.arrays(np.float32, (2, 5, 2), elements=coordinates))
def test_any_landmarks_give_a_crop(landmarks: np.ndarray) -> None:
    crops = aligned_crops(np.full((40, 30, 3), 255, np.uint8), similarities(landmarks))
    assert crops.shape == (2, 112, 112, 3)


@few
@given(st.integers(1, 200_000), st.integers(1, 200_000))
def test_the_work_for_a_picture_is_bounded(height: int, width: int) -> None:
    used = scales(height, width, (2560, 480, 160))
    assert 1 <= len(used) <= 3
    assert used == sorted(used, reverse=True)
    for scale in used:
        h, w = max(1, round(height * scale)), max(1, round(width * scale))
        assert max(h, w) <= 8193
        padded = sum((y1 - y0 + 31) * (x1 - x0 + 31) for y0, y1 in _spans(h) for x0, x1 in _spans(w))
        assert padded <= 12_000_000


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_picture_gives_rows_that_belong_together(engine: FaceEngine, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(0, 90), st.integers(0, 90)))
    picture = data.draw(hnp.arrays(np.uint8, (*shape, 3)))
    faces, templates, crops = engine.analyse(picture)
    assert len(faces) == len(templates) == len(crops)
