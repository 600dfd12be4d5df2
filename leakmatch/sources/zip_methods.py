"""How members of a zip are compressed (APPNOTE.TXT 6.3.10, chapter 4.4.5)."""

from __future__ import annotations

from typing import BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.sources.decompress import Decompressed
from leakmatch.sources.guard import unsupported
from leakmatch.sources.streams import Joined, Range

STORED: Final = 0
AES: Final = 99
_LZMA, _PPMD = 14, 98
_READ: Final = {
    8: "deflate",
    9: "deflate64",
    12: "bzip2",
    _LZMA: "lzma",
    20: "zstd",
    93: "zstd",
    95: "xz",
    _PPMD: "ppmd",
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
    return method == STORED or method in _READ


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
    stream = cast(BinaryIO, Decompressed(body, _READ[method]))
    if method == _PPMD and size is not None:  # it need not have an end of its own
        return cast(BinaryIO, Range(stream, 0, size))
    return stream


def _with_lzma_header(body: BinaryIO, size: int | None) -> BinaryIO:
    """The data of method 14 (APPNOTE 5.8.8) as the .lzma file it would be: properties, then the size or "unknown"."""
    properties = body.read(_LZMA_HEADER)[4:]  # and there the compressed data begins
    return cast(BinaryIO, Joined(properties + (b"\xff" * 8 if size is None else size.to_bytes(8, "little")), body))
