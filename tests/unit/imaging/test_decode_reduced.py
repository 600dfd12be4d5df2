"""Large JPEGs are decoded no larger than needed, alike on both sides."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from leakmatch.errors import ItemError
from leakmatch.hashing.perceptual import picture_hashes
from leakmatch.imaging.decode import REDUCED_SIZE, decode, decode_larger
from leakmatch.records import Budget

LARGE = (2000, 1800)  # reduced to a half: a quarter would be below the least size
SIZES = [
    ((1727, 1727), 1),
    ((1728, 1728), 2),
    ((3464, 3440), 2),
    ((3456, 3456), 4),
    ((6912, 6912), 8),
    ((60, 49_800), 2),  # the area counts, not the sides
]


def only(payload: bytes, budget: Budget | None = None):
    (picture,) = decode(payload, budget or Budget())
    return picture


@pytest.mark.parametrize(("size", "reduction"), SIZES)
def test_the_smallest_that_is_not_too_small(encode, size, reduction):
    picture = only(encode(Image.new("RGB", size, (90, 120, 40)), "JPEG"))
    assert picture.source_size == size
    assert picture.scale == pytest.approx(1 / reduction)
    assert picture.bgr.shape == (-(-size[1] // reduction), -(-size[0] // reduction), 3)
    assert reduction == 1 or picture.bgr.shape[0] * picture.bgr.shape[1] >= REDUCED_SIZE**2


def test_other_formats_and_small_pictures_are_whole(scene, encode):
    for name, size in (("PNG", LARGE), ("WEBP", LARGE), ("JPEG", (640, 480))):
        picture = only(encode(scene(1, *size), name))
        assert (picture.scale, picture.bgr.shape) == (1.0, (size[1], size[0], 3))


def test_a_reduced_picture_is_the_picture_made_smaller(scene, encode):
    image = scene(2, *LARGE)
    reduced = only(encode(image, "JPEG", quality=95))
    smaller = np.asarray(image.resize((1000, 900), Image.Resampling.BOX))[..., ::-1]
    assert np.abs(reduced.bgr.astype(int) - smaller).mean() < 4


@pytest.mark.parametrize("subsampling", [0, 2])
def test_hashes_of_a_reduced_picture_are_those_of_a_whole_copy(scene, encode, subsampling):
    image = scene(3, 100, 90).resize(LARGE, Image.Resampling.BICUBIC)
    reduced, whole = (
        only(encode(image, "JPEG", quality=90, subsampling=subsampling)),
        only(encode(image, "PNG")),
    )
    for ours, other in zip(*(picture_hashes([p.bgr], mirrored=True) for p in (reduced, whole)), strict=True):
        assert int(np.bitwise_count(ours.bits ^ other.bits).sum()) <= 4  # same-picture allows more


@pytest.mark.parametrize("orientation", range(1, 9))
def test_larger_views_stand_upright(scene, encode, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    payload = encode(scene(4, *LARGE), "JPEG", quality=95, exif=exif)
    reduced = only(payload)
    full, scale = decode_larger(payload, Budget(), 0.9)
    luma, _ = decode_larger(payload, Budget(), 0.9, colour=False)
    assert scale == 1.0
    assert reduced.source_size == (full.shape[1], full.shape[0]) == (luma.shape[1], luma.shape[0])
    small = np.asarray(Image.fromarray(full).resize(reduced.bgr.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(small.astype(int) - reduced.bgr).mean() < 4
    expected = np.asarray(Image.fromarray(full[..., ::-1]).convert("L"))
    assert np.abs(luma.astype(int) - expected).mean() < 2


@pytest.mark.parametrize(("asked", "reached"), [(0.0, 8), (0.125, 8), (0.126, 4), (0.3, 2), (0.5, 2), (0.51, 1)])
def test_a_larger_view_is_the_next_that_the_format_has(encode, asked, reached):
    payload = encode(Image.new("RGB", LARGE), "JPEG")
    pixels, scale = decode_larger(payload, Budget(), asked)
    assert scale == pytest.approx(1 / reached)
    assert pixels.shape == (-(-LARGE[1] // reached), -(-LARGE[0] // reached), 3)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_colours(scene, encode, mode):
    payload = encode(scene(5, *LARGE).convert(mode), "JPEG", quality=95)
    assert only(payload).bgr.shape == (900, 1000, 3)
    assert decode_larger(payload, Budget(), 1.0)[0].shape == (1800, 2000, 3)
    luma = decode_larger(payload, Budget(), 1.0, colour=False)[0]
    assert luma.shape == ((1800, 2000) if mode == "L" else (1800, 2000, 3))  # CMYK has no brightness apart


def test_a_truncated_large_jpeg_is_salvaged_whole(scene, encode):
    payload = encode(scene(6, *LARGE), "JPEG", quality=90)
    picture = only(payload[: len(payload) * 2 // 3])
    assert not picture.complete
    assert picture.scale == 1.0
    assert picture.bgr.shape == (1800, 2000, 3)


def test_the_budget_counts_full_pixels(encode):
    payload = encode(Image.new("RGB", LARGE), "JPEG")
    with pytest.raises(ItemError, match="budget allows"):
        only(payload, Budget(pixels=2_000_000))
    with pytest.raises(ItemError, match="budget allows"):
        decode_larger(payload, Budget(pixels=2_000_000), 1.0)
