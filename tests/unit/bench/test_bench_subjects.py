"""The subjects as a whole, on little input."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakmatch.bench import embed, pipeline
from leakmatch.bench.stages import OTHER, STAGES, payloads, stage_shares
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.packs import load_pack
from leakmatch.records import Budget
from leakmatch.settings import Settings

pytestmark = pytest.mark.models


@pytest.fixture(autouse=True)
def store(pack_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' model store."""
    monkeypatch.setenv("LEAKMATCH_HOME", str(pack_home))


def test_every_stage_is_found_in_the_profile(sample_photos: Path) -> None:
    photos = list(payloads(sample_photos / "obama.jpg", Budget()))
    shares = stage_shares(FaceEngine(load_pack("opencv-zoo")), Budget(), photos)
    assert (shares.pictures, shares.faces) == (1, 1)
    assert set(shares.seconds) == {*STAGES, OTHER}
    assert all(seconds > 0 for seconds in shares.seconds.values()), shares.seconds


def test_stage_shares_of_nothing() -> None:
    shares = stage_shares(FaceEngine(load_pack("opencv-zoo")), Budget(), [])
    assert (shares.pictures, shares.faces, sum(shares.seconds.values())) == (0, 0, 0)


def test_embedding_stands_beside_its_limit() -> None:
    time, rate = embed.run(engine="onnxruntime", faces=10, threads=2)
    assert (time.unit, rate.unit) == ("ms", "faces/s")
    for figure in (time, rate):
        assert figure.value > 0
        assert figure.limit is not None
        assert figure.limit > 0
        assert figure.detail["multiply_adds"] == 574_138_880


def test_a_scan_of_photos(sample_photos: Path) -> None:
    found = {figure.what: figure for figure in pipeline.run(Settings(workers=1), sample_photos, members=50)}
    images, faces = found["images"], found["faces"]
    assert images.value > 0
    assert faces.value / images.value == pytest.approx(images.detail["faces_per_image"], rel=0.5)
    assert images.limit is not None
    assert {f"stage {stage}, 1 core" for stage in STAGES} <= found.keys()
    assert {"processor time, analyser", "peak memory of all processes"} <= found.keys()


def test_generated_pictures_are_said_to_hold_no_faces() -> None:
    found = {figure.what: figure for figure in pipeline.run(Settings(workers=1), photos=20, members=50)}
    assert "faces" not in found
    assert "no faces" in found["images"].detail["note"]
    assert found["images"].detail["images"] == 20
