"""What locks members of a zip: the traditional cipher of PKZIP, and AES by WinZip.

Sources: APPNOTE.TXT 6.3.10, section 6.1; WinZip, "AES Encryption Information: Encryption Specification AE-1 and AE-2".
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from leakmatch.errors import ItemError
from leakmatch.sources.archives.zip.alone import alone
from leakmatch.sources.archives.zip.methods import STORED
from leakmatch.sources.guard import truncated
from leakmatch.sources.streams import CHUNK, Repeated, Seekable, Stream

HEADER: Final = 12  # the traditional cipher's, before the data
_MULTIPLIER: Final = 134775813
_MAX32: Final = 0xFFFFFFFF

_ROUNDS: Final = 1000
_VERIFIER: Final = 2
_AUTHENTICATION: Final = 10
_AES_BLOCK: Final = 16


def readings(password: bytes) -> list[bytes]:
    """``password`` as it is, and as it would be in the encodings that zip programs took it from."""
    found = {password: None}
    if not password.isascii():
        for encoding in ("cp437", "gbk", "latin-1"):
            try:
                found[password.decode().encode(encoding)] = None
            except UnicodeError:
                continue
    return list(found)


# The traditional cipher


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0xEDB88320 if value & 1 else 0)
        table.append(value)
    return table


_CRC: Final = _crc_table()
_STREAM: Final = bytes(((low | 2) * ((low | 2) ^ 1)) >> 8 & 0xFF for low in range(1 << 16))

Keys = tuple[int, int, int]


def traditional_keys(password: bytes) -> Keys:
    """The state of the cipher after the password."""
    keys = (0x12345678, 0x23456789, 0x34567890)
    for byte in password:
        keys = _updated(keys, byte)
    return keys


def _updated(keys: Keys, plain: int) -> Keys:
    first = keys[0] >> 8 ^ _CRC[(keys[0] ^ plain) & 0xFF]
    second = ((keys[1] + (first & 0xFF)) * _MULTIPLIER + 1) & _MAX32
    return first, second, keys[2] >> 8 ^ _CRC[(keys[2] ^ second >> 24) & 0xFF]


def traditional_decrypt(keys: Keys, data: bytes) -> tuple[bytes, Keys]:
    """The reference: readable, and about 1 MB/s. Returns the plain bytes and the keys for those that follow."""
    plain = bytearray()
    for byte in data:
        plain.append(byte ^ _STREAM[keys[2] & 0xFFFF])
        keys = _updated(keys, plain[-1])
    return bytes(plain), keys


def traditional_encrypt(keys: Keys, data: bytes) -> tuple[bytes, Keys]:
    """The other direction; to make archives with."""
    locked = bytearray()
    for byte in data:
        locked.append(byte ^ _STREAM[keys[2] & 0xFFFF])
        keys = _updated(keys, byte)
    return bytes(locked), keys


def opens_traditional(password: bytes, header: bytes, checks: tuple[int, ...]) -> bool:
    """Whether the last byte of the header is one of ``checks``: of 256 wrong passwords one for each passes, too."""
    return traditional_decrypt(traditional_keys(password), header)[0][-1:] in [bytes((check,)) for check in checks]


class Traditional(Repeated):
    """The plain bytes of ``body``, a member's ``size`` bytes with the header before them.

    By libarchive where it is there (some 30 times as fast as the reference).
    """

    def __init__(self, body: BinaryIO, size: int, password: bytes) -> None:
        super().__init__(self._plain)
        self._body, self._size, self._password = body, max(size - HEADER, 0), password

    def _end(self) -> int:
        return self._size

    def _plain(self) -> Iterator[bytes]:
        self._body.seek(0)
        if b"\0" in self._password or not _has_libarchive():
            return by_reference(self._body, self._password)
        return by_libarchive(self._body, self._size, self._password)


def by_reference(body: BinaryIO, password: bytes) -> Iterator[bytes]:
    """The plain bytes of a member from its header on, by the reference."""
    _, keys = traditional_decrypt(traditional_keys(password), body.read(HEADER))
    while data := body.read(CHUNK):
        plain, keys = traditional_decrypt(keys, data)
        yield plain


def by_libarchive(body: BinaryIO, size: int, password: bytes) -> Iterator[bytes]:
    """The same by libarchive, which is given the member as a stored one, so that it does no more than decrypt.

    ``size``: without the header.
    """
    header = body.read(HEADER)
    if len(header) < HEADER or not size:
        return
    check = traditional_decrypt(traditional_keys(password), header)[0][-1]
    yield from alone(body, STORED, size, size + HEADER, check=check << 24, before=header, password=password)


def _has_libarchive() -> bool:
    from leakmatch.sources.archives.libarchive.binding import library

    try:
        library()
    except ItemError:
        return False
    return True


# AES


@dataclass(frozen=True, slots=True)
class Aes:
    """What the extra field 0x9901 says. ``version`` 2 keeps no CRC; ``bits`` is 128, 192 or 256."""

    version: int
    bits: int
    method: int

    @property
    def salt(self) -> int:
        """Bytes of salt before the data."""
        return self.bits // 16

    @property
    def before(self) -> int:
        """Bytes before the data: salt and verifier."""
        return self.salt + _VERIFIER

    @property
    def around(self) -> int:
        """Bytes that are not data."""
        return self.before + _AUTHENTICATION


def aes_field(field: bytes) -> Aes | None:
    """The extra field; ``None`` where it is not what it should be."""
    if len(field) < 7 or field[4] not in (1, 2, 3):
        return None
    version, _, strength, method = struct.unpack("<H2sBH", field[:7])
    return Aes(version, 64 + 64 * strength, method)


def aes_keys(aes: Aes, password: bytes, salt: bytes) -> tuple[bytes, bytes, bytes]:
    """The keys of the cipher and of the authentication code, and the verifier."""
    size = aes.bits // 8
    derived = hashlib.pbkdf2_hmac("sha1", password, salt, _ROUNDS, 2 * size + _VERIFIER)
    return derived[:size], derived[size : 2 * size], derived[2 * size :]


def opens_aes(aes: Aes, password: bytes, header: bytes) -> bool:
    """Whether the verifier behind the salt fits; of 65,536 wrong passwords one passes, too."""
    return aes_keys(aes, password, header[: aes.salt])[2] == header[aes.salt : aes.before]


def is_authentic(aes: Aes, password: bytes, body: BinaryIO, size: int) -> bool:
    """Whether the authentication code behind a member's ``size`` bytes is right: reads them all."""
    body.seek(0)
    header = body.read(aes.before)
    code = hmac.new(aes_keys(aes, password, header[: aes.salt])[1], digestmod="sha1")
    left = size - aes.around
    while left > 0 and (data := body.read(min(left, CHUNK))):
        code.update(data)
        left -= len(data)
    return left == 0 and hmac.compare_digest(body.read(_AUTHENTICATION), code.digest()[:_AUTHENTICATION])


