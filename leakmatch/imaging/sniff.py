"""What picture format some bytes are, by signature alone: a name or an extension is never asked.

A false "not a picture" is a silent miss, so a format that is known and not read still has a name here. Where the
signature itself is weak (two bytes of a BMP, none at all of a TGA) the fields that follow must make sense too, so that
text and program files are not taken for broken pictures.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Final

from leakmatch.imaging.odd import is_gd, is_spider, is_wal

#: Bytes of a file's beginning that :func:`image_format` wants to see. Photo CD has its signature at 2048.
HEAD_BYTES: Final = 4096

Signature = tuple[str, int, bytes]
Check = tuple[str, Callable[[bytes], bool]]

# (name, offset, bytes), by the names of Pillow. The first that fits wins.
_READ: Final[tuple[Signature, ...]] = (
    ("JPEG", 0, b"\xff\xd8\xff"),
    ("PNG", 0, b"\x89PNG\r\n\x1a\n"),
    ("GIF", 0, b"GIF87a"),
    ("GIF", 0, b"GIF89a"),
    ("TIFF", 0, b"II\x2a\x00"),
    ("TIFF", 0, b"MM\x00\x2a"),
    ("TIFF", 0, b"II\x2b\x00"),
    ("TIFF", 0, b"MM\x00\x2b"),
    ("TIFF", 0, b"MM\x2a\x00"),
    ("TIFF", 0, b"II\x00\x2a"),
    ("JPEG2000", 0, b"\x00\x00\x00\x0cjP  \r\n\x87\n"),
    ("JPEG2000", 0, b"\xff\x4f\xff\x51"),
    ("PSD", 0, b"8BPS"),
    ("DDS", 0, b"DDS "),
    ("ICNS", 0, b"icns"),
    ("QOI", 0, b"qoif"),
    ("SUN", 0, b"\x59\xa6\x6a\x95"),
    ("DCX", 0, b"\xb1\x68\xde\x3a"),
    ("PIXAR", 0, b"\x80\xe8\x00\x00"),
    ("BLP", 0, b"BLP1"),
    ("BLP", 0, b"BLP2"),
    ("FTEX", 0, b"FTEX"),
    ("MSP", 0, b"DanM"),
    ("MSP", 0, b"LinS"),
    ("FITS", 0, b"SIMPLE  ="),
    ("XPM", 0, b"/* XPM */"),
    ("XVTHUMB", 0, b"P7 332"),
    ("GBR", 20, b"GIMP"),
    ("PCD", 2048, b"PCD_"),
    ("IM", 0, b"Image type:"),
)

# Pictures that are not read. They end as unreadable, never as "not an image".
_NOT_READ: Final[tuple[Signature, ...]] = (
    ("EPS", 0, b"%!PS"),
    ("EPS", 0, b"\xc5\xd0\xd3\xc6"),
    ("WMF", 0, b"\xd7\xcd\xc6\x9a"),
    ("EMF", 40, b" EMF\x00\x00\x01\x00"),
    ("JPEG XL", 0, b"\x00\x00\x00\x0cJXL \r\n\x87\n"),
    ("JPEG XL", 0, b"\xff\x0a"),
    ("JPEG XR", 0, b"II\xbc\x01"),
    ("OpenEXR", 0, b"\x76\x2f\x31\x01"),
    ("Radiance HDR", 0, b"#?RADIANCE"),
    ("Radiance HDR", 0, b"#?RGBE"),
    ("Canon raw", 0, b"II\x1a\x00\x00\x00HEAPCCDR"),
    ("Fujifilm raw", 0, b"FUJIFILMCCD-RAW"),
    ("Minolta raw", 0, b"\x00MRM"),
    ("Olympus raw", 0, b"IIRO"),
    ("Olympus raw", 0, b"IIRS"),
    ("Olympus raw", 0, b"MMOR"),
    ("Panasonic raw", 0, b"IIU\x00"),
    ("Sigma raw", 0, b"FOVb"),
    ("DICOM", 128, b"DICM"),
    ("DPX", 0, b"SDPX"),
    ("DPX", 0, b"XPDS"),
    ("DjVu", 0, b"AT&TFORM"),
    ("GIMP", 0, b"gimp xcf "),
    ("PaintShop Pro", 0, b"Paint Shop Pro Image File"),
    ("MNG", 0, b"\x8aMNG\r\n\x1a\n"),
    ("JNG", 0, b"\x8bJNG\r\n\x1a\n"),
    ("BPG", 0, b"BPG\xfb"),
    ("FLIF", 0, b"FLIF"),
    ("KTX", 0, b"\xabKTX"),
    ("ILBM", 8, b"ILBM"),
    ("ILBM", 8, b"PBM BMHD"),
)

# Brands of ISO media files whose content is a picture; any other ftyp (MP4, QuickTime) is not.
_AVIF_BRANDS: Final = {b"avif", b"avis"}
_HEIF_BRANDS: Final = set(
    b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 miaf jpeg jpgs j2ki avci avcs".split()
)

_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_FLASHPIX: Final = bytes.fromhex("0067615654c1ce11855300aa00a1f95b")

_PNM = re.compile(rb"P[1-6]\s+[\d#-]|P[1-6]#|Pf\s+[\d#-]")
_PNM_NOT_READ = re.compile(rb"P7\s+(#|WIDTH|HEIGHT|DEPTH|MAXVAL|TUPLTYPE)|PF\s+[\d#-]")
# What follows looks at up to HEAD_BYTES of hostile text, so none of them nests one repetition in another.
_XBM = re.compile(rb"#define[ \t]+\w*width[ \t]+\d+\s+#define[ \t]+\w*height[ \t]+\d+")
_XML_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_XML_ELEMENT = re.compile(rb"<([A-Za-z_][\w:.-]*)")


def image_format(head: bytes) -> str | None:
    """The picture format that ``head``, the first :data:`HEAD_BYTES` bytes of a file, begins.

    A name of Pillow where it is in :data:`DECODABLE`, else the name of a format that is not read; ``None`` for what
    is not a picture (and for no bytes at all). Never raises.
    """
    for name, offset, magic in (*_READ, *_NOT_READ):
        if head.startswith(magic, offset):
            return name
    return next((name for name, fits in (*_READ_CHECKS, *_NOT_READ_CHECKS) if fits(head)), None)


def _webp(head: bytes) -> bool:
    return head[:4] == b"RIFF" and head[8:12] == b"WEBP"


def _brands(head: bytes) -> set[bytes]:
    if head[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return {head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4))}


def _bmp(head: bytes) -> bool:
    # 12 to 124 are the sizes of the known headers; the field is four bytes long, so text does not pass.
    return head[:2] == b"BM" and len(head) >= 18 and 12 <= int.from_bytes(head[14:18], "little") <= 255


def _dib(head: bytes) -> bool:
    """A BMP without its file header, as on a clipboard."""
    if len(head) < 40:
        return False
    size, _, _, planes, bits, compression = struct.unpack_from("<IiiHHI", head)
    return size in (40, 52, 56, 108, 124) and planes == 1 and bits in (1, 4, 8, 16, 24, 32) and compression in range(7)


def _icon(kind: int) -> Callable[[bytes], bool]:
    def fits(head: bytes) -> bool:
        if len(head) < 22 or head[:4] != bytes((0, 0, kind, 0)):
            return False
        count, _, _, _, _, _, _, size, offset = struct.unpack_from("<HBBBBHHII", head, 4)
        return bool(0 < count <= 1024 and size > 0 and offset >= 6 + 16 * count)

    return fits


def _pcx(head: bytes) -> bool:
    if len(head) < 128:
        return False
    magic, version, encoding, bits = head[:4]
    return magic == 10 and version in (0, 2, 3, 4, 5) and encoding in (0, 1) and bits in (1, 2, 4, 8)


def _sgi(head: bytes) -> bool:
    if len(head) < 12:
        return False
    packed, depth, _, dimensions = head[2:6]
    return head[:2] == b"\x01\xda" and packed in (0, 1) and depth in (1, 2) and dimensions in (1, 2, 3)


def _fli(head: bytes) -> bool:
    # Pillow's own conditions: the magic number in the middle of the header, 8 bits a pixel, known flags.
    if len(head) < 128:
        return False
    magic, _, _, _, depth, flags = struct.unpack_from("<6H", head, 4)
    return magic in (0xAF11, 0xAF12) and depth == 8 and flags in (0, 3)


def _tga(head: bytes) -> bool:
    """A TGA has no signature; every field of its header must agree with the others."""
    if len(head) < 18:
        return False
    _, has_map, kind, map_start, map_length, map_depth, _, _, width, height, depth, flags = struct.unpack_from(
        "<BBBHHBHHHHBB", head
    )
    if not (width and height) or flags & 0xC0:
        return False
    if kind in (1, 9):
        return has_map == 1 and depth == 8 and 0 < map_length <= 256 and map_depth in (15, 16, 24, 32)
    if has_map or map_start or map_length or map_depth:
        return False
    return (kind in (2, 10) and depth in (15, 16, 24, 32)) or (kind in (3, 11) and depth in (1, 8, 16))


def _fpx(head: bytes) -> bool:
    """An OLE file whose first directory entry, the root, has the class of FlashPix."""
    if not head.startswith(_OLE) or len(head) < 76:
        return False
    sector = 1 << min(int.from_bytes(head[30:32], "little"), 16)
    directory = (int.from_bytes(head[48:52], "little") + 1) * sector
    return head[directory + 80 : directory + 96] == _FLASHPIX


def _xbm(head: bytes) -> bool:
    """C source that defines a width, a height and an array of bits."""
    start = head.lstrip()
    return start.startswith((b"#define", b"/*")) and b"bits[" in start and _XBM.search(start) is not None


def _svg(head: bytes) -> bool:
    """XML whose first element is ``svg``."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start.startswith(b"<"):
        return False
    first = _XML_ELEMENT.search(_XML_COMMENT.sub(b"", start))
    return first is not None and first[1] in (b"svg", b"svg:svg")


