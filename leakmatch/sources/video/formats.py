"""Videos by signature, and whether one ends where its own structure says."""

from __future__ import annotations

from typing import BinaryIO, Final

from leakmatch.sources.streams import bytes_at

#: What FFmpeg calls its readers of these. Never guessed by it: its own guesses include play lists, which are lists of
#: other files to open.
DEMUXERS: Final[dict[str, str]] = {
    "mp4": "mov",
    "matroska": "matroska",
    "avi": "avi",
    "mpeg-ps": "mpeg",
    "mpeg-ts": "mpegts",
    "mpeg-video": "mpegvideo",
    "asf": "asf",
    "flv": "flv",
    "ogg": "ogg",
}

#: Brands of ISO media files that are pictures: those that :mod:`leakmatch.imaging.sniff` takes for its own.
PICTURE_BRANDS: Final = frozenset(
    (
        *b"avif avis heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 miaf jpeg jpgs j2ki avci avcs".split(),
        b"crx ",
    )
)

_ASF: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_EBML: Final = b"\x1aE\xdf\xa3"
_SEGMENT: Final = b"\x18S\x80g"
_ISO_BOXES: Final = (b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_IN_MOOV: Final = (b"mvhd", b"cmov", b"rmra", b"iods", b"trak", b"udta", b"meta")
_TS_PACKETS: Final = (188, 192)
_TS_SYNC: Final = 5  # packets in a row that must begin as they should


def detect_video(head: bytes) -> str | None:
    """The kind of video that ``head``, the first bytes of a file, begins: a key of :data:`DEMUXERS`, or ``None``.

    Files with sound alone are among them: they may hold a picture of their cover.
    """
    if head[4:8] == b"ftyp":
        return "mp4" if PICTURE_BRANDS.isdisjoint(_brands(head)) else None
    if _is_quicktime(head):
        return "mp4"
    if head.startswith(_EBML) and (b"matroska" in head[:256] or b"webm" in head[:256]):
        return "matroska"
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return "avi"
    if head.startswith(b"\0\0\1\xba") and len(head) > 4 and (head[4] >> 6 == 1 or head[4] >> 4 == 2):
        return "mpeg-ps"
    if head.startswith(b"\0\0\1\xb3"):
        return "mpeg-video"
    if head.startswith(_ASF):
        return "asf"
    if head.startswith(b"FLV\1") and head[5:9] == b"\0\0\0\x09":
        return "flv"
    if head.startswith(b"OggS\0"):
        return "ogg"
    return "mpeg-ts" if _is_transport_stream(head) else None


def is_cut_off(kind: str, file: BinaryIO, size: int) -> bool:
    """Whether the structure of the file goes on behind its ``size`` bytes; false where the format does not tell."""
    if kind == "mp4":
        return _boxes_end(file, size) > size
    if kind == "avi":
        return _riff_end(file, size) > size
    if kind == "matroska":
        return _segment_end(file, size) > size
    return False


def _brands(head: bytes) -> set[bytes]:
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}


def _is_quicktime(head: bytes) -> bool:
    """Old QuickTime has no signature: a box of a known name, and what is in it or behind it must fit, too."""
    name, size = head[4:8], int.from_bytes(head[:4], "big")
    if name not in _ISO_BOXES or not (size == 1 or 8 <= size < 1 << 31):
        return False
    if name == b"moov":
        return head[12:16] in _IN_MOOV
    if name == b"mdat":
        return size == 1 or head[0] < 0x20  # text in its place is larger
    return head[size + 4 : size + 8] in (*_ISO_BOXES, b"ftyp")


def _is_transport_stream(head: bytes) -> bool:
    for packet in _TS_PACKETS:
        first = packet - 188
        starts = head[first : first + _TS_SYNC * packet : packet]
        if len(starts) == _TS_SYNC and starts.count(0x47) == _TS_SYNC:
            return True
    return False


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last of the boxes on the top level ends that begins within the file."""
    at = 0
    for _ in range(1 << 16):  # fragments of a live recording are boxes, too
        header = bytes_at(file, at, 16)
        if at >= size or len(header) < 8:
            return at
        length = int.from_bytes(header[:4], "big")
        if length == 1:
            length = int.from_bytes(header[8:16], "big")
        if length == 0:
            return size
        if length < 8 or not header[4:8].isascii():
            return at  # not a box: bytes behind the last one
        at += length
    return at


def _riff_end(file: BinaryIO, size: int) -> int:
    """Where the last RIFF chunk ends (a large AVI has several)."""
    at = 0
    for _ in range(1 << 12):
        header = bytes_at(file, at, 8)
        if at >= size or header[:4] != b"RIFF":
            return at
        length = int.from_bytes(header[4:8], "little")
        if length in (0, 0xFFFFFFFF):  # a recording that was not closed
            return size + 1
        at += 8 + length + length % 2
    return at


def _segment_end(file: BinaryIO, size: int) -> int:
    """Where the first segment of a Matroska file ends; its size where that was left open, as in live recordings."""
    head = bytes_at(file, 0, 4096)
    length, width = _vint(head, 4)
    at = 4 + width + length
    if head[at : at + 4] != _SEGMENT:
        return size
    length, width = _vint(head, at + 4)
    unknown = width == 0 or length == (1 << (7 * width)) - 1
    return size if unknown else at + 4 + width + length


def _vint(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length (RFC 8794) and its length in bytes; 0 bytes where there is none."""
    if at >= len(data) or not data[at]:
        return 0, 0
    width = 9 - data[at].bit_length()
    return int.from_bytes(data[at : at + width], "big") & ((1 << (7 * width)) - 1), width
