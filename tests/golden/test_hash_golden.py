"""Pinned outputs: a library upgrade that moves pixels or hash bits must not pass unseen.

Hashes are stored in galleries and compared for years. Where this fails, either the upgrade is wrong for us, or
``CANONICAL`` (and with it every algorithm id) takes a new number and galleries are enrolled again. The pictures are a
made-up pattern in small files; each was decoded once and looked at.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from leakmatch.hashing.perceptual import picture_hashes
from leakmatch.imaging.decode import CANONICAL, decode
from leakmatch.records import Budget

PICTURES = Path(__file__).parent / "pictures"

# Digest of the pixels (its first 8 bytes); phash, dhash, and both of the mirror image.
GOLDEN: dict[str, tuple[str, str, str, str, str]] = {
    "alpha.png": ("fefe7df92349b622", "f499b226ce19668d", "1c1c141404042424", "a1cce7739b4c3390", "c787d7d7dfdfdbdb"),
    "baseline.jpg": (
        "56fb00995089541c",
        "8d19922aca1ff785",
        "fafaf2f2f636e6e4",
        "d84cc77f1f4322d0",
        "a0a0b0b0909398d8",
    ),
    "cmyk.jpg": ("587b32baec14e30a", "8d19922aca1ff785", "fafaf2f2f636e6e4", "d84cc77f1f4322d0", "a0a0b0b0909398d8"),
    "gray16.png": ("cffbaf7791a8b5a3", "8d19922aca1ff785", "fafaf2f2f636e6e4", "d84cc77f1f4322d0", "a0a0b0b0909398d8"),
    "lossy.webp": ("3421aac2de3a8e45", "8d19922aca1ff785", "fafaf2f2f626e6e4", "d84cc77f1f4322d0", "a0a0b0b0909398d8"),
    "palette.gif": ("ecf4e213366b0379", "8d19922eca177787", "fafaf2f2f2b6e6e4", "d84cc77f9f423250", "a0a0b0b0909298d8"),
    "picture.avif": (
        "976b99f214a716bb",
        "8d19922aca1ff785",
        "fafaf2f2f636e6e4",
        "d84cc77f1f4322d0",
        "a0a0b0b0909398d8",
    ),
    "picture.heic": (
        "e967a44994887f64",
        "8d19922aca1ff785",
        "fafaf2f2f626e6e4",
        "d84cc77f1f4322d0",
        "a0a0b0b0909398d8",
    ),
    "picture.jp2": ("b249e527b31c87b5", "8d19922aca1ff785", "fafaf2f2f636e6e4", "d84cc77f1f432350", "a0a0b0b0909398d8"),
    "plain.png": ("c3db3d8359e059a9", "8d19922aca1ff785", "fafaf2f2f636e6e4", "d84cc77f1f432350", "a0a0b0b0909398d8"),
    "progressive.jpg": (
        "56fb00995089541c",
        "8d19922aca1ff785",
        "fafaf2f2f636e6e4",
        "d84cc77f1f4322d0",
        "a0a0b0b0909398d8",
    ),
    "turned.jpg": ("3d3616b3f91d4619", "f45f47118dd26b90", "406020303b1b8cc6", "ab0a1266dc873ec7", "fdf9fbf32327ce9c"),
}

# Decoders of these compute in floating point or by instructions of the machine: other builds may differ by a shade.
PIXELS_MAY_DIFFER = {"lossy.webp", "picture.avif", "picture.heic", "picture.jp2"}


def hashes(bgr: np.ndarray) -> tuple[str, ...]:
    return tuple(batch.bits[0].tobytes().hex() for batch in picture_hashes([bgr], mirrored=True))


def test_every_picture_is_pinned():
    assert {path.name for path in PICTURES.iterdir()} == GOLDEN.keys()
    assert CANONICAL == "pillow-rgb8/2"


@pytest.mark.parametrize("name", GOLDEN)
def test_decode_and_hash(name):
    (picture,) = decode((PICTURES / name).read_bytes(), Budget())
    digest, *expected = GOLDEN[name]
    assert picture.complete
    assert picture.source_size == ((60, 80) if name == "turned.jpg" else (80, 60))
    if name not in PIXELS_MAY_DIFFER:
        assert hashlib.sha256(picture.bgr.tobytes()).hexdigest()[:16] == digest
    assert hashes(picture.bgr) == tuple(expected)


def test_hash_of_pixels_alone():
    y, x = np.mgrid[:97, :131]
    bgr = np.stack([x * 3 % 256, (x * x // 9 + y * 2) % 256, (y * 5 + x) % 256], axis=-1).astype(np.uint8)
    assert hashes(bgr) == ("80038f286fde479f", "dbdbd093bbbba823", "d556da7d3a8114c9", "2424f4362222ea3b")
