"""Truncated and damaged pictures: only their own pixels, and never in silence.

OpenCV's issue 26488 is the reason: a decoder gave out pixels of the picture it had decoded before.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from leakmatch.errors import ItemError
from leakmatch.imaging import heif
from leakmatch.imaging.decode import decode
from leakmatch.records import Budget

FORMATS: dict[str, tuple[str, dict[str, object]]] = {
    "jpeg": ("JPEG", {"quality": 85}),
    "progressive jpeg": ("JPEG", {"quality": 85, "progressive": True}),
    "png": ("PNG", {}),
    "gif": ("GIF", {}),
    "bmp": ("BMP", {}),
    "tiff": ("TIFF", {}),
    "lzw tiff": ("TIFF", {"compression": "tiff_lzw"}),
    "webp": ("WEBP", {"quality": 80}),
    "lossless webp": ("WEBP", {"lossless": True}),
    "webp with exif": ("WEBP", {"quality": 80, "exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}),
    "jpeg 2000": ("JPEG2000", {}),
    "avif": ("AVIF", {}),
    "heic": ("HEIF", {}),
    "ppm": ("PPM", {}),
    "tga": ("TGA", {}),
    "qoi": ("QOI", {}),
    "apng": ("PNG", {"save_all": True}),
    "gray png of 16 bits": ("PNG", {}),
    "animated gif": ("GIF", {"save_all": True}),
    "animated webp": ("WEBP", {"save_all": True, "quality": 80}),
    "dds": ("DDS", {}),
    "im": ("IM", {}),
    "pcx": ("PCX", {}),
    "sgi": ("SGI", {}),
    "float tiff": ("TIFF", {}),
    "jpeg tiff": ("TIFF", {"compression": "jpeg"}),
    "fax tiff": ("TIFF", {"compression": "group4"}),
    "spider": ("SPIDER", {}),
    "xbm": ("XBM", {}),
    "pfm": ("PPM", {}),
}
MODES = {"gray png of 16 bits": "I;16", "float tiff": "F", "fax tiff": "1", "spider": "F", "xbm": "1", "pfm": "F"}

SHARES = (0.05, 0.4, 0.7, 0.95)

# Rows of these are stored from the top, so what is there is the top of the picture.
TOP_DOWN = ["jpeg", "png", "gif", "tiff", "webp", "lossless webp", "webp with exif", "ppm", "qoi"]


def scene(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:240, :200]
    waves = [127 + 90 * np.sin(x / (9 + 3 * seed + 4 * c) + c) * np.cos(y / (13 + 2 * seed)) for c in range(3)]
    return Image.fromarray((np.stack(waves, axis=-1) + rng.normal(0, 6, (240, 200, 3))).clip(0, 255).astype(np.uint8))


def encoded(seed: int, kind: str) -> bytes:
    heif.register()
    name, options = FORMATS[kind]
    file = io.BytesIO()
    image = scene(seed)
    if MODES.get(kind) == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif kind in MODES:
        image = image.convert("L").convert(MODES[kind])
    if options.get("save_all"):
        options = {**options, "append_images": [scene(seed + 10), scene(seed + 20)], "duration": 100}
    image.save(file, name, **options)
    return file.getvalue()


def outcome(payload: bytes) -> list[str]:
    """What became of a picture, and a digest of its pixels."""
    try:
        pictures = list(decode(payload, Budget()))
    except ItemError as error:
        return [str(error.outcome), error.code]
    state = "complete" if all(picture.complete for picture in pictures) else "partial"
    return [state, hashlib.sha256(b"".join(picture.bgr.tobytes() for picture in pictures)).hexdigest()]


FRESH = """
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location("t", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
for kind in module.FORMATS:
    for share in module.SHARES:
        payload = module.encoded(2, kind)
        print(json.dumps([kind, share, module.outcome(payload[: int(len(payload) * share)])]), flush=True)
"""


def test_no_pixels_of_the_picture_before():
    # The fresh process has never decoded picture 1 (nor any whole picture); encoding needs no decoder.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", FRESH, __file__]
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    fresh = [tuple(json.loads(line)) for line in lines]
    assert len(fresh) == len(FORMATS) * len(SHARES)
    for kind, share, expected in fresh:
        payload = encoded(2, kind)
        outcome(encoded(1, kind))
        assert outcome(payload[: int(len(payload) * share)]) == expected, (kind, share)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_is_never_called_complete(kind):
    payload = encoded(2, kind)
    for share in SHARES:
        state, _ = outcome(payload[: int(len(payload) * share)])
        assert state in ("partial", "unreadable"), share


@pytest.mark.parametrize("kind", TOP_DOWN)
def test_the_rows_that_are_there_and_one_colour_below(kind):
    payload = encoded(2, kind)
    (whole,) = decode(payload, Budget())
    (part,) = decode(payload[: int(len(payload) * 0.6)], Budget())
    assert not part.complete
    assert part.detail
    same = (part.bgr == whole.bgr).all(axis=(1, 2))
    rows = int(same.argmin())
    interlaced = kind == "gif"  # Pillow writes GIFs interlaced: rows come from all over
    assert interlaced or rows >= 64
    assert (part.bgr[-1] == part.bgr[-1, 0]).all()
    missing = ~same
    unlike = (part.bgr[missing] != part.bgr[-1, 0]).any(axis=(1, 2)).sum()
    assert unlike <= 32  # rows in which both meet: a block of a JPEG, a prediction of a GIF's last row


def test_progressive_jpeg_keeps_its_first_scans():
    payload = encoded(2, "progressive jpeg")
    (whole,), (part,) = (decode(p, Budget()) for p in (payload, payload[: len(payload) // 2]))
    assert not part.complete
    assert np.abs(part.bgr.astype(int) - whole.bgr).mean() < 15


@pytest.mark.parametrize("kind", ["jpeg", "png", "bmp", "webp"])
def test_a_header_alone_is_unreadable(kind):
    payload = encoded(2, kind)
    start = {"jpeg": payload.find(b"\xff\xda") + 14, "png": 43, "bmp": 54, "webp": 60}[kind]
    assert outcome(payload[:start])[0] == "unreadable"


def test_tail_of_zeros_in_a_png():
    payload = encoded(2, "png")
    cut = len(payload) // 2
    assert outcome(payload[:cut] + bytes(len(payload) - cut))[0] == "partial"


def test_tail_of_zeros_in_a_jpeg():
    payload = encoded(2, "jpeg")
    cut = len(payload) // 2
    assert outcome(payload[:cut] + bytes(len(payload) - cut))[0] == "partial"


def test_damaged_strip_of_a_tiff_keeps_the_strips_before():
    from PIL import TiffImagePlugin

    strip, TiffImagePlugin.STRIP_SIZE = TiffImagePlugin.STRIP_SIZE, 12_000
    try:
        file = io.BytesIO()
        scene(2).save(file, "TIFF", compression="tiff_adobe_deflate")
    finally:
        TiffImagePlugin.STRIP_SIZE = strip
    payload = bytearray(file.getvalue())
    middle = len(payload) * 6 // 10
    payload[middle : middle + 3000] = b"\xff" * 3000
    (part,) = decode(bytes(payload), Budget())
    assert not part.complete
    assert np.array_equal(part.bgr[:100], np.asarray(scene(2))[:100, :, ::-1])
    assert not part.bgr[-20:].any()
