"""Archives of formats that are written here, or by libraries that only the tests need."""

from __future__ import annotations

import ctypes
import io
import lzma
import struct
import zlib
from collections.abc import Sequence

from archives import Members

LZMA2 = (b"\x21", b"\x10", [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}])
COPY = (b"\0", b"", None)


def number(value: int) -> bytes:
    """A number as 7z writes it; only the long form where one byte is not enough."""
    return bytes((value,)) if value < 0x80 else b"\xff" + value.to_bytes(8, "little")


def bits(flags: Sequence[bool]) -> bytes:
    padded = [*flags, *[False] * (-len(flags) % 8)]
    return bytes(sum(128 >> i for i in range(8) if padded[at + i]) for at in range(0, len(padded), 8))


def part(kind: int, body: bytes) -> bytes:
    return bytes((kind,)) + number(len(body)) + body


def sevenzip_of(
    members: Members,
    *,
    block: int = 1000,
    method: tuple = LZMA2,
    attributes: Sequence[int] | None = None,
    anti: Sequence[bool] | None = None,
    claims: bytes | None = None,
) -> bytes:
    """A 7z whose folders have ``block`` members each. ``claims``: other properties than the method's own."""
    kind, properties, filters = method
    full = [data for _, data in members if data]
    folders = [full[at : at + block] for at in range(0, len(full), block)]
    packed = [
        b"".join(f) if filters is None else lzma.compress(b"".join(f), lzma.FORMAT_RAW, filters=filters)
        for f in folders
    ]
    coder = bytes((len(kind) | (0x20 if properties else 0),)) + kind
    if properties:
        coder += number(len(claims or properties)) + (claims or properties)
    header = b"\1"
    if full:
        header += b"\4\6" + number(0) + number(len(packed)) + b"\x09" + b"".join(number(len(p)) for p in packed) + b"\0"
        header += b"\7\x0b" + number(len(folders)) + b"\0" + (b"\1" + coder) * len(folders)
        header += b"\x0c" + b"".join(number(sum(map(len, f))) for f in folders) + b"\0"
        header += b"\x08\x0d" + b"".join(number(len(f)) for f in folders)
        header += b"\x09" + b"".join(number(len(data)) for f in folders for data in f[:-1])
        header += b"\x0a\1" + b"".join(struct.pack("<I", zlib.crc32(data)) for data in full) + b"\0\0"
    header += b"\5" + number(len(members))
    empty = [not data for _, data in members]
    if any(empty):
        header += part(0x0E, bits(empty)) + part(0x0F, bits([True] * sum(empty)))
    if anti is not None:
        header += part(0x10, bits(anti))
    names = [name.decode("utf-8", "surrogatepass").encode("utf-16-le", "surrogatepass") for name, _ in members]
    header += part(0x11, b"\0" + b"".join(name + b"\0\0" for name in names))
    if attributes is not None:
        header += part(0x15, b"\1\0" + struct.pack(f"<{len(attributes)}I", *attributes))
    header += b"\0\0"
    return sevenzip_from(b"".join(packed), header)


