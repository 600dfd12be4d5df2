"""Counting multiply-adds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nets import net

from leakmatch.bench.work import multiply_adds
from leakmatch.faces.packs import load_pack, verified


def test_a_net_counted_by_hand() -> None:
    model = net(np.full((4, 1, 1), 0.5, np.float32))
    # 8 x 8 places; 4 channels out of 3 x 3 x 3 numbers each, then 2 channels out of 4.
    assert multiply_adds(model, 8, 8) == 8 * 8 * (4 * 27 + 2 * 4)
    assert multiply_adds(model, 16, 8) == 2 * multiply_adds(model, 8, 8)


@pytest.mark.models
def test_the_models_of_the_default_pack(pack_home: Path) -> None:
    pack = load_pack("opencv-zoo", pack_home)
    embedder, detector = (verified(pack, spec.file) for spec in (pack.embedder, pack.detector))
    assert multiply_adds(embedder, 112, 112) == 574_138_880
    assert multiply_adds(detector, 640, 640) == 4 * multiply_adds(detector, 320, 320) == 344_224_000
