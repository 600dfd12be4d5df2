"""What is a picture, for readers that must tell one among other values; strict, since most values are none.

Whether a member is looked at is decided behind the walk. Here it is only asked what is worth being a member.
"""

from __future__ import annotations

import re
from typing import Final

_PICTURES: Final = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF87a",
    b"GIF89a",
    b"II\x2a\x00",
    b"MM\x00\x2a",
    b"\x00\x00\x00\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
    b"\x00\x00\x00\x0cJXL \r\n\x87\n",
    b"8BPS",
)
_PNM = re.compile(rb"P[1-6]\s+\d{1,6}\s+\d{1,6}\s")
_BRANDS: Final = frozenset(b"heic heix heim heis hevc hevx mif1 msf1 avif avis".split())
_TEXT: Final = frozenset((*range(7, 14), 27, *range(32, 256)))  # as in ``file``: no other control characters
_LOOKED_AT: Final = 512
_ZIP_VERSION: Final = 63


def is_picture(head: bytes) -> bool:
    """Whether ``head`` begins a picture of a usual format."""
    if head.startswith(_PICTURES):
        return True
    if head[:4] == b"RIFF":
        return head[8:12] == b"WEBP"
    if head[:2] == b"BM":
        return len(head) >= 18 and int.from_bytes(head[14:18], "little") in (12, 40, 52, 56, 64, 108, 124)
    return (head[4:8] == b"ftyp" and head[8:12] in _BRANDS) or _PNM.match(head) is not None


def is_archive(head: bytes) -> bool:
    """Whether ``head`` begins a zip, gzip, 7z or rar archive, which text carries as base64."""
    if head[:4] == b"PK\3\4":
        return head[4] <= _ZIP_VERSION and head[9] == 0  # the versions and methods that there are
    if head[:3] == b"\x1f\x8b\x08":
        return not head[3] & 0xE0
    return head.startswith((b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07"))


def is_plain_text(head: bytes) -> bool:
    """Whether ``head`` reads as text in some one-byte or UTF-8 encoding; true for no bytes."""
    return _TEXT.issuperset(head[:_LOOKED_AT])
