"""What tests of the sources share: archives made to measure, and a walk whose invariants are always checked."""

from __future__ import annotations

import bz2
import functools
import gzip
import hashlib
import hmac
import io
import lzma
import os
import random
import shutil
import struct
import tarfile
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import inflate64
import lz4.frame
import pyppmd
import zstandard
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from leakmatch.locator import APPENDED, SOURCE, Locator
from leakmatch.records import Budget, Entry, Incident, ItemKind, Outcome
from leakmatch.sources.archives.zip.crypto import traditional_encrypt, traditional_keys
from leakmatch.sources.passwords import Passwords
from leakmatch.sources.walk import Before, always, walk

Members = list[tuple[bytes, bytes]]

_MAGIC = b"\xff\xd8\xff"


def picture(number: int, size: int = 300) -> bytes:
    """Something that the walk takes for a picture, unlike every other one; hard to compress."""
    return _MAGIC + random.Random(number).randbytes(size)


def is_picture(head: bytes) -> bool:
    return head.startswith(_MAGIC)


PICTURES: Members = [(b"%d/photo %d.jpg" % (n % 2, n), picture(n, 200 + 300 * n)) for n in range(5)]


# Walking


@dataclass(frozen=True)
class Walked:
    """What a walk found. ``entries`` by position."""

    entries: list[Entry]
    incidents: list[Incident]

    @property
    def root(self) -> Entry:
        return self.entries[0]

    @property
    def codes(self) -> set[str]:
        return {incident.code for incident in self.incidents}

    @property
    def pictures(self) -> list[bytes | None]:
        return [entry.payload for entry in self.entries if entry.kind is ItemKind.IMAGE]

    def below(self, depth: int) -> list[Entry]:
        """The entries with that many containers around them."""
        return [entry for entry in self.entries if entry.locator.depth == depth]

    def members(self, depth: int = 1) -> Members:
        """Raw names and payloads at that depth."""
        return [(entry.locator.raw, entry.payload or b"") for entry in self.below(depth)]

    def named(self, name: bytes) -> Entry:
        """The only entry of that raw name."""
        (found,) = [entry for entry in self.entries if entry.locator.raw == name]
        return found

    def codes_of(self, entry: Entry) -> set[str]:
        return {incident.code for incident in self.incidents if incident.locator == entry.locator}


#: The password list that walks in tests are given: the one that opens is not the first.
PASSWORD = b"hunter two"
PASSWORDS = (b"wrong", b"", b"wrong too", PASSWORD)


def walked(
    data: bytes | Path,
    budget: Budget | None = None,
    wanted: Callable[[int], bool] = always,
    name: str = "source",
    passwords: Sequence[bytes] = PASSWORDS,
    before: Before | None = None,
) -> Walked:
    """Walk a file, or bytes as one, and check what must hold of every walk."""
    budget, tried = budget or Budget(), Passwords(passwords)
    if isinstance(data, Path):
        return checked(list(walk(data, _root(data.name), budget, is_picture, wanted, passwords=tried, before=before)))
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return checked(
            list(walk(Path(file.name), _root(name), budget, is_picture, wanted, passwords=tried, before=before))
        )


def _root(name: str) -> Locator:
    return Locator.root(SOURCE, name, name.encode(), 0)


def checked(found: list[Entry | Incident]) -> Walked:
    entries = sorted((item for item in found if isinstance(item, Entry)), key=lambda entry: entry.position)
    incidents = [item for item in found if isinstance(item, Incident)]
    assert [entry.position for entry in entries] == list(range(len(entries))), "each position exactly once"
    positions = {entry.locator.to_json(): entry.position for entry in entries}
    assert len(positions) == len(entries), "locators tell items apart"
    # What is no container may have archives behind it, as a picture with a zip.
    containers = {entry.locator.to_json() for entry in entries if entry.kind is ItemKind.CONTAINER or entry.members}
    behind = {
        entry.locator.parent.to_json() for entry in entries if entry.locator.parent and entry.locator.kind == APPENDED
    }
    rows = Counter(entry.locator.parent.to_json() for entry in entries if entry.locator.parent is not None)
    for entry in entries:
        if entry.members is not None:
            assert entry.kind is ItemKind.CONTAINER or entry.locator.to_json() in behind
        assert rows[entry.locator.to_json()] == (entry.members or 0), "as many rows as members"
        parent = entry.locator.parent
        if parent is not None:
            assert parent.to_json() in containers
            assert positions[parent.to_json()] < entry.position, "a container's position is before its members'"
        if entry.payload is not None:
            assert entry.outcome is None
            assert entry.kind in (ItemKind.IMAGE, ItemKind.FRAME)
            assert hashlib.sha256(entry.payload).digest() == entry.sha256
        if entry.outcome not in (None, Outcome.WALKED, Outcome.NOT_IMAGE):
            assert any(incident.locator == entry.locator for incident in incidents), "a failure has an incident"
            assert entry.detail
    assert all(incident.locator.to_json() in positions for incident in incidents)
    return Walked(entries, incidents)


