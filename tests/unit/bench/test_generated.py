"""Made-up input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from leakmatch.bench import generated
from leakmatch.bench.stages import payloads
from leakmatch.faces.packs import load_pack
from leakmatch.gallery.store import Gallery
from leakmatch.imaging.decode import decode
from leakmatch.records import Budget


def test_an_archive_of_unlike_pictures(tmp_path: Path) -> None:
    path = tmp_path / "pictures.zip"
    generated.archive(path, 5, 48, 64)
    found = list(payloads(path, Budget()))
    assert len(set(found)) == 5
    assert {next(decode(payload, Budget())).bgr.shape for payload in found} == {(48, 64, 3)}


@pytest.mark.models
def test_a_gallery_is_sound(tmp_path: Path, pack_home: Path) -> None:
    path = tmp_path / "generated.gallery"
    generated.gallery(path, load_pack("opencv-zoo", pack_home), 30, seed=3)
    with Gallery.open(path) as made:
        made.verify()
        assert (made.info()["subjects"], made.info()["templates"]) == (30, 30)
        assert np.array_equal(made.templates()[:], generated.unit_vectors(30, 128, seed=3))
