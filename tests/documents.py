"""Documents made for tests: a PDF with any objects, an OLE file with any streams."""

from __future__ import annotations

import struct
import zlib

PAGES = {1: b"<< /Type /Catalog /Pages 2 0 R >>", 2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"}


def stream(dictionary: bytes, data: bytes) -> bytes:
    return b"<< %b /Length %d >>\nstream\n%b\nendstream" % (dictionary, len(data), data)


def image(
    width: int, height: int, data: bytes, space: bytes = b"/DeviceRGB", bits: int = 8, more: bytes = b""
) -> bytes:
    head = b"/Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace %b /BitsPerComponent %d "
    return stream(head % (width, height, space, bits) + more, data)


def flate(data: bytes) -> bytes:
    return zlib.compress(data)


def pdf(objects: dict[int, bytes], trailer: bytes = b"") -> bytes:
    """A document with these objects besides the catalog."""
    objects = {**PAGES, 3: b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] >>", **objects}
    out = bytearray(b"%PDF-1.7\n")
    places = {}
    for number, body in sorted(objects.items()):
        places[number] = len(out)
        out += b"%d 0 obj\n%b\nendobj\n" % (number, body)
    start = len(out)
    size = max(objects) + 1
    out += b"xref\n0 %d\n0000000000 65535 f \n" % size
    for number in range(1, size):
        out += b"%010d 00000 n \n" % places[number] if number in places else b"0000000000 00000 f \n"
    out += b"trailer\n<< /Size %d /Root 1 0 R %b >>\nstartxref\n%d\n%%%%EOF\n" % (size, trailer, start)
    return bytes(out)


_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD
_SECTOR = 512


def ole(streams: dict[str, bytes]) -> bytes:
    """An OLE file with these streams at its top, each padded to the size at which it needs no small sectors."""
    data = {name: content.ljust(4096, b"\0") for name, content in streams.items()}
    entries = [("Root Entry", 5, _END, 0)]
    chains: list[int] = []
    body = bytearray()
    for name, content in data.items():
        count = -(-len(content) // _SECTOR)
        first = len(chains)
        chains += [*range(first + 1, first + count), _END]
        body += content.ljust(count * _SECTOR, b"\0")
        entries.append((name, 2, first, len(content)))
    directory = bytearray()
    for number, (name, kind, first, size) in enumerate(entries):
        raw = name.encode("utf-16-le") + b"\0\0"
        right = number + 1 if 0 < number < len(entries) - 1 else _FREE
        child = 1 if number == 0 and len(entries) > 1 else _FREE
        directory += raw.ljust(64, b"\0") + struct.pack("<HBBIII", len(raw), kind, 1, _FREE, right, child)
        directory += bytes(36) + struct.pack("<IQ", first, size)
    directory += bytes(-len(directory) % _SECTOR)
    directory_at = len(chains)
    count = len(directory) // _SECTOR
    chains += [*range(directory_at + 1, directory_at + count), _END]
    fat_count = 1
    while (len(chains) + fat_count) * 4 > fat_count * _SECTOR:
        fat_count += 1
    fat_at = len(chains)
    chains += [_FAT] * fat_count
    table = struct.pack(f"<{len(chains)}I", *chains).ljust(fat_count * _SECTOR, b"\xff")
    fats = [*range(fat_at, fat_at + fat_count)]
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16) + struct.pack("<HHHHH6x", 62, 3, 0xFFFE, 9, 6)
    header += struct.pack("<IIIIIIIII", 0, fat_count, directory_at, 0, 4096, _END, 0, _END, 0)
    header += struct.pack("<109I", *(fats + [_FREE] * (109 - len(fats))))
    return header + bytes(body) + bytes(directory) + table
