"""Pictures inside files of formats that are not read: cameras, drawings and page descriptions carry JPEG previews."""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterator
from typing import Final

from PIL import Image

_JPEG: Final = b"\xff\xd8\xff"
_MOST: Final = 64  # beginnings of pictures that are looked at
_MARKERS: Final = 256  # of one JPEG, before the one with its size
_LEAST_SIDE: Final = 64  # pixels: smaller ones are thumbnails, or nothing
_SIZES: Final = (0xC0, 0xC1, 0xC2)  # the JPEGs that are read; the raw data of cameras are often lossless ones
_SCAN: Final = 0xDA
_DATA_URI: Final = re.compile(rb"data:image/[\w.+-]{1,40};base64,([A-Za-z0-9+/=\s]{64,})")

# The preview of an EPS for DOS: where and how long (Adobe Technical Note 5002).
_DOS_EPS: Final = b"\xc5\xd0\xd3\xc6"


def largest(payload: bytes, least: int = 0) -> Iterator[bytes]:
    """The pictures in ``payload`` of more than ``least`` pixels, largest first: JPEGs, a preview, and data in a text.

    Headers alone were read: nothing says that they can be decoded.
    """
    found = [(area, start, len(payload)) for area, start in _jpegs(payload)]
    if payload.startswith(_DOS_EPS):
        start, length = int.from_bytes(payload[20:24], "little"), int.from_bytes(payload[24:28], "little")
        found.append((_area(payload[start : start + length]), start, start + length))
    texts = [data for data in _in_text(payload) if _area(data) > least]
    yield from sorted(texts, key=_area, reverse=True)
    for area, start, end in sorted(found, reverse=True):
        if area > least:
            yield payload[start:end]


def _jpegs(payload: bytes) -> Iterator[tuple[int, int]]:
    """The area and the place of each JPEG behind the first bytes."""
    at = payload.find(_JPEG, 1)
    for _ in range(_MOST):
        if at < 0:
            return
        if area := _jpeg_area(payload, at):
            yield area, at
        at = payload.find(_JPEG, at + 3)


def _jpeg_area(payload: bytes, at: int) -> int:
    """Pixels of the JPEG that begins at ``at``; 0 for what is none, or is too small."""
    at += 2
    for _ in range(_MARKERS):
        marker, length = payload[at : at + 2], int.from_bytes(payload[at + 2 : at + 4], "big")
        if len(marker) < 2 or marker[0] != 0xFF or marker[1] == _SCAN or length < 2:
            return 0
        if marker[1] in _SIZES:
            height, width = (
                int.from_bytes(payload[at + 5 : at + 7], "big"),
                int.from_bytes(payload[at + 7 : at + 9], "big"),
            )
            return width * height if min(width, height) >= _LEAST_SIDE else 0
        at += 2 + length
    return 0


def _in_text(payload: bytes) -> Iterator[bytes]:
    """Pictures that a drawing holds as text."""
    for match, _ in zip(_DATA_URI.finditer(payload), range(_MOST), strict=False):
        try:
            yield base64.b64decode(match[1])
        except binascii.Error:
            continue


def _area(data: bytes) -> int:
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG", "TIFF", "PNG", "WEBP", "GIF"]) as image:
            width, height = image.size
    except Exception:  # noqa: BLE001 - it may be anything, and anything may be raised over it
        return 0
    return width * height if min(width, height) >= _LEAST_SIDE else 0
