"""Formats that Pillow has a reader for and does not open by itself, and two that it shows otherwise than meant."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import GdImageFile, Image, ImageFile, WalImageFile

# Photo CD: the picture of 768 x 512 pixels lies behind 96 sectors; two rows of brightness, then half as much colour.
_PCD_BASE: Final = 96 * 2048
_PCD_SIZE: Final = (768, 512)
_PCD_TURN_AT: Final = 2048 + 1538


def _gd(payload: bytes) -> ImageFile.ImageFile:
    return GdImageFile.GdImageFile(io.BytesIO(payload))


def _wal(payload: bytes) -> ImageFile.ImageFile:
    return WalImageFile.WalImageFile(io.BytesIO(payload))


#: Formats that ``Image.open`` does not know.
OPENERS: Final[dict[str, Callable[[bytes], ImageFile.ImageFile]]] = {"GD": _gd, "WAL": _wal}


def as_meant(image: ImageFile.ImageFile, payload: bytes) -> Image.Image:
    """The loaded ``image`` as its format means it.

    A set bit of an XBM is black; Pillow makes it white. The colours of a Photo CD come out wrong, so that no face is
    found in it; its brightness is right. (Neither could be enrolled as Pillow shows it, so no hash of a gallery is
    another one for this.)
    """
    if image.format == "XBM":
        return image.convert("L").point([255 - value for value in range(256)])
    if image.format == "PCD" and len(payload) >= _PCD_BASE + _PCD_SIZE[0] * _PCD_SIZE[1] * 3 // 2:
        return _photo_cd(payload)
    return image


def _photo_cd(payload: bytes) -> Image.Image:
    width, height = _PCD_SIZE
    rows = np.frombuffer(payload, np.uint8, width * height * 3 // 2, _PCD_BASE).reshape(height // 2, width * 3)
    gray = Image.fromarray(np.ascontiguousarray(rows[:, : 2 * width]).reshape(height, width))
    turn = {1: 90, 3: 270}.get(payload[_PCD_TURN_AT] & 3)
    return gray if turn is None else gray.rotate(turn, expand=True)


# Signatures that are weak, so that every field must make sense


def is_gd(head: bytes) -> bool:
    """A GD picture with a palette: its colours have an opacity of 7 bits, and there are no more than 256."""
    if len(head) < 1037 or head[:2] != b"\xff\xff":
        return False
    width, height, true_colour, colours, transparent = struct.unpack_from(">HHBHi", head, 2)
    opacities = head[16:1037:4]
    return bool(width and height and not true_colour and 0 < colours <= 256 and -1 <= transparent < 256) and all(
        opacity < 128 for opacity in opacities
    )


def is_wal(head: bytes) -> bool:
    """A texture of Quake 2: a picture and three smaller ones, each right behind the one before."""
    if len(head) < 100:
        return False
    width, height, *offsets = struct.unpack_from("<6I", head, 32)
    if not (0 < width <= 8192 and 0 < height <= 8192 and width % 8 == 0 and height % 8 == 0):
        return False
    area = width * height
    return offsets == [100, 100 + area, 100 + area + area // 4, 100 + area + area // 4 + area // 16]


def is_spider(head: bytes) -> bool:
    """A SPIDER picture: 27 numbers as floats that must be whole and agree with each other."""
    if len(head) < 108:
        return False
    for order in ("<", ">"):
        values = (0.0, *struct.unpack_from(f"{order}27f", head))
        slices, rows, kind, columns, records, header, record = (values[i] for i in (1, 2, 5, 12, 13, 22, 23))
        whole = all(0 < value < 1 << 24 and value == int(value) for value in (rows, columns, records, header, record))
        if whole and slices == 1 and kind == 1 and header == records * record and record == 4 * columns:
            return True
    return False
