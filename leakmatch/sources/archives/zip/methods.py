"""How members of a zip are compressed (APPNOTE.TXT 6.3.10, chapter 4.4.5)."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.sources.archives.zip.alone import alone
from leakmatch.sources.compression.decompress import Decompressed
from leakmatch.sources.guard import unsupported
from leakmatch.sources.streams import CHUNK, Joined, Repeated

STORED: Final = 0
AES: Final = 99
_LZMA, _PPMD = 14, 98
_LARGEST: Final = 1 << 40
_READ: Final = {
    8: "deflate",
    9: "deflate64",
    12: "bzip2",
    _LZMA: "lzma",
    20: "zstd",
    93: "zstd",
    95: "xz",
}
_UNREAD: Final = {
    1: "shrink",
    **dict.fromkeys(range(2, 6), "reduce"),
    6: "implode",
    10: "DCL implode",
    16: "IBM CMPSC",
    18: "IBM TERSE",
    19: "IBM LZ77",
    94: "MP3",
    96: "JPEG variant",
    97: "WavPack",
}
_LZMA_HAS_END_MARK: Final = 2
_LZMA_HEADER: Final = 9  # version, size of the properties, and (always 5) properties


def is_read(method: int) -> bool:
    """Whether :func:`expanded` knows the method."""
    return method in (STORED, _PPMD) or method in _READ


def unread(method: int) -> ItemError:
    """What is said of a member by another method."""
    known = f" ({_UNREAD[method]})" if method in _UNREAD else ""
    return unsupported(f"zip method {method}{known} is not read by this version")


def expanded(body: BinaryIO, method: int, flags: int, size: int | None) -> BinaryIO:
    """What ``body``, compressed by ``method``, comes to; ``size`` as announced, or ``None``."""
    if method == STORED:
        return body
    if method == _LZMA:
        body = _with_lzma_header(body, None if flags & _LZMA_HAS_END_MARK else size)
    if method == _PPMD:
        return cast(BinaryIO, Repeated(lambda: _ppmd(body, size)))
    return cast(BinaryIO, Decompressed(body, _READ[method]))


def _ppmd(body: BinaryIO, size: int | None) -> Iterator[bytes]:
    """``body`` expanded by libarchive: Python packages for PPMd write where they must not when its data is damaged."""
    start = body.seek(0)
    stored = _length(body)
    body.seek(start)
    yield from alone(body, _PPMD, _LARGEST if size is None else size, stored)


def _length(body: BinaryIO) -> int:
    try:
        return body.seek(0, io.SEEK_END)
    except OSError:  # where it comes from tells its end only when it is there
        return sum(iter(lambda: len(body.read(CHUNK)), 0))


def _with_lzma_header(body: BinaryIO, size: int | None) -> BinaryIO:
    """The data of method 14 (APPNOTE 5.8.8) as the .lzma file it would be: properties, then the size or "unknown"."""
    properties = body.read(_LZMA_HEADER)[4:]  # and there the compressed data begins
    return cast(BinaryIO, Joined(properties + (b"\xff" * 8 if size is None else size.to_bytes(8, "little")), body))