def sevenzip_from(packed: bytes, header: bytes) -> bytes:
    """The frame of a 7z around its packed streams and its header."""
    start = struct.pack("<QQI", len(packed), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\0\4" + struct.pack("<I", zlib.crc32(start)) + start + packed + header


def sevenzip_by_py7zr(members: Members, password: str | None = None, *, hidden: bool = False) -> bytes:
    import py7zr

    file = io.BytesIO()
    with py7zr.SevenZipFile(file, "w", password=password, header_encryption=hidden) as archive:
        for name, data in members:
            archive.writef(io.BytesIO(data), name.decode())
    return file.getvalue()


def by_libarchive(format: str, members: Members, options: bytes | None = None) -> bytes:
    """An archive that libarchive has written."""
    from libarchive import ffi

    out = bytearray()

    def write(_archive: int, _context: int, buffer: int, length: int) -> int:
        out.extend(ctypes.string_at(buffer, length))
        return length

    callback = ffi.WRITE_CALLBACK(write)
    archive = ffi.write_new()
    ffi.get_write_format_function(format)(archive)
    if options:
        ffi.write_set_options(archive, options)
    ffi.write_set_bytes_per_block(archive, 0)
    ffi.write_open(archive, None, ffi.NO_OPEN_CB, callback, ffi.NO_CLOSE_CB)
    for name, data in members:
        entry = ffi.entry_new()
        ffi.entry_copy_pathname(entry, name)
        ffi.entry_set_filetype(entry, 0o100000)
        ffi.entry_set_perm(entry, 0o644)
        ffi.entry_set_size(entry, len(data))
        ffi.entry_set_mtime(entry, 1_000_000_000, 0)
        ffi.write_header(archive, entry)
        if data:
            ffi.write_data(archive, data, len(data))
        ffi.write_finish_entry(archive)
        ffi.entry_free(entry)
    ffi.write_close(archive)
    ffi.write_free(archive)
    return bytes(out)


def warc_of(members: Members) -> bytes:
    records = []
    for name, data in members:
        head = b"WARC/1.1\r\nWARC-Type: resource\r\nWARC-Target-URI: %b\r\nContent-Length: %d\r\n\r\n"
        records.append(head % (name, len(data)) + data + b"\r\n\r\n")
    return b"".join(records)


# Rar, stored: made after the technotes, since nothing but WinRAR writes it


def rar4_block(kind: int, flags: int, body: bytes, data: bytes = b"") -> bytes:
    head = struct.pack("<BHH", kind, flags, 7 + len(body)) + body
    return struct.pack("<H", zlib.crc32(head) & 0xFFFF) + head + data


def rar4_file(name: bytes, data: bytes, flags: int = 0, whole: bytes | None = None, mode: int = 0o100644) -> bytes:
    """``whole``: all of the member where ``data`` is a part of it; the checksum of a part that goes on is its own."""
    full = data if whole is None else whole
    crc = zlib.crc32(data if flags & 2 else full)
    body = struct.pack("<IIBIIBBHI", len(data), len(full), 3, crc, 0, 29, 0x30, len(name), mode)
    return rar4_block(0x74, flags | 0x8000, body + name, data)


def rar4_of(members: Members, flags: int = 0, end: int = 0) -> bytes:
    files = b"".join(rar4_file(name, data) for name, data in members)
    return rar4_from(files, flags, end)


def rar4_from(files: bytes, flags: int = 0, end: int = 0) -> bytes:
    return b"Rar!\x1a\x07\0" + rar4_block(0x73, flags, bytes(6)) + files + rar4_block(0x7B, 0x4000 | end, b"")


def rar5_number(value: int) -> bytes:
    out = b""
    while value >= 0x80:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def rar5_block(kind: int, flags: int, body: bytes, data: bytes = b"") -> bytes:
    flags |= 2 if data else 0
    head = rar5_number(kind) + rar5_number(flags) + (rar5_number(len(data)) if data else b"") + body
    sized = rar5_number(len(head)) + head
    return struct.pack("<I", zlib.crc32(sized)) + sized + data


def rar5_file(name: bytes, data: bytes, flags: int = 0, whole: bytes | None = None) -> bytes:
    full = data if whole is None else whole
    crc = struct.pack("<I", zlib.crc32(data if flags & 0x10 else full))
    fields = [rar5_number(n) for n in (4, len(full), 0o100644)]
    return rar5_block(2, flags, b"".join(fields) + crc + bytes((0, 1)) + rar5_number(len(name)) + name, data)


def rar5_of(members: Members) -> bytes:
    return rar5_from(b"".join(rar5_file(name, data) for name, data in members))


def rar5_from(files: bytes, volume: int | None = None, *, more: bool = False) -> bytes:
    archive = b"\0" if volume is None else b"\1" if not volume else b"\3" + rar5_number(volume)
    end = rar5_block(5, 0, b"\1" if more else b"\0")
    return b"Rar!\x1a\x07\1\0" + rar5_block(1, 0, archive) + files + end
