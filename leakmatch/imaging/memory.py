"""How much memory a picture will take while it is decoded, told from its header: what will not fit is not begun.

Bytes for each pixel, as measured (docs/detection.md). Pillow holds colours in four bytes and gray in one, and canonical
pixels take three more. Some decoders hold more than one copy: OpenJPEG works in 32-bit numbers, libwebp's decoder of
animations has two canvases, and a TIFF may store all of its pixels in one strip.
"""

from __future__ import annotations

from typing import Final

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from leakmatch.errors import ItemError
from leakmatch.records import Budget, Outcome

#: What a worker takes beside the picture: the program, its models, the looks at the picture.
WORKER: Final = 300 << 20

_CANONICAL: Final = 3
_ONE_BYTE: Final = frozenset({"1", "L", "P"})
_TWO_BYTES: Final = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
#: Beside the picture and its canonical pixels.
_DECODER: Final = {"WEBP": 9.0, "JPEG2000": 13.0, "AVIF": 1.5, "HEIF": 1.5, "FLI": 1.0}
_IN_PYTHON: Final = 8.0  # decoders written in Python gather all bytes first
#: Microseconds for each pixel of those that go through them one by one, as measured on a busy machine.
_SLOW: Final = {
    **dict.fromkeys(("qoi", "ppm_plain", "ppm", "dds_rgb"), 6.0),
    **dict.fromkeys(("BLP1", "BLP2", "bmp_rle", "xpm"), 3.0),
}
#: The further frames of an animation are laid over the one before, and each has its colours.
_FRAMES: Final = {"GIF": 14.0, "PNG": 14.0, "FLI": 4.0}
_SAMPLES: Final = 277  # tags of a TIFF: samples of a pixel, and bits of each
_BITS: Final = 258
_STRIP_ROWS: Final = 278
_TILE_ROWS: Final = 323
_COEFFICIENT: Final = 2


def room(budget: Budget) -> int:
    """Bytes that the picture may take, its file included."""
    return max(0, budget.memory - WORKER)


def check_room(image: Image.Image, payload: bytes, budget: Budget, reduction: int = 1, number: int = 0) -> None:
    """Raise :class:`ItemError` (``over-budget``) where ``image``, of which the header was read, would not fit into
    memory, or would take more than half of ``budget.seconds`` to decode.

    ``reduction``: by which a JPEG is decoded smaller. ``number``: of the frame.
    """
    short = ""
    if needed(image, payload, reduction, number) > room(budget):
        short = "memory"
    elif _seconds(image) > budget.seconds / 2:
        short = "time"
    if short:
        width, height = image.size
        message = f"{width} x {height} pixels ({image.format}, {image.mode}) need more {short} than the budget allows"
        raise ItemError(Outcome.OVER_BUDGET, "over-budget", message)


def needed(image: Image.Image, payload: bytes, reduction: int = 1, number: int = 0) -> int:
    """About the bytes that decoding takes at its peak, the file included."""
    pixels = image.width * image.height
    each = _stored(image) + _CANONICAL + _DECODER.get(image.format or "", 0.0)
    if any(tile[0] in Image.DECODERS for tile in getattr(image, "tile", ())):
        each += _IN_PYTHON
    if number:
        each += _FRAMES.get(image.format or "", 0.0)
    if isinstance(image, JpegImageFile):
        coefficients = _coefficients(image, payload)
        return len(payload) + int(pixels * (each / reduction**2 + coefficients))
    if image.format == "TIFF":
        each += _strip(image)
    return len(payload) + int(pixels * each)


def _seconds(image: Image.Image) -> float:
    """About the time that a decoder written in Python takes; 0 for any other."""
    slowest = max((_SLOW.get(tile[0], 0.0) for tile in getattr(image, "tile", ())), default=0.0)
    return image.width * image.height * slowest / 1e6


def _stored(image: Image.Image) -> int:
    if image.mode in _ONE_BYTE:
        return 1
    return 2 if image.mode in _TWO_BYTES else 4


def _strip(image: Image.Image) -> float:
    """Bytes for each pixel of the largest strip or tile of a TIFF, which is unpacked as a whole."""
    tags = getattr(image, "tag_v2", {})
    try:
        bits = tags.get(_BITS, (1,))
        samples = int(tags.get(_SAMPLES, 1))
        rows = int(tags.get(_TILE_ROWS) or tags.get(_STRIP_ROWS) or image.height)
        return min(16.0, samples * int(bits[0]) / 8) * min(1.0, rows / image.height)
    except (TypeError, ValueError, IndexError):
        return 4.0


def _coefficients(image: JpegImageFile, payload: bytes) -> float:
    """Bytes for each pixel of the coefficients that a JPEG of several scans must have held; 0 for one of one scan."""
    try:
        if not (image.info.get("progressive") or _several_scans(payload, len(image.layer))):
            return 0.0
        across, down = max(layer[1] for layer in image.layer), max(layer[2] for layer in image.layer)
        return sum(_COEFFICIENT * layer[1] * layer[2] / (across * down) for layer in image.layer)
    except (AttributeError, TypeError, ValueError, IndexError, ZeroDivisionError):
        return 4.0 * _COEFFICIENT


def _several_scans(payload: bytes, components: int) -> bool:
    """Whether the first scan of a JPEG lacks some of its components."""
    at = 2
    while at + 4 <= len(payload):
        if payload[at] != 0xFF:
            return False
        marker = payload[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xDA:
            return payload[at + 4] < components if at + 4 < len(payload) else False
        if marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
            continue
        at += 2 + int.from_bytes(payload[at + 2 : at + 4], "big")
    return False