NOBODY = 65534


@contextmanager
def without_privileges() -> Iterator[Path]:
    """A folder, and no right to read what is closed: as root, by being nobody for a while."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        shutil.rmtree(folder)


# Zip


@dataclass(frozen=True)
class Zipped:
    """A member of a zip, and what its headers say of it. ``None``: the truth."""

    name: bytes
    data: bytes = b""
    method: int = 0
    flags: int = 0
    described: bool = False
    signed: bool = True
    zip64: bool = False
    crc: int | None = None
    size: int | None = None
    stored: int | None = None
    local_name: bytes | None = None
    extra: bytes = b""
    mode: int = 0
    disk: int = 0
    header: int | None = None
    listed: bool = True
    password: bytes = b""
    aes: int = 0  # bits; 0: the traditional cipher
    aes_version: int = 2


def compress(method: int, data: bytes) -> bytes:
    """``data`` by a compression method of zip."""
    if method == 8:
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        return deflate.compress(data) + deflate.flush()
    if method == 12:
        return bz2.compress(data)
    if method == 14:
        alone = lzma.compress(data, lzma.FORMAT_ALONE)
        return b"\x09\x14\x05\x00" + alone[:5] + alone[13:]
    if method in (20, 93):
        return zstandard.compress(data)
    if method == 95:
        return lzma.compress(data)
    if method == 9:
        deflate64 = inflate64.Deflater()
        return bytes(deflate64.deflate(data) + deflate64.flush())
    if method == 98:
        order, megabytes = 6, 1
        ppmd = pyppmd.Ppmd8Encoder(order, megabytes << 20, 0)
        header = (order - 1 | megabytes - 1 << 4).to_bytes(2, "little")
        return header + bytes(ppmd.encode(data) + ppmd.flush())
    return data


def locked_by_aes(data: bytes, password: bytes, bits: int) -> bytes:
    """``data`` as WinZip's specification has it: salt, verifier, what was encrypted, authentication code."""
    size = bits // 8
    salt = hashlib.sha256(data).digest()[: size // 2]
    keys = hashlib.pbkdf2_hmac("sha1", password, salt, 1000, 2 * size + 2)
    cipher = Cipher(algorithms.AES(keys[:size]), modes.ECB()).encryptor()
    blocks = [data[i : i + 16] for i in range(0, len(data), 16)]
    stream = cipher.update(b"".join((n + 1).to_bytes(16, "little") for n in range(len(blocks))))
    encrypted = (int.from_bytes(data, "big") ^ int.from_bytes(stream[: len(data)], "big")).to_bytes(len(data), "big")
    code = hmac.digest(keys[size : 2 * size], encrypted, "sha1")
    return salt + keys[2 * size :] + encrypted + code[:10]


def locked_traditionally(data: bytes, password: bytes, check: int) -> bytes:
    """``data`` by the cipher of PKZIP."""
    header = hashlib.sha256(data).digest()[:11] + bytes((check,))
    return traditional_encrypt(traditional_keys(password), header + data)[0]


def zipped(
    members: list[Zipped], prefix: bytes = b"", comment: bytes = b"", disk: int = 0, announced: int | None = None
) -> bytes:
    """A zip archive. Offsets count from behind ``prefix``; ``announced`` is the number of members that it says."""
    body, directory = bytearray(), bytearray()
    for member in members:
        packed = compress(member.method, member.data)
        crc = zlib.crc32(member.data) if member.crc is None else member.crc
        member, packed = _locked(member, packed, crc)
        crc = 0 if member.aes and member.aes_version == 2 else crc
        size = len(member.data) if member.size is None else member.size
        stored = len(packed) if member.stored is None else member.stored
        header = len(body) if member.header is None else member.header
        flags = member.flags | (8 if member.described else 0)
        method, version = member.method, 45 if member.zip64 else 20
        wide = struct.pack("<HHQQQ", 1, 24, size, stored, header) if member.zip64 else b""
        size32, stored32, header32 = (0xFFFFFFFF,) * 3 if member.zip64 else (size, stored, header)
        known = (0, 0, 0) if member.described else (crc, stored32, size32)
        own_name = member.name if member.local_name is None else member.local_name
        own_extra = (struct.pack("<HHQQ", 1, 16, size, stored) if member.zip64 else b"") + member.extra
        body += struct.pack(
            "<4sHHHHHIIIHH", b"PK\x03\x04", version, flags, method, 0, 33, *known, len(own_name), len(own_extra)
        )
        body += own_name + own_extra + packed
        if member.described:
            record = struct.pack("<IQQ" if member.zip64 else "<III", crc, stored, size)
            body += (b"PK\x07\x08" if member.signed else b"") + record
        extra = wide + member.extra
        if member.listed:
            directory += struct.pack(
                "<4sHHHHHHIIIHHHHHII",
                b"PK\x01\x02", 3 << 8 | version, version, flags, method, 0, 33, crc, stored32, size32,
                len(member.name), len(extra), 0, member.disk, 0, member.mode << 16, header32,
            )  # fmt: skip
            directory += member.name + extra
    count = sum(member.listed for member in members) if announced is None else announced
    start, end = len(body), b""
    if any(member.zip64 for member in members):
        end64 = start + len(directory)
        end += struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, len(directory), start)
        end += struct.pack("<4sIQI", b"PK\x06\x07", 0, end64, 1)
        start = 0xFFFFFFFF
    counted = count & 0xFFFF
    end += struct.pack("<4sHHHHIIH", b"PK\x05\x06", disk, disk, counted, counted, len(directory), start, len(comment))
    return b"".join((prefix, body, directory, end, comment))


