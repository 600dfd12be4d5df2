"""The gray pictures that hashes are taken of, against Pillow itself: another resize in a newer Pillow shows here."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from leakmatch.hashing import resample
from leakmatch.hashing.perceptual import picture_hashes, pillow_thumbnails
from leakmatch.hashing.resample import lanczos_weights, luma, naive_lanczos_weights, rows_first, thumbnails

SIZES = ((32, 32), (9, 8))
PHOTOS = Path(__file__).parents[3].parent / "shared" / "data" / "lfw_dev.zip"


def picture(seed: int, height: int, width: int, kind: str) -> np.ndarray:
    random = np.random.default_rng(seed)
    if kind == "flat":
        return np.full((height, width, 3), random.integers(0, 256, 3), np.uint8)
    if kind == "black and white":  # overshoots after both passes
        return np.repeat(random.integers(0, 2, (height, width, 1)) * 255, 3, axis=2).astype(np.uint8)
    if kind == "gradient":
        return np.repeat((np.add.outer(np.arange(height), np.arange(width)) % 256)[..., None], 3, 2).astype(np.uint8)
    return random.integers(0, 256, (height, width, 3), np.uint8)


def same_as_imagehash(images: list[np.ndarray]) -> None:
    straight = picture_hashes(images, mirrored=True)
    for i, image in enumerate(images):
        for phash, dhash, seen in ((*straight[:2], image), (*straight[2:], image[:, ::-1])):
            pillow = Image.fromarray(np.ascontiguousarray(seen[:, :, ::-1]))
            for batch, function in ((phash, imagehash.phash), (dhash, imagehash.dhash)):
                assert np.packbits(function(pillow).hash).tobytes() == batch.bits[i].tobytes(), image.shape


KINDS = st.sampled_from(["noise", "flat", "black and white", "gradient"])


@given(st.integers(0, 99), st.integers(1, 300), st.integers(1, 300), KINDS, st.integers(1, 3))
@settings(deadline=None, max_examples=60)
def test_hashes_are_those_of_imagehash(seed: int, height: int, width: int, kind: str, count: int) -> None:
    same_as_imagehash([picture(seed + i, height, width, kind) for i in range(count)])


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1), (32, 32), (8, 9), (700, 900), (5, 2000), (468, 250)])
@pytest.mark.parametrize("kind", ["noise", "black and white"])
def test_sides_of_every_kind(shape: tuple[int, int], kind: str) -> None:
    images = [picture(3, *shape, kind), picture(4, *shape, kind)]
    if rows_first(shape[1], shape[0], SIZES):
        for found, expected in zip(
            thumbnails(images, SIZES, True), pillow_thumbnails(images, SIZES, True), strict=True
        ):
            assert np.array_equal(found, expected)
    same_as_imagehash(images)


def test_sums_near_a_border_are_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """All sums taken again are the same as few: so those taken in float32 alone are exact."""
    image = picture(1, 90, 520, "noise")
    expected = thumbnails([image], SIZES, True)
    assert np.array_equal(expected[0], pillow_thumbnails([image], SIZES, True)[0])
    monkeypatch.setattr(resample, "_UNIT_ROUNDOFF", 1.0)
    resample._rows.cache_clear()
    again = thumbnails([image], SIZES, True)
    resample._rows.cache_clear()
    assert all(np.array_equal(a, b) for a, b in zip(again, expected, strict=True))


@pytest.mark.parametrize("size", [1, 2, 7, 31, 32, 33, 112, 250, 601, 1000])
@pytest.mark.parametrize("side", [8, 9, 32])
def test_weights_are_those_of_the_plain_loop(size: int, side: int) -> None:
    weights = lanczos_weights(size, side)
    assert weights.shape == (side, size)
    assert weights.tolist() == [naive_lanczos_weights(size, side, row) for row in range(side)]


def test_luma_of_every_colour_is_pillows() -> None:
    """All blues and reds with every fifth green: 3.4 million colours, each border of rounding among them."""
    green = np.arange(0, 256, 5)
    colours = np.stack(np.meshgrid(np.arange(256), green, np.arange(256)), axis=-1).astype(np.uint8)
    bgr = np.ascontiguousarray(colours.reshape(256, -1, 3))
    gray = np.empty(bgr.shape[:2], np.float32)
    luma(bgr, gray)
    expected = np.asarray(Image.fromarray(np.ascontiguousarray(bgr[..., ::-1])).convert("L"))
    assert np.array_equal(gray + 128, expected)


def test_photos() -> None:
    if not PHOTOS.exists():
        pytest.skip("the evaluation photos are not here")
    with zipfile.ZipFile(PHOTOS) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")][::103]
        photos = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB"))[..., ::-1] for name in names]
    assert len(photos) > 50
    same_as_imagehash(photos)
