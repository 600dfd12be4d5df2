"""From any Pillow mode to 8-bit BGR: the rules of the canonical decode.

- The numbers are taken as sRGB: an embedded ICC profile is not applied. A copy of a picture usually keeps or loses its
  profile as a whole, the differences are small for faces, and a profile is one more hostile file to interpret.
- Transparent pixels are laid on white: the page or window that a viewer shows behind them. What a transparent pixel
  hides (often black, often noise) differs between tools that wrote the same picture.
- 16 bits are reduced by dropping the low byte, as viewers do; Pillow's own conversion clips at 255 instead.
- Numbers of no fixed range (32-bit integers, floats) follow :func:`_from_numbers`.
- CMYK is converted without a profile; JPEG plugins turn Adobe's inverted values round. Lab goes through LittleCMS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from leakmatch.arrays import ByteArray

_WHITE = (255, 255, 255)
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
# Modes for which Pillow knows what ``info["transparency"]`` means.
_KEYED_MODES = frozenset({"1", "L", "P", "RGB"})
_BITS_PER_SAMPLE = 258
_STRIP_PIXELS = 1 << 18
_SIXTEEN_BITS = 65535.0
_NOMINAL_RANGES = (1.0, 255.0, _SIXTEEN_BITS)


def to_bgr(image: Image.Image) -> ByteArray:
    """The pixels of a loaded ``image`` as uint8[H,W,3] BGR. Raises what Pillow raises."""
    width, height = image.size
    bgr = np.empty((height, width, 3), np.uint8)
    eight_bits = _eight_bits(image)
    # In strips that fit the cache: a third of the time of one conversion of a large picture, and no second copy of it.
    for top, strip in _strips(image):
        rgb = _rgb(eight_bits(strip))
        bgr[top : top + rgb.height] = np.frombuffer(rgb.tobytes("raw", "BGR"), np.uint8).reshape(-1, width, 3)
    return bgr


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Parts of the picture from top to bottom, each with its first row."""
    width, height = image.size
    step = max(1, _STRIP_PIXELS // width)
    for top in range(0, height, step):
        yield top, image if step >= height else image.crop((0, top, width, min(top + step, height)))


def _eight_bits(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What brings a strip of ``image`` to 8 bits a sample, where Pillow does not convert its mode as we want it."""
    if image.mode.startswith("I;16"):
        drop = _sample_bits(image) - 8
        return lambda strip: Image.fromarray((np.asarray(strip) >> drop).astype(np.uint8))
    if image.mode in ("I", "F"):
        ranges = [(float(numbers.min()), float(numbers.max())) for numbers in map(_numbers, _only_strips(image))]
        low, high = min(pair[0] for pair in ranges), max(pair[1] for pair in ranges)
        return lambda strip: Image.fromarray(_from_numbers(_numbers(strip), low, high))
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(lab, srgb, "LAB", "RGB")

        def converted(strip: Image.Image) -> Image.Image:
            rgb = ImageCms.applyTransform(strip, transform)
            assert rgb is not None  # it is only where inPlace is asked for
            return rgb

        return converted
    return lambda strip: strip


def _only_strips(image: Image.Image) -> Iterator[Image.Image]:
    return (strip for _, strip in _strips(image))


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in _ALPHA_MODES or (image.mode in _KEYED_MODES and "transparency" in image.info):
        return _on_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    page = Image.new("RGB", image.size, _WHITE)
    page.paste(rgba, (0, 0), rgba)
    return page


def _sample_bits(image: Image.Image) -> int:
    """Bits that a 16-bit mode really holds: Pillow leaves the 12-bit samples of a TIFF as they are."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))[0]
    return bits if 8 <= bits <= 16 else 16


def _numbers(strip: Image.Image) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(strip).astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def _from_numbers(numbers: NDArray[np.float64], low: float, high: float) -> ByteArray:
    """Integers or floats [H,W] of a picture with numbers from ``low`` to ``high`` as uint8[H,W].

    The range is 0 to 1, 0 to 255 or 0 to 65535 where the largest value lies in its upper fifteen sixteenths and none
    is negative; otherwise the smallest to the largest value that occurs. NaN and infinities become 0.
    """
    nominal = next((top for top in _NOMINAL_RANGES if low >= 0 and top / 16 < high <= top), None)
    if nominal == _SIXTEEN_BITS:
        return (numbers / 256).astype(np.uint8)  # as everywhere: the high byte
    if nominal is not None:
        low, high = 0.0, nominal
    if high <= low:
        return np.zeros(numbers.shape, np.uint8)
    return ((numbers - low) * (255.0 / (high - low)) + 0.5).astype(np.uint8)
