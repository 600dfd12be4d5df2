"""Made-up pictures, and the formats they are written in."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from leakmatch.imaging import heif

CORPORA = Path(__file__).parents[4] / "shared" / "corpora"

Scene = Callable[..., Image.Image]
Encode = Callable[..., bytes]


@pytest.fixture
def scene() -> Scene:
    """A picture of waves and noise that no row or column of repeats: ``scene(seed, width, height)``."""

    def make(seed: int = 1, width: int = 96, height: int = 64) -> Image.Image:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:height, :width]
        waves = [127 + 90 * np.sin(x / (7 + seed + 4 * c) + c) * np.cos(y / (9 + 2 * seed)) for c in range(3)]
        noisy = np.stack(waves, axis=-1) + rng.normal(0, 6, (height, width, 3))
        return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))

    return make


@pytest.fixture
def encode() -> Encode:
    """``encode(image, format, **options)``: the bytes of a picture file."""
    heif.register()

    def write(image: Image.Image, name: str, **options: object) -> bytes:
        file = io.BytesIO()
        image.save(file, name, **options)
        return file.getvalue()

    return write


@pytest.fixture
def corpora() -> Path:
    """Odd and hostile files of public test suites, beside the repository where there are any."""
    if not CORPORA.is_dir():
        pytest.skip("no shared corpora beside this checkout")
    return CORPORA