def _locked(member: Zipped, packed: bytes, crc: int) -> tuple[Zipped, bytes]:
    """What the headers say of a member with a password, and its bytes."""
    if not member.password:
        return member, packed
    flags = member.flags | 1
    if not member.aes:
        check = 0 if member.described else crc >> 24  # of the time, which is 0
        return replace(member, flags=flags), locked_traditionally(packed, member.password, check)
    strength = (member.aes - 64) // 64
    field = struct.pack("<HHH2sBH", 0x9901, 7, member.aes_version, b"AE", strength, member.method)
    packed = locked_by_aes(packed, member.password, member.aes)
    return replace(member, flags=flags, method=99, extra=field + member.extra), packed


def zip_of(members: Members, method: int = 0) -> bytes:
    return zipped([Zipped(name, data, method) for name, data in members])


# Tar


def tar_of(members: Members, format: int = tarfile.GNU_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format, encoding="utf-8", errors="surrogateescape") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def tar_header(name: bytes, size: bytes | int, kind: bytes = b"0", magic: bytes = b"ustar\x0000") -> bytes:
    """One header block. ``size`` as bytes is put in the field as it is."""
    field = b"%011o\0" % size if isinstance(size, int) else size
    block = name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + field + b"00000000000\0"
    block += b" " * 8 + kind + b"\0" * 100 + magic
    block = block.ljust(512, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def tar_member(name: bytes, data: bytes, kind: bytes = b"0", magic: bytes = b"ustar\x0000") -> bytes:
    """A header and its data, in whole blocks."""
    return tar_header(name, len(data), kind, magic) + padded(data)


def old_tar(members: Members) -> bytes:
    """As before ustar: no magic, no prefix."""
    return b"".join(tar_member(name, data, b"\0", b"") for name, data in members) + END_OF_TAR


def padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 512)


def pax(records: dict[str, bytes], kind: bytes = b"x") -> bytes:
    """A pax extension with these records."""
    text = b""
    for key, value in records.items():
        rest = b" " + key.encode() + b"=" + value + b"\n"
        length = len(rest)
        while len(str(length)) + len(rest) != length:
            length = len(str(length)) + len(rest)
        text += str(length).encode() + rest
    return tar_member(b"pax", text, kind)


END_OF_TAR = bytes(1024)


# Streams


def lzip(data: bytes) -> bytes:
    """One lzip member with a dictionary of 8 MiB."""
    alone = lzma.compress(data, lzma.FORMAT_ALONE)
    size = 6 + len(alone) - 13 + 20
    return b"LZIP\x01\x17" + alone[13:] + struct.pack("<IQQ", zlib.crc32(data), len(data), size)


def lzw(data: bytes, most: int = 16) -> bytes:
    """A .Z file of codes of 9 to ``most`` bits."""
    codes: dict[bytes, int] = {bytes((n,)): n for n in range(256)}
    following, string = 257, b""
    found: list[int] = []
    for byte in data:
        longer = string + bytes((byte,))
        if longer in codes:
            string = longer
            continue
        found.append(codes[string])
        if following < 1 << most:
            codes[longer] = following
            following += 1
        string = bytes((byte,))
    return lzw_codes(found + ([codes[string]] if string else []), most)


