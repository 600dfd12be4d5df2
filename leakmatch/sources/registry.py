"""Formats by signature, never by name."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Final, cast

from leakmatch.sources import datasets
from leakmatch.sources.archives.rar import header as rar_header
from leakmatch.sources.archives.sevenzip import header as sevenzip_header
from leakmatch.sources.archives.tar.headers import BLOCK, is_header
from leakmatch.sources.archives.zip.directory import END
from leakmatch.sources.archives.zip.entries import LOCAL, NOT_SPANNED, SPANNED
from leakmatch.sources.behind import Behind
from leakmatch.sources.compression.decoders import LZ4, LZ4_LEGACY, LZIP, SKIPPABLE, ZSTD
from leakmatch.sources.compression.lzop import LZOP
from leakmatch.sources.compression.lzw import LZW
from leakmatch.sources.members import Container
from leakmatch.sources.opening import Opening
from leakmatch.sources.video.formats import DEMUXERS, detect_video

HEAD_BYTES: Final = 36 << 10  # as far as the signature of an ISO 9660 image

_COMPRESSED: Final = (
    (b"\x1f\x8b\x08", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\0", "xz"),
    (ZSTD, "zstd"),
    *((signature, "zstd") for signature in SKIPPABLE),  # or LZ4: what follows tells
    (LZ4, "lz4"),
    (LZ4_LEGACY, "lz4"),
    (LZIP + b"\x01", "lzip"),
    (LZOP, "lzop"),
    (LZW, "compress"),
)

_ISO_AT: Final = 0x8001

#: Archives that libraries read: (offset, signature, kind).
_ARCHIVES: Final = (
    (0, sevenzip_header.SIGNATURE, "7z"),
    (0, rar_header.SIGNATURE, "rar"),
    (0, b"MSCF\0\0\0\0", "cab"),
    (_ISO_AT, b"CD001", "iso"),
    (0, b"!<arch>\n", "ar"),
    *((0, b"07070" + digit, "cpio") for digit in (b"1", b"2", b"7")),
    (0, b"070727", "cpio"),
    (0, b"xar!", "xar"),
    (0, b"\xed\xab\xee\xdb", "rpm"),
    (0, b"WARC/", "warc"),
)

#: Containers that are recognised and not read by this version: (offset, signature, what it is).
_UNREAD: Final = (
    (_ISO_AT, b"BEA01", "udf"),
    (0, b"ITSF", "chm"),
)

_BEGINNINGS: Final = frozenset(
    {
        b"PK",
        *(signature[:2] for signature, _ in _COMPRESSED),
        *(signature[:2] for at, signature, _ in (*_ARCHIVES, *_UNREAD) if not at),
    }
)

# Self-extracting archives: a program, and behind it the archive.
_PROGRAMS: Final = (b"MZ", b"\x7fELF")
_CARRIED: Final = ((rar_header.find_start, "rar"), (sevenzip_header.find_start, "7z"))
STUB_BYTES: Final = 1 << 20

#: Who reads what: the module and the function that makes a :class:`Container` of an :class:`Opening`. Imported at the
#: first container of the kind, since many rest on a library that most runs do not need.
READERS: Final[dict[str, str]] = {
    "zip": "archives.zip.reader:open_zip",
    "tar": "archives.tar.reader:open_tar",
    "7z": "archives.sevenzip.reader:open_sevenzip",
    "rar": "archives.rar.reader:open_rar",
    "warc": "archives.warc:open_warc",
    **dict.fromkeys(("ar", "cab", "cpio", "iso", "lha", "rpm", "xar"), "archives.libarchive.reader:open_libarchive"),
    **dict.fromkeys(
        ("gzip", "bzip2", "xz", "lzma", "lzip", "zstd", "lz4", "lzop", "compress"), "compression.reader:open_compressed"
    ),
    **dict.fromkeys(DEMUXERS, "video.reader:open_video"),
    **datasets.READERS,
}

UNREAD_PREFIX: Final = "unread:"
ZIP: Final = "zip"
TAR: Final = "tar"
TEXT: Final = "text"
CARVED: Final = "carved"  # bytes of no known format in which there are pictures
OWN_SEARCH: Final = frozenset({"ole", "rtf"})  # their readers give the pictures in a member as further members


def detect(head: bytes) -> str | None:
    """The container format of an item by its first bytes (:data:`HEAD_BYTES` or all), or ``None``.

    A format that is known but not read comes back as ``"unread:"`` and its name.
    """
    if is_header(head[:BLOCK]):  # first: a tar begins with a name, which may be any signature
        return TAR
    if (head[:2] in _BEGINNINGS or len(head) > _ISO_AT) and (kind := _by_signature(head)):
        return kind
    if kind := datasets.recognise(head):
        return kind
    if _is_old_cpio(head):
        return "cpio"
    if _is_lha(head):
        return "lha"
    return "lzma" if _is_lzma_alone(head) else detect_video(head)


def is_program(head: bytes) -> bool:
    """Whether it may be a self-extracting archive. (A zip in one is recognised by its end.)"""
    return head.startswith(_PROGRAMS)


def carried(beginning: bytes) -> str | None:
    """What archive a program carries, by its first :data:`STUB_BYTES`; its reader finds where it begins."""
    return next((kind for find, kind in _CARRIED if find(beginning) is not None), None)


def search_of(kind: str) -> Behind | None:
    """What looks for archives that are no members of a container of this kind: in documents, texts and videos."""
    return Behind() if kind in ("pdf", "rtf", TEXT) or kind in DEMUXERS else None


def open_container(opening: Opening) -> Container:
    """A reader for a container of a kind that :func:`detect` named. Raises what the reader raises."""
    module, _, function = READERS[opening.kind].partition(":")
    reader = cast(Callable[[Opening], Container], getattr(import_module(f"leakmatch.sources.{module}"), function))
    return reader(opening)


def _by_signature(head: bytes) -> str | None:
    if head.startswith((LOCAL, END, SPANNED, NOT_SPANNED)):
        return ZIP
    for signature, method in _COMPRESSED:
        if head.startswith(signature) and (method not in _CONFIRMED or _CONFIRMED[method](head)):
            return _behind_skippable(head) if signature in SKIPPABLE else method
    for offset, signature, name in _ARCHIVES:
        if head.startswith(signature, offset):
            return name
    for offset, signature, name in _UNREAD:
        if head.startswith(signature, offset):
            return UNREAD_PREFIX + name
    return None


def _is_bzip2(head: bytes) -> bool:
    block_or_end = (b"1AY&SY", b"\x17rE8P\x90")
    return head[3:4].isdigit() and head[3:4] != b"0" and (len(head) < 10 or head[4:10] in block_or_end)


def _is_compress(head: bytes) -> bool:
    """Two bytes are a weak signature: the third has the width of the codes, and nothing in unused bits."""
    return len(head) < 3 or (9 <= head[2] & 31 <= 16 and not head[2] & 0x60)


_CONFIRMED: Final[dict[str, Callable[[bytes], bool]]] = {"bzip2": _is_bzip2, "compress": _is_compress}


def _behind_skippable(head: bytes) -> str:
    """Which format the frames to be skipped belong to, by what follows them."""
    at = 0
    while head.startswith(SKIPPABLE, at) and len(head) >= at + 8:
        at += 8 + int.from_bytes(head[at + 4 : at + 8], "little")
    return "lz4" if head.startswith((LZ4, LZ4_LEGACY), at) else "zstd"


def _is_old_cpio(head: bytes) -> bool:
    """Two bytes are a weak signature, so the first member's name must end where it should."""
    if not head.startswith((b"\xc7\x71", b"\x71\xc7")):
        return False
    length = int.from_bytes(head[20:22], "little" if head[0] == 0xC7 else "big")
    name = head[26 : 26 + length]
    return length > 1 and name.find(b"\0") == length - 1


def _is_lha(head: bytes) -> bool:
    return head[2:5] == b"-lh" and head[6:7] == b"-" and head[5:6] in b"0123456789dx" and len(head) > 20


def _is_lzma_alone(head: bytes) -> bool:
    """The legacy .lzma header has no magic: possible properties, a usual dictionary, a size or "unknown", a zero."""
    if len(head) < 14 or head[0] >= 9 * 5 * 5 or head[13]:
        return False
    dictionary, size = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:13], "little")
    lowest_bit = dictionary & -dictionary
    usual = dictionary >= 4096 and dictionary in (lowest_bit, 3 * lowest_bit)
    return usual and (size == (1 << 64) - 1 or size < 1 << 40)
