"""Formats by signature, never by name."""

from __future__ import annotations

import tarfile
from typing import BinaryIO, Final

from leakmatch.sources.compressed import Compressed
from leakmatch.sources.members import Container
from leakmatch.sources.tar import Tar
from leakmatch.sources.zip import END, LOCAL, Zip

HEAD_BYTES: Final = 36 << 10  # as far as the signature of an ISO 9660 image

_COMPRESSED: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    *((bytes((0x50 + i,)) + b"\x2a\x4d\x18", "zstd") for i in range(16)),
)

#: Containers that are recognised and not read by this version: (offset, signature, what it is).
_UNREAD: Final = (
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (0, b"Rar!\x1a\x07", "rar"),
    (0, b"MSCF\0\0\0\0", "cab"),
    (0x8001, b"CD001", "iso"),
    (0, b"\x04\x22\x4d\x18", "lz4"),
    (0, b"!<arch>\n", "ar"),
    (0, b"070701", "cpio"),
    (0, b"070702", "cpio"),
    (0, b"070707", "cpio"),
    (0, b"\xc7\x71", "cpio"),
    (0, b"xar!", "xar"),
    (0, b"LZIP\x01", "lzip"),
    (0, b"\x1f\x9d", "compress (.Z)"),
    (0, b"PK\x07\x08PK\x03\x04", "split zip"),
    (0, b"ITSF", "chm"),
)

UNREAD_PREFIX: Final = "unread:"
ZIP: Final = "zip"
TAR: Final = "tar"


def detect(head: bytes) -> str | None:
    """The container format of an item by its first bytes (:data:`HEAD_BYTES` or all), or ``None``.

    A format that is known but not read comes back as ``"unread:"`` and its name.
    """
    if head.startswith((LOCAL, END)):
        return ZIP
    for signature, method in _COMPRESSED:
        if head.startswith(signature) and (method != "bzip2" or _is_bzip2(head)):
            return method
    for offset, signature, name in _UNREAD:
        if head[offset : offset + len(signature)] == signature:
            return UNREAD_PREFIX + name
    if _is_tar(head):
        return TAR
    return "lzma" if _is_lzma_alone(head) else None


def open_container(kind: str, file: BinaryIO, size: int, name: str) -> Container:
    """A reader for a format that :func:`detect` named. ``name``: what the container itself is called."""
    if kind == ZIP:
        return Zip(file, size)
    if kind == TAR:
        return Tar(file)
    return Compressed(file, size, kind, name)


def _is_bzip2(head: bytes) -> bool:
    block_or_end = (b"1AY&SY", b"\x17rE8P\x90")
    return head[3:4].isdigit() and head[3:4] != b"0" and (len(head) < 10 or head[4:10] in block_or_end)


def _is_tar(head: bytes) -> bool:
    """A header block whose checksum holds: ustar, GNU, pax and the old format without magic alike."""
    block = head[: tarfile.BLOCKSIZE]
    if len(block) < tarfile.BLOCKSIZE or not block.strip(b"\0"):
        return False
    try:
        want = int(block[148:156].strip(b" \0") or b"-1", 8)
    except ValueError:
        return False
    rest = block[:148] + b" " * 8 + block[156:]
    return want in (sum(rest), sum(byte - 256 if byte > 127 else byte for byte in rest))


def _is_lzma_alone(head: bytes) -> bool:
    """The legacy .lzma header has no magic: usual properties, a power-of-two dictionary, a size or "unknown"."""
    if len(head) < 13 or head[0] != 0x5D:
        return False
    dictionary, size = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:13], "little")
    return dictionary >= 4096 and dictionary & (dictionary - 1) == 0 and (size == (1 << 64) - 1 or size < 1 << 40)