class AesBody(Seekable):
    """The plain bytes of ``body``, a member's ``size`` bytes from the salt to the authentication code."""

    def __init__(self, aes: Aes, body: BinaryIO, size: int, password: bytes) -> None:
        super().__init__()
        body.seek(0)
        header = body.read(aes.before)
        if len(header) < aes.before or size < aes.around:
            raise truncated("the locked data ends early")
        key, code, _ = aes_keys(aes, password, header[: aes.salt])
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - of a counter: that is the CTR mode
        self._code = hmac.new(code, digestmod="sha1")
        self._coded = 0  # how much of the data the code is of
        self._size = size - aes.around
        self._file, self._before = body, aes.before

    def _read_at(self, at: int, size: int) -> bytes:
        size = min(size, self._size - at, CHUNK)
        if size <= 0:
            return b""
        self._file.seek(self._before + at)
        data = self._file.read(size)
        if at == self._coded:
            self._code.update(data)
            self._coded += len(data)
        return self._plain(at, data)

    def _end(self) -> int:
        return self._size

    def _plain(self, at: int, data: bytes) -> bytes:
        """``data`` from the place ``at``, decrypted: XOR with the cipher of 1, 2, 3, ... as little-endian numbers."""
        first, skip = divmod(at, _AES_BLOCK)
        count = -(-(skip + len(data)) // _AES_BLOCK)
        counters = np.zeros((count, 2), "<u8")
        counters[:, 0] = np.arange(first + 1, first + 1 + count, dtype=np.uint64)
        stream = self._cipher.encryptor().update(counters.tobytes())
        key = np.frombuffer(stream, np.uint8)[skip : skip + len(data)]
        return (np.frombuffer(data, np.uint8) ^ key).tobytes()

    def check(self) -> None:
        """Read what was not read yet. Raises ``ValueError`` where the authentication code is wrong.

        Nothing is checked of a member that ends early.
        """
        while self._coded < self._size and self._read_at(self._coded, CHUNK):
            pass
        self._file.seek(self._before + self._size)
        want = self._file.read(_AUTHENTICATION)
        if self._coded < self._size or len(want) < _AUTHENTICATION:
            raise EOFError
        if not hmac.compare_digest(want, self._code.digest()[:_AUTHENTICATION]):
            raise ValueError("its authentication code is wrong")


class Authenticated(Stream):
    """Passes on what ``source`` gives; at the end of a reading that was never sought, ``body`` is checked as well."""

    def __init__(self, source: BinaryIO, body: AesBody) -> None:
        super().__init__()
        self._source, self._body = source, body
        self._checks = True

    def _read(self, size: int) -> bytes:
        data = self._source.read(size)
        if not data and self._checks:
            self._checks = False
            self._body.check()
        return data

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._checks = False
        return self._source.seek(offset, whence)

    def tell(self) -> int:
        return self._source.tell()
