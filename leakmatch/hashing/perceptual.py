"""Perceptual hashes of whole pictures and of aligned face crops, in batches.

Bit for bit the 64-bit ``phash`` and ``dhash`` of the imagehash package, so that hashes can be compared with those that
others hold; imagehash is the readable reference beside this code.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
from PIL import Image

from leakmatch.arrays import Array, BoolArray, ByteArray, check
from leakmatch.hashing.algorithms import DHASH, DHASH_MIRROR, PHASH, PHASH_MIRROR
from leakmatch.records import HashBatch

_SIDE = 8  # bits per row and column of a hash
_DCT_SIDE = 4 * _SIDE
_STRIP_PIXELS = 1 << 18

# What noise of one gray level can move. A coefficient of the unnormalised DCT-II of 32x32 pixels sums 1024 of them with
# weights 4 cos cos (mean square 4), so independent rounding errors (variance 1/12 each) move it by
# sqrt(1024 * 4 / 12) = 18.5 in the standard deviation; three and a half times that is taken as clear of noise.
_PHASH_NOISE = 64.0
_DHASH_NOISE = 1


def picture_hashes(images: Sequence[ByteArray], mirrored: bool) -> tuple[HashBatch, ...]:
    """Hashes of ``images`` (each uint8[H,W,3] BGR, canonical decode, H and W at least 1).

    One batch per algorithm with ``bits`` uint8[N,8], ``image_index`` 0 to N-1: :data:`PHASH` and :data:`DHASH`, and
    with ``mirrored`` also :data:`PHASH_MIRROR` and :data:`DHASH_MIRROR`. No images give batches of no rows.

    ``quality`` is the share of the bits that noise of about one gray level cannot turn: for phash those whose
    coefficient is further than 64 from the median (the first, the mean brightness, does not count), for dhash those
    whose two pixels differ by more than 1. It is 0 for a flat picture and small for a plain gradient or a nearly
    blank page, which all hash alike.

    Raises ``ValueError`` for an array of another shape or type.
    """
    grays = [_gray(image) for image in images]
    batches = _hashes(grays, PHASH, DHASH)
    if mirrored:
        flipped = [gray.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for gray in grays]
        batches += _hashes(flipped, PHASH_MIRROR, DHASH_MIRROR)
    return batches


def _gray(bgr: ByteArray) -> Image.Image:
    """Pillow's own luma (ITU-R 601-2 in 16-bit fixed point), by strips that stay in the cache."""
    check(bgr, (None, None, 3), np.uint8, "image")
    height, width = bgr.shape[:2]
    gray = np.empty((height, width), np.uint8)
    step = max(1, _STRIP_PIXELS // max(width, 1))
    for top in range(0, height, step):
        strip = np.ascontiguousarray(bgr[top : top + step])
        rgb = Image.frombuffer("RGB", (width, len(strip)), strip, "raw", "BGR", 0, 1)
        gray[top : top + step] = np.asarray(rgb.convert("L"))
    return Image.fromarray(gray)


def _hashes(grays: Sequence[Image.Image], phash: str, dhash: str) -> tuple[HashBatch, ...]:
    bits = (len(grays), _SIDE * _SIDE)
    coefficients = scipy.fft.dct(scipy.fft.dct(_resized(grays, _DCT_SIDE, _DCT_SIDE), axis=1), axis=2)
    low = coefficients[:, :_SIDE, :_SIDE].reshape(bits)
    above = low - np.median(low, axis=1, keepdims=True)
    pixels = _resized(grays, _SIDE + 1, _SIDE)
    rise = (pixels[:, :, 1:] - pixels[:, :, :-1]).reshape(bits)
    return (
        _batch(phash, above > 0, np.abs(above[:, 1:]) > _PHASH_NOISE),  # the first is the brightness, and always set
        _batch(dhash, rise > 0, np.abs(rise) > _DHASH_NOISE),
    )


def _resized(grays: Sequence[Image.Image], width: int, height: int) -> Array:
    """float64[N,height,width], by Pillow's Lanczos filter."""
    pixels = np.empty((len(grays), height, width), np.float64)
    for i, gray in enumerate(grays):
        pixels[i] = np.asarray(gray.resize((width, height), Image.Resampling.LANCZOS))
    return pixels


def _batch(algorithm: str, bits: BoolArray, clear: BoolArray) -> HashBatch:
    index = np.arange(len(bits), dtype=np.int32)
    return HashBatch(algorithm, np.packbits(bits, axis=1), clear.mean(axis=1, dtype=np.float32), index)