def lzw_codes(codes: list[int], most: int = 16) -> bytes:
    """A .Z file of these codes, in groups of 8 whose rest is skipped where codes get wider."""
    following, width = 257, 9
    out, bits, count, in_group = bytearray((0x1F, 0x9D, 0x80 | most)), 0, 0, 0
    for code in codes:
        padding = 0
        if following > (1 << width) - 1 and width < most:
            padding = (-in_group - 1) % 8
        for one in [code] + [0] * padding:
            bits |= one << count
            count += width
            in_group = (in_group + 1) % 8
            while count >= 8:
                out.append(bits & 0xFF)
                bits, count = bits >> 8, count - 8
        if following > (1 << width) - 1 and width < most:
            width += 1
        following += following < 1 << most
    if count:
        out.append(bits & 0xFF)
    return bytes(out)


def lzop(data: bytes, block: int = 256 << 10) -> bytes:
    """A .lzo file with Adler-32 of the data; blocks that do not get smaller are stored."""
    header = struct.pack(">HHHBBIIIIB", 0x1030, 0x20A0, 0x0940, 1, 5, 1, 0, 0, 0, 0)
    packed = b"\x89LZO\0\r\n\x1a\n" + header + struct.pack(">I", zlib.adler32(header))
    for start in range(0, len(data), block):
        piece = data[start : start + block]
        small = lzo1x(piece)
        small = small if len(small) < len(piece) else piece
        packed += struct.pack(">III", len(piece), len(small), zlib.adler32(piece)) + small
    return packed + bytes(4)


def lzo1x(data: bytes) -> bytes:
    """LZO1X with matches of 3 to 8 bytes from at most 2,048 before, and one of any length where bytes repeat."""
    out, at, literals, last = bytearray(), 0, 0, -1  # last: where the two low bits for the next literals are
    seen: dict[bytes, int] = {}

    def put_literals() -> None:
        text = data[at - literals : at]
        if not out and literals and literals <= 238:
            out.append(17 + literals)
        elif last >= 0 and literals <= 3:
            out[last] |= literals
        elif literals <= 18:
            out.append(literals - 3)
        else:
            more, rest = divmod(literals - 18 - 1, 255)
            out.extend(bytes(1 + more) + bytes((rest + 1,)))
        out.extend(text)

    while at < len(data):
        key = data[at : at + 3]
        back = at - seen.get(key, -1 << 20)
        seen[key] = at
        run = next((n for n in range(len(data) - at) if data[at + n] != data[at - 1]), len(data) - at) if at else 0
        if len(key) < 3 or not (at > 3 and (back <= 2048 or run > 40)):
            at, literals = at + 1, literals + 1
            continue
        if literals:
            put_literals()
        if run > 40:
            more, rest = divmod(run - 2 - 31 - 1, 255)
            out.extend(bytes((32,)) + bytes(more) + bytes((rest + 1, 0, 0)))
            last, at, literals = len(out) - 2, at + run, 0
            continue
        length = next(
            (n for n in range(3, 8) if data[at + n : at + n + 1] != data[at + n - back : at + n - back + 1]), 8
        )
        length = min(length, len(data) - at)
        code = (length - 1) << 5 | ((back - 1) & 7) << 2
        out.extend((code, (back - 1) >> 3))
        last, at, literals = len(out) - 2, at + length, 0
    if literals:
        put_literals()
    return bytes(out) + b"\x11\0\0"


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 6, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
    "lz4": functools.partial(lz4.frame.compress, content_checksum=True),
    "lzip": lzip,
    "lzop": lzop,
    "compress": lzw,
}


def decompressed_prefix(method: str, data: bytes) -> bytes:
    """What the standard library's own decompressor gives of the beginning of a stream."""
    if method == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    if method == "gzip":
        return zlib.decompressobj(31).decompress(data)
    if method == "lz4":
        return bytes(lz4.frame.LZ4FrameDecompressor().decompress(data))
    if method == "lzip":
        alone = lzma.LZMADecompressor(lzma.FORMAT_ALONE)
        return alone.decompress(b"\x5d\x00\x00\x80\x00" + b"\xff" * 8 + data[6:]) if len(data) > 6 else b""
    return (bz2.BZ2Decompressor() if method == "bzip2" else lzma.LZMADecompressor()).decompress(data)
