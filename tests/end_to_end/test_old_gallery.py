"""Galleries whose hashes are not those of this version: refused, by name, with what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import Run

from leakmatch.faces.packs import load_pack
from leakmatch.gallery.store import Enrolment, Gallery, Photo
from leakmatch.hashing.algorithms import DECODE, MAP_SIDE
from leakmatch.hashing.contrast import contrast_maps
from leakmatch.hashing.perceptual import picture_hashes

pytestmark = pytest.mark.models


@pytest.fixture(params=["another decode", "no contrast maps"])
def old(request: pytest.FixtureRequest, pack_home: Path, tmp_path: Path) -> Path:
    """One photo enrolled by this version, one by an older one; or both by one that made no contrast maps."""
    maps = request.param != "no contrast maps"
    pack = load_pack("opencv-zoo", pack_home)
    random = np.random.default_rng(5)
    path = tmp_path / "old.gallery"
    with Gallery.create(path, pack.name, pack.model_id, pack.embedder.dimension) as made:
        for number, decode in enumerate((DECODE, "pillow-rgb8/1")):
            vector = random.standard_normal(pack.embedder.dimension).astype(np.float32)
            vector /= np.linalg.norm(vector)
            crop = random.integers(0, 256, (1, 112, 112, 3), np.uint8)
            hashes = picture_hashes(list(crop), mirrored=True)
            if maps:
                hashes = (*hashes, contrast_maps(crop, np.ones((1, MAP_SIDE, MAP_SIDE), np.bool_), enrolled=True))
                hashes = tuple(replace(batch, algorithm=batch.algorithm.replace(DECODE, decode)) for batch in hashes)
            photo = Photo(f"s{number}", f"s{number}/1.jpg", bytes([number]) * 32, "", "", 0.5)
            made.add([Enrolment(photo, vector, hashes, hashes)], [], {})
    return path


def test_it_is_refused_by_every_command(run: Run, old: Path, sample_photos: Path, tmp_path: Path) -> None:
    people = tmp_path / "people" / "ann"
    people.mkdir(parents=True)
    (people / "1.png").write_bytes((sample_photos / "astronaut.png").read_bytes())
    for command in (
        ("enroll", old, tmp_path / "people", "--unsealed"),
        ("search", sample_photos / "astronaut.png", "--gallery", old),
        ("scan", tmp_path / "people", "--gallery", old, "--case", tmp_path / "a.case"),
    ):
        done = run(*command)
        assert done.code == 4, done.err
        assert "old.gallery" in done.err
        assert "Enrol the photos into a new gallery" in done.err
    assert not (tmp_path / "a.case").exists()
