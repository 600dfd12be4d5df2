"""Batches of hashes: names, shapes, quality, and what is refused."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from PIL import Image

from leakmatch.hashing.algorithms import DHASH, DHASH_MIRROR, PHASH, PHASH_MIRROR
from leakmatch.hashing.perceptual import picture_hashes


def noise(seed: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def waves(height: int = 96, width: int = 128) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    channels = [127 + 100 * np.sin(x / (9 + 5 * c) + c) * np.cos(y / 17) for c in range(3)]
    return np.stack(channels, axis=-1).astype(np.uint8)


def test_ids_are_stable():
    assert (PHASH, DHASH) == ("phash64/pillow-rgb8/2", "dhash64/pillow-rgb8/2")
    assert (PHASH_MIRROR, DHASH_MIRROR) == ("phash64-mirror/pillow-rgb8/2", "dhash64-mirror/pillow-rgb8/2")


@pytest.mark.parametrize("mirrored", [False, True])
def test_no_pictures(mirrored):
    batches = picture_hashes([], mirrored)
    assert [batch.algorithm for batch in batches] == [PHASH, DHASH, PHASH_MIRROR, DHASH_MIRROR][: 4 if mirrored else 2]
    assert all(batch.bits.shape == (0, 8) and len(batch.quality) == 0 for batch in batches)


def test_batch_equals_one_at_a_time():
    images = [noise(i, 20 + 7 * i, 90 - 5 * i) for i in range(8)]
    together = picture_hashes(images, mirrored=True)
    for i, image in enumerate(images):
        for batch, alone in zip(together, picture_hashes([image], mirrored=True), strict=True):
            assert np.array_equal(batch.bits[i], alone.bits[0])
            assert batch.image_index.tolist() == list(range(8))


def test_bits_read_as_imagehash_prints_them():
    image = waves()
    phash, dhash = picture_hashes([image], mirrored=False)
    rgb = Image.fromarray(image[..., ::-1].copy())
    assert phash.bits[0].tobytes().hex() == str(imagehash.phash(rgb))
    assert dhash.bits[0].tobytes().hex() == str(imagehash.dhash(rgb))


def test_large_pictures_and_views():
    image = np.asarray(Image.fromarray(waves()).resize((1400, 1100)))
    (phash, dhash) = picture_hashes([image], mirrored=False)
    rgb = Image.fromarray(image[..., ::-1].copy())
    assert phash.bits[0].tobytes().hex() == str(imagehash.phash(rgb))
    view = np.repeat(image, 2, axis=1)[:, ::2]  # not contiguous
    assert np.array_equal(picture_hashes([view], mirrored=False)[1].bits, dhash.bits)


def test_mirror_of_the_mirror():
    image = waves()
    straight, mirrored = picture_hashes([image], True), picture_hashes([np.ascontiguousarray(image[:, ::-1])], True)
    for one, other in ((0, 2), (1, 3), (2, 0), (3, 1)):
        assert np.array_equal(straight[one].bits, mirrored[other].bits)


def test_quality():
    flat, dim = np.full((50, 60, 3), 90, np.uint8), waves() // 100
    gradient = np.repeat(np.linspace(0, 255, 200).astype(np.uint8)[None, :, None], 3, axis=2).repeat(150, axis=0)
    phash, dhash = picture_hashes([flat, dim, gradient, waves()], mirrored=False)
    assert (phash.quality[0], dhash.quality[0]) == (0, 0)
    assert max(phash.quality[1], dhash.quality[1]) < 0.75
    assert phash.quality[2] < 0.25  # all energy is in one row of coefficients
    assert min(phash.quality[3], dhash.quality[3]) > 0.7


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), float)])
def test_other_arrays_are_refused(bad):
    with pytest.raises(ValueError, match="image"):
        picture_hashes([bad], mirrored=False)