_READ_CHECKS: Final[tuple[Check, ...]] = (
    ("WEBP", _webp),
    ("AVIF", lambda head: not _AVIF_BRANDS.isdisjoint(_brands(head))),
    ("HEIF", lambda head: not _HEIF_BRANDS.isdisjoint(_brands(head))),
    ("BMP", _bmp),
    ("ICO", _icon(1)),
    ("CUR", _icon(2)),
    ("PPM", lambda head: _PNM.match(head) is not None),
    ("FLI", _fli),
    ("SGI", _sgi),
    ("PCX", _pcx),
    ("DIB", _dib),
    ("XBM", _xbm),
    ("FPX", _fpx),
    ("GD", is_gd),
    ("WAL", is_wal),
    ("SPIDER", is_spider),
    ("TGA", _tga),
)

_NOT_READ_CHECKS: Final[tuple[Check, ...]] = (
    ("Canon raw", lambda head: b"crx " in _brands(head)),
    ("PAM or PFM", lambda head: _PNM_NOT_READ.match(head) is not None),
    ("SVG", _svg),
)

#: Formats that are decoded. Not among them, although Pillow knows them: EPS and WMF (they start another program),
#: McIdas (no signature to trust), MIC (a container, whose pictures are found in it), MPEG, and the formats for which it
#: only has a stub.
DECODABLE: Final = frozenset(entry[0] for entry in (*_READ, *_READ_CHECKS))
