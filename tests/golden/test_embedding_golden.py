"""Templates of fixed pictures, pinned: a new library or graph must not move them.

The pictures are made by whole-number arithmetic and show nobody. To pin anew after a deliberate change of the recipe
(which also changes ``TEMPLATE_RECIPE``): ``python tests/golden/test_embedding_golden.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from leakmatch.arrays import ByteArray
from leakmatch.faces.align import aligned_crops
from leakmatch.faces.embed import Embedder
from leakmatch.faces.geometry import TEMPLATE, similarities
from leakmatch.faces.packs import load_pack
from leakmatch.faces.prepared import open_prepared

PINNED = Path(__file__).with_name("embeddings.json")


def picture() -> ByteArray:
    """A pattern of nobody, uint8[300,400,3]."""
    row, column, channel = np.mgrid[0:300, 0:400, 0:3]
    waves = (row * column // (90 + 50 * channel) + row * 2 + column * (5 - channel)) % 512
    return np.abs(waves - 256).clip(0, 255).astype(np.uint8)


def landmarks() -> np.ndarray:
    """Three places: as large as the crop, turned and smaller, three times as large (averaged first)."""
    turn = np.array([[0.8, -0.6], [0.6, 0.8]])
    places = [TEMPLATE + np.array([40, 60]), TEMPLATE @ turn.T * 0.7 + (200, 90), TEMPLATE * 3 - (20, 10)]
    return np.stack(places).astype(np.float32)


def templates(store: Path) -> np.ndarray:
    pack = load_pack("opencv-zoo", store)
    embedder = Embedder(pack.embedder, open_prepared(pack, pack.embedder.file), pack.model_id)
    vectors, valid = embedder.embed(aligned_crops(picture(), similarities(landmarks())))
    assert valid.all()
    return vectors


def test_templates_are_the_pinned_ones(pack_home: Path) -> None:
    pinned = json.loads(PINNED.read_text(encoding="utf-8"))
    assert load_pack("opencv-zoo", pack_home).model_id == pinned["model_id"]
    cosines = (templates(pack_home) * np.array(pinned["vectors"])).sum(axis=1)
    assert cosines == pytest.approx(1, abs=1e-5)


def test_the_pinned_templates_are_three_different_ones() -> None:
    vectors = np.array(json.loads(PINNED.read_text(encoding="utf-8"))["vectors"])
    cosines = vectors @ vectors.T
    assert (cosines[~np.eye(3, dtype=bool)] < 0.99).all()


if __name__ == "__main__":
    from leakmatch.settings import home

    body = {
        "model_id": load_pack("opencv-zoo").model_id,
        "vectors": [[round(float(v), 6) for v in vector] for vector in templates(home())],
    }
    PINNED.write_text(json.dumps(body) + "\n", encoding="utf-8")
