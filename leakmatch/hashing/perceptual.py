"""Perceptual hashes of whole pictures and of aligned face crops, in batches.

Bit for bit the 64-bit ``phash`` and ``dhash`` of the imagehash package, so that hashes can be compared with those that
others hold; imagehash is the readable reference beside this code.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.fft
from PIL import Image

from leakmatch.arrays import Array, BoolArray, ByteArray, FloatArray, check
from leakmatch.hashing.algorithms import DHASH, DHASH_MIRROR, DHASH_TURNED, PHASH, PHASH_MIRROR, PHASH_TURNED
from leakmatch.hashing.resample import rows_first, thumbnails
from leakmatch.records import HashBatch

_SIDE = 8  # bits per row and column of a hash
_DCT_SIDE = 4 * _SIDE
_SIZES = ((_DCT_SIDE, _DCT_SIDE), (_SIDE + 1, _SIDE))
_TURNED_SIZE = (_SIDE, _SIDE + 1)  # what becomes 9x8 by a quarter turn
_BATCH_PIXELS = 1 << 22  # hashed at a time: bounds the memory for the gray values between the two passes
_ANGLE = np.pi / (2 * _DCT_SIDE)
_DCT = 2 * np.cos(_ANGLE * np.outer(np.arange(_SIDE), 2 * np.arange(_DCT_SIDE) + 1))  # DCT-II, its lowest rows
_DCT_DOUBT = 1e-6  # a coefficient sums 1024 values up to 1020, so its rounding error is far below this

# What noise of one gray level can move. A coefficient of the unnormalised DCT-II of 32x32 pixels sums 1024 of them with
# weights 4 cos cos (mean square 4), so independent rounding errors (variance 1/12 each) move it by
# sqrt(1024 * 4 / 12) = 18.5 in the standard deviation; three and a half times that is taken as clear of noise.
_PHASH_NOISE = 64.0
_DHASH_NOISE = 1


def picture_hashes(images: Sequence[ByteArray], mirrored: bool, turned: bool = False) -> tuple[HashBatch, ...]:
    """Hashes of ``images`` (each uint8[H,W,3] BGR, canonical decode, H and W at least 1).

    One batch per algorithm with ``bits`` uint8[N,8], ``image_index`` 0 to N-1: :data:`PHASH` and :data:`DHASH`, and
    with ``mirrored`` also :data:`PHASH_MIRROR` and :data:`DHASH_MIRROR`, with ``turned`` a pair for each of
    :data:`PHASH_TURNED` and :data:`DHASH_TURNED`. No images give batches of no rows.

    The turned ones are made from the small pictures, turned: Pillow rounds a turned picture in another order, so they
    are imagehash's to a bit or so.

    ``quality`` is the share of the bits that noise of about one gray level cannot turn: for phash those whose
    coefficient is further than 64 from the median (the first, the mean brightness, does not count), for dhash those
    whose two pixels differ by more than 1. It is 0 for a flat picture and small for a plain gradient or a nearly
    blank page, which all hash alike.

    Raises ``ValueError`` for an array of another shape or type.
    """
    for image in images:
        check(image, (None, None, 3), np.uint8, "image")
    names = [PHASH, DHASH]
    if mirrored:
        names += [PHASH_MIRROR, DHASH_MIRROR]
    if turned:
        names += [name for pair in zip(PHASH_TURNED, DHASH_TURNED, strict=True) for name in pair]
    bits = np.empty((len(names), len(images), _SIDE), np.uint8)
    quality = np.empty((len(names), len(images)), np.float32)
    alike: dict[tuple[int, ...], list[int]] = {}
    for i, image in enumerate(images):
        alike.setdefault(image.shape, []).append(i)
    for shape, of_one_size in alike.items():
        step = max(1, _BATCH_PIXELS // (shape[0] * shape[1]))
        for start in range(0, len(of_one_size), step):
            batch = of_one_size[start : start + step]
            square, broad = _thumbnails([images[i] for i in batch], mirrored, turned)
            for first, (its_bits, its_quality) in enumerate((_phash(square), _dhash(broad))):
                bits[first::2, batch] = its_bits.reshape(-1, len(batch), _SIDE)
                quality[first::2, batch] = its_quality.reshape(-1, len(batch))
    index = np.arange(len(images), dtype=np.int32)
    return tuple(HashBatch(name, bits[k], quality[k], index) for k, name in enumerate(names))


def _thumbnails(images: Sequence[ByteArray], mirrored: bool, turned: bool) -> tuple[Array, Array]:
    """float64[width,W*N,height] of 32x32 and of 9x8 pixels, ``[x, i, y]``: N pictures, then mirrored, then turned."""
    sizes = (*_SIZES, _TURNED_SIZE) if turned else _SIZES
    make = thumbnails if rows_first(images[0].shape[1], images[0].shape[0], sizes) else pillow_thumbnails
    small = make(images, sizes, mirrored)
    ways = [(small[k], small[k + 1]) for k in range(0, len(small), len(sizes))]
    if turned:
        square, broad, tall = small[:3]
        for quarters in (1, 2, 3):
            lying = tall if quarters % 2 else broad
            ways.append((np.rot90(square, quarters, axes=(2, 0)), np.rot90(lying, quarters, axes=(2, 0))))
    squares, broads = zip(*ways, strict=True)
    return np.concatenate(squares, axis=1), np.concatenate(broads, axis=1)


def _phash(pixels: Array) -> tuple[ByteArray, FloatArray]:
    """Bits uint8[N,8] and quality float32[N] of float64[32,N,32].

    Only the lowest 8x8 coefficients, as two matrix products. They differ from imagehash's by rounding errors, so a
    picture with a coefficient as near to the median as that, as every flat one has, is transformed as imagehash does.
    """
    count = pixels.shape[1]
    columns = (pixels.reshape(-1, _DCT_SIDE) @ _DCT.T).reshape(_DCT_SIDE, -1)
    low = (_DCT @ columns).reshape(_SIDE, count, _SIDE).transpose(1, 2, 0).reshape(count, -1)
    above = low - _median(low)
    doubtful = np.flatnonzero(np.abs(above).min(axis=1) < _DCT_DOUBT)
    if len(doubtful):
        whole = scipy.fft.dct(scipy.fft.dct(pixels[:, doubtful].transpose(1, 2, 0), axis=1), axis=2)
        exact = whole[:, :_SIDE, :_SIDE].reshape(len(doubtful), -1)
        above[doubtful] = exact - _median(exact)
    clear = np.abs(above[:, 1:]) > _PHASH_NOISE  # the first is the brightness, and always set
    return np.packbits(above > 0, axis=1), _share(clear)


def _median(values: Array) -> Array:
    """The median of each row of an even number of values: ``np.median`` for less than its overhead."""
    half = values.shape[1] // 2
    ordered = np.sort(values, axis=1)
    middle: Array = (ordered[:, half - 1 : half] + ordered[:, half : half + 1]) / 2
    return middle


def _dhash(pixels: Array) -> tuple[ByteArray, FloatArray]:
    """Bits uint8[N,8] and quality float32[N] of float64[9,N,8]."""
    rise = (pixels[1:] - pixels[:-1]).transpose(1, 2, 0).reshape(pixels.shape[1], -1)
    return np.packbits(rise > 0, axis=1), _share(np.abs(rise) > _DHASH_NOISE)


def _share(true: BoolArray) -> FloatArray:
    """The share of each row of bool[N,K] that is true: float32[N]."""
    share: FloatArray = np.count_nonzero(true, axis=1).astype(np.float32) / np.float32(true.shape[1])
    return share


def pillow_thumbnails(images: Sequence[ByteArray], sizes: Sequence[tuple[int, int]], mirrored: bool) -> list[Array]:
    """:func:`~leakmatch.hashing.resample.thumbnails` by Pillow itself.

    The readable reference, and for the pictures that the fast way does not take.
    """
    grays = [Image.fromarray(np.ascontiguousarray(image[:, :, ::-1])).convert("L") for image in images]
    ways = [grays, [gray.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for gray in grays]] if mirrored else [grays]
    small = [[gray.resize(size, Image.Resampling.LANCZOS) for gray in way] for way in ways for size in sizes]
    return [np.array([np.asarray(gray) for gray in same], np.float64).transpose(2, 0, 1) for same in small]
